//! [`Drops`]: which refused packets are told one by one, and which only
//! counted. It is told of some packets, and of the kernel's counts of all of
//! them; what it has told adds up to those counts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::packet::Way;
use super::query::Client;
use super::rate::{Bucket, Rate};
use super::time::Moment;

/// How many of one party's packets are told one by one.
const RATE: Rate = Rate { per_second: 2, burst: 20 };
/// How long a party has to send nothing new until it is told of again, once it
/// has used that up; and how often counts are told at most.
const RHYTHM: Duration = Duration::from_secs(1);
/// What is told one by one once is only counted until it has been silent for
/// as long.
const SILENCE: Duration = Duration::from_secs(60);
/// As many that were not told one by one are told at once; fewer, after a
/// minute.
const MANY: u64 = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// Places remembered over all parties, and candidates for the busiest one of
/// each. When full, the rest is only counted.
const MAX_PLACES: usize = 8192;
const MAX_CANDIDATES: usize = 64;

/// Whose packets the kernel counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A client that the configuration names.
    Client(Client),
    /// All others; in sidecar mode, all that share the namespace.
    Others,
}

/// Packets that were not told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose.
    pub party: Party,
    /// How many.
    pub packets: u64,
    /// Over how long.
    pub over: Duration,
    /// Where most of those went that the kernel told of, and from whom.
    pub most: Option<Way>,
}

/// What is to be told of refused packets. The memory it takes is bounded,
/// whatever is sent.
#[derive(Debug, Default)]
pub struct Drops {
    /// When each place was last tried.
    places: HashMap<Way, Moment>,
    tidied: Moment,
    parties: BTreeMap<Party, Account>,
    told: Option<Moment>,
}

/// One party's.
#[derive(Debug, Default)]
struct Account {
    bucket: Option<Bucket>,
    /// Until then, it sends more than is told one by one.
    flood: Option<Moment>,
    /// What the kernel said last, and all it has said.
    last: u64,
    counted: u64,
    /// What had been counted the time before: by now, the log has told of it
    /// whatever it is going to tell.
    settled: u64,
    /// Of all that: what was told, in either way.
    told: u64,
    /// Since when there is something that was not.
    since: Option<Moment>,
    candidates: HashMap<Way, u64>,
}

impl Drops {
    /// The kernel's counts from before: nobody is told of them.
    pub fn begin(&mut self, counts: impl IntoIterator<Item = (Party, u64)>) {
        for (party, count) in counts {
            self.parties.entry(party).or_default().last = count;
        }
    }

    /// Whether a packet that the kernel told of is to be told by itself: the
    /// first one to its place, while there are not too many of them.
    pub fn hear(&mut self, party: Party, way: Way, now: Moment) -> bool {
        let account = self.parties.entry(party).or_default();
        let is_new = match self.places.get_mut(&way) {
            Some(seen) => now.since(std::mem::replace(seen, now)) >= SILENCE,
            None => true,
        };
        let is_told = is_new && account.affords(now) && remember(&mut self.places, &mut self.tidied, way, now);
        if is_told {
            account.told += 1;
            return true;
        }
        if account.candidates.len() < MAX_CANDIDATES || account.candidates.contains_key(&way) {
            *account.candidates.entry(way).or_default() += 1;
        }
        false
    }

    /// What the kernel has counted by now; whether that is more than before. A
    /// count that is lower than before began anew. Between one call and the next
    /// it is time to [`hear`](Self::hear) of whatever was counted.
    pub fn count(&mut self, counts: impl IntoIterator<Item = (Party, u64)>, now: Moment) -> bool {
        let mut is_more = false;
        for (party, count) in counts {
            let account = self.parties.entry(party).or_default();
            is_more |= count != account.last;
            account.settled = account.counted;
            account.counted += if count < account.last { count } else { count - account.last };
            account.last = count;
            if account.counted > account.told {
                account.since.get_or_insert(now);
            }
        }
        is_more
    }

    /// Whether anything waits for its line.
    pub fn is_waiting(&self) -> bool {
        self.parties.values().any(|account| account.untold() >= MANY)
    }

