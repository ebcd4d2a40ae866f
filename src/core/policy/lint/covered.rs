//! Statements that another one covers entirely: a permit below a forbid, a
//! statement below a wider one of its effect, two that say the same.
//!
//! A statement is looked up by what a wider one could say in its place: each
//! team above its principal, each domain above its resource. So a hundred
//! thousand statements take a few lookups each.

use std::hash::{BuildHasher, Hash};

use cedar_policy_core::ast::{Effect, Expr, ExprShapeOnly};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::super::super::problem::Problem;
use super::super::super::rule::Rule;
use super::super::catch_all::is_catch_all;
use super::super::principals::Principals;
use super::everything::is_for_everybody;
use super::scope::{Actions, Scope, What, Who};

/// Of a longer condition, only the whole is looked for, not its parts.
const MAX_CONDITIONS: usize = 16;

const CONNECT: Actions = Actions { connect: true, query: false };
const QUERY: Actions = Actions { connect: false, query: true };
const BOTH: Actions = Actions { connect: true, query: true };

/// Warnings about the covered among `scopes`.
pub(super) fn doubts(scopes: &[Scope], principals: &Principals) -> Vec<Problem> {
    let covers = Covers::of(scopes);
    scopes.iter().enumerate().filter_map(|(index, scope)| covers.doubt(index, scope, principals)).collect()
}

/// Statements by what they say.
struct Covers<'a> {
    scopes: &'a [Scope<'a>],
    /// The first statement that says just this.
    first: FxHashMap<u64, usize>,
    /// Principals and resources that some statement names.
    named: FxHashSet<u64>,
}

