//! DNS over UDP: one loop per socket, and a task for each datagram that is
//! worth one.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::{ERROR_PAUSE, Limits, stopped};
use crate::core::cap::Cap;
use crate::core::config::Transport;
use crate::core::process::Ends;
use crate::core::query::Protocol;
use crate::dns::{Admission, Answer};

/// The largest query that is read whole; a longer one is cut, and so
/// malformed.
const BUFFER: usize = 4096;

pub(super) async fn serve<A: Answer>(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    answer: Arc<A>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let slots = limits.datagrams.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let free = Arc::new(Semaphore::new(slots));
    let mut buffer = vec![0; BUFFER];
    loop {
        let received = tokio::select! {
            () = stopped(&mut stop) => break,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, peer)) = received else {
            sleep(ERROR_PAUSE).await;
            continue;
        };
        let wire = buffer.get(..length).unwrap_or_default();
        match answer.admit(peer, Transport::Udp, wire) {
            Admission::Serve => {}
            Admission::Answered(reply) => {
                // Where there is no room to send it, silence does as well.
                let _ = socket.try_send_to(&reply, peer);
                continue;
            }
            Admission::Ignored => continue,
        }
        let Ok(slot) = Arc::clone(&free).try_acquire_owned() else {
            answer.reached(Cap::Datagrams, peer);
            continue;
        };
        let wire: Box<[u8]> = wire.into();
        let ends = Ends::new(Protocol::Udp, peer, local);
        let (socket, answer) = (Arc::clone(&socket), Arc::clone(&answer));
        tokio::spawn(async move {
            if let Some(reply) = answer.answer(ends, &wire).await {
                // A client that cannot be reached asks again, or does not.
                let _ = socket.send_to(&reply, peer).await;
            }
            drop(slot);
        });
    }
    let everything = u32::try_from(slots).unwrap_or(u32::MAX);
    let _ = free.acquire_many(everything).await;
}
