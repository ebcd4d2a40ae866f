//! [`Packet`]: the headers of an IP packet, as far as evidence goes, and
//! [`Way`]: what many of them have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::query::Client;

/// IANA's protocol numbers that have a name here.
const NAMES: [(u8, &str); 6] = [(1, "icmp"), (2, "igmp"), (6, "tcp"), (17, "udp"), (58, "icmpv6"), (132, "sctp")];
const TCP: u8 = 6;
/// Protocols whose header begins with two ports: TCP, UDP, DCCP, SCTP,
/// UDP-Lite.
const WITH_PORTS: [u8; 5] = [TCP, 17, 33, 132, 136];
/// IPv6 extension headers whose second octet is a length (RFC 8200 section 4):
/// hop-by-hop, routing, destination options; and those that are different.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// More extension headers than that nobody sends in earnest.
const MOST_EXTENSIONS: usize = 8;

/// The headers of one packet. What did not fit into the part that was seen is
/// absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// IANA's protocol number.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them.
    pub ports: Option<(u16, u16)>,
    /// The flags of TCP's header (RFC 9293 section 3.1); zero for what is not
    /// TCP.
    pub flags: u8,
}

/// From where to where packets go, whatever their source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The source address.
    pub client: Client,
    /// The destination address.
    pub address: IpAddr,
    /// IANA's protocol number.
    pub protocol: u8,
    /// The destination port, where the protocol has one.
    pub port: Option<u16>,
}

impl Packet {
    /// Reads the first octets of an IPv4 or IPv6 packet; `None` if they are
    /// not those of one.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        match octets.first()? >> 4 {
            4 => Self::parse_four(octets),
            6 => Self::parse_six(octets),
            _ => None,
        }
    }

    fn parse_four(octets: &[u8]) -> Option<Self> {
        let length = usize::from(octets.first()? & 0x0f) * 4;
        let header = octets.get(..20)?;
        let source = Ipv4Addr::from(*header.get(12..16)?.first_chunk::<4>()?);
        let destination = Ipv4Addr::from(*header.get(16..20)?.first_chunk::<4>()?);
        let is_later_fragment = u16::from_be_bytes(*header.get(6..8)?.first_chunk()?) & 0x1fff != 0;
        let rest = octets.get(length.max(20)..).filter(|_| !is_later_fragment);
        Some(Self::with(source.into(), destination.into(), *header.get(9)?, rest))
    }

    fn parse_six(octets: &[u8]) -> Option<Self> {
        let (header, mut rest) = octets.split_at_checked(40)?;
        let source = Ipv6Addr::from(*header.get(8..24)?.first_chunk::<16>()?);
        let destination = Ipv6Addr::from(*header.get(24..40)?.first_chunk::<16>()?);
        let mut protocol = *header.get(6)?;
        for _ in 0..MOST_EXTENSIONS {
            let Some((next, length)) = extension(protocol, rest) else { break };
            let is_later_fragment = protocol == FRAGMENT
                && rest.get(2..4).and_then(<[u8]>::first_chunk).is_some_and(|at| u16::from_be_bytes(*at) & 0xfff8 != 0);
            protocol = next;
            rest = rest.get(length..).filter(|_| !is_later_fragment).unwrap_or_default();
        }
        Some(Self::with(source.into(), destination.into(), protocol, Some(rest)))
    }

    fn with(source: IpAddr, destination: IpAddr, protocol: u8, rest: Option<&[u8]>) -> Self {
        let rest = rest.unwrap_or_default();
        let half = |at: usize| Some(u16::from_be_bytes(*rest.get(at..at + 2)?.first_chunk()?));
        let ports = half(0).zip(half(2)).filter(|_| WITH_PORTS.contains(&protocol));
        let flags = rest.get(13).copied().filter(|_| protocol == TCP).unwrap_or(0);
        Self { source, destination, protocol, ports, flags }
    }

    /// Where it goes.
    pub fn way(&self) -> Way {
        let port = self.ports.map(|(_, port)| port);
        Way { client: Client::new(self.source), address: self.destination, protocol: self.protocol, port }
    }

    /// TCP's flags as letters: `S` for a first packet, `SA` for the answer to
    /// one. Empty for what is not TCP.
    pub fn flag_letters(&self) -> String {
        let letters = [(0x02, 'S'), (0x10, 'A'), (0x01, 'F'), (0x04, 'R'), (0x08, 'P'), (0x20, 'U')];
        letters.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, letter)| *letter).collect()
    }
}

