//! The ways out that the agent tries, each a packet or a connection of the
//! kind it is named for.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::RecordType;
use socket2::{Domain, Protocol, Socket, Type};

/// How long a reply may take. The whole of this internet is one kernel.
const PATIENCE: Duration = Duration::from_millis(1200);

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Probe {
    /// A TCP connection.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// A DNS question over UDP.
    DnsUdp,
    /// A DNS question over TCP.
    DnsTcp,
    /// An ICMP echo request.
    Echo,
    /// A TCP segment that is no SYN, from a raw socket.
    Ack,
    /// An HTTP conversation over one connection, until standard input ends.
    Talk,
}

/// Sends it. True when a reply came back.
///
/// # Errors
/// When it could not even be tried.
pub fn probe(probe: Probe, target: SocketAddr) -> io::Result<bool> {
    let reply = match probe {
        Probe::Tcp => TcpStream::connect_timeout(&target, PATIENCE).map(drop),
        Probe::Udp => udp(target, b"hello"),
        Probe::DnsUdp => question().and_then(|question| udp(target, &question)),
        Probe::DnsTcp => question().and_then(|question| dns_over_tcp(target, &question)),
        Probe::Echo => echo(target.ip()),
        Probe::Ack => ack(target),
        Probe::Talk => return talk(target),
    };
    match reply {
        Ok(()) => Ok(true),
        // The host behind the address said so: it was reached.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if no_reply(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn no_reply(error: &io::Error) -> bool {
    use ErrorKind::{HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock | HostUnreachable | NetworkUnreachable | PermissionDenied)
}

fn udp(target: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(target)?;
    socket.send(datagram)?;
    socket.recv(&mut [0; 2048]).map(drop)
}

fn question() -> io::Result<Vec<u8>> {
    let name = "c2VjcmV0.example.net.".parse().map_err(io::Error::other)?;
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().map_err(io::Error::other)
}

fn dns_over_tcp(target: SocketAddr, question: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(question)?;
    stream.read_exact(&mut [0; 2])
}

/// An echo request (RFC 792, RFC 4443).
fn echo(target: IpAddr) -> io::Result<()> {
    let (domain, protocol, request, reply) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let mut message = [request, 0, 0, 0, 0x12, 0x34, 0, 1];
    if target.is_ipv4() {
        // The kernel fills it in for ICMPv6.
        let [high, low] = checksum(&message).to_be_bytes();
        message = [request, 0, high, low, 0x12, 0x34, 0, 1];
    }
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    exchange(&socket, SocketAddr::new(target, 0), &message, |packet| {
        // IPv4 raw sockets deliver the IP header, too.
        let message = if target.is_ipv4() { packet.get(20..) } else { Some(packet) };
        message.is_some_and(|message| message.first() == Some(&reply) && message.get(4..6) == Some(&[0x12, 0x34]))
    })
}

/// A bare acknowledgement: the first segment of no connection (RFC 9293). An
/// open host answers it with a reset.
fn ack(target: SocketAddr) -> io::Result<()> {
    let SocketAddr::V4(target) = target else { return Err(ErrorKind::Unsupported.into()) };
    let source = match source_towards(SocketAddr::V4(target))? {
        IpAddr::V4(source) => source,
        IpAddr::V6(_) => return Err(ErrorKind::Unsupported.into()),
    };
    let ports = [40_443_u16.to_be_bytes(), target.port().to_be_bytes()].concat();
    let segment = |sum: u16| {
        let fields = [&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0], sum.to_be_bytes().as_slice(), &[0, 0]].concat();
        [ports.as_slice(), &fields].concat()
    };
    let pseudo = [source.octets().as_slice(), &target.ip().octets(), &[0, 6, 0, 20]].concat();
    let segment = segment(checksum(&[pseudo, segment(0)].concat()));

    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    exchange(&socket, SocketAddr::V4(target), &segment, |packet| {
        packet.get(12..16) == Some(&target.ip().octets()) && packet.get(20..22) == Some(&target.port().to_be_bytes())
    })
}

fn source_towards(target: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// Sends `packet` and waits for the reply that `is_reply` knows.
fn exchange(socket: &Socket, target: SocketAddr, packet: &[u8], is_reply: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    socket.send_to(packet, &target.into())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [0; 2048];
        let mut reader = socket;
        let length = reader.read(&mut buffer)?;
        if is_reply(buffer.get(..length).unwrap_or_default()) {
            return Ok(());
        }
    }
}

/// The internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        let high = pair.first().copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([high, pair.get(1).copied().unwrap_or_default()]))
    };
    let mut sum: u32 = octets.chunks(2).map(word).fold(0, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Asks the same server again and again over one connection. True when every
/// question was answered until standard input ended.
fn talk(target: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::spawn({
        let ended = std::sync::Arc::clone(&ended);
        move || {
            // Whether it ends or breaks, it is time to stop.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    while !ended.load(std::sync::atomic::Ordering::Relaxed) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")?;
        let mut line = String::new();
        while line != "pong\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(false);
            }
        }
        sleep(Duration::from_millis(100));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_rfc_1071() {
        // Section 3's example: the sum is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