impl<'a> Covers<'a> {
    fn of(scopes: &'a [Scope<'a>]) -> Self {
        let mut covers = Self { scopes, first: FxHashMap::default(), named: FxHashSet::default() };
        for (index, scope) in scopes.iter().enumerate() {
            if is_told_by_itself(scope) {
                continue;
            }
            let (who, what) = (hash(&scope.who), what_hash(&scope.what));
            covers.named.extend([who, what]);
            let key = key(scope.effect(), scope.actions, who, what, conditions_hash(&scope.conditions));
            covers.first.entry(key).or_insert(index);
        }
        covers
    }

    fn doubt(&self, index: usize, scope: &Scope, principals: &Principals) -> Option<Problem> {
        if is_told_by_itself(scope) {
            return None;
        }
        let wider = |effect| self.wider(index, scope, effect, principals);
        let permits = scope.effect() == Effect::Permit;
        if permits && let Some(forbid) = wider(Effect::Forbid) {
            return Some(dead(scope, forbid));
        }
        let other = wider(scope.effect())?;
        Some(if is_same(scope, other) { duplicate(scope, other) } else { shadowed(scope, other) })
    }

    /// A statement of `effect` that covers `scope`; of several that say the
    /// same, the first counts, and nothing covers itself.
    fn wider(&self, index: usize, scope: &Scope, effect: Effect, principals: &Principals) -> Option<&'a Scope<'a>> {
        let whos = self.wider_principals(&scope.who, principals);
        let whats = self.wider_resources(&scope.what);
        let conditions = fewer_conditions(&scope.conditions);
        for actions in [CONNECT, QUERY, BOTH].into_iter().filter(|actions| actions.include(scope.actions)) {
            for (who, what) in whos.iter().flat_map(|who| whats.iter().map(move |what| (*who, *what))) {
                for conditions in &conditions {
                    let found = self.first.get(&key(effect, actions, who, what, *conditions)).copied();
                    let other = found.filter(|found| *found != index).and_then(|found| self.scopes.get(found));
                    if let Some(other) = other
                        && covers(other, scope, principals)
                    {
                        return Some(other);
                    }
                }
            }
        }
        None
    }

    fn wider_principals(&self, who: &Who, principals: &Principals) -> Vec<u64> {
        let hashed = |team: &str| hash(&Who::Team(team.to_owned()));
        let teams: Vec<_> = match who {
            Who::Everybody => Vec::new(),
            Who::Agent(agent) => principals.teams_of_agent(agent).map(hashed).collect(),
            Who::Team(team) => principals.teams_of_team(team).map(hashed).collect(),
        };
        self.named([hash(who), hash(&Who::Everybody)].into_iter().chain(teams))
    }

    fn wider_resources(&self, what: &What) -> Vec<u64> {
        let below = match what {
            What::Below(name) | What::Exactly(name) | What::Endpoint(name, _) => Some(name),
            What::Everything | What::Other(_) => None,
        };
        let domains = below.into_iter().flat_map(|name| name.ancestors()).map(below_hash);
        self.named([what_hash(what), what_hash(&What::Everything)].into_iter().chain(domains))
    }

    fn named(&self, hashes: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut named: Vec<_> = hashes.filter(|hash| self.named.contains(hash)).collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

/// Whether it covers so much that it is told of by itself, and not once for
/// each that it covers.
fn is_told_by_itself(scope: &Scope) -> bool {
    scope.what == What::Everything && (is_for_everybody(scope) || is_catch_all(scope.statement.ast()))
}

fn dead(permit: &Scope, forbid: &Scope) -> Problem {
    let message = format!(
        "`{}` permits nothing: `{}` at {} forbids all of it",
        permit.statement.id, forbid.statement.id, forbid.statement.place
    );
    Problem::warning(permit.statement.place.clone(), message)
        .with_help("a forbid overrides every permit: delete the permit, or narrow the forbid")
        .of(Rule::DeadPermit)
}

fn shadowed(scope: &Scope, other: &Scope) -> Problem {
    let verb = if scope.effect() == Effect::Permit { "permits" } else { "forbids" };
    let message = format!(
        "`{}` changes nothing: `{}` at {} {verb} all of it",
        scope.statement.id, other.statement.id, other.statement.place
    );
    Problem::warning(scope.statement.place.clone(), message)
        .with_help("delete it, or narrow the wider one if that is not meant to cover so much")
        .of(Rule::Shadowed)
}

fn duplicate(scope: &Scope, other: &Scope) -> Problem {
    let message =
        format!("`{}` says the same as `{}` at {}", scope.statement.id, other.statement.id, other.statement.place);
    Problem::warning(scope.statement.place.clone(), message)
        .with_help("delete one of them, or mend what was to be different")
        .of(Rule::Duplicate)
}

fn is_same(left: &Scope, right: &Scope) -> bool {
    (left.actions, &left.who, &left.what) == (right.actions, &right.who, &right.what)
        && needs_no_more(left, right)
        && needs_no_more(right, left)
}

/// What the hashes promise, made sure of.
fn covers(wide: &Scope, narrow: &Scope, principals: &Principals) -> bool {
    let is_it = |team: &str| matches!(&wide.who, Who::Team(wide) if wide == team);
    let covers_who = wide.who == Who::Everybody
        || wide.who == narrow.who
        || match &narrow.who {
            Who::Everybody => false,
            Who::Agent(agent) => principals.teams_of_agent(agent).any(is_it),
            Who::Team(team) => principals.teams_of_team(team).any(is_it),
        };
    let covers_what = wide.what == What::Everything
        || wide.what == narrow.what
        || match (&wide.what, &narrow.what) {
            (What::Below(domain), What::Below(name) | What::Exactly(name) | What::Endpoint(name, _)) => {
                name.is_within(domain)
            }
            _ => false,
        };
    wide.actions.include(narrow.actions) && covers_who && covers_what && needs_no_more(wide, narrow)
}

/// Whether each condition of `wide` is one of `narrow`, too.
fn needs_no_more(wide: &Scope, narrow: &Scope) -> bool {
    wide.conditions.iter().all(|condition| narrow.conditions.iter().any(|other| condition.eq_shape(*other)))
}

/// No condition, each alone, and all together.
fn fewer_conditions(conditions: &[&Expr]) -> Vec<u64> {
    let mut hashes = vec![conditions_hash(&[])];
    if conditions.len() > 1 && conditions.len() <= MAX_CONDITIONS {
        hashes.extend(conditions.iter().map(|condition| conditions_hash(&[*condition])));
    }
    if !conditions.is_empty() {
        hashes.push(conditions_hash(conditions));
    }
    hashes
}

/// The same for the same conditions in another order.
fn conditions_hash(conditions: &[&Expr]) -> u64 {
    let mut hashes: Vec<_> =
        conditions.iter().map(|condition| hash(&ExprShapeOnly::new_from_borrowed(*condition))).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hash(&hashes)
}

fn key(effect: Effect, actions: Actions, who: u64, what: u64, conditions: u64) -> u64 {
    hash(&(effect == Effect::Permit, actions, who, what, conditions))
}

/// As [`below_hash`] for a domain, which then needs no name of its own.
fn what_hash(what: &What) -> u64 {
    match what {
        What::Below(domain) => below_hash(domain.as_str()),
        other => hash(other),
    }
}

fn below_hash(domain: &str) -> u64 {
    hash(&("below", domain))
}

fn hash(value: &impl Hash) -> u64 {
    FxBuildHasher.hash_one(value)
}
