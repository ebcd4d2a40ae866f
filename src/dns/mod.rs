//! The edge to DNS: listeners, the handler between them and the gate, and the
//! way to the upstream servers. hickory's types stay in here.

mod answer;
mod handler;
mod limits;
mod listener;
mod request;
mod upstream;

pub use handler::{Handler, Hooks, Pass, Settings};
pub use listener::{BindError, Limits, Listeners};
pub use upstream::{Forwarder, read_answer};

use std::net::SocketAddr;

use crate::core::config::Transport;
use crate::core::query::Client;

/// What stands between a transport and the gate: bytes in, bytes out.
pub trait Answer: Send + Sync + 'static {
    /// The answer to the message `wire` from `peer`; `None` where silence is
    /// the answer.
    fn answer(
        &self,
        peer: SocketAddr,
        transport: Transport,
        wire: &[u8],
    ) -> impl Future<Output = Option<Vec<u8>>> + Send;

    /// In whose name what `peer` holds is counted: all addresses of a client
    /// as one, and all strangers as one, so that nobody gains by having many.
    fn counted_as(&self, peer: SocketAddr) -> Client;
}
