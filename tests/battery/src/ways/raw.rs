//! Packets that no transport sends: other protocols, odd TCP segments,
//! fragments, extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{each, family};
use crate::aim::Aim;
use crate::attempt::{Attempt, Outcome, Try};
use crate::packet::{self, ACK, FIN, ICMPV6, Odd, RST, SYN, TCP, UDP};
use crate::send;

const FRAGMENT: u8 = 44;
const ROUTING: u8 = 43;
const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let host = |like: IpAddr| aim.hosts.iter().copied().find(|host| host.is_ipv4() == like.is_ipv4());
    let mut all = Vec::new();
    for &to in &aim.targets {
        all.extend(protocols(to));
        all.extend(segments(to));
        all.extend(fragments(to));
        match to {
            IpAddr::V4(four) => all.extend(options(four, host(to))),
            IpAddr::V6(six) => all.extend(extensions(six, host(to))),
        }
    }
    all
}

fn protocols(to: IpAddr) -> Vec<Attempt> {
    let f = family(to);
    let mut all = vec![
        Attempt::new(format!("icmp-echo-{f}"), "ICMP echo with payload", move |this| {
            let kind = if to.is_ipv4() { 8 } else { 128 };
            icmp(this, to, (kind, 0))
        }),
        Attempt::new(format!("icmp-every-type-{f}"), "ICMP of each of the 256 types, with payload", move |this| {
            each(0..=255, |kind| icmp(this, to, (kind, 0)).map(drop))
        }),
        Attempt::new(format!("icmp-error-of-nothing-{f}"), "an ICMP error about a flow there never was", move |this| {
            let from = send::source(to)?;
            let inner = packet::ip(to, from, UDP, &packet::udp(to, from, (443, this.port), this.payload()));
            let kind = if to.is_ipv4() { (3, 3) } else { (1, 4) };
            let message = packet::icmp(from, to, kind, [0; 4], &inner);
            send::raw(&packet::ip(from, to, packet::icmp_of(to), &message))?;
            Ok("sent".into())
        }),
    ];
    for (number, name) in [
        (2, "igmp"),
        (4, "ipip"),
        (33, "dccp"),
        (41, "ipv6-in-ip"),
        (47, "gre"),
        (50, "esp"),
        (51, "ah"),
        (132, "sctp"),
        (136, "udp-lite"),
    ] {
        let what = format!("IP protocol {number}");
        all.push(Attempt::new(format!("{name}-{f}"), what, move |this| {
            send::protocol(to, number, &inside(this, to, number)?)?;
            Ok("sent".into())
        }));
    }
    let what = "a packet of each of the 256 protocol numbers, header by hand";
    all.push(Attempt::new(format!("every-protocol-{f}"), what, move |this| {
        let from = send::source(to)?;
        each(0..=255, |number| send::raw(&packet::ip(from, to, number, &this.payload_of(64))))
    }));
    all.into_iter().map(Attempt::root).collect()
}

fn icmp(this: &Try<'_>, to: IpAddr, kind: (u8, u8)) -> Outcome {
    let from = send::source(to)?;
    let message = packet::icmp(from, to, kind, [0, 1, 0, 1], this.payload());
    send::raw(&packet::ip(from, to, packet::icmp_of(to), &message))?;
    Ok("sent".into())
}

/// What a packet of that protocol looks like, with the token in it.
fn inside(this: &Try<'_>, to: IpAddr, protocol: u8) -> std::io::Result<Vec<u8>> {
    let from = send::source(to)?;
    let datagram = packet::udp(from, to, (this.port, 443), this.payload());
    Ok(match protocol {
        4 => packet::ipv4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, UDP, &datagram, &Odd::default()),
        41 => packet::ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, UDP, 64, &datagram),
        47 => [&[0, 0, 8, 0][..], this.payload()].concat(),
        // An INIT chunk, its checksum wrong.
        132 => [&this.port.to_be_bytes()[..], &[1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 36], this.payload()].concat(),
        136 => [&this.port.to_be_bytes()[..], &[1, 187, 0, 8, 0, 0], this.payload()].concat(),
        _ => this.payload_of(64),
    })
}

fn segments(to: IpAddr) -> Vec<Attempt> {
    let f = family(to);
    let kinds: [(&str, u8); 10] = [
        ("syn-with-data", SYN),
        ("ack", ACK),
        ("syn-fin", SYN | FIN),
        ("syn-rst", SYN | RST),
        ("syn-ack", SYN | ACK),
        ("fin", FIN),
        ("rst", RST),
        ("no-flag", 0),
        ("every-flag", 0xff),
        ("push-urgent", 0x28),
    ];
    let segment = |(name, flags): (&str, u8)| {
        let what = format!("a first TCP segment with the flags {flags:#04x}, and data");
        Attempt::new(format!("tcp-{name}-{f}"), what, move |this| {
            let from = send::source(to)?;
            let segment = packet::tcp(from, to, (this.port, 443), flags, this.payload());
            send::raw(&packet::ip(from, to, TCP, &segment))?;
            Ok("sent".into())
        })
        .root()
    };
    kinds.into_iter().map(segment).collect()
}

