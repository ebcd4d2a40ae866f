//! What a `Host` of Leash's stands for.

use std::net::Ipv4Addr;

use super::super::super::name::Name;
use super::super::super::query::Port;

/// What is connected to: a name, names or an address, on one port or on every
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    /// `None` is every port.
    pub(super) port: Option<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Whatever there is.
    Everything,
    /// The names below a zone, without the zone itself.
    Below(Name),
    /// One name.
    Named(Name),
    /// One address. Leash knows no other than IPv4.
    Address(Ipv4Addr),
}

/// Why an id is no target, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: String,
}

impl Target {
    /// Parses `name`, `*.zone`, `*` or an IPv4 address, each perhaps with
    /// `:port`.
    pub(super) fn parse(id: &str) -> Result<Self, Fault> {
        let fault = |message: String, help: &str| Fault { message, help: help.to_owned() };
        if id.contains('/') {
            let message = format!("`{id}` is a network or a URL: Leash has no such host");
            return Err(fault(message, "name the hosts"));
        }
        let (host, port) = match id.split_once(':') {
            None => (id, None),
            Some((_, rest)) if rest.contains(':') || id.starts_with('[') => {
                return Err(fault(format!("`{id}` is an IPv6 address: Leash has no such host"), "name the host"));
            }
            // Leash reads a port that is none as every port.
            Some((host, text)) => match text.parse::<Port>() {
                Ok(port) => (host, Some(port)),
                Err(error) => {
                    let message = format!("`{text}` is no port: {error}; Leash would open every one");
                    return Err(fault(message, "write the port as a number from 1 to 65535"));
                }
            },
        };
        Ok(Self { host: Host::parse(host)?, port })
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let zone = text.strip_prefix("*.");
        let name = zone.unwrap_or(text);
        if name.contains('*') {
            let message = format!("`{text}` has a `*` where Leash has no wildcard");
            return Err(Fault { message, help: "write `*.zone`, or each host".to_owned() });
        }
        let name = Name::parse(name).map_err(|error| Fault {
            message: format!("`{text}` is no host name: {error}"),
            help: "write a host name such as `api.example.com`".to_owned(),
        })?;
        Ok(if zone.is_some() { Self::Below(name) } else { Self::Named(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_a_zone_an_address_or_everything_and_perhaps_a_port() {
        let name = |text: &str| Name::parse(text).unwrap();
        for (id, host, port) in [
            ("api.example.com", Host::Named(name("api.example.com")), None),
            ("API.example.com:443", Host::Named(name("api.example.com")), Some(443)),
            ("*.example.com", Host::Below(name("example.com")), None),
            ("*.example.com:8443", Host::Below(name("example.com")), Some(8443)),
            ("*", Host::Everything, None),
            ("*:443", Host::Everything, Some(443)),
            ("192.0.2.7", Host::Address([192, 0, 2, 7].into()), None),
            ("192.0.2.7:5432", Host::Address([192, 0, 2, 7].into()), Some(5432)),
        ] {
            let target = Target::parse(id).unwrap();
            assert_eq!((target.host, target.port.map(Port::number)), (host, port), "{id}");
        }
    }

    #[test]
    fn what_leash_would_widen_or_drop_is_refused() {
        for id in [
            "api.example.com:",
            "api.example.com:0",
            "api.example.com:99999",
            "api.example.com:https",
            "api.*.com",
            "*example.com",
            "*.*.example.com",
            "**",
            "192.0.2.0/24",
            "https://api.example.com",
            "2001:db8::1",
            "[2001:db8::1]:443",
            "::1",
            "",
            ":443",
            "a b",
        ] {
            assert!(Target::parse(id).is_err(), "{id:?}");
        }
    }
}
