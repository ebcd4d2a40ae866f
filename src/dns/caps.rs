//! [`Caps`]: how fast clients may ask, and who has met which cap.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::core::cap::{Cap, Party, Reached, Tally};
use crate::core::query::Client;
use crate::core::rate::{Bucket, Rate};
use crate::core::time::Moment;

/// Refusals that a client gets a second when it asks too fast; beyond that it
/// gets silence.
const REFUSALS: Rate = Rate { per_second: 20, burst: 50 };

/// The clients' buckets, and the tally of caps.
#[derive(Debug)]
pub(super) struct Caps {
    rate: Rate,
    /// As many as clients that have asked within the last seconds; all
    /// strangers have one.
    buckets: Mutex<HashMap<Client, Buckets>>,
    tally: Mutex<Tally>,
    epoch: Instant,
}

#[derive(Debug)]
struct Buckets {
    queries: Bucket,
    refusals: Bucket,
}

/// Whether a question comes too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It does not.
    Fair,
    /// It is to be refused.
    TooFast,
    /// It is not even to be refused.
    Flood,
}

impl Caps {
    /// Nobody has asked yet.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default(), tally: Mutex::default(), epoch: Instant::now() }
    }

    /// Counts a message of `client`.
    pub(super) fn pace(&self, client: Client) -> Pace {
        let now = self.now();
        let mut buckets = locked(&self.buckets);
        let new = || Buckets { queries: Bucket::full(self.rate, now), refusals: Bucket::full(REFUSALS, now) };
        let buckets = buckets.entry(client).or_insert_with(new);
        if buckets.queries.take(self.rate, now) {
            return Pace::Fair;
        }
        if buckets.refusals.take(REFUSALS, now) { Pace::TooFast } else { Pace::Flood }
    }

    /// Counts that `party` met `cap`; returns what is to be told of it at once.
    pub(super) fn reached(&self, cap: Cap, party: Party) -> Option<Reached> {
        locked(&self.tally).add(cap, party, self.now())
    }

    /// What else is to be told, and forgets whoever has been quiet.
    pub(super) fn round(&self) -> Vec<Reached> {
        let now = self.now();
        locked(&self.buckets)
            .retain(|_, buckets| !(buckets.queries.is_full(self.rate, now) && buckets.refusals.is_full(REFUSALS, now)));
        locked(&self.tally).due(now)
    }

    fn now(&self) -> Moment {
        Moment::from_millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_refused_a_few_times_and_then_met_with_silence() {
        let caps = Caps::new(Rate { per_second: 1, burst: 100 });
        let client = |last| Client::new([192, 0, 2, last].into());
        let mut paces = HashMap::from([(Pace::Fair as u8, 0), (Pace::TooFast as u8, 0), (Pace::Flood as u8, 0)]);
        for _ in 0..10_000 {
            *paces.entry(caps.pace(client(1)) as u8).or_default() += 1;
        }
        let [fair, refused, flood] = [Pace::Fair, Pace::TooFast, Pace::Flood].map(|pace| paces[&(pace as u8)]);
        assert!((100..105).contains(&fair), "{fair}");
        assert!((50..100).contains(&refused), "{refused}");
        assert_eq!(fair + refused + flood, 10_000);
        assert_eq!(caps.pace(client(2)), Pace::Fair, "nobody pays for another");
        assert_eq!(caps.buckets.lock().unwrap().len(), 2);
    }

    #[test]
    fn who_has_been_quiet_costs_no_memory() {
        let caps = Caps::new(Rate { per_second: 1_000_000, burst: 1 });
        caps.pace(Client::new([192, 0, 2, 1].into()));
        std::thread::sleep(std::time::Duration::from_millis(5));
        caps.round();
        assert!(caps.buckets.lock().unwrap().is_empty());
    }
}
