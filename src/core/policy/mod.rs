//! Cedar policies: loading, and deciding.
//!
//! Loading ([`Policy::load`]) goes [`statement`] (text into policies with
//! places and ids) → `lint` (what Cedar would accept and nobody means) →
//! Cedar's strict validator → `catch_all` → the sets that questions are put
//! to. Deciding (`decide`) asks Cedar's own Authorizer once for each run of
//! ports that no policy can tell apart (`ports`), and, where a policy looks at
//! `context.ip`, first by the name alone (`address`) and then for each address
//! of the answer. [`explain`] says why a decision is what it is, and [`cases`]
//! puts questions to Cedar that no client has asked.

mod address;
pub mod cases;
mod catch_all;
mod code;
mod decide;
pub mod explain;
mod lint;
mod literal;
mod load;
mod ports;
mod principals;
pub mod schema;
pub mod statement;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::Authorizer;

use self::decide::Inquiry;
use self::load::Sets;
use self::ports::Breakpoints;
use self::principals::Principals;
use self::schema::Vocabulary;
use self::statement::Statement;
use super::config::CatchAllForbid;
use super::decision::{Decision, Denial, Opening, PolicyId, Reason};
use super::name::Name;
use super::problem::Problem;
use super::query::{Port, Protocol, Query};
use super::time::WallTime;

/// The text of a policy folder, read by somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Each `.cedar` file: the name to show in messages, and its text.
    pub policies: Vec<(String, String)>,
    /// `entities.json`, if there is one.
    pub entities: Option<(String, String)>,
    /// `links.json`, if there is one: the templates' links.
    pub links: Option<(String, String)>,
}

/// A policy that parsed and validated.
#[derive(Debug)]
pub struct Policy {
    statements: Vec<Statement>,
    index: HashMap<PolicyId, usize>,
    vocabulary: Vocabulary,
    principals: Principals,
    breakpoints: Breakpoints,
    sets: Sets,
    authorizer: Authorizer,
    mentions_ip: bool,
    mentions_now: bool,
}

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
        load::load(sources, catch_all)
    }

    /// How many policies were written, a catch-all forbid that is read as the
    /// default included.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The policy of this id, as it was written.
    pub fn statement(&self, id: &PolicyId) -> Option<&Statement> {
        load::statement(self, id)
    }

    /// Decides a query by its name: `net.connect` for types that lead to
    /// connections, `dns.query` for the others.
    ///
    /// Where a policy looks at `context.ip`, the name is permitted if, as far
    /// as the other conditions go, some address could make it so; the openings
    /// are then what the most favourable addresses would open, and
    /// [`Self::openings_of`] has the last word on each address.
    pub fn decide(&self, query: &Query, now: WallTime) -> Decision {
        self.inquiry(query, now).by_name()
    }

    /// Decides a connection to one port of the query's name, at `address` if
    /// it is given, and otherwise as [`Self::decide`] does.
    pub fn decide_connection(
        &self,
        query: &Query,
        protocol: Protocol,
        port: Port,
        address: Option<IpAddr>,
        now: WallTime,
    ) -> Decision {
        self.inquiry(query, now).connection(protocol, port, address)
    }

    /// Decides about one address of the query's name: exact, whatever the
    /// policies look at.
    pub fn decide_address(&self, query: &Query, address: IpAddr, now: WallTime) -> Decision {
        self.inquiry(query, now).by_address(address)
    }

    /// Whether an explicit `forbid` covers `alias`, a name on the CNAME chain
    /// of a permitted question, on any port that the question would open.
    ///
    /// A forbid that looks at `context.ip` judges addresses under the name
    /// asked for ([`Self::openings_of`]); here it counts if it could match
    /// under the alias and not under that name.
    pub fn forbids_alias(&self, query: &Query, alias: &Name, now: WallTime) -> Option<Denial> {
        match self.inquiry(query, now).alias(alias) {
            Err(failed) => Some(failed.into()),
            Ok(policies) if policies.is_empty() => None,
            Ok(policies) => Some(Denial { reason: Reason::ForbiddenAlias, policies: policies.into_iter().collect() }),
        }
    }

    /// The ports open on one address of the answer, where a policy looks at
    /// `context.ip`.
    pub fn openings_of(&self, query: &Query, address: IpAddr, now: WallTime) -> Arc<[Opening]> {
        match self.decide_address(query, address, now) {
            Decision::Permit(permit) => permit.openings,
            Decision::Deny(_) => Arc::default(),
        }
    }

    const fn inquiry<'a>(&'a self, query: &'a Query, now: WallTime) -> Inquiry<'a> {
        Inquiry { policy: self, query, now }
    }
}
