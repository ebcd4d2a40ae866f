//! Straight to an address: the transports that the kernel offers everybody.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use socket2::{Protocol, Socket, Type};

use super::{each, family};
use crate::aim::Aim;
use crate::attempt::{Attempt, Try};
use crate::{dns, send};

const SERVICES: &[u16] = &[21, 22, 25, 80, 443, 465, 587, 853, 993, 3128, 5222, 6667, 8080, 8443, 9418];
/// Connections tried at once.
const AT_ONCE: usize = 4096;
/// Shared memory communications (include/linux/socket.h).
const AF_SMC: i32 = 43;
const UNAVAILABLE: &str = "not every kernel speaks it";

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all: Vec<Attempt> = aim.targets.iter().flat_map(|&to| straight(to)).collect();
    for &resolver in &aim.resolvers {
        all.extend(other_resolvers(resolver));
    }
    for (index, &to) in aim.elsewhere.iter().enumerate() {
        let what = format!("TCP and UDP to {to}: a metadata service, or IPv4 by translation");
        all.push(Attempt::new(format!("elsewhere-{index}"), what, move |this| {
            send::datagram((to, 80).into(), this.port, this.payload())?;
            send::connect((to, 80).into(), this.port, this.payload())?;
            Ok("sent and connected".into())
        }));
    }
    all
}

fn straight(to: IpAddr) -> Vec<Attempt> {
    let f = family(to);
    let on = move |port| SocketAddr::new(to, port);
    let mut all = vec![
        Attempt::new(format!("tcp-{f}"), "TCP connections to the ports of services", move |this| {
            send::connect_all(SERVICES.iter().map(|&port| on(port)), this.port, this.payload())
        }),
        Attempt::new(format!("tcp-every-port-{f}"), "a SYN to each of the 65,535 ports", move |this| {
            every_port(to, this)
        }),
        Attempt::new(format!("tcp-fast-open-{f}"), "data in the SYN (RFC 7413)", move |this| {
            let socket = send::socket(to, Type::STREAM, libc::IPPROTO_TCP, this.port)?;
            // Without a cookie the kernel waits for the connection.
            socket.set_write_timeout(Some(send::PATIENCE))?;
            let address = SockaddrStorage::from(on(443));
            let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
            sendto(fd, this.payload(), &address, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))?;
            Ok("sent".into())
        }),
        Attempt::new(format!("mptcp-{f}"), "a Multipath TCP connection", move |this| {
            let socket = send::socket(to, Type::STREAM, libc::IPPROTO_MPTCP, this.port)?;
            send::connected(socket, on(443), this.payload())?;
            Ok("connected".into())
        })
        .may_fail(UNAVAILABLE),
        Attempt::new(format!("smc-{f}"), "a connection of AF_SMC, which falls back to TCP", move |this| {
            let protocol = if to.is_ipv4() { 0 } else { 1 };
            let socket = Socket::new(AF_SMC.into(), Type::STREAM, Some(Protocol::from(protocol)))?;
            send::connected(socket, on(443), this.payload())?;
            Ok("connected".into())
        })
        .may_fail(UNAVAILABLE),
        Attempt::new(format!("sctp-socket-{f}"), "an SCTP association by the kernel", move |this| {
            let socket = send::socket(to, Type::STREAM, libc::IPPROTO_SCTP, this.port)?;
            send::connected(socket, on(443), this.payload())?;
            Ok("connected".into())
        })
        .may_fail(UNAVAILABLE),
        Attempt::new(format!("dccp-socket-{f}"), "a DCCP connection by the kernel", move |this| {
            let socket = send::socket(to, Type::from(libc::SOCK_DCCP), libc::IPPROTO_DCCP, this.port)?;
            send::connected(socket, on(443), this.payload())?;
            Ok("connected".into())
        })
        .may_fail(UNAVAILABLE),
        Attempt::new(format!("udp-lite-socket-{f}"), "a UDP-Lite datagram by the kernel", move |this| {
            send::socket(to, Type::DGRAM, libc::IPPROTO_UDPLITE, this.port)?
                .send_to(this.payload(), &on(443).into())?;
            Ok("sent".into())
        })
        .may_fail(UNAVAILABLE),
        Attempt::new(format!("l2tp-socket-{f}"), "a datagram of the kernel's L2TP over IP", move |this| {
            let socket = Socket::new(send::domain(to), Type::DGRAM, Some(Protocol::from(115)))?;
            socket.send_to(this.payload(), &on(1).into())?;
            Ok("sent".into())
        })
        .may_fail(UNAVAILABLE),
        Attempt::new(format!("udp-{f}"), "UDP datagrams to the ports of services", move |this| {
            let ports = [53, 69, 123, 161, 443, 500, 853, 1194, 1900, 3478, 4500, 5353, 5355, 51_820];
            each(ports, |port| send::datagram(on(port), this.port, this.payload()))
        }),
        Attempt::new(format!("udp-every-port-{f}"), "a UDP datagram to each of the 65,535 ports", move |this| {
            let socket = send::socket(to, Type::DGRAM, libc::IPPROTO_UDP, this.port)?;
            each(1..=u16::MAX, |port| socket.send_to(this.payload(), &on(port).into()).map(drop))
        }),
        Attempt::new(format!("udp-empty-{f}"), "UDP datagrams with nothing in them", move |this| {
            each([53, 443], |port| send::datagram(on(port), this.port, b""))
        }),
        Attempt::new(format!("udp-fragmented-{f}"), "a UDP datagram of 6,000 octets", move |this| {
            send::datagram(on(443), this.port, &this.payload_of(6000))?;
            Ok("sent".into())
        }),
        Attempt::new(format!("ping-socket-{f}"), "ICMP echo from a ping socket, with payload", move |this| {
            let protocol = if to.is_ipv4() { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
            let socket = Socket::new(send::domain(to), Type::DGRAM, Some(Protocol::from(protocol)))?;
            let kind = if to.is_ipv4() { 8 } else { 128 };
            let message = [&[kind, 0, 0, 0, 0, 0, 0, 1][..], this.payload()].concat();
            socket.send_to(&message, &on(0).into())?;
            Ok("sent".into())
        })
        .may_fail("net.ipv4.ping_group_range may exclude everybody"),
    ];
    if let IpAddr::V4(address) = to {
        let what = "TCP and UDP to the target's IPv4 address, written as an IPv6 one";
        all.push(Attempt::new("mapped-socket", what, move |this| {
            let mapped: SocketAddr = (address.to_ipv6_mapped(), 443).into();
            let socket = Socket::new(socket2::Domain::IPV6, Type::DGRAM, None)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, this.port)).into())?;
            socket.send_to(this.payload(), &mapped.into())?;
            let socket = Socket::new(socket2::Domain::IPV6, Type::STREAM, None)?;
            send::connected(socket, mapped, this.payload())?;
            Ok("sent and connected".into())
        }));
    }
    all
}

