//! [`Decisions`]: what was decided, where nothing but the agent and the
//! question counts: for every name of a slice where policies cannot tell them
//! apart, and otherwise for one.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Asked;
use super::decide::Common;
use crate::core::decision::Decision;
use crate::core::name::Name;
use crate::core::query::Agent;

/// How many decisions for one name are remembered.
const DECISIONS: usize = 65_536;
/// How much those for all names of a slice may weigh together: each
/// [`ENTRY`], and one for each policy of its slice, which takes some 24 octets
/// at most. Their keys are as long as their slices, so their number alone would
/// bound nothing.
const COMMON_WEIGHT: u64 = 262_144;
const ENTRY: u64 = 16;
/// How many of those there usually are.
const COMMON_DECISIONS: usize = 4096;

/// Remembered decisions; those that were asked for longest ago go first.
#[derive(Debug)]
pub(super) struct Decisions {
    of: Cache<(Agent, Name, Asked), Arc<Decision>>,
    /// By the numbers of the slice's policies.
    of_slices: Cache<(Agent, Box<[u32]>), Arc<Common>, ByPolicies>,
    /// The last that was noted: names below one domain come to the same, and
    /// that is written down once.
    last: Mutex<Option<Arc<Decision>>>,
}

#[derive(Clone, Debug)]
struct ByPolicies;

impl Weighter<(Agent, Box<[u32]>), Arc<Common>> for ByPolicies {
    fn weight(&self, (_, clauses): &(Agent, Box<[u32]>), _: &Arc<Common>) -> u64 {
        ENTRY + u64::try_from(clauses.len()).unwrap_or(u64::MAX - ENTRY)
    }
}

impl Decisions {
    /// None yet.
    pub(super) fn new() -> Self {
        let of_slices = Cache::with_weighter(COMMON_DECISIONS, COMMON_WEIGHT, ByPolicies);
        Self { of: Cache::new(DECISIONS), of_slices, last: Mutex::default() }
    }

    /// What was decided for `agent` about every name of the slice of `clauses`,
    /// or what `decide` says.
    pub(super) fn of_slice(&self, agent: &Agent, clauses: &[u32], decide: impl FnOnce() -> Common) -> Arc<Common> {
        let slice = (agent.clone(), clauses.into());
        if let Some(common) = self.of_slices.get(&slice) {
            return common;
        }
        let common = Arc::new(decide());
        self.of_slices.insert(slice, Arc::clone(&common));
        common
    }

    pub(super) fn find(&self, question: &(Agent, Name, Asked)) -> Option<Decision> {
        self.of.get(question).map(|decision| Decision::clone(&decision))
    }

    pub(super) fn note(&self, question: (Agent, Name, Asked), decision: &Decision) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = match &*last {
            Some(last) if **last == *decision => Arc::clone(last),
            _ => Arc::clone(last.insert(Arc::new(decision.clone()))),
        };
        drop(last);
        self.of.insert(question, noted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::decision::{Denial, Reason};

    #[test]
    fn decisions_about_long_slices_take_no_more_room_than_short_ones() {
        let decisions = Decisions::new();
        let long: Vec<u32> = (0..50_000).collect();
        for number in 0..100 {
            let agent = Agent::parse(&format!("agent-{number}")).unwrap();
            decisions.of_slice(&agent, &long, || Common::denied(Denial::by_default(Reason::NotPermitted)));
        }
        assert!(decisions.of_slices.len() < 100, "{} are remembered", decisions.of_slices.len());
        assert!(decisions.of_slices.weight() <= COMMON_WEIGHT, "{}", decisions.of_slices.weight());
    }
}
