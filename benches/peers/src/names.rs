//! Names by number, and the address that each has: whoever knows a name knows
//! what the upstream server says of it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of a name on the wire: a label of nine and a domain of two.
pub const LENGTH: usize = 1 + 9 + DOMAIN.len();
const DOMAIN: &[u8] = b"\x07example\x03com\0";

/// Where names are: below what every policy here permits, or elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// example.com.
    Permitted,
    /// example.net.
    Denied,
}

impl Domain {
    const fn last(self) -> [u8; 3] {
        match self {
            Self::Permitted => *b"com",
            Self::Denied => *b"net",
        }
    }
}

/// Name number so and so: `n0000002a.example.com` on the wire.
pub fn wire(domain: Domain, number: u32) -> [u8; LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut name = [0; LENGTH];
    name[0] = 9;
    name[1] = b'n';
    for (place, octet) in name[2..10].iter_mut().enumerate() {
        *octet = DIGITS[(number >> (28 - 4 * place)) as usize & 15];
    }
    name[10..].copy_from_slice(DOMAIN);
    name[LENGTH - 4..LENGTH - 1].copy_from_slice(&domain.last());
    name
}

/// The same as text.
pub fn text(domain: Domain, number: u32) -> String {
    format!("n{number:08x}.example.{}", String::from_utf8_lossy(&domain.last()))
}

/// The number of a name on the wire, if it is one of these.
pub fn number(name: &[u8]) -> Option<u32> {
    let label = name.get(1..10).filter(|_| name.len() == LENGTH && name[0] == 9)?;
    let digits = label.strip_prefix(b"n").or(label.strip_prefix(b"N"))?;
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// The address of a name: one of 100.64.0.0/10 by its number, so that four
/// million names have addresses of their own; 203.0.113.1 to .250 for others.
pub fn address(name: &[u8]) -> Ipv4Addr {
    match number(name) {
        Some(number) => Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) | number & 0x3f_ffff),
        None => Ipv4Addr::new(203, 0, 113, (spread(name) % 250 + 1) as u8),
    }
}

/// The IPv6 address of a name.
pub fn address6(name: &[u8]) -> Ipv6Addr {
    let number = number(name).unwrap_or_else(|| spread(name));
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, (number >> 16) as u16, number as u16 | 1)
}

/// FNV-1a of the name, whatever its case.
fn spread(name: &[u8]) -> u32 {
    name.iter()
        .fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wire form of a name in text.
    fn from_text(text: &str) -> Vec<u8> {
        let labels = text.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
        let mut wire: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        wire.push(0);
        wire
    }

    #[test]
    fn a_name_is_its_number_and_back() {
        for number in [0, 1, 0x2a, 0xdead_beef, u32::MAX] {
            let wire = wire(Domain::Permitted, number);
            assert_eq!(wire.as_slice(), from_text(&text(Domain::Permitted, number)));
            assert_eq!(super::number(&wire), Some(number));
        }
        assert_eq!(number(&from_text("N0000002A.example.com")), Some(42));
        assert_eq!(number(&from_text("www.example.com")), None);
        assert_eq!(wire(Domain::Denied, 7).as_slice(), from_text("n00000007.example.net"));
    }

    #[test]
    fn four_million_names_have_addresses_of_their_own() {
        assert_eq!(address(&wire(Domain::Permitted, 0)), Ipv4Addr::new(100, 64, 0, 0));
        assert_eq!(address(&wire(Domain::Permitted, 0x3f_ffff)), Ipv4Addr::new(100, 127, 255, 255));
        assert_eq!(address(&from_text("WWW.example.com")), address(&from_text("www.example.com")));
        assert_eq!(address(&from_text("www.example.com")).octets()[..3], [203, 0, 113]);
    }
}