    /// What is to be told by now of packets that were only counted: at most
    /// one line a second, of the party with the most of them.
    pub fn due(&mut self, now: Moment) -> Option<Summary> {
        if self.told.is_some_and(|told| now.since(told) < RHYTHM) {
            return None;
        }
        let due = |account: &Account| {
            let waiting = account.since.map_or(Duration::ZERO, |since| now.since(since));
            let untold = account.settled.saturating_sub(account.told);
            if untold >= MANY || waiting >= MINUTE { untold } else { 0 }
        };
        let summary = self.busiest(due, now)?;
        self.told = Some(now);
        Some(summary)
    }

    /// All that has not been told, before everything ends.
    pub fn rest(&mut self, now: Moment) -> Vec<Summary> {
        std::iter::from_fn(|| self.busiest(Account::untold, now)).collect()
    }

    /// What is to be told of the party of which that is most.
    fn busiest(&mut self, to_tell: impl Fn(&Account) -> u64, now: Moment) -> Option<Summary> {
        let parties = self.parties.iter_mut().map(|(party, account)| (party, to_tell(account), account));
        let (party, packets, account) =
            parties.max_by_key(|(_, packets, _)| *packets).filter(|(_, packets, _)| *packets > 0)?;
        account.told += packets;
        let over = account.since.take().map_or(Duration::ZERO, |since| now.since(since));
        let candidates = std::mem::take(&mut account.candidates);
        let most = candidates.into_iter().max_by_key(|(way, count)| (*count, *way)).map(|(way, _)| way);
        // Counts come once a second: what was counted first happened in the
        // second before.
        Some(Summary { party: *party, packets, over: over + RHYTHM, most })
    }
}

impl Account {
    /// More may have been told than counted, for an instant.
    const fn untold(&self) -> u64 {
        self.counted.saturating_sub(self.told)
    }

    fn affords(&mut self, now: Moment) -> bool {
        let bucket = self.bucket.get_or_insert_with(|| Bucket::full(RATE, now));
        let affords = self.flood.is_none_or(|until| now >= until) && bucket.take(RATE, now);
        self.flood = (!affords).then(|| now + RHYTHM);
        affords
    }
}

