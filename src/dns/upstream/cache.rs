//! What upstream servers said, for as long as it may be kept.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::core::record::Data;
use crate::core::screen::Screened;
use crate::core::sharded::cache;
use crate::core::time::Ttl;
use crate::gate::{Question, Resolved};

/// Octets of RDATA that count as one entry, so that large answers cannot
/// make a bounded number of entries an unbounded amount of memory.
const ENTRY_OCTETS: usize = 2048;

/// Screened answers by question.
#[derive(Debug)]
pub(super) struct Answers(Cache<Question, Kept, ByOctets>);

#[derive(Clone, Debug)]
struct Kept {
    screened: Arc<Screened>,
    expires: Instant,
}

#[derive(Clone, Debug)]
struct ByOctets;

impl Weighter<Question, Kept> for ByOctets {
    fn weight(&self, _: &Question, kept: &Kept) -> u64 {
        weight(&kept.screened)
    }
}

impl Answers {
    /// A cache of at most `entries` answers.
    pub(super) fn new(entries: u64) -> Self {
        let usual = usize::try_from(entries).unwrap_or(usize::MAX);
        Self(cache(usual, entries, ByOctets))
    }

    /// The answer kept for `question`, with what is left of its TTL.
    pub(super) fn find(&self, question: &Question) -> Option<Resolved> {
        let kept = self.0.get(question)?;
        let ttl = Ttl::within(kept.expires.saturating_duration_since(Instant::now()));
        if ttl == Ttl::ZERO {
            return None;
        }
        Some(Resolved { screened: kept.screened, ttl })
    }

    /// Keeps `screened` for as long as it says; a TTL of zero is not kept
    /// (RFC 1035 section 3.2.1).
    pub(super) fn keep(&self, question: &Question, screened: &Arc<Screened>) {
        if screened.ttl == Ttl::ZERO {
            return;
        }
        let expires = Instant::now() + screened.ttl.duration();
        self.0.insert(question.clone(), Kept { screened: Arc::clone(screened), expires });
    }
}

fn weight(screened: &Screened) -> u64 {
    let octets: usize = screened
        .records
        .iter()
        .map(|record| match &record.data {
            Data::Opaque { rdata, .. } => 64 + rdata.len(),
            Data::Address(_) | Data::Alias(_) => 64,
        })
        .sum();
    u64::try_from(1 + octets / ENTRY_OCTETS).unwrap_or(u64::MAX)
}
