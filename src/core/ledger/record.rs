//! What is written down of a lease so that a later daemon knows it: a line of
//! JSON for each state of it, the last of which counts.
//!
//! The kernel knows what is open, until when, and the names; it does not know
//! who asked, over which aliases a name led to the address, nor anything of
//! leases that have run out.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::super::lease::{Generation, Key, Ports};
use super::super::name::Name;
use super::super::query::{Client, Port, PortRange, Protocol};
use super::super::time::Moment;
use super::asked::Asked;
use super::{Holder, Lease, Ledger, Plan};

impl Ledger {
    /// The line that says what is known of `key` now, for [`Remembered::read`](super::adopted::Remembered::read).
    pub fn line(&self, key: &Key) -> String {
        write(key, self.leases.get(key).or_else(|| self.lapsed.leases.get(key)))
    }

    /// The lines for all that is known, leases that have run out included.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.lapsed.leases.iter().chain(self.leases.iter()).map(|(key, lease)| write(&key, Some(lease)))
    }

    /// How many [`lines`](Self::lines) there are.
    pub fn known(&self) -> usize {
        self.leases.len() + self.lapsed.leases.len()
    }
}

impl Plan {
    /// The lines for each lease as it will be. What goes stays remembered
    /// until the kernel has let go of it.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.next.iter().filter_map(|(key, next)| next.as_ref().map(|next| write(key, Some(&next.lease))))
    }
}

/// The line, without its end, that says how the lease of `key` is; `None`:
/// there is none any more, and nothing is to be remembered of it.
pub(super) fn write(key: &Key, lease: Option<&Lease>) -> String {
    let ports = match key.ports {
        Ports::All => Vec::new(),
        Ports::One(port) => vec![port.number()],
        Ports::Run(run) => vec![run.first().number(), run.last().number()],
    };
    let holders = lease.map_or(&[][..], |lease| lease.holders.as_slice()).iter().map(|holder| HolderLine {
        name: holder.name().as_str().to_owned(),
        asked_by: holder.asked.client().address(),
        aliases: holder.aliases.iter().map(ToString::to_string).collect(),
        until: holder.until.as_millis(),
    });
    let line = Line {
        client: key.client.address(),
        address: key.address,
        protocol: key.protocol.number(),
        ports,
        account: lease.map_or(key.client, |lease| lease.account).address(),
        holders: holders.collect(),
    };
    // Nothing in it can fail to be written.
    serde_json::to_string(&line).unwrap_or_default()
}

/// What a line says; `None` if [`write`] would never have written it.
pub(super) fn read(line: &str) -> Option<(Key, Option<Lease>)> {
    let line: Line = serde_json::from_str(line).ok()?;
    let port = |index: usize| line.ports.get(index).copied().and_then(Port::new);
    let ports = match line.ports.len() {
        0 => Ports::All,
        1 => Ports::One(port(0)?),
        2 => Ports::Run(PortRange::new(port(0)?, port(1)?)?),
        _ => return None,
    };
    let key = Key {
        client: Client::new(line.client),
        address: line.address,
        protocol: Protocol::ALL.into_iter().find(|known| known.number() == line.protocol)?,
        ports,
    };
    let holders: SmallVec<_> = line.holders.into_iter().map(HolderLine::read).collect::<Option<_>>()?;
    let lease = (!holders.is_empty()).then(|| Lease { account: Client::new(line.account), holders });
    Some((key, lease))
}

#[derive(Serialize, Deserialize)]
struct Line {
    client: IpAddr,
    address: IpAddr,
    protocol: u8,
    /// None: every port; one; or the ends of a run.
    ports: Vec<u16>,
    account: IpAddr,
    holders: Vec<HolderLine>,
}

#[derive(Serialize, Deserialize)]
struct HolderLine {
    name: String,
    asked_by: IpAddr,
    aliases: Vec<String>,
    until: u64,
}

impl HolderLine {
    fn read(self) -> Option<Holder> {
        let name = |text: &String| Name::parse(text).ok();
        Some(Holder {
            asked: Asked::new(Client::new(self.asked_by), name(&self.name)?),
            aliases: self.aliases.iter().map(name).collect::<Option<_>>()?,
            generation: Generation::default(),
            until: Moment::from_millis(self.until),
            is_told: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ports: Ports) -> Key {
        let client = Client::new("10.0.0.2".parse().unwrap());
        Key { client, address: "198.51.100.7".parse().unwrap(), protocol: Protocol::Udp, ports }
    }

    #[test]
    fn what_is_written_is_read() {
        let name = |text| Name::parse(text).unwrap();
        let holder = |text, until| Holder {
            asked: Asked::new(Client::new("fd00::2".parse().unwrap()), name(text)),
            aliases: [name("one.example.net"), name("two.example.net")].into_iter().collect(),
            generation: Generation::default(),
            until: Moment::from_millis(until),
            is_told: false,
        };
        let account = Client::new("fd00::2".parse().unwrap());
        let lease =
            Lease { account, holders: [holder("a.example.com", 7), holder("b.example.com", 9)].into_iter().collect() };
        let port = |number| Port::new(number).unwrap();
        for ports in [Ports::All, Ports::One(port(443)), Ports::Run(PortRange::new(port(1), port(99)).unwrap())] {
            let key = key(ports);
            assert_eq!(read(&write(&key, Some(&lease))), Some((key, Some(lease.clone()))));
            assert_eq!(read(&write(&key, None)), Some((key, None)));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let whole = write(&key(Ports::All), None);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None);
        }
        for (good, bad) in [("17", "132"), ("[]", "[0]"), ("[]", "[9,1]"), ("[]", "[1,2,3]"), ("10.0.0.2", "10.0.0")] {
            assert_eq!(read(&whole.replacen(good, bad, 1)), None, "{bad}");
        }
    }
}
