//! Who asks, and for what.

mod agent;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::agent::{Agent, AgentError};
use super::name::Name;

/// A source address behind the wall. A v4-mapped IPv6 address is the IPv4
/// address it wraps, so that one client has one identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Mapped, if of IPv4: there are a million of them, and this is an octet less.
pub struct Client(Ipv6Addr);

impl Client {
    /// The client at `address`.
    pub const fn new(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        })
    }

    /// Its address.
    pub const fn address(self) -> IpAddr {
        self.0.to_canonical()
    }

    /// Whether a connection from here to `address` is of one family.
    pub const fn reaches(self, address: IpAddr) -> bool {
        self.address().is_ipv4() == address.is_ipv4()
    }
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(formatter)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client({self})")
    }
}

/// A transport a lease can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, protocol number 6.
    Tcp,
    /// UDP, protocol number 17.
    Udp,
}

impl Protocol {
    /// Every protocol a policy can speak of.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// IANA's protocol number, as the kernel's sets hold it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// As Cedar's `Protocol` entity ids spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or(ProtocolError)
    }
}

/// The text is no [`Protocol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a protocol is `tcp` or `udp`")]
pub struct ProtocolError;

/// A destination port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// The lowest port.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The highest port.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// The port of this number; there is no port 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Port {
    type Err = PortError;

    /// Decimal digits only: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let canonical = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|octet| octet.is_ascii_digit());
        if !canonical {
            return Err(PortError);
        }
        text.parse().ok().and_then(Self::new).ok_or(PortError)
    }
}

/// The text is no [`Port`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a port is a number from 1 to 65535 without leading zeros")]
pub struct PortError;

/// A run of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: Port::MIN, last: Port::MAX };

    /// The ports from `first` to `last`; `None` if there are none.
    pub fn new(first: Port, last: Port) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port of the run.
    pub const fn first(self) -> Port {
        self.first
    }

    /// The highest port of the run.
    pub const fn last(self) -> Port {
        self.last
    }

    /// How many ports it has, 1 to 65535.
    pub const fn count(self) -> u16 {
        self.last.number() - self.first.number() + 1
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: Port) -> bool {
        self.first <= port && port <= self.last
    }

    /// Each port of the run.
    pub fn ports(self) -> impl Iterator<Item = Port> {
        (self.first.number()..=self.last.number()).filter_map(Port::new)
    }
}

impl From<Port> for PortRange {
    fn from(port: Port) -> Self {
        Self { first: port, last: port }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(formatter);
        }
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

/// What a question asks for, as far as the policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// IPv4 addresses (RFC 1035).
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Service bindings for HTTPS (RFC 9460), which carry address hints.
    Https,
    /// Service bindings in general (RFC 9460).
    Svcb,
    /// Any other type, by its number: it opens nothing and needs `dns.query`.
    Other(u16),
}

impl RecordKind {
    /// From a type's number in IANA's registry.
    pub const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            64 => Self::Svcb,
            65 => Self::Https,
            other => Self::Other(other),
        }
    }

    /// The type's number in IANA's registry.
    pub const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Svcb => 64,
            Self::Https => 65,
            Self::Other(number) => number,
        }
    }

    /// Whether an answer of this type leads to connections, and so is judged
    /// by `net.connect` rather than `dns.query`.
    pub const fn leads_to_connections(self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        match MNEMONICS.iter().find(|(known, _)| *known == number) {
            Some((_, mnemonic)) => formatter.write_str(mnemonic),
            None => write!(formatter, "TYPE{number}"),
        }
    }
}

impl FromStr for RecordKind {
    type Err = RecordKindError;

    /// A mnemonic in any case, or `TYPE1234` (RFC 3597 section 5).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_uppercase();
        if let Some((number, _)) = MNEMONICS.iter().find(|(_, mnemonic)| *mnemonic == text) {
            return Ok(Self::from_number(*number));
        }
        let digits = text.strip_prefix("TYPE").filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).map(Self::from_number).ok_or(RecordKindError)
    }
}

/// The text is no [`RecordKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a type is a mnemonic such as `TXT` or `MX`, or `TYPE1234`")]
pub struct RecordKindError;

/// The types that have a name here, by their numbers in IANA's registry.
const MNEMONICS: [(u16, &str); 17] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (48, "DNSKEY"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (255, "ANY"),
    (257, "CAA"),
];

/// One question from one client, in the core's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Where it came from.
    pub client: Client,
    /// Every address the client may connect from, the asking one among them: a
    /// container asks over IPv4 for what it then reaches over IPv6.
    pub addresses: Arc<[Client]>,
    /// On whose behalf.
    pub agent: Agent,
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub kind: RecordKind,
    /// DNSSEC OK: the client wants signatures along (RFC 3225).
    pub dnssec_ok: bool,
    /// Checking Disabled (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_client_is_the_client_it_wraps() {
        let mapped = IpAddr::V6("::ffff:192.0.2.7".parse().unwrap_or(std::net::Ipv6Addr::UNSPECIFIED));
        assert_eq!(Client::new(mapped).to_string(), "192.0.2.7");
    }

    #[test]
    fn there_is_no_port_zero_and_no_leading_zero() {
        for text in ["0", "00443", "0443", "65536", "+1", "", "-1", "1 "] {
            assert_eq!(text.parse::<Port>(), Err(PortError), "{text:?}");
        }
        assert_eq!("65535".parse(), Ok(Port::MAX));
    }

    #[test]
    fn a_record_kind_survives_its_number() {
        for number in 0..=300 {
            let kind = RecordKind::from_number(number);
            assert_eq!(kind.number(), number);
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for text in ["", "TXTT", "TYPE", "TYPE+1", "TYPE65536", "16"] {
            assert_eq!(text.parse::<RecordKind>(), Err(RecordKindError), "{text:?}");
        }
    }
}
