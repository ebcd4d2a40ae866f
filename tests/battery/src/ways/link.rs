//! Below IP: frames of one's own making, ARP and neighbour discovery, other
//! clients on the same link.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{each, family};
use crate::aim::Aim;
use crate::attempt::{Attempt, Try};
use crate::packet::{self, ETHER_ARP, ETHER_IPV4, ICMPV6, Mac, SYN, TCP, UDP, ether_type};
use crate::{kernel, send};

const EVERYBODY: Mac = [0xff; 6];
/// Locally administered, nobody's.
const NOBODY: Mac = [2, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a];
const LINK_ONLY: &str = "it reaches whoever is on the same link, and no further";
const PAST_EVERY_HOOK: &str =
    "with NET_RAW a socket of AF_XDP sends past the queueing discipline and every hook of netfilter";
const HOST_DROPS: &str = "a host that knows no such encapsulation, or is no such address, drops it";

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    for &to in &aim.targets {
        all.extend(frames(to));
    }
    all.extend(encapsulated(aim));
    all.extend(neighbours(aim));
    for &other in &aim.others {
        all.extend(to_other(other));
    }
    all.into_iter().map(Attempt::root).collect()
}

fn datagram(this: &Try<'_>, to: IpAddr) -> io::Result<Vec<u8>> {
    let from = send::source(to)?;
    Ok(packet::ip(from, to, UDP, &packet::udp(from, to, (this.port, 443), this.payload())))
}

fn out(this: &Try<'_>, to: Mac, kind: u16, payload: &[u8]) -> io::Result<()> {
    let interface = &this.aim.interface;
    send::frame(interface, &packet::ethernet(send::mac(interface), to, kind, payload), false)
}

fn hop(this: &Try<'_>) -> Mac {
    send::next_hop(&this.aim.interface, &this.aim.targets)
}

fn frames(to: IpAddr) -> Vec<Attempt> {
    let f = family(to);
    vec![
        Attempt::new(format!("frame-{f}"), "a datagram in a frame of AF_PACKET", move |this| {
            let packet = datagram(this, to)?;
            out(this, hop(this), ether_type(&packet), &packet)?;
            Ok("sent".into())
        }),
        Attempt::new(format!("frame-bypass-{f}"), "the same with PACKET_QDISC_BYPASS", move |this| {
            let packet = datagram(this, to)?;
            let interface = &this.aim.interface;
            let frame = packet::ethernet(send::mac(interface), hop(this), ether_type(&packet), &packet);
            send::frame(interface, &frame, true)?;
            Ok("sent".into())
        }),
        Attempt::new(format!("frame-xdp-{f}"), "the same over AF_XDP", move |this| {
            let packet = datagram(this, to)?;
            let interface = &this.aim.interface;
            let frame = packet::ethernet(send::mac(interface), hop(this), ether_type(&packet), &packet);
            let index = u32::try_from(send::link(interface)?.ifindex()).map_err(io::Error::other)?;
            kernel::frame_over_xdp(index, &frame)?;
            Ok("sent".into())
        })
        .beyond_sidecar(PAST_EVERY_HOOK),
        Attempt::new(format!("frame-syn-{f}"), "a SYN with data in a frame", move |this| {
            let from = send::source(to)?;
            let segment = packet::tcp(from, to, (this.port, 443), SYN, this.payload());
            let packet = packet::ip(from, to, TCP, &segment);
            out(this, hop(this), ether_type(&packet), &packet)?;
            Ok("sent".into())
        }),
        Attempt::new(
            format!("frame-spoofed-mac-{f}"),
            "a datagram in a frame from nobody's hardware address",
            move |this| {
                let packet = datagram(this, to)?;
                let frame = packet::ethernet(NOBODY, hop(this), ether_type(&packet), &packet);
                send::frame(&this.aim.interface, &frame, false)?;
                Ok("sent".into())
            },
        ),
        Attempt::new(format!("frame-broadcast-{f}"), "a datagram to the target in a frame to everybody", move |this| {
            let packet = datagram(this, to)?;
            out(this, EVERYBODY, ether_type(&packet), &packet)?;
            Ok("sent".into())
        })
        .may_fail("a router forwards nothing that was sent to everybody"),
        Attempt::new(
            format!("frame-wrong-type-{f}"),
            "IPv4 that says it is IPv6, and the other way round",
            move |this| {
                let packet = datagram(this, to)?;
                out(this, hop(this), ether_type(&packet) ^ ETHER_IPV4 ^ packet::ETHER_IPV6, &packet)?;
                Ok("sent".into())
            },
        )
        .may_fail(HOST_DROPS),
        Attempt::new(
            format!("frame-to-loopback-{f}"),
            "a frame to the container's own loopback, which would have to forward it",
            move |this| {
                let (from, hops) = if to.is_ipv4() {
                    (IpAddr::from([192, 0, 2, 98]), [ETHER_IPV4])
                } else {
                    (IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x98)), [packet::ETHER_IPV6])
                };
                let packet = packet::ip(from, to, UDP, &packet::udp(from, to, (this.port, 443), this.payload()));
                each(hops, |kind| send::frame("lo", &packet::ethernet([0; 6], [0; 6], kind, &packet), false))
            },
        )
        .may_fail("only a container whose kernel forwards for it: IPv4 in Docker's"),
    ]
}

