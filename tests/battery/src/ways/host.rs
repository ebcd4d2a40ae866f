//! The host that the wall stands on, and other clients: their addresses and
//! their sockets.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::path::Path;
use std::time::Duration;

use socket2::Type;

use super::{each, family, raw};
use crate::aim::Aim;
use crate::attempt::{Attempt, Outcome, Try};
use crate::packet::{self, UDP};
use crate::send;

/// Where programs of a host listen that would do a container's bidding.
const SOCKETS: &[&str] = &[
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/cedarwall/control.sock",
    "/run/systemd/private",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/dbus/system_bus_socket",
    "/run/nscd/socket",
];
/// SSH, DNS over TLS, HTTP, Docker's own port, and where metrics are.
const PORTS: &[u16] = &[22, 80, 443, 853, 2375, 2376, 2019, 6443, 8080, 9090, 9100, 9177, 10_250];
const NO_SOCKET: &str = "there is no such socket without a wall";

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    for (index, &host) in aim.hosts.iter().enumerate() {
        all.extend(machine("host", index, host));
    }
    for (index, &other) in aim.others.iter().enumerate() {
        all.extend(machine("other", index, other));
    }
    if aim.hosts.iter().any(IpAddr::is_ipv4) {
        all.push(everybody_4());
    }
    if aim.hosts.iter().any(IpAddr::is_ipv6) {
        all.push(everybody_6());
        all.push(loopback_of_host(Ipv6Addr::LOCALHOST.into()));
    }
    all.push(loopback_of_host([127, 0, 0, 1].into()));
    all.push(
        Attempt::new("unix-sockets", "the sockets of container engines and of the wall", |this| {
            let usual = SOCKETS.iter().map(Path::new);
            let mut heard = usual.chain(this.aim.sockets.iter().map(AsRef::as_ref)).filter_map(|path| {
                let stream = UnixStream::connect(path).ok()?;
                Some(format!("{}: {}", path.display(), asked(stream).unwrap_or_default()))
            });
            heard.next().ok_or(io::ErrorKind::NotFound.into())
        })
        .may_fail(NO_SOCKET),
    );
    all.push(
        Attempt::new("abstract-sockets", "every abstract socket of this network namespace", |_| {
            let table = std::fs::read_to_string("/proc/net/unix")?;
            let names = table.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'));
            let mut found = Vec::new();
            for name in names {
                let address = UnixAddress::from_abstract_name(name)?;
                if let Ok(stream) = UnixStream::connect_addr(&address) {
                    found.push(format!("@{name}: {}", asked(stream).unwrap_or_default()));
                }
            }
            if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found.join("; ")) }
        })
        .may_fail(NO_SOCKET),
    );
    all
}

/// Asks for what a wall or an engine would tell.
fn asked(mut stream: UnixStream) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: wall\r\nconnection: close\r\n\r\n")?;
    let mut reply = [0; 600];
    let length = stream.read(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
}

fn machine(name: &str, index: usize, to: IpAddr) -> Vec<Attempt> {
    let id = |how: &str| format!("{name}-{how}-{index}");
    vec![
        Attempt::new(id("tcp"), format!("TCP connections to {to}"), move |this| {
            send::connect_all(PORTS.iter().map(|&port| (to, port).into()), this.port, this.payload())
        }),
        Attempt::new(id("udp"), format!("UDP datagrams to {to}"), move |this| {
            each([67, 123, 161, 443, 500, 853, 5353, 5355, 8080], |port| {
                send::datagram((to, port).into(), this.port, this.payload())
            })
        }),
        Attempt::new(id("echo"), format!("ICMP echo with payload to {to}"), move |this| raw::echo(this, to)).root(),
        Attempt::new(id("protocols"), format!("SCTP, GRE, IP in IP to {to}"), move |this| {
            let numbers = [4, 41, 47, 50, 132, 253];
            each(numbers, |number| send::protocol(to, number, &this.payload_of(64)))
        })
        .root(),
    ]
}

fn everybody_4() -> Attempt {
    Attempt::new("everybody-4", "datagrams to broadcast and multicast addresses", |this| {
        each([[255, 255, 255, 255], [224, 0, 0, 1], [224, 0, 0, 251], [239, 255, 255, 250]], |to| {
            let socket = send::socket(to.into(), Type::DGRAM, libc::IPPROTO_UDP, this.port)?;
            socket.set_broadcast(true)?;
            socket.send_to(this.payload(), &SocketAddr::from((to, 8080)).into())?;
            Ok(())
        })
    })
}

fn everybody_6() -> Attempt {
    Attempt::new("everybody-6", "datagrams to multicast addresses and to the host's link-local one", |this| {
        let index = u32::try_from(send::link(&this.aim.interface)?.ifindex()).unwrap_or(0);
        let groups: [Ipv6Addr; 3] =
            ["ff02::1", "ff02::2", "ff02::fb"].map(|text| text.parse().unwrap_or(Ipv6Addr::UNSPECIFIED));
        each(groups, |to| {
            let socket = send::socket(to.into(), Type::DGRAM, libc::IPPROTO_UDP, this.port)?;
            socket.send_to(this.payload(), &SocketAddrV6::new(to, 8080, 0, index).into())?;
            Ok(())
        })
    })
}

/// With AF_PACKET a frame can be addressed to the host's hardware and carry
/// its loopback address.
fn loopback_of_host(loopback: IpAddr) -> Attempt {
    let work = move |this: &Try<'_>| -> Outcome {
        let like = this.aim.target_like(loopback).ok_or(io::ErrorKind::NotFound)?;
        let from = send::source(like)?;
        let datagram = packet::udp(from, loopback, (this.port, 8080), this.payload());
        let packet = packet::ip(from, loopback, UDP, &datagram);
        let interface = &this.aim.interface;
        let hop = send::next_hop(interface, &this.aim.targets);
        let frame = packet::ethernet(send::mac(interface), hop, packet::ether_type(&packet), &packet);
        send::frame(interface, &frame, false)?;
        Ok("sent".into())
    };
    Attempt::new(format!("host-loopback-{}", family(loopback)), "a frame to the host, for its loopback address", work)
        .root()
        .may_fail("a host drops it unless route_localnet is set")
}
