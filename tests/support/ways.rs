//! Ways out of a namespace: every kind of packet a program can send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// A way out: what it is called, and how it is tried.
pub type Way = (String, Box<dyn Fn() + Send>);

/// Where the packets are sent to.
pub const FOUR: &str = "203.0.113.9";
/// The same over IPv6.
pub const SIX: &str = "2001:db8:2::9";

/// Every way out.
pub fn all() -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for host in [FOUR, SIX] {
        let host: IpAddr = host.parse().expect("an address");
        for port in [22, 53, 80, 443, 853] {
            ways.push(way(format!("TCP connection to {host} {port}"), move || {
                let _ = TcpStream::connect_timeout(&SocketAddr::new(host, port), Duration::from_millis(50));
            }));
            ways.push(way(format!("UDP datagram to {host} {port}"), move || datagram(host, port, 16)));
        }
        ways.push(way(format!("fragmented UDP datagram to {host}"), move || datagram(host, 443, 6000)));
        let echo: (i32, u8) = if host.is_ipv4() { (1, 8) } else { (58, 128) };
        ways.push(way(format!("ICMP echo to {host}"), move || raw(host, echo.0, &icmp(host, echo.1))));
        // IGMP, IP-in-IP, DCCP, IPv6-in-IP, GRE, ESP, SCTP, UDP-Lite, experimental.
        for protocol in [2, 4, 33, 41, 47, 50, 132, 136, 253] {
            ways.push(way(format!("IP protocol {protocol} to {host}"), move || raw(host, protocol, &[0x5a; 32])));
        }
        for (name, flags) in
            [("ACK", 0x10), ("RST", 0x04), ("FIN", 0x01), ("no flag", 0), ("every flag", 0x3f), ("SYN and ACK", 0x12)]
        {
            ways.push(way(format!("TCP segment with {name} to {host}"), move || raw(host, 6, &segment(host, flags))));
        }
    }
    for source in ["10.77.0.77", "203.0.113.50", "10.77.1.2", "10.77.0.1"] {
        let source: Ipv4Addr = source.parse().expect("an address");
        ways.push(way(format!("forged source {source}"), move || forged(source)));
    }
    ways
}

fn way(name: String, work: impl Fn() + Send + 'static) -> Way {
    (name, Box::new(work))
}

fn datagram(host: IpAddr, port: u16, length: usize) {
    let any = if host.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // Refusals of the kernel are as good as silence here.
    let _ = UdpSocket::bind(any).expect("a socket").send_to(&vec![0x5a; length], (host, port));
}

fn raw(host: IpAddr, protocol: i32, payload: &[u8]) {
    let domain = if host.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).expect("a raw socket");
    let _ = socket.send_to(payload, &SocketAddr::new(host, 0).into());
}

fn icmp(host: IpAddr, kind: u8) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 1, 0, 1, b'x', b'y'];
    if host.is_ipv4() {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    // For ICMPv6 the kernel fills the checksum in.
    message
}

/// A TCP header with a right checksum, so that nothing but the flags is odd.
fn segment(host: IpAddr, flags: u8) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    let source: IpAddr = if host.is_ipv4() { "10.77.0.2" } else { "fd77::2" }.parse().expect("an address");
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let sum = checksum(&[&octets(source), &octets(host), &[0, 6, 0, 20], &header]);
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    header
}

fn forged(source: Ipv4Addr) {
    let send = || -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        socket.set_header_included_v4(true)?;
        let destination: Ipv4Addr = FOUR.parse().expect("an address");
        let mut packet = vec![0x45, 0, 0, 36, 0, 1, 0, 0, 64, 17, 0, 0];
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&destination.octets());
        packet.extend_from_slice(&[0x9c, 0x40, 0x01, 0xbb, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        socket.send_to(&packet, &SocketAddr::from((destination, 0)).into())?;
        Ok(())
    };
    // In the output hook a dropped packet is an error; arrivals are what counts.
    let _ = send();
}

/// The Internet checksum (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("sixteen bits")
}
