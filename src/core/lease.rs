//! Leases: what the kernel holds open, for whom, and until when.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::decision::{Failure, Opening, Reason};
use super::name::Name;
use super::query::Client;
use super::time::Ttl;

/// One address of an answer, and the ports the policy permits on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The address.
    pub address: IpAddr,
    /// Its ports; not empty.
    pub openings: Arc<[Opening]>,
}

/// What an answer needs open before it may be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For whom.
    pub client: Client,
    /// Under which name: the question's.
    pub name: Name,
    /// Addresses and ports; empty for answers that lead to no connection.
    pub grants: Vec<Grant>,
    /// The TTL the answer would like to carry.
    pub ttl: Ttl,
    /// The longest the lease may live, where the policy looks at the time.
    pub at_most: Option<Duration>,
}

/// The proof that everything wanted is open. Only the firewall makes one, and
/// an answer cannot be built without it (G1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an answer needs the lease it rests on"]
pub struct Opened {
    ttl: Ttl,
}

impl Opened {
    /// States that the kernel has acknowledged a lease which outlives an
    /// answer of this TTL.
    pub(crate) const fn acknowledged(ttl: Ttl) -> Self {
        Self { ttl }
    }

    /// The longest TTL the answer may carry (G5).
    pub const fn ttl(self) -> Ttl {
        self.ttl
    }
}

/// Why nothing was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A cap says no.
    Denied(Reason),
    /// The kernel refused, or did not answer.
    Failed(Failure),
}
