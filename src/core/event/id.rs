//! [`EventId`]: which event it is, of all that all daemons ever tell.

use std::fmt;

use serde::{Serialize, Serializer};

/// A daemon's run from start to end, unlike any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run(u64);

impl Run {
    /// The run that began `started` seconds after 1970, told apart from those
    /// that began in the same second by `rest`: when in that second, and chance.
    pub fn new(started: u32, rest: u32) -> Self {
        Self(u64::from(started) << 32 | u64::from(rest))
    }

    /// Its event of this number.
    pub const fn event(self, number: u64) -> EventId {
        EventId { run: self, number }
    }
}

/// An event's id: 16 hexadecimal digits of its daemon's run, `-`, and 10 of its
/// number in that run. As texts they are in the order of the journal: the first
/// eight digits are the second in which the daemon began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    run: Run,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}-{:010x}", self.run.0, self.number)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
