//! Cedar policies: loading, and deciding.

use std::net::IpAddr;
use std::sync::Arc;

use super::config::CatchAllForbid;
use super::decision::{Decision, Denial, Opening};
use super::name::Name;
use super::problem::Problem;
use super::query::Query;
use super::time::WallTime;

/// The text of a policy folder, read by somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Each `.cedar` file: the name to show in messages, and its text.
    pub policies: Vec<(String, String)>,
    /// `entities.json`, if there is one.
    pub entities: Option<(String, String)>,
}

/// A policy that parsed and validated.
#[derive(Debug)]
pub struct Policy {}

/// A policy, and what is doubtful about it.
#[derive(Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Warnings for its author.
    pub warnings: Vec<Problem>,
}

impl Policy {
    /// Reads, validates and indexes `sources`.
    ///
    /// # Errors
    /// Everything that is wrong with them, at least one error.
    pub fn load(sources: &Sources, catch_all: CatchAllForbid) -> Result<Loaded, Vec<Problem>> {
        todo!("{sources:?} {catch_all:?}")
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides a query by its name: `net.connect` for types that lead to
    /// connections, `dns.query` for the others.
    pub fn decide(&self, query: &Query, now: WallTime) -> Decision {
        todo!("{query:?} {now:?}")
    }

    /// Whether an explicit `forbid` covers `alias`, a name on the CNAME chain
    /// of a permitted question.
    pub fn forbids_alias(&self, query: &Query, alias: &Name, now: WallTime) -> Option<Denial> {
        todo!("{query:?} {alias:?} {now:?}")
    }

    /// The ports open on one address of the answer, where a policy looks at
    /// `context.ip`.
    pub fn openings_of(&self, query: &Query, address: IpAddr, now: WallTime) -> Arc<[Opening]> {
        todo!("{query:?} {address:?} {now:?}")
    }
}
