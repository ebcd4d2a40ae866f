//! Exchanges over UDP: one connected socket per query in flight, on a random
//! port, kept for a few queries more.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::any_port_for;
use super::message::{Judged, Transaction};
use crate::core::decision::Failure;

/// Sockets kept for later queries, per server: about as many as there are
/// queries in flight on a busy day, as opening one takes as long as a query.
const KEPT: usize = 256;
/// Queries after which a socket, and with it its port, is given up.
const MAX_USES: u32 = 256;
/// Age at which it is given up.
const MAX_AGE: Duration = Duration::from_secs(10);
/// How long the true answer may take after one that has only the name's case
/// wrong. Longer, and the server is one that does not repeat the case.
const FORGERY_PATIENCE: Duration = Duration::from_millis(100);
/// Larger than the payload we announce; a longer answer is cut, and so
/// malformed.
const BUFFER: usize = 4096;

/// The sockets to one server.
#[derive(Debug)]
pub(super) struct Sockets {
    server: SocketAddr,
    idle: Mutex<Vec<Socket>>,
}

#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    opened: Instant,
    uses: u32,
}

impl Sockets {
    pub(super) const fn new(server: SocketAddr) -> Self {
        Self { server, idle: Mutex::new(Vec::new()) }
    }

    /// Asks once, and waits for as long as the caller does. A socket on which
    /// an answer may still be due is never used again: dropping this future
    /// closes it.
    pub(super) async fn exchange(&self, transaction: &Transaction) -> Result<Judged, Failure> {
        let mut socket = self.take().await.map_err(|_| Failure::UpstreamUnreachable)?;
        let judged = socket.exchange(transaction).await.map_err(|_| Failure::UpstreamUnreachable)?;
        if judged != Judged::Misspelled {
            self.keep(socket);
        }
        Ok(judged)
    }

    async fn take(&self) -> io::Result<Socket> {
        if let Some(socket) = self.take_idle() {
            return Ok(socket);
        }
        // Port 0 and connect: the kernel picks a random port, and passes on
        // only what this server sends.
        let socket = UdpSocket::bind(any_port_for(self.server)).await?;
        socket.connect(self.server).await?;
        Ok(Socket { socket, opened: Instant::now(), uses: 0 })
    }

    fn take_idle(&self) -> Option<Socket> {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while !idle.is_empty() {
            let index = rand::random_range(0..idle.len());
            let socket = idle.swap_remove(index);
            if now.duration_since(socket.opened) < MAX_AGE {
                return Some(socket);
            }
        }
        None
    }

    fn keep(&self, socket: Socket) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && socket.uses < MAX_USES && socket.opened.elapsed() < MAX_AGE {
            idle.push(socket);
        }
    }
}

impl Socket {
    async fn exchange(&mut self, transaction: &Transaction) -> io::Result<Judged> {
        self.uses += 1;
        self.socket.send(transaction.wire()).await?;
        let mut patience = None;
        loop {
            let received = match patience {
                None => self.receive(transaction).await,
                Some(until) => match timeout_at(until, self.receive(transaction)).await {
                    Ok(received) => received,
                    Err(_) => return Ok(Judged::Misspelled),
                },
            };
            match received? {
                Judged::NotOurs => {}
                Judged::Misspelled => patience = patience.or(Some(Instant::now() + FORGERY_PATIENCE)),
                judged => return Ok(judged),
            }
        }
    }

    /// Waits for a message. The room for it is not held while there is none.
    async fn receive(&self, transaction: &Transaction) -> io::Result<Judged> {
        let received = || {
            let mut buffer = [0; BUFFER];
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            Ok(transaction.judge(buffer.get(..length).unwrap_or_default()))
        };
        self.socket.async_io(Interest::READABLE | Interest::ERROR, received).await
    }
}
