//! DNS over UDP: loops that take what has arrived and send what can be answered
//! at once, and a task for each datagram that is worth one. What tasks answer
//! at about the same time is sent together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::net::UdpSocket;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use super::inbox::Inbox;
use super::{ERROR_PAUSE, Limits, stopped};
use crate::core::cap::Cap;
use crate::core::config::Transport;
use crate::core::process::Ends;
use crate::core::query::Protocol;
use crate::dns::outbox::Outbox;
use crate::dns::{Admission, Answer};

/// Replies of tasks that are sent without waiting for more.
const TOGETHER: usize = 16;
/// Replies that wait at most where the socket has no room; of more, silence
/// does as well: a client asks again.
const MOST_WAITING: usize = 4096;

pub(super) async fn serve<A: Answer>(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    answer: Arc<A>,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    let slots = limits.datagrams.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let free = Arc::new(Semaphore::new(slots));
    let replies = Arc::new(Replies::default());
    let mut loops = JoinSet::new();
    // All read one socket: with one for each processor the kernel would choose
    // between them by the client's port, and one client keep one of them busy.
    for _ in 0..available_parallelism().map_or(1, usize::from) {
        let (socket, answer) = (Arc::clone(&socket), Arc::clone(&answer));
        let (free, replies) = (Arc::clone(&free), Arc::clone(&replies));
        loops.spawn(Counter { socket, local, answer, free, replies }.serve(stop.clone()));
    }
    let answered = async {
        while loops.join_next().await.is_some() {}
        let everything = u32::try_from(slots).unwrap_or(u32::MAX);
        let _ = free.acquire_many(everything).await;
    };
    tokio::select! {
        () = answered => {}
        () = replies.deliver(&socket) => {}
    }
    replies.send(&socket);
}

/// Replies of tasks that wait to be sent together. A datagram that is sent by
/// itself wakes whoever waits for it by itself, and that takes longer than
/// sending it.
#[derive(Default)]
struct Replies {
    waiting: Mutex<Outbox>,
    ready: Notify,
}

impl Replies {
    fn put(&self, reply: Vec<u8>, peer: SocketAddr, socket: &UdpSocket) {
        let mut waiting = self.waiting();
        waiting.put(reply, Some(peer));
        let count = waiting.len();
        drop(waiting);
        if count == 1 {
            self.ready.notify_one();
        } else if count >= TOGETHER {
            self.send(socket);
        }
    }

    /// What the socket had no room for waits here.
    fn keep(&self, unsent: &mut Outbox) {
        if unsent.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        waiting.append(unsent);
        waiting.truncate(MOST_WAITING);
        drop(waiting);
        self.ready.notify_one();
    }

    /// Sends what waits, for ever: once those tasks that could go on have done
    /// so, and the socket has room.
    async fn deliver(&self, socket: &UdpSocket) {
        loop {
            self.ready.notified().await;
            yield_now().await;
            while !self.send(socket) && socket.writable().await.is_ok() {}
        }
    }

    /// Whether there was room for all of it.
    fn send(&self, socket: &UdpSocket) -> bool {
        let mut unsent = std::mem::take(&mut *self.waiting());
        unsent.send(socket, |_| {});
        let was_room = unsent.is_empty();
        self.keep(&mut unsent);
        was_room
    }

    fn waiting(&self) -> MutexGuard<'_, Outbox> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One loop's share of a socket.
struct Counter<A> {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    answer: Arc<A>,
    free: Arc<Semaphore>,
    replies: Arc<Replies>,
}

impl<A: Answer> Counter<A> {
    async fn serve(self, mut stop: watch::Receiver<bool>) {
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::default());
        let mut glance = self.answer.glance(self.local);
        loop {
            let ready = tokio::select! {
                () = stopped(&mut stop) => return,
                ready = self.socket.readable() => ready,
            };
            match ready.and_then(|()| inbox.receive(&self.socket)) {
                Ok(()) => {}
                // Another loop was faster.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    sleep(ERROR_PAUSE).await;
                    continue;
                }
            }
            glance.begin(Instant::now());
            for (wire, peer) in inbox.datagrams() {
                match self.answer.admit(peer, Transport::Udp, wire, &mut glance) {
                    Admission::Serve => self.hand_over(wire, peer),
                    Admission::Answered(reply) => outbox.put(reply, Some(peer)),
                    Admission::Ignored => {}
                }
            }
            outbox.send(&self.socket, |_| {});
            self.replies.keep(&mut outbox);
            if inbox.is_full() {
                // There is more, and others want to work, too.
                yield_now().await;
            }
        }
    }

    fn hand_over(&self, wire: &[u8], peer: SocketAddr) {
        let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() else {
            return self.answer.reached(Cap::Datagrams, peer);
        };
        let wire: Box<[u8]> = wire.into();
        let ends = Ends::new(Protocol::Udp, peer, self.local);
        let (socket, answer, replies) = (Arc::clone(&self.socket), Arc::clone(&self.answer), Arc::clone(&self.replies));
        tokio::spawn(async move {
            if let Some(reply) = answer.answer(ends, &wire).await {
                replies.put(reply, peer, &socket);
            }
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_waits_until_the_socket_has_room() {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (replies, peer) = (Replies::default(), client.local_addr().unwrap());
        // Until the runtime has looked at it, a new socket is as one without room.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let mut of_the_loop = Outbox::default();
        of_the_loop.put(vec![0], Some(peer));
        of_the_loop.send(&socket, |_| {});
        replies.keep(&mut of_the_loop);
        (1..=u8::try_from(TOGETHER).unwrap()).for_each(|number| replies.put(vec![number], peer, &socket));
        assert_eq!(replies.waiting().len(), TOGETHER + 1, "none was sent, and none is lost");

        let arrived = async {
            let mut arrived = Vec::new();
            while arrived.len() <= TOGETHER {
                let mut octet = [0];
                client.recv(&mut octet).await.unwrap();
                arrived.extend(octet);
            }
            arrived.sort_unstable();
            arrived
        };
        tokio::select! {
            () = replies.deliver(&socket) => unreachable!("it never ends"),
            arrived = arrived => assert_eq!(arrived, (0..=16).collect::<Vec<u8>>()),
            () = sleep(std::time::Duration::from_secs(10)) => panic!("answers are missing"),
        }
    }
}
