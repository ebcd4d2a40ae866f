//! Cedar policies: loading, and deciding.
//!
//! Loading ([`Policy::load`]) goes [`statement`] (text into policies with
//! places and ids; `pieces`: as Cedar reads them, those `alike` once; what the
//! parser says, told by `syntax`) → `links` (templates into policies) → `lint` (what Cedar
//! would accept and nobody means) → `validate` (Cedar's
//! strict validator, told by `validation`) →
//! `catch_all` → `slices` (an index by what scopes name) and `clause` (what is
//! left to evaluate).
//!
//! Deciding (`decide`) finds the `slice` of policies whose scope matches, and
//! evaluates their conditions with Cedar's own evaluator, once for each run of
//! ports that none of them can tell apart; where one looks at `context.ip`,
//! first by the name alone (`address`) and then for each address of the
//! answer. What depends on nothing but the agent and the question is
//! remembered. [`sliced`] puts any Cedar policies behind the same index, to
//! prove that it changes nothing. `statics` works out what policies open
//! without DNS, because they name addresses. [`explain`] says why a decision
//! is what it is, and [`cases`] puts questions to Cedar that no client asked.

mod address;
mod alike;
mod answer;
mod attributes;
pub mod cases;
mod catch_all;
mod circumstances;
mod clause;
mod code;
mod decide;
pub mod explain;
pub mod format;
mod json_list;
pub mod leash;
mod links;
mod lint;
mod literal;
mod load;
mod pieces;
mod ports;
mod principals;
mod reading;
mod remembered;
pub mod schema;
mod slice;
pub mod sliced;
mod slices;
mod source;
pub mod statement;
mod statics;
mod syntax;
#[cfg(test)]
mod tests;
mod validate;
mod validation;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use self::clause::Clause;
use self::decide::Inquiry;
pub use self::literal::AddressLiteral;
use self::principals::Principals;
use self::remembered::Decisions;
use self::schema::Vocabulary;
use self::slices::{Slices, Standing};
use self::statement::Statement;
use super::config::CatchAllForbid;
use super::decision::{Decision, Denial, Opening, PolicyId, Reason};
use super::name::Name;
use super::problem::Problem;
use super::query::{Agent, Port, Protocol, Query, RecordKind};
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
    clauses: Vec<Clause>,
    slices: Slices,
    /// The ports that scopes name, by host.
    ports_of: FxHashMap<Box<str>, Vec<Port>>,
    literals: Box<[AddressLiteral]>,
    connecting: Standing,
    querying: Standing,
    /// The catch-all forbids that are read as the default.
    default: DefaultDeny,
    /// What was decided, where nothing but the agent and the question counts.
    decisions: Decisions,
}

/// The policies that say what is the default anyway, for each action.
#[derive(Debug, Default)]
struct DefaultDeny {
    connecting: Arc<[PolicyId]>,
    querying: Arc<[PolicyId]>,
}

/// What of a question's type a decision can depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// Where to connect.
    Addresses,
    /// Records of this type.
    Records(RecordKind),
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

    /// The ids of the forbids over everything, however they are read.
    pub fn catch_all_forbids(&self) -> impl Iterator<Item = &PolicyId> {
        let forbids = self.statements.iter().filter(|statement| catch_all::is_catch_all(statement.ast()));
        forbids.map(|statement| &statement.id)
    }

    /// Decides a query by its name: `net.connect` for types that lead to
    /// connections, `dns.query` for the others.
    ///
    /// Where a policy looks at `context.ip`, the name is permitted if, as far
    /// as the other conditions go, some address could make it so; the openings
    /// are then what the most favourable addresses would open, and
    /// [`Self::openings_of`] has the last word on each address.
    pub fn decide(&self, query: &Query, now: WallTime) -> Decision {
        let asked = if query.kind.leads_to_connections() { Asked::Addresses } else { Asked::Records(query.kind) };
        let key = (query.agent.clone(), query.name.clone(), asked);
        if let Some(decision) = self.decisions.find(&key) {
            return decision;
        }
        let ruling = self.inquiry(query, now).by_name();
        if ruling.lasts {
            self.decisions.note(key, &ruling.decision);
        }
        ruling.decision
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

    fn standing(&self, agent: &Agent) -> Standing {
        if self.principals.is_in_no_team(agent) {
            return self.slices.standing_alone(&self.vocabulary.agent, agent.as_str());
        }
        let principal = self.principals.entity(agent, &self.vocabulary);
        self.slices.standing(principal.uid(), principal.ancestors())
    }

    fn clause(&self, number: u32) -> Option<&Clause> {
        self.clauses.get(number as usize)
    }

    /// Warnings about agents that a policy names and no client acts as, each
    /// at its first mention. `clients` are the agents that clients act as.
    pub fn agents_without_a_client<'a>(&self, clients: impl IntoIterator<Item = &'a Agent>) -> Vec<Problem> {
        let clients = clients.into_iter().map(Agent::as_str).collect();
        lint::without_a_client(&self.statements, &clients)
    }

    const fn inquiry<'a>(&'a self, query: &'a Query, now: WallTime) -> Inquiry<'a> {
        Inquiry { policy: self, query, now }
    }
}
