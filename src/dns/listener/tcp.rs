//! DNS over TCP (RFC 7766): pipelined, answered out of order, bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ERROR_PAUSE, stopped};
use crate::core::cap::Cap;
use crate::core::config::Transport;
use crate::core::process::Ends;
use crate::core::query::Protocol;
use crate::dns::limits::{Full, Quota};
use crate::dns::{Admission, Answer, Glance};

/// Queries of one connection in work at once; the rest waits in the kernel.
const PIPELINE: usize = 64;
/// How long a message that has begun may take to arrive or to leave.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn serve<A: Answer>(
    listener: TcpListener,
    answer: Arc<A>,
    connections: Arc<Quota>,
    idle: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            sleep(ERROR_PAUSE).await;
            continue;
        };
        let slot = match connections.take(answer.counted_as(peer)) {
            Ok(slot) => slot,
            Err(full) => {
                let per_client = full == Full::ForClient;
                answer.reached(if per_client { Cap::ConnectionsPerClient } else { Cap::ConnectionsTotal }, peer);
                continue;
            }
        };
        let (answer, stop) = (Arc::clone(&answer), stop.clone());
        open.spawn(async move {
            converse(stream, peer, answer, idle, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// One connection: a reader that starts a task per query, and a writer that
/// sends the answers as they become ready.
async fn converse<A: Answer>(
    stream: TcpStream,
    peer: SocketAddr,
    answer: Arc<A>,
    idle: Duration,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are single small writes; waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let ends = Ends::new(Protocol::Tcp, peer, local);
    let (reader, writer) = stream.into_split();
    let (replies, outbox) = mpsc::channel(PIPELINE);
    let closed = replies.clone();
    let reading = read_queries(reader, peer, ends, answer, idle, replies);
    let reading = async {
        tokio::select! {
            () = reading => {}
            () = closed.closed() => {}
            () = stopped(&mut stop) => {}
        }
        drop(closed);
    };
    tokio::join!(reading, write_replies(writer, outbox));
}

async fn read_queries<A: Answer>(
    mut reader: impl AsyncRead + Unpin,
    peer: SocketAddr,
    ends: Ends,
    answer: Arc<A>,
    idle: Duration,
    replies: mpsc::Sender<Vec<u8>>,
) {
    let free = Arc::new(Semaphore::new(PIPELINE));
    let mut glance = Glance::blind();
    loop {
        let Ok(slot) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        let wire = match next_message(&mut reader, idle).await {
            Some(Ok(wire)) => wire,
            Some(Err(_)) => return,
            // Idle only if nothing is owed (RFC 7766 section 6.2.3); this
            // query's own slot is the one that is always taken.
            None if free.available_permits() == PIPELINE - 1 => return,
            None => continue,
        };
        match answer.admit(peer, Transport::Tcp, &wire, &mut glance) {
            Admission::Serve => {}
            // Whoever does not read its answers is not read either.
            Admission::Answered(reply) => match replies.send(reply).await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Admission::Ignored => continue,
        }
        let (answer, replies) = (Arc::clone(&answer), replies.clone());
        tokio::spawn(async move {
            if let Some(reply) = answer.answer(ends, &wire).await {
                let _ = replies.send(reply).await;
            }
            drop(slot);
        });
    }
}

/// The next message; `None` if none has begun within `idle`.
async fn next_message(reader: &mut (impl AsyncRead + Unpin), idle: Duration) -> Option<io::Result<Vec<u8>>> {
    let mut first = [0];
    let begun = timeout(idle, reader.read_exact(&mut first)).await.ok()?;
    let rest = async {
        begun?;
        let [high] = first;
        let low = reader.read_u8().await?;
        let mut wire = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        reader.read_exact(&mut wire).await?;
        Ok(wire)
    };
    Some(timeout(MESSAGE_PATIENCE, rest).await.unwrap_or_else(|late| Err(late.into())))
}

async fn write_replies(mut writer: impl AsyncWrite + Unpin, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(reply) = outbox.recv().await {
        let Ok(length) = u16::try_from(reply.len()) else {
            return;
        };
        let framed = [length.to_be_bytes().as_slice(), &reply].concat();
        match timeout(MESSAGE_PATIENCE, writer.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