/// Whether there was room for it.
fn remember(places: &mut HashMap<Way, Moment>, tidied: &mut Moment, way: Way, now: Moment) -> bool {
    if places.len() >= MAX_PLACES && now.since(*tidied) >= RHYTHM {
        *tidied = now;
        places.retain(|_, seen| now.since(*seen) < SILENCE);
    }
    let has_room = places.len() < MAX_PLACES || places.contains_key(&way);
    if has_room {
        places.insert(way, now);
    }
    has_room
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(last: u8) -> Client {
        Client::new([10, 77, 0, last].into())
    }

    fn way(from: u8, to: u8, port: u16) -> Way {
        Way { client: client(from), address: [192, 0, 2, to].into(), protocol: 6, port: Some(port) }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn the_first_packet_to_each_place_is_told_and_its_repetitions_are_counted() {
        let (mut drops, party) = (Drops::default(), Party::Client(client(2)));
        drops.begin([(party, 1_000)]);
        assert!(drops.hear(party, way(2, 7, 443), at(0)));
        for again in [1_000, 3_000, 7_000] {
            assert!(!drops.hear(party, way(2, 7, 443), at(again)));
        }
        assert!(drops.hear(party, way(2, 7, 80), at(7_000)), "another port is another place");
        drops.count([(party, 1_005)], at(8_000));
        assert_eq!(drops.due(at(8_000)), None, "a few wait");
        drops.count([(party, 1_005)], at(68_000));
        let summary = drops.due(at(68_000)).unwrap();
        assert_eq!((summary.packets, summary.most), (3, Some(way(2, 7, 443))));
        assert_eq!(drops.rest(at(68_000)), []);
        assert!(drops.hear(party, way(2, 7, 443), at(70_000)), "after a minute of silence it is news");
    }

    #[test]
    fn a_flood_is_one_line_a_second_and_nothing_of_it_is_missing() {
        let (mut drops, party) = (Drops::default(), Party::Client(client(2)));
        let (mut single, mut summaries, mut sum) = (0, 0, 0);
        for millis in 0..10_000 {
            // A thousand packets in each millisecond, one of which is told.
            let port = u16::try_from(millis).unwrap();
            single += u64::from(drops.hear(party, way(2, 7, port), at(millis)));
            if millis % 100 == 99 {
                drops.count([(party, 1_000 * (millis + 1))], at(millis));
            }
            if let Some(summary) = drops.due(at(millis)) {
                summaries += 1;
                sum += summary.packets;
            }
        }
        assert_eq!(single, 20, "the burst, and then no more while it lasts");
        assert!((8..=10).contains(&summaries), "{summaries} lines in ten seconds");
        sum += drops.rest(at(10_000)).iter().map(|summary| summary.packets).sum::<u64>();
        assert_eq!(single + sum, 10_000_000);
        assert!(drops.hear(party, way(2, 8, 443), at(12_000)), "it is over");
    }

    #[test]
    fn what_the_log_tells_only_after_it_was_counted_is_told_once() {
        let (mut drops, party) = (Drops::default(), Party::Others);
        drops.count([(party, 30)], at(0));
        assert_eq!(drops.due(at(0)), None, "the log may still tell of them");
        assert!((1..=3).all(|port| drops.hear(party, way(2, 7, port), at(100))));
        drops.count([(party, 30)], at(1_000));
        assert_eq!(drops.due(at(1_000)).map(|summary| summary.packets), Some(27));
        assert_eq!(drops.rest(at(1_000)), []);
    }

    #[test]
    fn one_partys_flood_silences_nobody_else() {
        let (mut drops, loud, quiet) = (Drops::default(), Party::Client(client(2)), Party::Client(client(3)));
        (0..5_000).for_each(|port| _ = drops.hear(loud, way(2, 7, port), at(0)));
        assert!(drops.hear(quiet, way(3, 7, 443), at(1)));
    }

    #[test]
    fn a_counter_that_began_anew_loses_nothing_that_was_counted() {
        let (mut drops, party) = (Drops::default(), Party::Others);
        drops.begin([(party, 500)]);
        drops.count([(party, 530)], at(1_000));
        drops.count([(party, 40)], at(2_000));
        assert_eq!(drops.rest(at(2_000)).first().map(|summary| summary.packets), Some(70));
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let mut drops = Drops::default();
        for number in 0..200_000_u32 {
            let [_, high, middle, low] = number.to_be_bytes();
            let party = Party::Client(Client::new([10, 0, high, middle].into()));
            let way = Way { port: Some(u16::from(low)), ..way(2, middle, 0) };
            drops.hear(party, way, at(u64::from(number) / 100));
        }
        assert!(drops.places.len() <= MAX_PLACES);
        assert!(drops.parties.values().all(|account| account.candidates.len() <= MAX_CANDIDATES));
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_the_kernel_counted(
            steps in prop::collection::vec((0..3_000_u64, 0..3_u8, 0..30_u16, 1..40_u64, any::<bool>()), 1..80),
        ) {
            let mut drops = Drops::default();
            let (mut now, mut told) = (0, 0);
            let mut counts: BTreeMap<Party, u64> = BTreeMap::new();
            let mut late = None;
            for (step, from, port, packets, is_late) in steps {
                now += step;
                let party = Party::Client(client(from));
                let way = way(from, 7, port);
                // The log tells at once, or after the next count.
                told += late.take().map_or(0, |(party, way)| u64::from(drops.hear(party, way, at(now))));
                if is_late {
                    late = Some((party, way));
                } else {
                    told += u64::from(drops.hear(party, way, at(now)));
                }
                *counts.entry(party).or_default() += packets;
                drops.count(counts.clone(), at(now));
                told += drops.due(at(now)).map_or(0, |summary| summary.packets);
            }
            told += drops.rest(at(now)).iter().map(|summary| summary.packets).sum::<u64>();
            prop_assert_eq!(told, counts.values().sum::<u64>());
        }
    }
}
