//! [`Inbox`]: datagrams that have arrived, many taken in one system call.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams taken in one system call.
const BATCH: usize = 64;
/// The largest query that is read whole; a longer one is cut, and so
/// malformed.
const LONGEST: usize = 4096;

/// Where datagrams arrive.
pub(super) struct Inbox {
    octets: Vec<[u8; LONGEST]>,
    /// The length and the sender of each of those that are there.
    arrived: Vec<(usize, SocketAddr)>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { octets: vec![[0; LONGEST]; BATCH], arrived: Vec::with_capacity(BATCH) }
    }

    /// Takes what has arrived at `socket`, in place of what is here.
    ///
    /// # Errors
    /// When nothing has, or the socket fails.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let Self { octets, arrived } = self;
        arrived.clear();
        // They hold pointers, and so cannot wait here with a loop that moves from
        // thread to thread.
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
        socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<_> = octets.iter_mut().map(|octets| [IoSliceMut::new(octets)]).collect();
            let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
            // One without a sender cannot be answered; none of UDP is.
            let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            arrived.extend(received.map(|one| (one.bytes, one.address.as_ref().and_then(sender).unwrap_or(nobody))));
            Ok(())
        })
    }

    /// What is here.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let each = self.octets.iter().zip(&self.arrived);
        each.map(|(octets, (length, peer))| (octets.get(..*length).unwrap_or_default(), *peer))
    }

    /// Whether there may be more where that came from.
    pub(super) fn is_full(&self) -> bool {
        self.arrived.len() == BATCH
    }
}

fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4().or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}
