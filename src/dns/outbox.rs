//! [`Outbox`]: datagrams that wait to be sent, many in one system call. What goes
//! to one socket goes as one packet as far as the kernels go, and is cut into its
//! datagrams at the last moment (`UDP_SEGMENT`, udp(7)): the way through a network
//! stack is most of what a datagram costs.

use std::cmp::Reverse;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, sendmsg};
use rustc_hash::FxHashMap;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams sent in one system call, and the most that the kernel takes as one
/// packet (`UDP_MAX_SEGMENTS`).
const BATCH: usize = 64;
/// Octets that a packet has room for, headers left out.
const PACKET: usize = 65_000;

/// Where datagrams wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Vec<Datagram>,
}

/// A datagram, and who gets it; nobody is named where the socket is connected.
#[derive(Debug)]
struct Datagram {
    octets: Vec<u8>,
    peer: Option<SocketAddr>,
}

impl Outbox {
    pub(super) fn put(&mut self, octets: Vec<u8>, peer: Option<SocketAddr>) {
        self.waiting.push(Datagram { octets, peer });
    }

    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits in `later` waits behind what is here.
    pub(super) fn append(&mut self, later: &mut Self) {
        self.waiting.append(&mut later.waiting);
    }

    /// Keeps the first `most`.
    pub(super) fn truncate(&mut self, most: usize) {
        self.waiting.truncate(most);
    }

    /// Sends what the socket has room for; the rest stays. Which it would never
    /// take, `lost` is told.
    pub(super) fn send(&mut self, socket: &UdpSocket, mut lost: impl FnMut(&[u8])) {
        let mut sent = 0;
        // A batch at a time: nobody waits for all that another gets.
        for batch in self.waiting.chunks_mut(BATCH) {
            let count = send_batch(socket, batch, &mut lost);
            sent += count;
            if count < batch.len() {
                break;
            }
        }
        self.waiting.drain(..sent);
    }
}

/// How many the socket had room for, or would never take.
fn send_batch(socket: &UdpSocket, batch: &mut [Datagram], lost: &mut impl FnMut(&[u8])) -> usize {
    bring_together(batch);
    let mut sent = 0;
    while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
        match send_next(socket, rest) {
            Ok(count) => sent += count.max(1),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // What cannot be sent holds up nothing.
            Err(_) => {
                rest.iter().take(1).for_each(|datagram| lost(&datagram.octets));
                sent += 1;
            }
        }
    }
    sent
}

/// Puts each peer's datagrams side by side, the longest first, and the peers in
/// the order in which they came.
fn bring_together(batch: &mut [Datagram]) {
    let mut order = FxHashMap::default();
    for datagram in &*batch {
        let next = order.len();
        order.entry(datagram.peer).or_insert(next);
    }
    if order.len() < batch.len() {
        batch.sort_by_key(|datagram| (order.get(&datagram.peer).copied(), Reverse(datagram.octets.len())));
    }
}

/// Sends the first of `datagrams`, and what goes with it: how many that were.
fn send_next(socket: &UdpSocket, datagrams: &[Datagram]) -> io::Result<usize> {
    let count = segments(datagrams);
    if count == 1 {
        let alone = (1..datagrams.len()).find(|at| datagrams.get(*at..).is_some_and(|rest| segments(rest) > 1));
        return send_each(socket, datagrams.get(..alone.unwrap_or(datagrams.len())).unwrap_or_default());
    }
    let together = datagrams.get(..count).unwrap_or_default();
    match send_as_one(socket, together) {
        // Not every link takes them so: not one that encrypts, nor one whose
        // packets are shorter than one of them.
        Err(error) if error.kind() != ErrorKind::WouldBlock => send_each(socket, together),
        result => result,
    }
}

/// How many of the first of `datagrams` can go as one: they go to the same peer,
/// and only the last may be shorter than the first.
fn segments(datagrams: &[Datagram]) -> usize {
    let Some(first) = datagrams.first() else { return 0 };
    let is_next = |datagram: &&Datagram| datagram.peer == first.peer;
    let room = PACKET.checked_div(first.octets.len()).unwrap_or(0);
    let alike = datagrams.iter().take(room).take_while(is_next);
    let same = alike.take_while(|datagram| datagram.octets.len() == first.octets.len()).count();
    let shorter = datagrams.get(same).filter(is_next).filter(|datagram| datagram.octets.len() < first.octets.len());
    same.max(1) + usize::from(shorter.is_some() && same < room)
}

