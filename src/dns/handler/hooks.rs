//! [`Hooks`]: what the handler asks of others.

use std::pin::Pin;
use std::sync::Arc;

use super::super::capture::Capture;
use super::super::glance::Glance;
use crate::core::process::{Ends, Traced};
use crate::core::query::Client;
use crate::core::time::WallTime;
use crate::gate::Edition;

/// What the handler asks of the rest of the daemon.
#[derive(Clone)]
pub struct Hooks {
    /// The wall clock.
    pub now: fn() -> WallTime,
    /// How often a client was denied, for `denied.cedarwall. CH TXT`.
    pub denials: Arc<dyn Fn(Client) -> u64 + Send + Sync>,
    /// Which process holds the client's end, for the event of a denial, which
    /// is held until this says so or gives up.
    pub trace: Arc<dyn Fn(Ends) -> Tracing + Send + Sync>,
    /// Where a client had sent what was captured.
    pub capture: Capture,
    /// For each listener, its look at the kernel.
    pub glance: Arc<dyn Fn() -> Glance + Send + Sync>,
    /// Turns whenever what answers rest on changes.
    pub edition: Edition,
}

/// Somebody is looking for a process.
pub type Tracing = Pin<Box<dyn Future<Output = Traced> + Send>>;
