//! Questions that were sent to another resolver, and came here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::core::process::Ends;

/// What knows of a captured flow where the client had sent it.
#[derive(Clone)]
pub struct Capture {
    arrivals: Arc<[SocketAddr]>,
    sent: Arc<dyn Fn(Ends) -> Option<Ends> + Send + Sync>,
}

impl Capture {
    /// What arrives at one of these addresses was captured; `sent` has both ends
    /// as the client has them, and may block for as long as the kernel takes to
    /// look it up.
    pub fn new(arrivals: Vec<SocketAddr>, sent: Arc<dyn Fn(Ends) -> Option<Ends> + Send + Sync>) -> Self {
        Self { arrivals: arrivals.into(), sent }
    }

    /// Nothing is captured.
    pub fn nothing() -> Self {
        Self::new(Vec::new(), Arc::new(Some))
    }

    /// Whether what arrives there was captured.
    pub(super) fn arrives_at(&self, local: SocketAddr) -> bool {
        self.arrivals.contains(&local)
    }

    /// Both ends as the client has them, and the resolver that it meant, if it
    /// did not mean the wall. `None` where the kernel has forgotten the flow: an
    /// answer would come from an address that the client never asked.
    pub(super) fn sent(&self, ends: Ends) -> Option<(Ends, Option<IpAddr>)> {
        if !self.arrives_at(ends.server) {
            return Some((ends, None));
        }
        (self.sent)(ends).map(|sent| (sent, Some(sent.server.ip())))
    }
}
