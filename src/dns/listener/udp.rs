//! DNS over UDP: loops that take what has arrived and send what can be answered
//! at once, and a task for each datagram that is worth one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::datagrams::{Inbox, Outbox};
use super::{ERROR_PAUSE, Limits, stopped};
use crate::core::cap::Cap;
use crate::core::config::Transport;
use crate::core::process::Ends;
use crate::core::query::Protocol;
use crate::dns::{Admission, Answer};

pub(super) async fn serve<A: Answer>(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    answer: Arc<A>,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    let slots = limits.datagrams.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let free = Arc::new(Semaphore::new(slots));
    let mut loops = JoinSet::new();
    // All read one socket: with one for each processor the kernel would choose
    // between them by the client's port, and one client keep one of them busy.
    for _ in 0..available_parallelism().map_or(1, usize::from) {
        let counter =
            Counter { socket: Arc::clone(&socket), local, answer: Arc::clone(&answer), free: Arc::clone(&free) };
        loops.spawn(counter.serve(stop.clone()));
    }
    while loops.join_next().await.is_some() {}
    let everything = u32::try_from(slots).unwrap_or(u32::MAX);
    let _ = free.acquire_many(everything).await;
}

/// One loop's share of a socket.
struct Counter<A> {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    answer: Arc<A>,
    free: Arc<Semaphore>,
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
            glance.begin();
            for (wire, peer) in inbox.datagrams() {
                match self.answer.admit(peer, Transport::Udp, wire, &mut glance) {
                    Admission::Serve => self.hand_over(wire, peer),
                    Admission::Answered(reply) => outbox.put(reply, peer),
                    Admission::Ignored => {}
                }
            }
            outbox.send(&self.socket);
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
        let (socket, answer) = (Arc::clone(&self.socket), Arc::clone(&self.answer));
        tokio::spawn(async move {
            if let Some(reply) = answer.answer(ends, &wire).await {
                // A client that cannot be reached asks again, or does not.
                let _ = socket.send_to(&reply, peer).await;
            }
            drop(slot);
        });
    }
}
