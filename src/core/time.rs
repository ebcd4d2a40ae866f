//! Time as the core sees it: an argument, never a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

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

impl FromStr for WallTime {
    type Err = WallTimeError;

    /// RFC 3339 (`2026-11-23T09:00:00Z`, `2026-11-23T10:00:00+01:00`), or a
    /// civil time with its zone (`2026-11-23T10:00[Europe/Berlin]`). A time
    /// without either would be another one on every machine.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An offset that is not the named zone's is refused by the latter alone.
        let timestamp = if text.contains('[') {
            text.parse::<jiff::Zoned>().map_err(|_| WallTimeError)?.timestamp()
        } else {
            text.parse().map_err(|_| WallTimeError)?
        };
        Ok(Self(timestamp.as_millisecond()))
    }
}

impl fmt::Display for WallTime {
    /// RFC 3339 in UTC.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => timestamp.fmt(formatter),
            Err(_) => write!(formatter, "{} ms", self.0),
        }
    }
}

/// The text is no [`WallTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a time is written 2026-11-23T09:00:00Z, or with its zone: 2026-11-23T10:00[Europe/Berlin]")]
pub struct WallTimeError;

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
    fn a_wall_time_says_its_zone() {
        let nine = "2026-11-23T09:00:00Z".parse::<WallTime>();
        assert_eq!(nine, Ok(WallTime(1_795_424_400_000)));
        for same in
            ["2026-11-23T10:00:00+01:00", "2026-11-23T10:00[Europe/Berlin]", "2026-11-23 04:00[America/New_York]"]
        {
            assert_eq!(same.parse(), nine, "{same}");
        }
        // Summer time is the zone's own affair.
        assert_eq!("2026-07-01T10:00[Europe/Berlin]".parse(), "2026-07-01T08:00:00Z".parse::<WallTime>());
        for wrong in [
            "",
            "now",
            "2026-11-23",
            "2026-11-23T09:00",
            "2026-02-30T09:00Z",
            "2026-11-23T09:00[Mars/Olympus]",
            "2026-11-23T10:00+05:00[Europe/Berlin]",
        ] {
            assert_eq!(wrong.parse::<WallTime>(), Err(WallTimeError), "{wrong:?}");
        }
        assert_eq!(nine.unwrap().to_string(), "2026-11-23T09:00:00Z");
    }

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        let now = Moment::from_millis(5);
        assert_eq!(now.left(Moment::from_millis(9)), Duration::ZERO);
        assert_eq!(Moment::from_millis(u64::MAX) + Duration::from_secs(1), Moment::from_millis(u64::MAX));
    }
}