fn fragments(to: IpAddr) -> Vec<Attempt> {
    let f = family(to);
    // Offset in octets, whether more follow.
    let fragment = move |this: &Try<'_>, protocol: u8, part: &[u8], offset: u16, more: bool| {
        let from = send::source(to)?;
        let packet = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let fragment = (offset / 8) | if more { 0x2000 } else { 0 };
                packet::ipv4(from, to, protocol, part, &Odd { fragment, ..Odd::default() })
            }
            (from, to) => {
                let place = (offset | u16::from(more)).to_be_bytes();
                let id = u32::from(this.port).to_be_bytes();
                let part = [&[protocol, 0][..], &place, &id, part].concat();
                packet::ipv6(packet::six(from), packet::six(to), FRAGMENT, 64, &part)
            }
        };
        send::raw(&packet)
    };
    let whole = move |this: &Try<'_>| {
        let from = send::source(to)?;
        std::io::Result::Ok(packet::udp(from, to, (this.port, 443), &this.payload_of(160)))
    };
    let all = vec![
        Attempt::new(
            format!("fragment-later-alone-{f}"),
            "a fragment with no beginning, which has no ports",
            move |this| {
                fragment(this, UDP, &this.payload_of(64), 64, false)?;
                fragment(this, TCP, &this.payload_of(64), 128, true)?;
                Ok("sent 2".into())
            },
        )
        .may_fail("a router that tracks connections waits for the beginning"),
        Attempt::new(format!("fragment-first-alone-{f}"), "a fragment with no end", move |this| {
            fragment(this, UDP, &whole(this)?[..64], 0, true)?;
            Ok("sent".into())
        })
        .may_fail("a router that tracks connections waits for the end"),
        Attempt::new(format!("fragment-tiny-{f}"), "a segment whose flags are in the second fragment", move |this| {
            let from = send::source(to)?;
            let segment = packet::tcp(from, to, (this.port, 443), SYN, &this.payload_of(64));
            fragment(this, TCP, &segment[..8], 0, true)?;
            fragment(this, TCP, &segment[8..], 8, false)?;
            Ok("sent 2".into())
        }),
        Attempt::new(format!("fragment-overlapping-{f}"), "fragments of which one overwrites the ports", move |this| {
            let whole = whole(this)?;
            fragment(this, UDP, &whole[..64], 0, true)?;
            fragment(this, UDP, &whole[..32], 0, true)?;
            fragment(this, UDP, &whole[56..], 56, false)?;
            Ok("sent 3".into())
        })
        .may_fail("a router that tracks connections drops fragments that overlap"),
        Attempt::new(format!("fragment-last-first-{f}"), "fragments in the wrong order", move |this| {
            let whole = whole(this)?;
            fragment(this, UDP, &whole[64..], 64, false)?;
            fragment(this, UDP, &whole[..64], 0, true)?;
            Ok("sent 2".into())
        }),
        Attempt::new(format!("fragment-of-one-{f}"), "a fragment that is all there is", move |this| {
            fragment(this, UDP, &whole(this)?, 0, false)?;
            Ok("sent".into())
        }),
    ];
    all.into_iter().map(Attempt::root).collect()
}

fn options(to: Ipv4Addr, host: Option<IpAddr>) -> Vec<Attempt> {
    let datagram = move |this: &Try<'_>, towards: Ipv4Addr, port: u16, options: Vec<u8>, ttl: u8| {
        let from = send::source(to.into())?;
        let IpAddr::V4(source) = from else { return Err(std::io::ErrorKind::InvalidInput.into()) };
        let datagram = packet::udp(from, towards.into(), (this.port, port), this.payload());
        send::raw(&packet::ipv4(source, towards, UDP, &datagram, &Odd { options, ttl, fragment: 0 }))
    };
    let mut all = vec![
        Attempt::new("ip-options-4", "record route, router alert, time stamp", move |this| {
            let record_route = vec![7, 7, 4, 0, 0, 0, 0, 1];
            let alert = vec![148, 4, 0, 0];
            let stamp = vec![68, 8, 5, 0, 0, 0, 0, 0];
            each([record_route, alert, stamp], |options| datagram(this, to, 443, options, 0))
        }),
        Attempt::new("ip-ttl-4", "datagrams that live for 2 and for 255 hops", move |this| {
            each([2, 255], |ttl| datagram(this, to, 443, Vec::new(), ttl))
        }),
    ];
    if let Some(IpAddr::V4(host)) = host {
        let what = "to the host's address, with a source route that goes on to the target (port 53 and 443)";
        all.push(
            Attempt::new("source-route-4", what, move |this| {
                let [a, b, c, d] = to.octets();
                // Loose and strict.
                each([(131, 53), (137, 53), (131, 443), (137, 443)], |(kind, port)| {
                    datagram(this, host, port, vec![1, kind, 7, 4, a, b, c, d], 0)
                })
            })
            .may_fail("Linux forwards no source route unless told to"),
        );
    }
    all.into_iter().map(Attempt::root).collect()
}

