//! Many datagrams with one system call: recvmmsg(2) and sendmmsg(2) over
//! buffers that are laid out once, so that a call costs nothing else.
#![allow(unsafe_code, reason = "the kernel is handed arrays of pointers, for which no library here has words as cheap")]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Room for one datagram: more than any here has.
pub const ROOM: usize = 1280;

/// Where a datagram came from, and an answer to it goes.
pub type Peer = libc::sockaddr_in;

/// Datagrams that the kernel takes as one packet (`UDP_MAX_SEGMENTS`).
const SEGMENTS: usize = 64;

/// Room for one control message, aligned as the kernel wants it: from which
/// address a datagram is sent.
type Control = [u64; 4];

/// A fixed number of datagrams: one batch receives, another one sends.
pub struct Batch {
    buffers: Box<[[u8; ROOM]]>,
    vectors: Box<[libc::iovec]>,
    peers: Box<[Peer]>,
    headers: Box<[libc::mmsghdr]>,
    controls: Box<[Control]>,
    count: usize,
}

impl Batch {
    /// Room for `capacity` datagrams.
    pub fn new(capacity: usize) -> Self {
        // SAFETY: numbers and pointers, for which zero is a value.
        let (peer, header) = unsafe { (std::mem::zeroed::<Peer>(), std::mem::zeroed::<libc::mmsghdr>()) };
        let mut batch = Self {
            buffers: vec![[0; ROOM]; capacity].into_boxed_slice(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: ROOM }; capacity].into_boxed_slice(),
            peers: vec![peer; capacity].into_boxed_slice(),
            headers: vec![header; capacity].into_boxed_slice(),
            controls: vec![[0; 4]; capacity].into_boxed_slice(),
            count: 0,
        };
        // What the pointers lead to is on the heap and stays there.
        for index in 0..capacity {
            batch.vectors[index].iov_base = batch.buffers[index].as_mut_ptr().cast();
            let header = &mut batch.headers[index].msg_hdr;
            header.msg_iov = &raw mut batch.vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut batch.peers[index]).cast();
            header.msg_namelen = size_of::<Peer>() as libc::socklen_t;
        }
        batch
    }

    /// How many it has room for.
    pub fn capacity(&self) -> usize {
        self.buffers.len()
    }

    /// Takes what has arrived, after waiting for the first if `wait`.
    pub fn receive(&mut self, socket: &UdpSocket, wait: bool) -> io::Result<usize> {
        for index in 0..self.count {
            self.headers[index].msg_hdr.msg_namelen = size_of::<Peer>() as libc::socklen_t;
        }
        self.count = 0;
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        let room = self.capacity() as libc::c_uint;
        // SAFETY: `room` headers, whose pointers were set in `new`.
        let received =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), room, flags as _, ptr::null_mut()) };
        if received < 0 {
            let error = io::Error::last_os_error();
            // Refused: an ICMP error to something sent before.
            let is_nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused);
            return if is_nothing { Ok(0) } else { Err(error) };
        }
        self.count = usize::try_from(received).unwrap_or(0);
        Ok(self.count)
    }

    /// A received datagram.
    pub fn datagram(&self, index: usize) -> &[u8] {
        let length = self.headers[index].msg_len as usize;
        &self.buffers[index][..length.min(ROOM)]
    }

    /// Who sent it.
    pub fn peer(&self, index: usize) -> Peer {
        self.peers[index]
    }

    /// Whether no more can be added.
    pub fn is_full(&self) -> bool {
        self.count == self.capacity()
    }

    /// Adds a datagram to be sent: `fill` writes it and says how long it is. A
    /// connected socket needs no `to`. What was last in a buffer is still there.
    pub fn push(&mut self, to: Option<Peer>, fill: impl FnOnce(&mut [u8; ROOM]) -> usize) {
        let index = self.count;
        let header = &mut self.headers[index].msg_hdr;
        header.msg_control = ptr::null_mut();
        header.msg_controllen = 0;
        match to {
            Some(peer) => {
                self.peers[index] = peer;
                header.msg_name = (&raw mut self.peers[index]).cast();
                header.msg_namelen = size_of::<Peer>() as libc::socklen_t;
            }
            None => {
                header.msg_name = ptr::null_mut();
                header.msg_namelen = 0;
            }
        }
        self.vectors[index].iov_len = fill(&mut self.buffers[index]).min(ROOM);
        self.count += 1;
    }

    /// Has the datagram added last sent from this address of the host's
    /// (IP_PKTINFO, ip(7)).
    pub fn from(&mut self, source: Ipv4Addr) {
        let index = self.count - 1;
        let header = &mut self.headers[index].msg_hdr;
        header.msg_control = (&raw mut self.controls[index]).cast();
        header.msg_controllen = size_of::<Control>() as _;
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        // SAFETY: the control buffer is aligned and has room for one message of
        // this length, which ends within it.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header);
            (*message).cmsg_level = libc::IPPROTO_IP;
            (*message).cmsg_type = libc::IP_PKTINFO;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as _;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
            header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as _;
        }
    }

    /// Takes back what was added.
    pub fn forget(&mut self) {
        self.count = 0;
    }

    /// Sends all that was added.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.count {
            let rest = &mut self.headers[sent..self.count];
            let length = rest.len() as libc::c_uint;
            // SAFETY: `length` headers, whose pointers were set in `new` and `push`.
            let more = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), length, 0) };
            if more < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => continue,
                    // The other side counts what is missing.
                    io::ErrorKind::PermissionDenied => sent += 1,
                    _ => return Err(error),
                }
            }
            sent += usize::try_from(more).unwrap_or(0);
        }
        self.count = 0;
        Ok(())
    }
}

