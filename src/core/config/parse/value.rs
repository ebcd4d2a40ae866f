//! Single values: a text of the file into the type that cannot hold a bad one.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::super::{InterfaceName, TableName, Transport, Upstream};
use crate::core::name::Name;
use crate::core::problem::nearest;
use crate::core::query::{Agent, Client};

/// The port DNS is served on (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;
/// Longest path a Unix socket can be bound to (`sun_path` holds 108 octets,
/// the last of them zero).
const MAX_SOCKET_PATH: usize = 107;

/// Why a text is not the value it should be.
pub(super) struct Fault {
    /// What is wrong with it; follows a colon.
    pub(super) message: String,
    /// What is allowed.
    pub(super) help: String,
}

impl Fault {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// One of a few words.
pub(super) fn keyword<T: Copy, const N: usize>(words: [(&'static str, T); N]) -> impl Fn(&str) -> Result<T, Fault> {
    move |text| {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let help = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("write {}", quoted.join(" or "))
            }
        };
        Err(Fault::new("there is no such setting", help))
    }
}

/// A number and a unit, from `least` to `most`.
pub(super) fn duration(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Fault> {
    move |text| {
        let help = || format!("write a number and a unit (ms, s, m, h), from {} to {}", spelled(least), spelled(most));
        let duration = unit_duration(text).ok_or_else(|| Fault::new("this is no duration", help()))?;
        if duration < least {
            return Err(Fault::new("this is too short", help()));
        }
        if duration > most {
            return Err(Fault::new("this is too long", help()));
        }
        Ok(duration)
    }
}

fn unit_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis_per_unit).map(Duration::from_millis)
}

/// A number of octets and a unit, from `least` to `most`.
pub(super) fn size(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, Fault> {
    move |text| {
        let help = || {
            let (least, most) = (spelled_size(least), spelled_size(most));
            format!("write a number and a unit (KB, MB, GB, or KiB, MiB, GiB), from {least} to {most}")
        };
        let octets = unit_size(text).ok_or_else(|| Fault::new("this is no size", help()))?;
        if octets < least {
            return Err(Fault::new("this is too small", help()));
        }
        if octets > most {
            return Err(Fault::new("this is too large", help()));
        }
        Ok(octets)
    }
}

fn unit_size(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let octets_per_unit = match unit {
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(octets_per_unit)
}

fn spelled_size(octets: u64) -> String {
    match octets {
        _ if octets >= 1_000_000_000 => format!("{}GB", octets / 1_000_000_000),
        _ if octets >= 1_000_000 => format!("{}MB", octets / 1_000_000),
        _ => format!("{}KB", octets / 1_000),
    }
}

fn spelled(duration: Duration) -> String {
    let (millis, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{millis}ms"),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// A domain, without a leading dot or `*`.
pub(super) fn domain(text: &str) -> Result<Name, Fault> {
    Name::parse(text).map_err(|error| Fault::new(error.to_string(), "write a domain, e.g. \"corp.example.com\""))
}

/// An address to listen on; port 53 unless it names another.
pub(super) fn listener(text: &str) -> Result<SocketAddr, Fault> {
    let address = socket_address(text)
        .ok_or_else(|| Fault::new("this is no address", "write e.g. \"10.77.0.1:53\" or \"[fd77::1]:53\""))?;
    if address.ip().to_canonical().is_unspecified() {
        let message = "a listener on every address answers from the wrong one";
        return Err(Fault::new(message, "name each address the clients ask, e.g. \"10.77.0.1:53\""));
    }
    if address.ip().is_multicast() || address.port() == 0 {
        return Err(Fault::new("nothing can be asked there", "name a unicast address and a port from 1 to 65535"));
    }
    Ok(address)
}

/// `udp://ADDRESS[:PORT]` or `tcp://ADDRESS[:PORT]`.
pub(super) fn upstream(text: &str) -> Result<Upstream, Fault> {
    let help = "write e.g. \"udp://192.0.2.53:53\" or \"tcp://[2001:db8::53]:53\"";
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| Fault::new("there is no udp:// or tcp:// in it", help))?;
    let transport = match scheme {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return Err(Fault::new(format!("there is no way to speak {scheme:?} yet"), help)),
    };
    let address = socket_address(rest).ok_or_else(|| {
        Fault::new("after the scheme stands no IP address; a name cannot be looked up without a server", help)
    })?;
    if address.ip().to_canonical().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
        return Err(Fault::new("no server can be there", help));
    }
    Ok(Upstream { transport, address })
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    let bare = || {
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inner.unwrap_or(text).parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, DNS_PORT))
    };
    text.parse().ok().or_else(bare)
}

/// An interface's name.
pub(super) fn interface(text: &str) -> Result<InterfaceName, Fault> {
    InterfaceName::parse(text).ok_or_else(|| {
        Fault::new(
            "no interface can have this name",
            "write 1 to 15 letters, digits and `-_.@:`, as `ip link` shows it",
        )
    })
}

/// A nftables table's name.
pub(super) fn table_name(text: &str) -> Result<TableName, Fault> {
    let help = "write a lower-case letter, then up to 30 lower-case letters, digits and `_`";
    TableName::parse(text).ok_or_else(|| Fault::new("this is no name for a table", help))
}

/// A range of addresses in CIDR notation, or one address.
pub(super) fn range(text: &str) -> Result<IpNet, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let help = "write e.g. \"10.20.0.0/16\", \"fd77::/64\" or one address";
    let range: IpNet = text.parse().map_err(|_| Fault::new("this is no range of addresses", help))?;
    if range != range.trunc() {
        return Err(Fault::new("there are bits set after the prefix", format!("did you mean \"{}\"?", range.trunc())));
    }
    Ok(range)
}

/// A client's address.
pub(super) fn client(text: &str) -> Result<Client, Fault> {
    let help = "write one IPv4 or IPv6 address, e.g. \"10.77.0.2\"";
    let address: IpAddr = text.parse().map_err(|_| Fault::new("this is no address", help))?;
    let client = Client::new(address);
    if client.address().is_unspecified() || client.address().is_multicast() {
        return Err(Fault::new("no client has this address", help));
    }
    Ok(client)
}

/// A Cedar principal's id.
pub(super) fn agent(text: &str) -> Result<Agent, Fault> {
    Agent::parse(text).map_err(|error| Fault::new("this is no agent", error.to_string()))
}

/// A path to a file or a folder.
pub(super) fn file_path(text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new(
            "no file can have this name",
            "write a path; a relative one starts at this file's folder",
        ));
    }
    Ok(text.into())
}

/// A path a Unix socket can be bound to.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    let help = || format!("write an absolute path of at most {MAX_SOCKET_PATH} octets");
    if text.contains('\0') || !text.starts_with('/') || text.ends_with('/') {
        return Err(Fault::new("this is no absolute path to a file", help()));
    }
    if text.len() > MAX_SOCKET_PATH {
        return Err(Fault::new("the kernel takes no socket with a path so long", help()));
    }
    Ok(text.into())
}
