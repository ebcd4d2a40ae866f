//! From an address that is not the container's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{each, family};
use crate::aim::Aim;
use crate::attempt::{Attempt, Try};
use crate::packet::{self, SYN, TCP, UDP};
use crate::send;

const MARTIAN: &str = "the kernel drops addresses that cannot be, and its own, whatever the rules";

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    for &to in &aim.targets {
        let f = family(to);
        let mut add = |name: &str, from: Option<IpAddr>, never: Option<&'static str>| {
            let Some(from) = from else { return };
            let attempt = Attempt::new(
                format!("source-{name}-{f}"),
                format!("UDP, a SYN with data and an echo from {name}"),
                move |this| each(packets(this, from, to), |packet| send::raw(&packet)),
            )
            .root();
            all.push(match never {
                Some(why) => attempt.may_fail(why),
                None => attempt,
            });
        };
        let like = |addresses: &[IpAddr]| addresses.iter().copied().find(|one| one.is_ipv4() == to.is_ipv4());
        add("neighbour", like(&aim.hosts).map(neighbour), None);
        add("other-client", like(&aim.others), None);
        add("host", like(&aim.hosts), Some(MARTIAN));
        add("nowhere", Some(nowhere(to)), None);
        add("target", Some(to), None);
        add("dns-server", like(&aim.resolvers), None);
        add("loopback", Some(loopback(to)), Some(MARTIAN));
        add("unspecified", Some(unspecified(to)), Some(MARTIAN));
        add("multicast", Some(multicast(to)), Some(MARTIAN));
        if to.is_ipv6() {
            add("link-local", "fe80::5a5a".parse().ok(), Some(MARTIAN));
            add("mapped", "::ffff:10.77.0.2".parse().ok(), Some("many kernels drop it"));
        } else {
            add("broadcast", Some(Ipv4Addr::BROADCAST.into()), Some(MARTIAN));
        }
    }
    for (index, &lease) in aim.leases_of_others.iter().enumerate() {
        let to = lease.ip();
        let Some(&from) = aim.others.iter().find(|other| other.is_ipv4() == to.is_ipv4()) else { continue };
        let what = format!("to {lease}, which another client has opened, from that client's address");
        all.push(
            Attempt::new(format!("source-of-lease-{index}"), what, move |this| {
                let ports = (this.port, lease.port());
                let segment = packet::tcp(from, to, ports, SYN, this.payload());
                let datagram = packet::udp(from, to, ports, this.payload());
                each([(TCP, segment), (UDP, datagram)], |(protocol, payload)| {
                    send::raw(&packet::ip(from, to, protocol, &payload))
                })
            })
            .root(),
        );
    }
    all
}

fn packets(this: &Try<'_>, from: IpAddr, to: IpAddr) -> Vec<Vec<u8>> {
    let echo = packet::icmp(from, to, (if to.is_ipv4() { 8 } else { 128 }, 0), [0, 1, 0, 1], this.payload());
    vec![
        packet::ip(from, to, UDP, &packet::udp(from, to, (this.port, 443), this.payload())),
        packet::ip(from, to, UDP, &packet::udp(from, to, (this.port, 53), this.payload())),
        packet::ip(from, to, TCP, &packet::tcp(from, to, (this.port, 443), SYN, this.payload())),
        packet::ip(from, to, packet::icmp_of(to), &echo),
    ]
}

/// An address beside that of the host, on the container's own network.
fn neighbour(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) => {
            let [a, b, c, _] = host.octets();
            [a, b, c, 77].into()
        }
        IpAddr::V6(host) => {
            let mut octets = host.octets();
            octets[15] = 0x77;
            octets.into()
        }
    }
}

fn nowhere(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [192, 0, 2, 99].into() } else { Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x99).into() }
}

fn loopback(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn multicast(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [224, 0, 0, 251].into() } else { Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).into() }
}
