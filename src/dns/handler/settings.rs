//! [`Settings`]: by what the handler goes.

use std::sync::Arc;
use std::time::Duration;

use crate::core::config::{DenyAnswer, Dns};
use crate::core::name::Name;
use crate::core::rate::Rate;
use crate::core::time::Ttl;

/// How much longer than the upstream servers the whole journey may take: the
/// kernel's share.
const KERNEL_PATIENCE: Duration = Duration::from_secs(2);

/// What of the configuration concerns the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a denied name gets.
    pub deny: DenyAnswer,
    /// How long a client may remember a denial.
    pub deny_ttl: Ttl,
    /// Queries in flight at once.
    pub max_in_flight: usize,
    /// Queries in flight at once of one client.
    pub in_flight_per_client: usize,
    /// How fast one client may ask.
    pub rate: Rate,
    /// How long one query may take before it fails.
    pub patience: Duration,
    /// The clients' search suffixes.
    pub search: Arc<[Name]>,
}

impl From<&Dns> for Settings {
    fn from(dns: &Dns) -> Self {
        Self {
            deny: dns.deny,
            deny_ttl: Ttl::within(dns.deny_ttl),
            max_in_flight: dns.max_in_flight,
            in_flight_per_client: dns.in_flight_per_client,
            rate: Rate { per_second: dns.queries_per_second, burst: dns.burst },
            patience: dns.upstream_timeout + KERNEL_PATIENCE,
            search: Arc::clone(&dns.search),
        }
    }
}
