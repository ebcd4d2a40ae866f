//! The sockets of one network namespace, as the kernel's sock_diag(7) tells of
//! them.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, Parseable,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY, TCP_LISTEN, TCP_TIME_WAIT};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols};
use nix::ifaddrs::getifaddrs;

use crate::core::process::Ends;
use crate::core::query::Protocol;

/// `MSG_DONTWAIT`: the kernel answers inside `sendmsg`.
const DO_NOT_WAIT: i32 = nix::libc::MSG_DONTWAIT;
/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const ADDRESS_CHANGES: u32 = 0x10 | 0x100;
/// `INET_DIAG_NOCOOKIE` twice (linux/inet_diag.h): any socket will do.
const ANY_COOKIE: [u8; 8] = [0xff; 8];
/// Room for one datagram of a dump; the kernel fills at most 32 KiB.
const RECEIVE_BUFFER: usize = 32 << 10;
/// Octets before the payload of a netlink message.
const HEADER: usize = 16;

/// A socket that may have sent what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Found {
    /// Its number in `socket:[…]`.
    pub(super) inode: u64,
    /// What no other socket since the start of the host is called.
    pub(super) cookie: [u8; 8],
}

/// A way to ask about one namespace. It keeps the namespace alive, so it must
/// not be kept for longer than it is used.
pub(super) struct Sockets {
    diagnosis: Socket,
    changes: Socket,
    addresses: BTreeSet<IpAddr>,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Those of the calling thread's own namespace.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub(super) fn open() -> io::Result<Self> {
        let mut changes = Socket::new(protocols::NETLINK_ROUTE)?;
        // Before the addresses are read, or a change in between was missed.
        changes.bind(&NetlinkAddress::new(0, ADDRESS_CHANGES))?;
        let mut diagnosis = Socket::new(protocols::NETLINK_SOCK_DIAG)?;
        diagnosis.bind_auto()?;
        diagnosis.connect(&NetlinkAddress::new(0, 0))?;
        let addresses = addresses()?;
        Ok(Self { diagnosis, changes, addresses, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// Whether the namespace's addresses are still those that were read.
    pub(super) fn is_current(&self) -> bool {
        let mut buffer = Vec::with_capacity(64);
        let told = self.changes.recv(&mut buffer, DO_NOT_WAIT);
        told.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The addresses of its interfaces.
    pub(super) const fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    /// The socket to which the answer to the client would be delivered.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn receiver(&mut self, ends: Ends) -> io::Result<Option<Found>> {
        let (local, remote) = match ends.protocol {
            Protocol::Tcp => (ends.client, ends.server),
            // Swapped, "for historical reasons" (udp_dump_one in the kernel).
            Protocol::Udp => (ends.server, ends.client),
        };
        let family = if ends.client.is_ipv4() { AF_INET } else { AF_INET6 };
        let id = identity(local, remote);
        let found = self.ask(request(family, ends.protocol, id), 0)?;
        Ok(found.iter().find(|socket| is_live(socket)).map(name_of))
    }

    /// Every socket that may have sent from the client's port: a connected
    /// datagram socket, too, may send to whom it likes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn senders(&mut self, ends: Ends) -> io::Result<BTreeSet<Found>> {
        if ends.protocol == Protocol::Tcp {
            return Ok(self.receiver(ends)?.into_iter().collect());
        }
        let families: &[u8] = if ends.client.is_ipv4() { &[AF_INET, AF_INET6] } else { &[AF_INET6] };
        let mut senders = BTreeSet::new();
        for &family in families {
            let mut id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
            id.source_port = ends.client.port();
            let sockets = self.ask(request(family, ends.protocol, id), NLM_F_DUMP)?;
            senders.extend(sockets.iter().filter(|socket| may_send(socket, ends.client)).map(name_of));
        }
        Ok(senders)
    }

    fn ask(&mut self, request: InetRequest, flags: u16) -> io::Result<Vec<InetResponse>> {
        self.drain();
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.diagnosis.send(&message(&request, flags | NLM_F_REQUEST, self.sequence), 0)?;
        let mut sockets = Vec::new();
        loop {
            self.buffer.clear();
            self.diagnosis.recv(&mut self.buffer, DO_NOT_WAIT)?;
            let mut rest = self.buffer.as_slice();
            while let Some((kind, sequence, payload, after)) = next_message(rest) {
                rest = after;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(sockets),
                    NLMSG_ERROR => return error_in(payload).map(|()| sockets),
                    SOCK_DIAG_BY_FAMILY => {
                        sockets.extend(InetResponse::parse(payload));
                        if flags & NLM_F_DUMP == 0 {
                            return Ok(sockets);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// What is left of a question that was given up.
    fn drain(&mut self) {
        loop {
            self.buffer.clear();
            if self.diagnosis.recv(&mut self.buffer, DO_NOT_WAIT).is_err() {
                return;
            }
        }
    }
}

/// The addresses of this thread's namespace.
fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let all = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    });
    Ok(all.collect())
}

fn request(family: u8, protocol: Protocol, socket_id: SocketId) -> InetRequest {
    let (extensions, states) = (ExtensionFlags::empty(), StateFlags::all());
    InetRequest { family, protocol: protocol.number(), extensions, states, socket_id }
}

fn identity(source: SocketAddr, destination: SocketAddr) -> SocketId {
    SocketId {
        source_port: source.port(),
        destination_port: destination.port(),
        source_address: source.ip(),
        destination_address: destination.ip(),
        interface_id: 0,
        cookie: ANY_COOKIE,
    }
}

fn message(request: &InetRequest, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    let length = HEADER + request.buffer_len();
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.message_type = SOCK_DIAG_BY_FAMILY;
    header.flags = flags;
    header.sequence_number = sequence;
    let mut octets = vec![0; length];
    header.emit(&mut octets);
    request.emit(octets.get_mut(HEADER..).unwrap_or_default());
    octets
}

/// The first message in `octets`: its type, number and payload, and what comes
/// after it.
fn next_message(octets: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let buffer = NetlinkBuffer::new_checked(octets).ok()?;
    let length = usize::try_from(buffer.length()).ok()?;
    let payload = octets.get(HEADER..length)?;
    let after = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((buffer.message_type(), buffer.sequence_number(), payload, after))
}

/// An error of "no such socket" is none.
fn error_in(payload: &[u8]) -> io::Result<()> {
    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    match code.checked_neg() {
        Some(0 | nix::libc::ENOENT) => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.unwrap_or(nix::libc::EIO))),
    }
}

/// Neither a listening socket nor what is left of one.
fn is_live(socket: &InetResponse) -> bool {
    let state = socket.header.state;
    state != TCP_LISTEN && state != TCP_TIME_WAIT && socket.header.inode != 0
}

/// Whether a datagram socket may send from the address `client`.
fn may_send(socket: &InetResponse, client: SocketAddr) -> bool {
    let local = socket.header.socket_id.source_address;
    let serves_both = !socket.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true)));
    let is_any = local.is_unspecified() && (local.is_ipv4() == client.is_ipv4() || serves_both);
    socket.header.inode != 0 && (is_any || local.to_canonical() == client.ip())
}

fn name_of(socket: &InetResponse) -> Found {
    Found { inode: u64::from(socket.header.inode), cookie: socket.header.socket_id.cookie }
}