/// What follows an extension header, and how long it is.
fn extension(protocol: u8, octets: &[u8]) -> Option<(u8, usize)> {
    let (next, length) = (*octets.first()?, usize::from(*octets.get(1)?));
    match protocol {
        FRAGMENT => Some((next, 8)),
        AUTHENTICATION => Some((next, (length + 2) * 4)),
        _ if EXTENSIONS.contains(&protocol) => Some((next, (length + 1) * 8)),
        _ => None,
    }
}

/// A protocol's name, or its number where it has none here.
pub fn protocol_name(number: u8) -> String {
    let named = NAMES.iter().find(|(known, _)| *known == number);
    named.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn four(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let [high, low] = fragment.to_be_bytes();
        let header = [0x45, 0, 0, 60, 0, 0, high, low, 64, protocol, 0, 0, 10, 77, 0, 2, 192, 0, 2, 7];
        [&header, rest].concat()
    }

    fn six(next: u8, rest: &[u8]) -> Vec<u8> {
        let source: Ipv6Addr = "fd77::2".parse().unwrap();
        let destination: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&[0x60, 0, 0, 0, 0, 20, next, 64], source.octets().as_slice(), destination.octets().as_slice(), rest].concat()
    }

    const SYN: [u8; 20] = [0xc0, 0x01, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_first_packet_tells_its_ends_its_ports_and_its_flags() {
        let packet = Packet::parse(&four(6, 0x4000, &SYN)).unwrap();
        let expected = Packet {
            source: "10.77.0.2".parse().unwrap(),
            destination: "192.0.2.7".parse().unwrap(),
            protocol: 6,
            ports: Some((49153, 443)),
            flags: 2,
        };
        assert_eq!(packet, expected);
        assert_eq!(packet.flag_letters(), "S");
        assert_eq!(Packet { flags: 0x12, ..packet }.flag_letters(), "SA");
    }

    #[test]
    fn ports_stand_behind_the_extension_headers_of_ipv6() {
        let hop_by_hop = [60, 0, 0, 0, 0, 0, 0, 0];
        let options = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let packet = Packet::parse(&six(0, &[hop_by_hop.as_slice(), &options, &SYN].concat())).unwrap();
        assert_eq!((packet.protocol, packet.ports, packet.flags), (6, Some((49153, 443)), 2));
        assert_eq!(packet.source, "fd77::2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_later_fragment_and_a_protocol_without_ports_have_none() {
        assert_eq!(Packet::parse(&four(17, 0x00b9, &SYN)).unwrap().ports, None);
        assert_eq!(
            Packet::parse(&six(44, &[&[17, 0, 0x05, 0xa8, 0, 0, 0, 0], SYN.as_slice()].concat())).unwrap().ports,
            None
        );
        let ping = Packet::parse(&four(1, 0, &[8, 0, 0, 0, 0, 0, 0, 0])).unwrap();
        assert_eq!((ping.ports, ping.flag_letters().as_str()), (None, ""));
        assert_eq!([protocol_name(1), protocol_name(17), protocol_name(253)], ["icmp", "udp", "253"]);
    }

    #[test]
    fn what_was_cut_off_is_absent() {
        let whole = four(6, 0, &SYN);
        assert_eq!(Packet::parse(&whole[..19]), None);
        assert_eq!(Packet::parse(&whole[..22]).unwrap().ports, None);
        let ports_only = Packet::parse(&whole[..24]).unwrap();
        assert_eq!((ports_only.ports, ports_only.flags), (Some((49153, 443)), 0));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_to_their_end(octets in prop::collection::vec(any::<u8>(), 0..160)) {
            let _ = Packet::parse(&octets);
        }
    }
}