fn extensions(to: Ipv6Addr, host: Option<IpAddr>) -> Vec<Attempt> {
    let send = move |this: &Try<'_>, towards: Ipv6Addr, port: u16, headers: &[(u8, Vec<u8>)]| {
        let from = packet::six(send::source(to.into())?);
        let datagram = packet::udp(from.into(), to.into(), (this.port, port), this.payload());
        let mut next = UDP;
        let mut payload = datagram;
        for (kind, body) in headers.iter().rev() {
            // The length counts eight octets, the first not.
            let length = u8::try_from((body.len() + 2) / 8 - 1).unwrap_or(0);
            payload = [&[next, length][..], body, &payload].concat();
            next = *kind;
        }
        send::raw(&packet::ipv6(from, towards, next, 64, &payload))
    };
    let padding = || vec![1, 4, 0, 0, 0, 0];
    let mut all = vec![
        Attempt::new("extension-hop-by-hop-6", "a hop-by-hop header before the datagram", move |this| {
            send(this, to, 443, &[(HOP_BY_HOP, padding())])?;
            Ok("sent".into())
        }),
        Attempt::new("extension-destination-6", "a destination options header", move |this| {
            send(this, to, 443, &[(DESTINATION, padding())])?;
            Ok("sent".into())
        }),
        Attempt::new("extension-chain-6", "ten destination options headers", move |this| {
            send(this, to, 443, &std::array::from_fn::<_, 10, _>(|_| (DESTINATION, padding())))?;
            Ok("sent".into())
        }),
        Attempt::new("extension-routing-6", "routing headers of types 0, 2, 3, 4 and 253, used up", move |this| {
            each([0, 2, 3, 4, 253], |kind| {
                let body = [&[kind, 0, 0, 0, 0, 0][..], &to.octets()].concat();
                send(this, to, 443, &[(ROUTING, body)])
            })
        }),
        Attempt::new("extension-none-6", "payload behind \"no next header\"", move |this| {
            let from = packet::six(send::source(to.into())?);
            send::raw(&packet::ipv6(from, to, 59, 64, this.payload()))?;
            Ok("sent".into())
        }),
        Attempt::new("extension-unknown-6", "extension headers that nobody knows", move |this| {
            each([135, 139, 140, 253, 254], |kind| send(this, to, 443, &[(kind, padding())]))
        }),
        Attempt::new(
            "icmp-hop-limit-255-6",
            "neighbour discovery with payload, to an address beyond the link",
            move |this| {
                let from = packet::six(send::source(to.into())?);
                each(133..=137, |kind| {
                    let payload = [&to.octets()[..], this.payload()].concat();
                    let message = packet::icmp(from.into(), to.into(), (kind, 0), [0; 4], &payload);
                    send::raw(&packet::ipv6(from, to, ICMPV6, 255, &message))
                })
            },
        ),
        Attempt::new(
            "ipv4-in-the-flow-label-6",
            "the token in the flow label and the traffic class alone",
            move |this| {
                let from = packet::six(send::source(to.into())?);
                let datagram = packet::udp(from.into(), to.into(), (this.port, 443), b"");
                let mut packet = packet::ipv6(from, to, UDP, 64, &datagram);
                packet[1..4].copy_from_slice(&[0x0a, 0xbc, 0xde]);
                send::raw(&packet)?;
                Ok("sent".into())
            },
        ),
    ];
    if let Some(IpAddr::V6(host)) = host {
        let what = "to the host's address, with a routing header that goes on to the target (port 53 and 443)";
        all.push(
            Attempt::new("source-route-6", what, move |this| {
                let headers = [0, 2, 3, 4].into_iter().flat_map(|kind| [(kind, 53), (kind, 443)]);
                each(headers, |(kind, port)| {
                    let body = [&[kind, 1, 0, 0, 0, 0][..], &to.octets()].concat();
                    send(this, host, port, &[(ROUTING, body)])
                })
            })
            .may_fail("Linux forwards no routing header unless told to"),
        );
    }
    all.into_iter().map(Attempt::root).collect()
}

/// An echo with the token.
pub fn echo(this: &Try<'_>, to: IpAddr) -> Outcome {
    icmp(this, to, (if to.is_ipv4() { 8 } else { 128 }, 0))
}
