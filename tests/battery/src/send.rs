//! Sending: through the kernel's transports, through raw sockets, as frames.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket as packet_socket,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::kernel;
use crate::packet::Mac;

/// How long a connection may take to come about.
pub const PATIENCE: Duration = Duration::from_millis(400);

/// Any address of the family, any port.
pub fn any(family_of: IpAddr, port: u16) -> SocketAddr {
    let any = if family_of.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(any, port)
}

/// A socket of the family, bound to `port`, which several may share.
pub fn socket(to: IpAddr, kind: Type, protocol: i32, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(domain(to), kind, Some(Protocol::from(protocol)))?;
    socket.set_reuse_address(true)?;
    socket.bind(&any(to, port).into())?;
    Ok(socket)
}

/// The family's domain.
pub fn domain(of: IpAddr) -> Domain {
    if of.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
}

/// A TCP connection from `port`; what it says arrives with it.
pub fn connect(to: SocketAddr, port: u16, say: &[u8]) -> io::Result<TcpStream> {
    let socket = socket(to.ip(), Type::STREAM, libc::IPPROTO_TCP, port)?;
    connected(socket, to, say)
}

/// Connects this socket, and says it.
pub fn connected(socket: Socket, to: SocketAddr, say: &[u8]) -> io::Result<TcpStream> {
    // No TIME_WAIT: the same two ends may be tried again.
    socket.set_linger(Some(Duration::ZERO)).ok();
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(say)?;
    // What was said is sent before the connection is reset.
    thread::sleep(Duration::from_millis(30));
    Ok(stream)
}

/// Connections to all these places at once; says it on those that come about,
/// and returns how many did.
pub fn connect_all(places: impl IntoIterator<Item = SocketAddr>, port: u16, say: &[u8]) -> io::Result<String> {
    let mut tried = Vec::new();
    for to in places {
        let socket = socket(to.ip(), Type::STREAM, libc::IPPROTO_TCP, port)?;
        socket.set_linger(Some(Duration::ZERO)).ok();
        socket.set_nonblocking(true)?;
        // Under way, or refused at once.
        let _ = socket.connect(&to.into());
        tried.push(socket);
    }
    thread::sleep(PATIENCE);
    let connected = tried.iter().filter(|socket| socket.send(say).is_ok()).count();
    thread::sleep(Duration::from_millis(30));
    if connected == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("none of {} connected", tried.len())));
    }
    Ok(format!("connected to {connected} of {}", tried.len()))
}

/// A UDP datagram from `port`.
pub fn datagram(to: SocketAddr, port: u16, say: &[u8]) -> io::Result<()> {
    socket(to.ip(), Type::DGRAM, libc::IPPROTO_UDP, port)?.send_to(say, &to.into())?;
    Ok(())
}

/// A payload under a protocol number; the kernel makes the IP header.
pub fn protocol(to: IpAddr, number: u8, payload: &[u8]) -> io::Result<()> {
    let socket = Socket::new(domain(to), Type::RAW, Some(Protocol::from(i32::from(number))))?;
    socket.send_to(payload, &SocketAddr::new(to, 0).into())?;
    Ok(())
}

/// A whole IP packet, header included, routed by its own destination.
pub fn raw(packet: &[u8]) -> io::Result<()> {
    let to = destination(packet).ok_or(io::ErrorKind::InvalidInput)?;
    let socket = Socket::new(domain(to), Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    if to.is_ipv4() {
        socket.set_header_included_v4(true)?;
    }
    socket.send_to(packet, &SocketAddr::new(to, 0).into())?;
    Ok(())
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    let field = |range: std::ops::Range<usize>| packet.get(range);
    if packet.first()? >> 4 == 4 {
        Some(<[u8; 4]>::try_from(field(16..20)?).ok()?.into())
    } else {
        Some(<[u8; 16]>::try_from(field(24..40)?).ok()?.into())
    }
}

/// An Ethernet frame out of an interface; `bypass` leaves out the queueing
/// discipline (PACKET_QDISC_BYPASS).
pub fn frame(interface: &str, frame: &[u8], bypass: bool) -> io::Result<()> {
    // Kept open: the kernel takes its time over closing one.
    static OPEN: Mutex<BTreeMap<(String, bool), (OwnedFd, LinkAddr)>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().map_err(|_| io::ErrorKind::Other)?;
    let key = (interface.to_owned(), bypass);
    if !open.contains_key(&key) {
        let socket = packet_socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None::<SockProtocol>)?;
        if bypass {
            kernel::bypass_queueing(socket.as_raw_fd())?;
        }
        open.insert(key.clone(), (socket, link(interface)?));
    }
    let (socket, link) = open.get(&key).ok_or(io::ErrorKind::Other)?;
    sendto(socket.as_raw_fd(), frame, link, MsgFlags::empty())?;
    Ok(())
}

/// The link-layer address of an interface here.
pub fn link(interface: &str) -> io::Result<LinkAddr> {
    let mut links = nix::ifaddrs::getifaddrs()?.filter(|link| link.interface_name == interface);
    let found = links.find_map(|link| link.address?.as_link_addr().copied());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface {interface}")))
}

/// Its hardware address.
pub fn mac(interface: &str) -> Mac {
    link(interface).ok().and_then(|link| link.addr()).unwrap_or_default()
}

/// The source address that the route to `to` would have; mind that nothing is
/// sent for that.
pub fn source(to: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(any(to, 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// The hardware address of whoever is next on the way out, as far as the
/// kernel knows one; otherwise everybody's.
pub fn next_hop(interface: &str, towards: &[IpAddr]) -> Mac {
    for &to in towards {
        // Makes the kernel look for it.
        let _ = datagram(SocketAddr::new(to, 9), 0, b"");
    }
    thread::sleep(Duration::from_millis(50));
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut known = rows.filter(|row| row.len() == 6 && row[5] == interface && row[3] != "00:00:00:00:00:00");
    known.next().and_then(|row| parsed(row[3])).unwrap_or([0xff; 6])
}

fn parsed(text: &str) -> Option<Mac> {
    let octets: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    octets.try_into().ok()
}
