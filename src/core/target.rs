//! [`Target`]: what somebody wants to reach, as people write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

use super::name::{Name, NameError};
use super::query::{Port, PortError, Protocol, ProtocolError};

/// What somebody wants to reach: `HOST[:PORT[/tcp|udp]]`, or addresses as a
/// policy names them, `ADDRESS[/LENGTH]:PORT[/tcp|udp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host by its name, through DNS.
    Host {
        /// Its name.
        name: Name,
        /// The port, if one is meant in particular.
        service: Option<Service>,
    },
    /// An address or a network, without DNS.
    Addresses {
        /// Which addresses.
        network: IpNet,
        /// On which port.
        service: Service,
    },
}

/// A port, and the protocol if one is meant in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The port.
    pub port: Port,
    /// The protocol; `None` if either will do.
    pub protocol: Option<Protocol>,
}

impl Service {
    /// The protocols that are meant.
    pub fn protocols(self) -> impl Iterator<Item = Protocol> {
        Protocol::ALL.into_iter().filter(move |protocol| self.protocol.is_none_or(|asked| asked == *protocol))
    }
}

impl FromStr for Service {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, Some(protocol.parse()?)),
            None => (text, None),
        };
        Ok(Self { port: port.parse()?, protocol })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let (network, service) = bracketed.split_once("]:").ok_or(TargetError::NoPort)?;
            return addresses(network, service);
        }
        if network(text).is_some() {
            return Err(TargetError::NoPort);
        }
        let Some((host, service)) = text.split_once(':') else {
            if text.ends_with("/tcp") || text.ends_with("/udp") {
                return Err(TargetError::NoPort);
            }
            return Ok(Self::Host { name: Name::parse(text)?, service: None });
        };
        if network(host).is_some() {
            return addresses(host, service);
        }
        Ok(Self::Host { name: Name::parse(host)?, service: Some(service.parse()?) })
    }
}

fn addresses(text: &str, service: &str) -> Result<Target, TargetError> {
    let network = network(text).ok_or(TargetError::Address)?;
    if network.trunc() != network {
        return Err(TargetError::HostBits(network.trunc()));
    }
    Ok(Target::Addresses { network, service: service.parse()? })
}

/// An address counts as the network of it alone.
fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { name, service: None } => name.fmt(formatter),
            Self::Host { name, service: Some(service) } => write!(formatter, "{name}:{service}"),
            Self::Addresses { network, service } => write!(formatter, "{}:{service}", Bracketed(*network)),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(protocol) => write!(formatter, "{}/{protocol}", self.port),
            None => self.port.fmt(formatter),
        }
    }
}

/// A network in the form in which a port may follow.
struct Bracketed(IpNet);

impl fmt::Display for Bracketed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(network) = self;
        let text = if network.prefix_len() == network.max_prefix_len() {
            network.addr().to_string()
        } else {
            network.to_string()
        };
        if network.addr().is_ipv6() { write!(formatter, "[{text}]") } else { formatter.write_str(&text) }
    }
}

/// Why a text is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// A protocol or an address without a port.
    #[error("this needs a port: api.example.com:443/tcp, 192.0.2.7:5432, [2001:db8::1]:443")]
    NoPort,
    /// Something in brackets that is no address.
    #[error("what stands in brackets is an IPv6 address or network: [2001:db8::1]:443")]
    Address,
    /// A network whose address has bits beyond its length.
    #[error("the address has bits beyond the network's length; the network is {0}")]
    HostBits(IpNet),
    /// The host.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_perhaps_a_port_and_perhaps_a_protocol() {
        let target: Target = "API.example.com:53/udp".parse().unwrap();
        let Target::Host { name, service: Some(service) } = &target else { panic!("{target:?}") };
        assert_eq!((name.as_str(), service.port.number()), ("api.example.com", 53));
        assert_eq!(service.protocols().collect::<Vec<_>>(), [Protocol::Udp]);
        assert_eq!("api.example.com".parse::<Target>().unwrap().to_string(), "api.example.com");
        let either: Target = "api.example.com:443".parse().unwrap();
        assert!(matches!(either, Target::Host { service: Some(service), .. } if service.protocols().count() == 2));
    }

    #[test]
    fn addresses_are_written_as_a_policy_writes_them() {
        for text in ["192.0.2.7:5432", "10.20.0.0/16:5432/tcp", "[2001:db8::1]:443", "[2001:db8::/32]:443/udp"] {
            let target: Target = text.parse().unwrap();
            assert!(matches!(target, Target::Addresses { .. }), "{text}");
            assert_eq!(target.to_string(), text);
        }
        assert_eq!(
            "10.20.0.1/16:5432".parse::<Target>().unwrap_err().to_string().split("; ").nth(1),
            Some("the network is 10.20.0.0/16")
        );
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "a:0",
            "a:1/sctp",
            "a/tcp",
            "a:",
            "a:1:2",
            "a b",
            "192.0.2.1",
            "10.0.0.0/8",
            "2001:db8::1",
            "[a]:1",
            "[2001:db8::1]",
            "192.0.2.7:0",
            "https://a.example",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }
}
