//! What the service manager is told (sd_notify(3)): that the wall is ready,
//! that it reads its files again, that it ends, and that it is alive.
//!
//! Own code, as the crates for it either take a name in the abstract namespace
//! for a file's, or bring a D-Bus client along. Without a service manager
//! nobody is told anything.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::nft::firewall::Firewall;

/// The service manager, if there is one, and whether the wall is ready.
#[derive(Clone, Debug)]
pub(super) struct ServiceManager {
    is_ready: Arc<AtomicBool>,
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// How often it wants to hear that the daemon is alive, at least.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that started this process, as its environment says.
    ///
    /// # Errors
    /// When there is one and it cannot be spoken to.
    pub(super) fn from_environment() -> io::Result<Self> {
        let is_ready = Arc::default();
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self { is_ready, socket: None, watchdog: None });
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up who answers queries.
        socket.set_nonblocking(true)?;
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        Ok(Self { is_ready, socket: Some(Arc::new((socket, address(&name)?))), watchdog })
    }

    /// Whether [`Self::ready`] was told.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// The wall stands and answers; `status` says so to people.
    pub(super) fn ready(&self, status: &str) {
        self.is_ready.store(true, Ordering::Release);
        self.tell(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The files are read again; [`Self::reloaded`] has to follow.
    pub(super) fn reloading(&self) {
        // Before the start is complete, there is nothing to go back to.
        if !self.is_ready() {
            return;
        }
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the policy again\n", now.as_micros()));
    }

    /// They have been read.
    pub(super) fn reloaded(&self, status: &str) {
        if self.is_ready() {
            self.ready(status);
        }
    }

    /// The daemon ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping; the wall stays closed\n");
    }

    /// Says that the daemon is alive for as long as it is: each time only
    /// after the firewall's thread has answered. Works until it is dropped.
    pub(super) async fn keep_alive(self, firewall: Firewall) {
        let Some(period) = self.watchdog else { return };
        // Twice as often as wanted (sd_watchdog_enabled(3)).
        let mut rounds = interval(period / 2);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            match timeout(period, firewall.ping()).await {
                Ok(Ok(())) => self.tell("WATCHDOG=1\n"),
                Ok(Err(error)) => tracing::error!("the service manager is not told that all is well: {error}"),
                Err(_) => tracing::error!("the service manager is not told that all is well: the firewall is stuck"),
            }
        }
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = self.socket.as_deref() else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!("the service manager does not listen: {error}");
        }
    }
}

/// A file, or a name in the abstract namespace, which begins with `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}