fn send_as_one(socket: &UdpSocket, datagrams: &[Datagram]) -> io::Result<usize> {
    let Some(first) = datagrams.first() else { return Ok(0) };
    let size = u16::try_from(first.octets.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let slices: Vec<_> = datagrams.iter().map(|datagram| IoSlice::new(&datagram.octets)).collect();
    let (peer, cut) = (first.peer.map(SockaddrStorage::from), [ControlMessage::UdpGsoSegments(&size)]);
    socket.try_io(Interest::WRITABLE, || {
        sendmsg(socket.as_raw_fd(), &slices, &cut, MsgFlags::MSG_DONTWAIT, peer.as_ref())?;
        Ok(datagrams.len())
    })
}

fn send_each(socket: &UdpSocket, datagrams: &[Datagram]) -> io::Result<usize> {
    let slices: Vec<_> = datagrams.iter().map(|datagram| [IoSlice::new(&datagram.octets)]).collect();
    let peers: Vec<_> = datagrams.iter().map(|datagram| datagram.peer.map(SockaddrStorage::from)).collect();
    let mut headers = MultiHeaders::preallocate(slices.len(), None);
    socket.try_io(Interest::WRITABLE, || {
        let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &peers, [], MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (UdpSocket, UdpSocket) {
        let [one, other] = [UdpSocket::bind("127.0.0.1:0").await, UdpSocket::bind("127.0.0.1:0").await];
        (one.unwrap(), other.unwrap())
    }

    async fn arrived(client: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut arrived = Vec::new();
        let mut octets = [0; 4096];
        for _ in 0..count {
            let length = timeout(Duration::from_secs(10), client.recv(&mut octets)).await.unwrap().unwrap();
            arrived.push(octets[..length].to_vec());
        }
        assert!(client.try_recv(&mut octets).is_err(), "and no more");
        arrived.sort();
        arrived
    }

    fn datagram(to: u16, length: usize) -> Datagram {
        Datagram { octets: vec![0; length], peer: Some(SocketAddr::from(([127, 0, 0, 1], to))) }
    }

    #[test]
    fn what_goes_as_one_goes_to_one_socket_and_only_its_last_is_shorter() {
        let segments = |batch: &[(u16, usize)]| {
            let mut batch: Vec<_> = batch.iter().map(|(to, length)| datagram(*to, *length)).collect();
            bring_together(&mut batch);
            super::segments(&batch)
        };
        assert_eq!(segments(&[]), 0);
        assert_eq!(segments(&[(1, 60)]), 1);
        assert_eq!(segments(&[(1, 60), (2, 60)]), 1);
        assert_eq!(segments(&[(1, 60), (2, 60), (1, 60)]), 2, "whatever came between them");
        assert_eq!(segments(&[(1, 60), (1, 72)]), 2, "A and AAAA, in whichever order they came");
        assert_eq!(segments(&[(1, 60), (1, 72), (1, 50)]), 2);
        assert_eq!(segments(&[(1, 60), (1, 60), (1, 50), (1, 50)]), 3);
        assert_eq!(segments(&[(1, 0), (1, 0)]), 1, "to the kernel, no length is no cut");
        assert_eq!(segments(&[(1, 32_500); 3]), 2, "no packet is longer");
        assert_eq!(segments(&[(1, 40_000); 3]), 1);
        assert_eq!(segments(&[(1, 66_000); 3]), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However replies are sent, each peer gets each of its own once, octet by octet.
        #[test]
        fn every_reply_arrives_once_and_whole(
            replies in prop::collection::vec((0..3_usize, prop_oneof![Just(55_usize), 1..1300_usize]), 1..150),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (socket, one) = pair().await;
                let (two, three) = pair().await;
                socket.writable().await.unwrap();
                let clients = [one, two, three];
                let mut outbox = Outbox::default();
                let mut expected = [const { Vec::new() }; 3];
                for (number, (client, length)) in (0_u8..).zip(&replies) {
                    let octets: Vec<u8> = (0..*length).map(|at| number.wrapping_add(at as u8)).collect();
                    outbox.put(octets.clone(), clients[*client].local_addr().ok());
                    expected[*client].push(octets);
                }
                while !outbox.is_empty() {
                    outbox.send(&socket, |_| panic!("nothing is lost"));
                    socket.writable().await.unwrap();
                }
                for (client, mut expected) in clients.iter().zip(expected) {
                    expected.sort();
                    assert_eq!(arrived(client, expected.len()).await, expected);
                }
            });
        }
    }
}
