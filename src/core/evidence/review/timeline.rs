//! The session's time line: slots that grow wider as the journal goes on.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::record::Record;
use super::super::refusal::Refusal;
use super::story::Slot;

/// More slots than this are not kept; they are made twice as wide instead.
const SLOTS: i64 = 120;

/// What happened when. Lines may come in any order.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The width of a slot, seconds.
    seconds: i64,
    /// Answered and denied, by the number of the slot since 1970.
    slots: BTreeMap<i64, (u64, u64)>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { seconds: 1, slots: BTreeMap::new() }
    }
}

impl Timeline {
    pub(super) fn add(&mut self, record: &Record) {
        let denied = Refusal::of_wanted(record).is_some() || record.event == "packet.dropped";
        let answered = !denied && matches!(record.event.as_str(), "query.answered" | "query.empty");
        if !denied && !answered {
            return;
        }
        let slot = record.time.as_second().div_euclid(self.seconds);
        let counts = self.slots.entry(slot).or_default();
        counts.0 = counts.0.saturating_add(if answered { record.questions() } else { 0 });
        counts.1 = counts.1.saturating_add(if denied { record.questions() } else { 0 });
        while self.width() > SLOTS {
            self.widen();
        }
    }

    /// Every slot from the first to the last in which something happened.
    pub(super) fn told(&self) -> Vec<Slot> {
        let (Some((first, _)), Some((last, _))) = (self.slots.first_key_value(), self.slots.last_key_value()) else {
            return Vec::new();
        };
        let slot = |number: i64| {
            let (answered, denied) = self.slots.get(&number).copied().unwrap_or_default();
            let from = number.saturating_mul(self.seconds).max(Timestamp::MIN.as_second());
            let from = Timestamp::from_second(from).unwrap_or_default();
            Slot { from, seconds: self.seconds, answered, denied }
        };
        (*first..=*last).map(slot).collect()
    }

    /// From the first slot to the last, both included.
    fn width(&self) -> i64 {
        match (self.slots.first_key_value(), self.slots.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last.saturating_sub(*first).saturating_add(1),
            _ => 0,
        }
    }

    fn widen(&mut self) {
        self.seconds = self.seconds.saturating_mul(2);
        for (number, (answered, denied)) in std::mem::take(&mut self.slots) {
            let counts = self.slots.entry(number.div_euclid(2)).or_default();
            counts.0 = counts.0.saturating_add(answered);
            counts.1 = counts.1.saturating_add(denied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn denied(second: i64) -> Record {
        Record {
            time: Timestamp::from_second(second).unwrap(),
            event: "query.denied".into(),
            hostname: Some("a.example.com".into()),
            ..Record::default()
        }
    }

    #[test]
    fn a_short_session_is_told_second_by_second() {
        let mut timeline = Timeline::default();
        for second in [12, 10, 12] {
            timeline.add(&denied(second));
        }
        let told: Vec<_> = timeline.told().iter().map(|slot| (slot.from.as_second(), slot.denied)).collect();
        assert_eq!(told, [(10, 1), (11, 0), (12, 2)]);
    }

    proptest! {
        #[test]
        fn however_long_it_is_nothing_is_lost_and_it_stays_short(
            seconds in proptest::collection::vec(-377_705_023_201i64..=253_402_207_200, 1..60),
        ) {
            let mut timeline = Timeline::default();
            for second in &seconds {
                timeline.add(&denied(*second));
            }
            let told = timeline.told();
            prop_assert!(told.len() <= 120);
            prop_assert_eq!(told.iter().map(|slot| slot.denied).sum::<u64>(), seconds.len() as u64);
        }
    }
}
