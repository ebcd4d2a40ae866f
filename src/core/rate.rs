//! [`Rate`] and [`Bucket`]: so many a second, and so many at once.

use super::time::Moment;

/// Parts of a token, so that a slow rate fills in whole numbers at each
/// millisecond.
const PARTS: u64 = 1000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second.
    pub per_second: u32,
    /// Tokens it holds at most, and at first.
    pub burst: u32,
}

/// A token bucket. Over any time it gives at most as many tokens as its burst
/// and what the rate comes to in that time.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    parts: u64,
    filled: Moment,
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, now: Moment) -> Self {
        Self { parts: capacity(rate), filled: now }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, rate: Rate, now: Moment) -> bool {
        self.fill(rate, now);
        let Some(left) = self.parts.checked_sub(PARTS) else { return false };
        self.parts = left;
        true
    }

    /// Whether it is as good as a new one.
    pub fn is_full(&mut self, rate: Rate, now: Moment) -> bool {
        self.fill(rate, now);
        self.parts == capacity(rate)
    }

    fn fill(&mut self, rate: Rate, now: Moment) {
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let gained = millis.saturating_mul(u64::from(rate.per_second));
        self.parts = self.parts.saturating_add(gained).min(capacity(rate));
        self.filled = self.filled.max(now);
    }
}

fn capacity(rate: Rate) -> u64 {
    u64::from(rate.burst.max(1)) * PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let rate = Rate { per_second: 10, burst: 3 };
        let mut bucket = Bucket::full(rate, Moment::ZERO);
        let mut taken = |millis| (0..100).filter(|_| bucket.take(rate, Moment::from_millis(millis))).count();
        assert_eq!([taken(0), taken(99), taken(100), taken(150), taken(200), taken(9_000)], [3, 0, 1, 0, 1, 3]);
    }

    proptest! {
        #[test]
        fn no_span_of_time_gives_more_than_burst_and_rate(
            per_second in 1..2000u32,
            burst in 1..50u32,
            steps in prop::collection::vec((0..400u64, 0..60usize), 1..60),
        ) {
            let rate = Rate { per_second, burst };
            let mut bucket = Bucket::full(rate, Moment::ZERO);
            let mut now = 0;
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (step, tries) in steps {
                now += step;
                let count = (0..tries).filter(|_| bucket.take(rate, Moment::from_millis(now))).count();
                taken.push((now, u64::try_from(count).unwrap()));
            }
            for (index, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (end, count) in &taken[index..] {
                    sum += count;
                    let most = u64::from(burst) * 1000 + (end - start) * u64::from(per_second);
                    prop_assert!(sum * 1000 <= most, "{sum} within {} ms", end - start);
                }
            }
        }
    }
}
