//! [`Inbox`]: datagrams that have arrived, many taken in one system call.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams taken in one system call at most, and at least: the kernel is told
/// of a place for each beforehand, which costs where there are few.
const MOST: usize = 64;
const LEAST: usize = 8;
/// The largest query that is read whole; a longer one is cut, and so
/// malformed.
const LONGEST: usize = 4096;

/// Where datagrams arrive.
pub(super) struct Inbox {
    octets: Vec<[u8; LONGEST]>,
    /// The length and the sender of each of those that are there.
    arrived: Vec<(usize, SocketAddr)>,
    /// How many there were places for.
    places: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { octets: vec![[0; LONGEST]; MOST], arrived: Vec::with_capacity(MOST), places: LEAST }
    }

    /// Takes what has arrived at `socket`, in place of what is here.
    ///
    /// # Errors
    /// When nothing has, or the socket fails.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        // Where many come, more are to be expected.
        let places = (2 * self.arrived.len()).clamp(LEAST, MOST);
        let Self { octets, arrived, .. } = self;
        arrived.clear();
        // They hold pointers, and so cannot wait here with a loop that moves from
        // thread to thread.
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(places, None);
        let result = socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<_> = octets.iter_mut().take(places).map(|octets| [IoSliceMut::new(octets)]).collect();
            let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
            // One without a sender cannot be answered; none of UDP is.
            let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            arrived.extend(received.map(|one| (one.bytes, one.address.as_ref().and_then(sender).unwrap_or(nobody))));
            // The kernel stops short where it would have to wait for the next one:
            // nobody has to ask again to be told so.
            if arrived.len() < places { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        self.places = places;
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.arrived.is_empty() => Ok(()),
            result => result,
        }
    }

    /// What is here.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let each = self.octets.iter().zip(&self.arrived);
        each.map(|(octets, (length, peer))| (octets.get(..*length).unwrap_or_default(), *peer))
    }

    /// Whether there may be more where that came from.
    pub(super) fn is_full(&self) -> bool {
        self.arrived.len() == self.places
    }
}

fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4().or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn none_is_missed_between_two_looks() {
        let (socket, client) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        client.connect(socket.local_addr().unwrap()).await.unwrap();
        let mut inbox = Inbox::new();
        let (mut sent, mut received) = (0_u16, 0_u16);
        // Fewer than there are places for, just as many, and more.
        for count in [1, 7, 8, 9, 1, 150, 0, 3, 64, 128] {
            for _ in 0..count {
                client.send(&sent.to_be_bytes()).await.unwrap();
                sent += 1;
            }
            while received < sent {
                timeout(Duration::from_secs(10), socket.readable()).await.unwrap().unwrap();
                match inbox.receive(&socket) {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    Ok(()) => {
                        for (octets, peer) in inbox.datagrams() {
                            assert_eq!((octets, peer), (&received.to_be_bytes()[..], client.local_addr().unwrap()));
                            received += 1;
                        }
                    }
                }
            }
        }
        assert!(
            timeout(Duration::from_millis(20), socket.readable()).await.is_err() || inbox.receive(&socket).is_err()
        );
    }
}
