//! From [`Sources`] to a [`Policy`]: everything that can be wrong is found
//! here, with its place, and nothing of it is left for a query to stumble on.

use std::collections::HashMap;

use cedar_policy::{Authorizer, PolicySet, ValidationMode, Validator};
use cedar_policy_core::ast::Effect;

use super::super::config::CatchAllForbid;
use super::super::decision::PolicyId;
use super::super::problem::Problem;
use super::address::{Bound, without_address};
use super::lint::{self, Facts, MAX_DEPTH};
use super::ports::Breakpoints;
use super::principals::Principals;
use super::schema::Vocabulary;
use super::statement::{self, Statement};
use super::{Loaded, Policy, Sources, catch_all, validation};

pub(super) fn load(sources: &Sources, reading: CatchAllForbid) -> Result<Loaded, Vec<Problem>> {
    let vocabulary = Vocabulary::new().map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();

    let principals = match &sources.entities {
        Some((file, text)) => Principals::load(file, text, &vocabulary),
        None => Ok(Principals::default()),
    };
    let principals = principals.unwrap_or_else(|found| {
        problems.extend(found);
        Principals::default()
    });
    let statements = statement::parse(&sources.policies).unwrap_or_else(|found| {
        problems.extend(found);
        Vec::new()
    });
    refused(&mut problems)?;

    let facts: Vec<_> = statements.iter().map(|statement| lint::inspect(statement, &mut problems)).collect();
    let invalid = invalid(&statements, &vocabulary);
    problems.extend(validation::unexplained(invalid, &problems));
    let doubts = facts.iter().flat_map(|facts| principals.doubts(facts)).collect();
    problems.extend(validation::unexplained(doubts, &problems));
    refused(&mut problems)?;

    let (kept, warnings) = catch_all::applied(&statements, reading);
    problems.extend(warnings);
    problems.extend(lint::doubts(&kept, &principals));
    let sets = Sets::of(&kept).map_err(|problem| vec![problem])?;

    let mut breakpoints = Breakpoints::default();
    facts.iter().for_each(|facts| breakpoints.add(facts));
    problems.sort_by(|left, right| left.place.cmp(&right.place));
    let index = statements.iter().enumerate().map(|(index, statement)| (statement.id.clone(), index)).collect();
    let policy = Policy {
        mentions_ip: facts.iter().any(|facts: &Facts| facts.mentions_ip),
        mentions_now: facts.iter().any(|facts| facts.mentions_now),
        statements,
        index,
        vocabulary,
        principals,
        breakpoints,
        sets,
        authorizer: Authorizer::new(),
    };
    Ok(Loaded { policy, warnings: problems })
}

/// Ends loading if there is an error among `problems`, which are then given
/// in the order of their places, each once.
fn refused(problems: &mut Vec<Problem>) -> Result<(), Vec<Problem>> {
    if !problems.iter().any(Problem::is_error) {
        return Ok(());
    }
    let mut problems = std::mem::take(problems);
    problems.sort_by(|left, right| left.place.cmp(&right.place));
    problems.dedup();
    Err(problems)
}

/// What Cedar's validator finds; its warnings refuse a policy, too.
fn invalid(statements: &[Statement], vocabulary: &Vocabulary) -> Vec<Problem> {
    let set = match set_of(statements.iter().map(|statement| statement.policy.clone())) {
        Ok(set) => set,
        Err(problem) => return vec![problem],
    };
    let by_id: HashMap<&str, &Statement> =
        statements.iter().map(|statement| (statement.id.as_str(), statement)).collect();
    let result = Validator::new(vocabulary.schema.clone()).validate(&set, ValidationMode::Strict);
    validation::problems(&result, |id| by_id.get(AsRef::<str>::as_ref(id)).copied())
}

fn set_of(policies: impl IntoIterator<Item = cedar_policy::Policy>) -> Result<PolicySet, Problem> {
    PolicySet::from_policies(policies)
        .map_err(|error| Problem::error(None, format!("these policies do not go together: {error}")))
}

/// The policies in the forms in which questions are put to them.
#[derive(Debug)]
pub(super) struct Sets {
    /// As written.
    pub(super) exact: PolicySet,
    /// Without `context.ip`: permits whatever some address could make
    /// permitted.
    pub(super) by_name: PolicySet,
    /// The permits of `by_name`.
    pub(super) permits: PolicySet,
    /// The forbids that look at `context.ip`, without it: forbids whatever
    /// some address could make forbidden.
    pub(super) wary: PolicySet,
}

impl Sets {
    fn of(statements: &[&Statement]) -> Result<Self, Problem> {
        let mut by_name = Vec::with_capacity(statements.len());
        let mut wary = Vec::new();
        for statement in statements {
            let permits = statement.ast().effect() == Effect::Permit;
            let lenient = bounded(statement, if permits { Bound::Some } else { Bound::Every })?;
            if !permits && lenient.as_ref() != statement.ast() {
                wary.push(bounded(statement, Bound::Some)?);
            }
            by_name.push(lenient);
        }
        let permits = by_name.iter().filter(|policy| policy.effect() == Effect::Permit).cloned();
        Ok(Self {
            exact: set_of(statements.iter().map(|statement| statement.policy.clone()))?,
            permits: set_of(permits)?,
            by_name: set_of(by_name)?,
            wary: set_of(wary)?,
        })
    }
}

fn bounded(statement: &Statement, bound: Bound) -> Result<cedar_policy::Policy, Problem> {
    without_address(statement.ast(), bound).map(cedar_policy::Policy::from).ok_or_else(|| {
        let message = format!("this policy looks at `context.ip` more than {MAX_DEPTH} levels deep");
        Problem::error(statement.place.clone(), message).with_help("write it as several policies")
    })
}

/// The statement of this id.
pub(super) fn statement<'a>(policy: &'a Policy, id: &PolicyId) -> Option<&'a Statement> {
    policy.index.get(id).and_then(|index| policy.statements.get(*index))
}
