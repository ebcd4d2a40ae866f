//! [`Tally`]: how often something happened, and between which moments.

use jiff::Timestamp;
use serde::Serialize;

/// How often, first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// The earliest time.
    pub first: Timestamp,
    /// The latest time.
    pub last: Timestamp,
}

impl Tally {
    /// Nothing counted yet; what is counted next is at `time`.
    pub const fn begun(time: Timestamp) -> Self {
        Self { count: 0, first: time, last: time }
    }

    /// Counts once, at `time`; lines may come in any order.
    pub fn add(&mut self, time: Timestamp) {
        self.add_many(time, 1);
    }

    /// Counts `times` at once.
    pub fn add_many(&mut self, time: Timestamp, times: u64) {
        self.count = self.count.saturating_add(times);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_takes_lines_in_any_order() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut tally = Tally::begun(at(5));
        for second in [5, 9, 2] {
            tally.add(at(second));
        }
        tally.add_many(at(3), u64::MAX);
        assert_eq!(tally, Tally { count: u64::MAX, first: at(2), last: at(9) });
    }
}
