//! The listeners: one UDP and one TCP socket for each configured address.

mod inbox;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Answer;
use super::limits::Quota;
use crate::core::config::Dns;

/// How long to wait after a socket error that is likely to persist, such as
/// running out of file descriptors, so as not to spin on it.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// Connections the kernel holds for us before we accept them.
const BACKLOG: i32 = 1024;
/// What the kernel keeps of datagrams that nobody has read yet, in octets of
/// its own counting: some 5,000 small ones, which is five clients' bursts as the
/// rules let them through. They outlast a moment without a processor.
///
/// And of those that are not sent yet: an answer to a forged sender that no
/// neighbour has waits for three seconds until the kernel gives up, for 1,024 of
/// them by default (`gc_thresh3`), and the others' answers must not.
const BUFFER: usize = 4 * 1024 * 1024;
/// How often the once-a-second work is done.
const ROUND: Duration = Duration::from_secs(1);

/// An address could not be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {transport} {address}: {source}; {advice}", advice = advice(.source, .transport, .address))]
pub struct BindError {
    /// `UDP` or `TCP`.
    transport: &'static str,
    address: SocketAddr,
    source: io::Error,
}

fn advice(source: &io::Error, transport: &str, address: &SocketAddr) -> String {
    let flag = if transport == "UDP" { 'u' } else { 't' };
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another server has it: `ss -l{flag}np 'sport = :{}'` shows which", address.port())
        }
        io::ErrorKind::AddrNotAvailable => "no interface has this address: `ip address` lists those there are".into(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need the capability CAP_NET_BIND_SERVICE".into(),
        _ => "check `listen` in the section `[dns]` of the configuration".into(),
    }
}

/// Caps of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams in work at once, per socket; more are dropped.
    pub datagrams: usize,
    /// Connections open at once; one client may have a quarter of them, and so
    /// may all strangers together.
    pub connections: usize,
    /// How long a connection may be idle.
    pub idle: Duration,
}

impl From<&Dns> for Limits {
    fn from(dns: &Dns) -> Self {
        // Beyond its own cap the handler still says SERVFAIL at once; only a
        // flood beyond that is dropped.
        let datagrams = dns.max_in_flight.saturating_mul(2).saturating_add(1024);
        Self { datagrams, connections: dns.max_connections, idle: dns.idle_timeout }
    }
}

/// Bound sockets, not yet served.
#[derive(Debug)]
pub struct Listeners {
    datagrams: Vec<(UdpSocket, SocketAddr)>,
    streams: Vec<TcpListener>,
    limits: Limits,
}

impl Listeners {
    /// Binds every address of `addresses`, UDP and TCP. Must be called inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// Names the first address that cannot be bound, and what to do.
    pub fn bind(addresses: &[SocketAddr], limits: Limits) -> Result<Self, BindError> {
        Self { datagrams: Vec::new(), streams: Vec::new(), limits }.and(addresses)
    }

    /// These and every address of `addresses`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn and(self, addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = self;
        for &address in addresses {
            let failed = |transport| move |source| BindError { transport, address, source };
            let datagrams = bind_udp(address).map_err(failed("UDP"))?;
            // Port 0 means any port, but the same for both.
            let address = datagrams.local_addr().map_err(failed("UDP"))?;
            let failed = |transport| move |source| BindError { transport, address, source };
            listeners.streams.push(bind_tcp(address).map_err(failed("TCP"))?);
            listeners.datagrams.push((datagrams, address));
        }
        Ok(listeners)
    }

    /// The addresses that were bound, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.datagrams.iter().map(|(_, address)| *address).collect()
    }

    /// Serves until `stop` holds true (or its sender is gone), then lets the
    /// queries in flight finish.
    pub async fn serve<A: Answer>(self, answer: Arc<A>, stop: watch::Receiver<bool>) {
        let mut sockets = JoinSet::new();
        for (socket, address) in self.datagrams {
            sockets.spawn(udp::serve(Arc::new(socket), address, Arc::clone(&answer), self.limits, stop.clone()));
        }
        let connections = Quota::new(self.limits.connections, self.limits.connections / 4);
        for listener in self.streams {
            let connections = Arc::clone(&connections);
            sockets.spawn(tcp::serve(listener, Arc::clone(&answer), connections, self.limits.idle, stop.clone()));
        }
        let (rounds, over) = (rounds(Arc::clone(&answer)), async { while sockets.join_next().await.is_some() {} });
        tokio::select! {
            () = over => {}
            () = rounds => {}
        }
        answer.round();
    }
}

/// Has the once-a-second work done, for ever.
async fn rounds<A: Answer>(answer: Arc<A>) {
    loop {
        sleep(ROUND).await;
        answer.round();
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    // Without SO_REUSEADDR: for UDP it would let a second process bind the
    // same address and take our queries.
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    // Beyond the host's limit where we may, up to it where not.
    if setsockopt(&socket, RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if setsockopt(&socket, SndBufForce, &BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // Old connections in TIME_WAIT must not keep a restart from binding.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Comes back when the daemon stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone can never say stop: that is a stop, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
