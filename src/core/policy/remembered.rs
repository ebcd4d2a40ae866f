//! [`Decisions`]: what was decided, where nothing but the agent and the
//! question counts: for every name of a slice where policies cannot tell them
//! apart, and otherwise for one.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;

use super::Asked;
use super::decide::Common;
use crate::core::decision::Decision;
use crate::core::name::Name;
use crate::core::query::Agent;

/// How many decisions for one name are remembered, and how many for all names
/// of a slice.
const DECISIONS: usize = 65_536;
const COMMON_DECISIONS: usize = 4096;

/// Remembered decisions; those that were asked for longest ago go first.
#[derive(Debug)]
pub(super) struct Decisions {
    of: Cache<(Agent, Name, Asked), Arc<Decision>>,
    /// By the numbers of the slice's policies.
    of_slices: Cache<(Agent, Box<[u32]>), Arc<Common>>,
    /// The last that was noted: names below one domain come to the same, and
    /// that is written down once.
    last: Mutex<Option<Arc<Decision>>>,
}

impl Decisions {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { of: Cache::new(DECISIONS), of_slices: Cache::new(COMMON_DECISIONS), last: Mutex::default() }
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
