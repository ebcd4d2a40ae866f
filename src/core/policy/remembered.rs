//! [`Decisions`]: what was decided, where nothing but the agent and the
//! question counts.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;

use super::Asked;
use crate::core::decision::Decision;
use crate::core::name::Name;
use crate::core::query::Agent;

/// How many decisions are remembered.
const DECISIONS: usize = 65_536;

/// Remembered decisions; those that were asked for longest ago go first.
#[derive(Debug)]
pub(super) struct Decisions {
    of: Cache<(Agent, Name, Asked), Arc<Decision>>,
    /// The last that was noted: names below one domain come to the same, and
    /// that is written down once.
    last: Mutex<Option<Arc<Decision>>>,
}

impl Decisions {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { of: Cache::new(DECISIONS), last: Mutex::default() }
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
