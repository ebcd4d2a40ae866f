//! IANA's special-purpose address registries: which addresses an answer from
//! the public DNS has no business to carry (G7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::sinkhole;

/// An address block with a purpose of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The block.
    pub network: IpNet,
    /// What it is for, in the registry's words.
    pub name: &'static str,
    /// Where that is laid down.
    pub source: &'static str,
    /// An island of ordinary global unicast inside a special block.
    ordinary: bool,
}

/// The special-purpose block that `address` lies in, the narrowest if they
/// nest; `None` for ordinary global unicast.
pub fn special(address: IpAddr) -> Option<&'static Range> {
    RANGES
        .iter()
        .filter(|range| range.network.contains(&address))
        .max_by_key(|range| range.network.prefix_len())
        .filter(|range| !range.ordinary)
}

/// Whether an answer may carry `address`: it is ordinary, or `allowed` covers
/// it; and so is every IPv4 address that its IPv6 form leads to. Nothing opens
/// the [sinkhole].
pub fn is_open(address: IpAddr, allowed: &[IpNet]) -> bool {
    let is_allowed = |address: IpAddr| allowed.iter().any(|range| range.contains(&address));
    let open = |address: IpAddr| special(address).is_none() || (is_allowed(address) && !sinkhole::covers(address));
    let IpAddr::V6(v6) = address else {
        return open(address);
    };
    open(address) && embedded(v6).into_iter().all(|v4| open(IpAddr::V4(v4)))
}

/// The prefixes, none inside another, to which nothing but a lease or a policy
/// leads: the special-purpose blocks, as far as `allowed` does not cover them.
/// Where an address may stand for another one they stay closed as a whole.
pub fn closed(allowed: &[IpNet]) -> Vec<IpNet> {
    let ordinary = RANGES.iter().filter(|range| range.ordinary).map(|range| range.network);
    let mut closed = Vec::new();
    for Range { network, .. } in RANGES.iter().filter(|range| !range.ordinary) {
        let leads_on = WRAPPERS.iter().any(|wrapper| IpNet::V6(*wrapper) == *network);
        let open = allowed.iter().copied().filter(|_| !leads_on).chain(ordinary.clone());
        closed.extend(
            open.fold(vec![*network], |left, hole| {
                left.into_iter().flat_map(|network| without(network, hole)).collect()
            }),
        );
    }
    closed.extend([IpNet::V4(sinkhole::RANGE4), IpNet::V6(sinkhole::RANGE6)]);
    IpNet::aggregate(&closed)
}

/// What of `network` is not in `hole`.
fn without(network: IpNet, hole: IpNet) -> Vec<IpNet> {
    if hole.contains(&network) {
        return Vec::new();
    }
    if !network.contains(&hole) {
        return vec![network];
    }
    let halves = network.subnets(network.prefix_len().saturating_add(1)).into_iter().flatten();
    halves.flat_map(|half| without(half, hole)).collect()
}

/// The IPv4 addresses that packets to `address` may end up at, by every
/// transition mechanism that writes them into it.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let [_, _, a, b, c, d, e, f, u, g, h, i, j, k, l, m] = octets;
    let within = |network: Ipv6Net| network.contains(&address);
    let last = Ipv4Addr::new(j, k, l, m);

    if within(MAPPED) || within(COMPATIBLE) || within(TRANSLATED) || within(NAT64) {
        return vec![last];
    }
    if within(SIX_TO_FOUR) {
        return vec![Ipv4Addr::new(a, b, c, d)];
    }
    if within(TEREDO) {
        // RFC 4380 section 4: the server in the clear, the client inverted.
        return vec![Ipv4Addr::new(c, d, e, f), Ipv4Addr::new(!j, !k, !l, !m)];
    }
    if within(NAT64_LOCAL) {
        // RFC 6052 section 2.2: where the IPv4 address stands depends on the
        // operator's prefix length, which the address does not tell. Every
        // reading counts, except those that only see the zeroes around it.
        let readings = [Ipv4Addr::new(e, f, g, h), Ipv4Addr::new(f, g, h, i), Ipv4Addr::new(g, h, i, j)];
        let short_forms = if u == 0 { readings.len() } else { 0 };
        let mut leads_to: Vec<_> = readings.into_iter().take(short_forms).chain([last]).collect();
        leads_to.retain(|reading| !THIS_NETWORK.contains(reading));
        return if leads_to.is_empty() { vec![Ipv4Addr::UNSPECIFIED] } else { leads_to };
    }
    Vec::new()
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