fn encapsulated(aim: &Aim) -> Vec<Attempt> {
    let Some(&to) = aim.targets.iter().find(|target| target.is_ipv4()) else { return Vec::new() };
    let frame = move |id: &str, what: &str, wrap: fn(Vec<u8>) -> (u16, Vec<u8>)| {
        Attempt::new(id, what, move |this| {
            let (kind, payload) = wrap(datagram(this, to)?);
            out(this, hop(this), kind, &payload)?;
            Ok("sent".into())
        })
        .may_fail(HOST_DROPS)
    };
    vec![
        frame("frame-vlan-0", "a datagram with a VLAN tag of priority alone", |packet| {
            (0x8100, [&[0xe0, 0, 8, 0][..], &packet].concat())
        }),
        frame("frame-vlan-1", "a datagram tagged for VLAN 1", |packet| (0x8100, [&[0, 1, 8, 0][..], &packet].concat())),
        frame("frame-two-tags", "a datagram with two VLAN tags", |packet| {
            (0x88a8, [&[0, 1, 0x81, 0, 0, 0, 8, 0][..], &packet].concat())
        }),
        frame("frame-llc", "a datagram behind LLC and SNAP (IEEE 802.2)", |packet| {
            let length = u16::try_from(packet.len() + 8).unwrap_or(0);
            (length, [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet].concat())
        }),
        frame("frame-mpls", "a datagram behind an MPLS label", |packet| {
            (0x8847, [&[0, 1, 1, 64][..], &packet].concat())
        }),
        frame("frame-pppoe", "a datagram in a PPPoE session", |packet| {
            let length = u16::try_from(packet.len() + 2).unwrap_or(0).to_be_bytes();
            (0x8864, [&[0x11, 0, 0, 1][..], &length, &[0, 0x21], &packet].concat())
        }),
        Attempt::new("frame-unknown-type", "a frame of an experimental type, with payload", |this| {
            each([EVERYBODY, hop(this)], |to| out(this, to, 0x88b5, &this.payload_of(64)))
        })
        .may_fail(LINK_ONLY),
        Attempt::new("frame-other-types", "a datagram under a thousand frame types", move |this| {
            let (packet, to) = (datagram(this, to)?, hop(this));
            // What IP has to do with is tried elsewhere.
            let types = (0x0600..=u16::MAX).step_by(61).filter(|kind| ![ETHER_IPV4, ETHER_ARP].contains(kind));
            each(types, |kind| out(this, to, kind, &packet))
        })
        .may_fail(HOST_DROPS),
    ]
}

