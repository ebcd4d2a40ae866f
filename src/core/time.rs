//! Time as the core sees it: an argument, never a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the daemon's monotonic clock, in milliseconds since an epoch of
/// the daemon's own choosing (its start).
///
/// Leases and caches are measured on this clock so that a stepped wall clock
/// can neither shorten nor extend them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);

    /// A moment so many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long from `earlier` to here; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// How long from `now` until here; zero if that has passed.
    pub const fn left(self, now: Self) -> Duration {
        self.since(now)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

/// A point on the wall clock, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Only two things look at it: a policy that mentions `context.now`, and the
/// time stamp of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// A record's time to live, in whole seconds (RFC 2181 section 8: at most
/// 2^31 - 1; a value with the top bit set is read as zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

impl Ttl {
    /// Zero: do not cache.
    pub const ZERO: Self = Self(0);

    /// Reads a TTL as it stands in a message.
    pub const fn from_wire(seconds: u32) -> Self {
        if seconds > i32::MAX as u32 {
            return Self::ZERO;
        }
        Self(seconds)
    }

    /// The longest TTL that fits into `duration`: rounded down, so that an
    /// answer never promises more than its lease holds.
    pub fn within(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_secs().min(i32::MAX as u64)).unwrap_or(i32::MAX as u32))
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_with_its_top_bit_set_is_zero() {
        assert_eq!(Ttl::from_wire(0x8000_0000), Ttl::ZERO);
        assert_eq!(Ttl::from_wire(0x7fff_ffff).as_secs(), 0x7fff_ffff);
    }

    #[test]
    fn a_ttl_is_rounded_down_into_its_duration() {
        assert_eq!(Ttl::within(Duration::from_millis(29_999)).as_secs(), 29);
    }

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        let now = Moment::from_millis(5);
        assert_eq!(now.left(Moment::from_millis(9)), Duration::ZERO);
        assert_eq!(Moment::from_millis(u64::MAX) + Duration::from_secs(1), Moment::from_millis(u64::MAX));
    }
}
