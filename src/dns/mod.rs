//! The edge to DNS: listeners, the handler between them and the gate, and the
//! way to the upstream servers. hickory's types stay in here.

mod answer;
mod caps;
mod capture;
mod glance;
mod handler;
mod limits;
mod listener;
mod outbox;
mod repeat;
mod request;
mod sinkhole;
mod upstream;

pub use capture::Capture;
pub use glance::Glance;
pub use handler::{Handler, Hooks, Pass, Settings, Tracing};
pub use listener::{BindError, Limits, Listeners};
pub use sinkhole::Sinkhole;
pub use upstream::{Forwarder, read_answer};

use std::net::SocketAddr;

use crate::core::cap::Cap;
use crate::core::config::Transport;
use crate::core::process::Ends;
use crate::core::query::Client;

/// What stands between a transport and the gate: bytes in, bytes out.
pub trait Answer: Send + Sync + 'static {
    /// The answer to the message `wire` that was sent between `ends`; `None`
    /// where silence is the answer.
    fn answer(&self, ends: Ends, wire: &[u8]) -> impl Future<Output = Option<Vec<u8>>> + Send;

    /// What becomes of a message before anything is spent on it: no task, and
    /// no memory but that of a small answer, and of those only a few a second
    /// for each client.
    ///
    /// A question over UDP has its answer at once if it had it a moment ago and
    /// a [`Glance`] shows that nothing has changed.
    fn admit(&self, peer: SocketAddr, transport: Transport, wire: &[u8], glance: &mut Glance) -> Admission;

    /// The look at the kernel of a listener at `local`, for its own use.
    fn glance(&self, local: SocketAddr) -> Glance;

    /// Counts that `peer` met `cap`.
    fn reached(&self, cap: Cap, peer: SocketAddr);

    /// What is done once a second.
    fn round(&self);

    /// In whose name what `peer` holds is counted: all addresses of a client
    /// as one, and all strangers as one, so that nobody gains by having many.
    fn counted_as(&self, peer: SocketAddr) -> Client;
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is to be [answered](Answer::answer).
    Serve,
    /// It has its answer.
    Answered(Vec<u8>),
    /// Silence.
    Ignored,
}