const fn closed4(network: Ipv4Net, name: &'static str, source: &'static str) -> Range {
    Range { network: IpNet::V4(network), name, source, ordinary: false }
}

const fn closed6(network: Ipv6Net, name: &'static str, source: &'static str) -> Range {
    Range { network: IpNet::V6(network), name, source, ordinary: false }
}

const fn ordinary(network: IpNet, name: &'static str, source: &'static str) -> Range {
    Range { network, name, source, ordinary: true }
}

const THIS_NETWORK: Ipv4Net = v4(0, 0, 0, 0, 8);
const MAPPED: Ipv6Net = v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
const COMPATIBLE: Ipv6Net = v6([0; 8], 96);
const TRANSLATED: Ipv6Net = v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const NAT64_LOCAL: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// The blocks whose addresses [stand for others](embedded).
const WRAPPERS: [Ipv6Net; 7] = [MAPPED, COMPATIBLE, TRANSLATED, NAT64, NAT64_LOCAL, SIX_TO_FOUR, TEREDO];

/// IANA's IPv4 and IPv6 special-purpose address registries, the multicast
/// blocks, and what the registries no longer list but hosts still honour.
/// Entries that the registries call globally reachable appear only where they
/// lie inside a block that is not.
const RANGES: &[Range] = &[
    closed4(THIS_NETWORK, "this network", "RFC 791 section 3.2"),
    closed4(v4(0, 0, 0, 0, 32), "unspecified", "RFC 1122 section 3.2.1.3"),
    closed4(v4(10, 0, 0, 0, 8), "private use", "RFC 1918"),
    closed4(v4(100, 64, 0, 0, 10), "shared address space", "RFC 6598"),
    closed4(v4(127, 0, 0, 0, 8), "loopback", "RFC 1122 section 3.2.1.3"),
    closed4(v4(169, 254, 0, 0, 16), "link-local", "RFC 3927"),
    closed4(v4(172, 16, 0, 0, 12), "private use", "RFC 1918"),
    closed4(v4(192, 0, 0, 0, 24), "IETF protocol assignments", "RFC 6890 section 2.1"),
    ordinary(IpNet::V4(v4(192, 0, 0, 9, 32)), "Port Control Protocol anycast", "RFC 7723"),
    ordinary(IpNet::V4(v4(192, 0, 0, 10, 32)), "TURN anycast", "RFC 8155"),
    closed4(v4(192, 0, 2, 0, 24), "documentation (TEST-NET-1)", "RFC 5737"),
    closed4(v4(192, 88, 99, 0, 24), "deprecated 6to4 relay anycast", "RFC 7526"),
    closed4(v4(192, 168, 0, 0, 16), "private use", "RFC 1918"),
    closed4(v4(198, 18, 0, 0, 15), "benchmarking", "RFC 2544"),
    closed4(v4(198, 51, 100, 0, 24), "documentation (TEST-NET-2)", "RFC 5737"),
    closed4(v4(203, 0, 113, 0, 24), "documentation (TEST-NET-3)", "RFC 5737"),
    closed4(v4(224, 0, 0, 0, 4), "multicast", "RFC 5771"),
    closed4(v4(240, 0, 0, 0, 4), "reserved", "RFC 1112 section 4"),
    closed4(v4(255, 255, 255, 255, 32), "limited broadcast", "RFC 919 section 7"),
    closed6(COMPATIBLE, "IPv4-compatible, deprecated", "RFC 4291 section 2.5.5.1"),
    closed6(v6([0; 8], 128), "unspecified", "RFC 4291"),
    closed6(v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback", "RFC 4291"),
    closed6(MAPPED, "IPv4-mapped", "RFC 4291"),
    closed6(TRANSLATED, "IPv4-translated, deprecated", "RFC 2765 section 2.1"),
    closed6(NAT64, "IPv4-IPv6 translation", "RFC 6052"),
    closed6(NAT64_LOCAL, "IPv4-IPv6 translation, local use", "RFC 8215"),
    closed6(v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard only", "RFC 6666"),
    closed6(v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "dummy prefix", "RFC 9780"),
    closed6(v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "IETF protocol assignments", "RFC 2928"),
    closed6(TEREDO, "Teredo", "RFC 4380"),
    ordinary(IpNet::V6(v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128)), "Port Control Protocol anycast", "RFC 7723"),
    ordinary(IpNet::V6(v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128)), "TURN anycast", "RFC 8155"),
    ordinary(IpNet::V6(v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128)), "DNS-SD SRP anycast", "RFC 9665"),
    closed6(v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmarking", "RFC 5180"),
    ordinary(IpNet::V6(v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32)), "AMT", "RFC 7450"),
    ordinary(IpNet::V6(v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48)), "AS112-v6", "RFC 7535"),
    closed6(v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28), "ORCHID, deprecated", "RFC 4843"),
    ordinary(IpNet::V6(v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28)), "ORCHIDv2", "RFC 7343"),
    ordinary(IpNet::V6(v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28)), "drone remote identification", "RFC 9374"),
    closed6(v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation", "RFC 3849"),
    closed6(SIX_TO_FOUR, "6to4", "RFC 3056"),
    closed6(v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation", "RFC 9637"),
    closed6(v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "segment routing identifiers", "RFC 9602"),
    closed6(v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local", "RFC 4193"),
    closed6(v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local", "RFC 4291"),
    closed6(v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local, deprecated", "RFC 3879"),
    closed6(v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast", "RFC 4291"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn special_purpose_addresses_are_known_by_name() {
        for (text, name) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "this network"),
            ("100.64.0.1", "shared address space"),
            ("127.8.9.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.31.255.255", "private use"),
            ("192.0.0.8", "IETF protocol assignments"),
            ("192.88.99.1", "deprecated 6to4 relay anycast"),
            ("198.19.255.255", "benchmarking"),
            ("239.1.1.1", "multicast"),
            ("250.0.0.1", "reserved"),
            ("255.255.255.255", "limited broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fd00::1", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local, deprecated"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "documentation"),
            ("3fff::1", "documentation"),
            ("2001:1ff::1", "IETF protocol assignments"),
            ("2001:2::1", "benchmarking"),
            ("5f00::1", "segment routing identifiers"),
            ("100::1", "discard only"),
            ("100:0:0:1::1", "dummy prefix"),
        ] {
            assert_eq!(special(address(text)).map(|range| range.name), Some(name), "{text}");
            assert!(!is_open(address(text), &[]), "{text}");
        }
    }

    #[test]
    fn ordinary_addresses_are_open_also_inside_reserved_blocks() {
        for text in ["1.1.1.1", "9.9.9.9", "192.0.0.9", "192.0.1.1", "172.32.0.1", "2606:4700::1", "2001:200::1"] {
            assert!(is_open(address(text), &[]), "{text}");
        }
        assert!(is_open(address("2001:1::1"), &[]) && is_open(address("2001:20::1"), &[]));
    }

    #[test]
    fn a_wrapper_opens_only_when_it_and_what_it_wraps_are_open() {
        for (prefix, inner_public, inner_metadata) in [
            ("::ffff:0:0/96", "::ffff:8.8.8.8", "::ffff:169.254.169.254"),
            ("64:ff9b::/96", "64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1"),
            ("64:ff9b:1::/48", "64:ff9b:1:808:8:800::", "64:ff9b:1::169.254.169.254"),
            ("64:ff9b:1::/48", "64:ff9b:1::8.8.8.8", "64:ff9b:1:abcd::127.0.0.1"),
            ("2002::/16", "2002:808:808::1", "2002:7f00:1::1"),
            ("2001::/32", "2001:0:808:808::f7f7:f7f7", "2001:0:808:808::5601:5601"),
            ("::/96", "::8.8.8.8", "::127.0.0.1"),
        ] {
            let allowed: [IpNet; 1] = [prefix.parse().unwrap()];
            assert!(!is_open(address(inner_public), &[]), "{inner_public} without permission");
            assert!(is_open(address(inner_public), &allowed), "{inner_public} with permission");
            assert!(!is_open(address(inner_metadata), &allowed), "{inner_metadata} wraps a closed range");
        }
    }

    #[test]
    fn an_allowed_range_opens_itself_and_nothing_else() {
        let allowed: [IpNet; 1] = ["10.20.0.0/16".parse().unwrap()];
        assert!(is_open(address("10.20.1.1"), &allowed));
        assert!(!is_open(address("10.21.1.1"), &allowed));
    }

    #[test]
    fn nothing_opens_the_sinkhole() {
        let allowed = ["0.0.0.0/0", "::/0", "198.18.0.0/15", "198.18.0.7/32", "100::/64"];
        let allowed = allowed.map(|range| range.parse::<IpNet>().unwrap());
        assert!(is_open(address("10.0.0.1"), &allowed) && is_open(address("198.20.0.1"), &allowed));
        for text in ["198.18.0.7", "198.19.255.255", "100::7", "64:ff9b::198.18.0.7", "::ffff:198.18.0.7"] {
            assert!(!is_open(address(text), &allowed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_never_more_open_than_its_inner_one(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            let allowed: [IpNet; 1] = [MAPPED.into()];
            let wrapped = IpAddr::V6(inner.to_ipv6_mapped());
            prop_assert_eq!(is_open(wrapped, &allowed), is_open(IpAddr::V4(inner), &[]));
        }

        #[test]
        fn what_is_closed_to_packets_is_what_answers_may_not_carry(four: u32, six: u128, block in 0..RANGES.len()) {
            let allowed = ["10.20.0.0/16", "198.0.0.0/8", "fd77::/64", "::/3", "192.0.0.9/32", "127.0.0.0/8"];
            let allowed = allowed.map(|range| range.parse::<IpNet>().unwrap());
            let within = |bits: u128, network: IpNet| match network {
                IpNet::V4(network) => IpAddr::V4(Ipv4Addr::from_bits(
                    network.network().to_bits() | (u32::try_from(bits >> 96).unwrap() & network.hostmask().to_bits()),
                )),
                IpNet::V6(network) => {
                    IpAddr::V6(Ipv6Addr::from_bits(network.network().to_bits() | (bits & network.hostmask().to_bits())))
                }
            };
            let addresses = [
                IpAddr::V4(Ipv4Addr::from_bits(four)),
                IpAddr::V6(Ipv6Addr::from_bits(six)),
                within(six, RANGES[block].network),
            ];
            for allowed in [&allowed[..], &[]] {
                let closed = closed(allowed);
                for address in addresses {
                    let wraps = WRAPPERS.iter().any(|range| IpNet::V6(*range).contains(&address));
                    let is_closed = closed.iter().any(|network| network.contains(&address));
                    prop_assert_eq!(is_closed, wraps || !is_open(address, allowed), "{}", address);
                }
            }
        }

        #[test]
        fn every_address_can_be_judged(bits: u128) {
            let _ = is_open(IpAddr::V6(Ipv6Addr::from_bits(bits)), &["::/0".parse().unwrap()]);
        }
    }
}
