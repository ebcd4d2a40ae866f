//! The clock that leases are measured on.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::core::time::Moment;

/// Now, counted from when the system started (`CLOCK_MONOTONIC`): the same for
/// this daemon and the next one, and, like the kernel's own timeouts, it does
/// not go on while the system is suspended.
pub(super) fn now() -> Moment {
    // Linux has had this clock ever since 2.6.
    let since = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Moment::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