fn every_port(to: IpAddr, this: &Try<'_>) -> io::Result<String> {
    let all: Vec<u16> = (1..=u16::MAX).collect();
    for ports in all.chunks(AT_ONCE) {
        let mut tried = Vec::new();
        for &port in ports {
            let socket = send::socket(to, Type::STREAM, libc::IPPROTO_TCP, this.port)?;
            socket.set_nonblocking(true)?;
            socket.set_linger(Some(Duration::ZERO)).ok();
            // Under way, or refused at once.
            let _ = socket.connect(&SocketAddr::new(to, port).into());
            tried.push(socket);
            if tried.len() == 512 {
                // Not every container may have 4,096 open files.
                tried.clear();
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok("sent 65535".into())
}

fn other_resolvers(to: IpAddr) -> Vec<Attempt> {
    let f = family(to);
    let question = |this: &Try<'_>| dns::Message::question(&this.denied_name(), dns::A).octets(0x5a5a);
    vec![
        Attempt::new(format!("dns-elsewhere-udp-{f}"), "a question to another DNS server", move |this| {
            let reply = dns::over_udp(to, this.port, &question(this))?;
            Ok(format!("answered with {} octets", reply.len()))
        }),
        Attempt::new(format!("dns-elsewhere-tcp-{f}"), "the same over TCP", move |this| {
            let reply = dns::stream((to, 53).into(), this.port, &dns::framed(&question(this)))?;
            Ok(format!("answered with {} octets", reply.len()))
        }),
        Attempt::new(format!("dns-over-tls-{f}"), "a TLS handshake on port 853 (RFC 7858)", move |this| {
            send::connect((to, 853).into(), this.port, &client_hello(&this.denied_name()))?;
            Ok("connected".into())
        }),
        Attempt::new(format!("dns-over-https-{f}"), "a TLS handshake on port 443 (RFC 8484)", move |this| {
            send::connect((to, 443).into(), this.port, &client_hello(&this.denied_name()))?;
            Ok("connected".into())
        }),
        Attempt::new(format!("dns-over-quic-{f}"), "long-header packets on UDP 853 and 443 (RFC 9250)", move |this| {
            let packet = [&[0xc3, 0, 0, 0, 1, 8][..], &[0x5a; 8], &[0, 0], &this.payload_of(1184)].concat();
            each([853, 443, 784, 8853], |port| send::datagram((to, port).into(), this.port, &packet))
        }),
    ]
}

/// A ClientHello that names a server, and no more than that (RFC 8446, 6066).
fn client_hello(server: &str) -> Vec<u8> {
    let length = |octets: usize| u16::try_from(octets).unwrap_or(0).to_be_bytes();
    let name = [&[0][..], &length(server.len()), server.as_bytes()].concat();
    let list = [&length(name.len())[..], &name].concat();
    let extension = [&[0, 0][..], &length(list.len()), &list].concat();
    let extensions = [&length(extension.len())[..], &extension].concat();
    let hello = [&[3, 3][..], &[0x5a; 32], &[0, 0, 2, 0x13, 0x01, 1, 0], &extensions].concat();
    let handshake = [&[1, 0][..], &length(hello.len()), &hello].concat();
    [&[22, 3, 1][..], &length(handshake.len()), &handshake].concat()
}