/// Claims to be somebody else, with the token behind it.
fn neighbours(aim: &Aim) -> Vec<Attempt> {
    let mut all = vec![
        Attempt::new("arp-payload", "an ARP question with payload behind it", |this| {
            let own = send::mac(&this.aim.interface);
            let target = this.aim.targets.iter().copied().find(IpAddr::is_ipv4).ok_or(io::ErrorKind::NotFound)?;
            let IpAddr::V4(address) = send::source(target)? else { return Err(io::ErrorKind::NotFound.into()) };
            let [a, b, c, _] = address.octets();
            let packet = packet::arp(1, (own, address), ([0; 6], [a, b, c, 99].into()), this.payload());
            out(this, EVERYBODY, ETHER_ARP, &packet)?;
            Ok("sent".into())
        })
        .may_fail(LINK_ONLY),
    ];
    let claimed = aim.hosts.iter().chain(&aim.others).chain(&aim.targets).copied();
    for (index, claim) in claimed.enumerate() {
        let what = format!("claims to everybody on the link that {claim} is here");
        let attempt = Attempt::new(format!("claim-{index}"), what, move |this| {
            let own = send::mac(&this.aim.interface);
            match claim {
                IpAddr::V4(claim) => each([1, 2], |operation| {
                    let packet = packet::arp(operation, (own, claim), (EVERYBODY, claim), this.payload());
                    out(this, EVERYBODY, ETHER_ARP, &packet)
                }),
                IpAddr::V6(claim) => {
                    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                    // Override, with the link-layer address (RFC 4861, 4.4).
                    let mut body = [&claim.octets()[..], &[2, 1], &own, &[253, 3], &[0; 22]].concat();
                    let at = body.len() - 20;
                    body[at..at + 16].copy_from_slice(&this.payload()[..16]);
                    let message = packet::icmp(claim.into(), all_nodes.into(), (136, 0), [0x20, 0, 0, 0], &body);
                    out(
                        this,
                        [0x33, 0x33, 0, 0, 0, 1],
                        packet::ETHER_IPV6,
                        &packet::ipv6(claim, all_nodes, ICMPV6, 255, &message),
                    )?;
                    Ok("sent".into())
                }
            }
        });
        all.push(attempt.may_fail(LINK_ONLY));
    }
    let what = "claims to be the router of everybody on the link (RFC 4861, 4.2)";
    all.push(
        Attempt::new("router-advertisement", what, |this| {
            let (from, to) =
                (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x5a), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
            let mut body = [&[0, 0, 0, 0, 0, 0, 0, 0, 253, 3][..], &[0; 22]].concat();
            body[12..28].copy_from_slice(&this.payload()[..16]);
            let message = packet::icmp(from.into(), to.into(), (134, 0), [64, 0, 0x07, 0x08], &body);
            out(this, [0x33, 0x33, 0, 0, 0, 1], packet::ETHER_IPV6, &packet::ipv6(from, to, ICMPV6, 255, &message))?;
            Ok("sent".into())
        })
        .may_fail(LINK_ONLY),
    );
    all
}

/// Another client, reached on the link itself.
fn to_other(other: IpAddr) -> Vec<Attempt> {
    let f = family(other);
    let direct = move |this: &Try<'_>, from: IpAddr| {
        let packet = packet::ip(from, other, UDP, &packet::udp(from, other, (this.port, 8080), this.payload()));
        each([EVERYBODY, hop(this)], |mac| out(this, mac, ether_type(&packet), &packet))
    };
    vec![
        Attempt::new(
            format!("other-by-frame-{f}"),
            "a datagram to another client, in frames to everybody and to the host",
            move |this| direct(this, send::source(other)?),
        ),
        Attempt::new(format!("other-by-frame-from-host-{f}"), "the same from the host's address", move |this| {
            let host = this.aim.hosts.iter().copied().find(|host| host.is_ipv4() == other.is_ipv4());
            direct(this, host.unwrap_or(Ipv4Addr::new(10, 77, 0, 1).into()))
        })
        .may_fail("the kernel drops what claims to come from itself"),
    ]
}