impl Batch {
    /// Sends all that was added on a connected socket, many as one packet that
    /// the kernel cuts where it arrives (`UDP_SEGMENT`, udp(7)): each is a
    /// datagram of its own to whoever receives it, and costs the sender little.
    pub fn send_as_one(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.count {
            let length = self.vectors[sent].iov_len;
            let alike = self.vectors[sent..self.count].iter().take(SEGMENTS).take_while(|one| one.iov_len == length);
            let count = alike.count();
            let mut control: Control = [0; 4];
            // SAFETY: numbers and pointers, for which zero is a value.
            let mut header = unsafe { std::mem::zeroed::<libc::msghdr>() };
            header.msg_iov = &raw mut self.vectors[sent];
            header.msg_iovlen = count as _;
            header.msg_control = (&raw mut control).cast();
            header.msg_controllen = size_of::<Control>() as _;
            // SAFETY: the control buffer is aligned and has room for one message of
            // this length; the vectors were set in `new`, and `count` of them are there.
            let result = unsafe {
                let message = libc::CMSG_FIRSTHDR(&raw const header);
                (*message).cmsg_level = libc::SOL_UDP;
                (*message).cmsg_type = libc::UDP_SEGMENT;
                (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                ptr::write_unaligned(libc::CMSG_DATA(message).cast(), length as u16);
                header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
                libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
            };
            if result < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => continue,
                    // The other side counts what is missing.
                    io::ErrorKind::PermissionDenied => {}
                    _ => return Err(error),
                }
            }
            sent += count;
        }
        self.count = 0;
        Ok(())
    }
}

/// An address as the kernel has it.
pub fn peer(address: SocketAddrV4) -> Peer {
    Peer {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

/// A UDP socket with as much room as the kernel gives.
pub fn socket(bound_to: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(8 << 20)?;
    socket.set_send_buffer_size(8 << 20)?;
    socket.bind(&bound_to.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

    #[test]
    fn a_datagram_can_come_from_any_of_the_hosts_addresses() {
        let (server, client) = (socket(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap(), socket(ANY).unwrap());
        let mut out = Batch::new(2);
        let to = match server.local_addr().unwrap() {
            std::net::SocketAddr::V4(address) => peer(address),
            std::net::SocketAddr::V6(_) => unreachable!(),
        };
        let sources = [Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::new(127, 0, 3, 4)];
        for source in sources {
            out.push(Some(to), |_| 1);
            out.from(source);
        }
        out.send(&client).unwrap();
        let from = [(); 2].map(|()| server.recv_from(&mut [0; 8]).unwrap().1.ip());
        assert_eq!(from, sources.map(std::net::IpAddr::V4));
    }

    #[test]
    fn what_is_sent_as_one_arrives_as_many() {
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let (server, client) = (socket(local).unwrap(), socket(local).unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        let lengths: Vec<usize> = (0..150).map(|index| if index < 70 { 40 } else { 1 + index / 100 }).collect();
        let mut out = Batch::new(lengths.len());
        for (number, length) in (0..).zip(&lengths) {
            out.push(None, |buffer| {
                buffer[..*length].fill(number);
                *length
            });
        }
        out.send_as_one(&client).unwrap();
        let mut incoming = Batch::new(lengths.len() + 1);
        assert_eq!(incoming.receive(&server, false).unwrap(), lengths.len());
        for (index, length) in lengths.iter().enumerate() {
            assert_eq!(incoming.datagram(index), vec![index as u8; *length]);
        }
    }

    #[test]
    fn what_is_sent_together_arrives_and_can_be_answered() {
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let (server, client) = (socket(local).unwrap(), socket(local).unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        let (mut out, mut incoming) = (Batch::new(4), Batch::new(4));
        for round in 0..3 {
            for length in 1..=3 {
                out.push(None, |buffer| {
                    buffer[..length].fill(b'a' + round);
                    length
                });
            }
            out.send(&client).unwrap();
            assert_eq!(incoming.receive(&server, true).unwrap(), 3);
            assert_eq!(incoming.datagram(2), [b'a' + round; 3]);
            let peer = incoming.peer(2);
            out.push(Some(peer), |buffer| {
                buffer[..2].copy_from_slice(b"ok");
                2
            });
            out.send(&server).unwrap();
            assert_eq!(incoming.receive(&client, true).unwrap(), 1);
            assert_eq!(incoming.datagram(0), b"ok");
            assert_eq!(incoming.receive(&client, false).unwrap(), 0);
        }
    }
}
