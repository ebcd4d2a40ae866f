//! From [`Sources`] to a [`Policy`]: everything that can be wrong is found
//! here, with its place, and nothing of it is left for a query to stumble on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy_core::ast::PrincipalOrResourceConstraint;
use rustc_hash::FxHashMap;

use super::super::config::CatchAllForbid;
use super::super::decision::PolicyId;
use super::super::problem::Problem;
use super::super::query::Port;
use super::super::rule::Rule;
use super::attributes::Attributes;
use super::clause::Clause;
use super::json_list::{Element, elements};
use super::lint::{self, Facts};
use super::literal::{self, ResourceId};
use super::principals::Principals;
use super::remembered::Decisions;
use super::schema::{CONNECT, QUERY, Vocabulary};
use super::slices::Slices;
use super::statement::{self, Parsed, Statement};
use super::validate::invalid;
use super::{DefaultDeny, Loaded, Policy, Sources, catch_all, links, validation};

/// What an `entities.json` looks like.
pub(super) const ENTITIES_EXAMPLE: &str =
    "write [{\"uid\": {\"type\": \"Agent\", \"id\": \"claude\"}, \"attrs\": {}, \"parents\": []}]";

pub(super) fn load(sources: &Sources, reading: CatchAllForbid) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let (vocabulary, principals) = population(sources, &mut problems)?;
    let mut parsed = statement::parse(&sources.policies).unwrap_or_else(|found| {
        problems.extend(found);
        Parsed::default()
    });
    refused(&mut problems)?;
    link(sources, &mut parsed, &mut problems);
    refused(&mut problems)?;

    let Parsed { statements, templates } = parsed;
    let facts: Vec<_> = statements.iter().map(|statement| lint::inspect(statement, &mut problems)).collect();
    let invalid = invalid(&statements, &templates, &vocabulary);
    problems.extend(validation::unexplained(invalid, &problems));
    let doubts = facts.iter().flat_map(|facts| principals.doubts(facts)).collect();
    problems.extend(validation::unexplained(doubts, &problems));
    problems.extend(links::unlinked(&templates, &statements));
    refused(&mut problems)?;

    if statements.is_empty() && templates.is_empty() {
        let problem = Problem::warning(None, "there is no policy: everything is denied");
        problems.push(problem.with_help("write one into a file named *.cedar").of(Rule::NoPolicy));
    }
    let (kept, warnings) = catch_all::applied(&statements, reading);
    problems.extend(warnings);
    problems.extend(lint::doubts(&kept, &principals));
    problems.sort_by(|left, right| left.place.cmp(&right.place));
    let kept = kept.into_iter().map(|statement| statement.id.clone()).collect();
    let policy = compiled(statements, facts, &kept, vocabulary, principals).map_err(|problem| vec![problem])?;
    Ok(Loaded { policy, warnings: problems })
}

/// Who there is, and what can be said of them.
fn population(sources: &Sources, problems: &mut Vec<Problem>) -> Result<(Vocabulary, Principals), Vec<Problem>> {
    let plain = || Vocabulary::new(&Attributes::default()).map_err(|problem| vec![problem]);
    let Some((file, text)) = &sources.entities else { return Ok((plain()?, Principals::default())) };
    let listed = elements(file, text, ENTITIES_EXAMPLE).map_err(|problem| vec![problem.of(Rule::Entities)]);
    let found = listed.and_then(|elements: Vec<Element>| {
        let vocabulary = Vocabulary::new(&Attributes::of(&elements)?).map_err(|problem| vec![problem])?;
        let principals = Principals::load(elements, &vocabulary)?;
        Ok((vocabulary, principals))
    });
    found.or_else(|found| {
        problems.extend(found);
        Ok((plain()?, Principals::default()))
    })
}

/// Makes policies of templates.
fn link(sources: &Sources, parsed: &mut Parsed, problems: &mut Vec<Problem>) {
    let Some((file, text)) = &sources.links else { return };
    match links::linked(file, text, &parsed.templates) {
        Ok(linked) => {
            parsed.statements.extend(linked);
            let statements = parsed.statements.iter().map(|statement| (&statement.id, &statement.place));
            let templates = parsed.templates.iter().map(|template| (&template.id, &template.place));
            problems.extend(statement::duplicates(statements.chain(templates)));
        }
        Err(found) => problems.extend(found),
    }
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

fn compiled(
    statements: Vec<Statement>,
    facts: Vec<Facts>,
    kept: &BTreeSet<PolicyId>,
    vocabulary: Vocabulary,
    principals: Principals,
) -> Result<Policy, Problem> {
    let mut clauses = Vec::with_capacity(kept.len());
    let mut policies = Vec::with_capacity(kept.len());
    for (number, (statement, facts)) in statements.iter().zip(facts).enumerate() {
        if kept.contains(&statement.id) {
            // More policies than this do not fit into memory.
            clauses.push(Clause::of(statement, u32::try_from(number).unwrap_or(u32::MAX), facts)?);
            policies.push(statement.ast());
        }
    }
    let default_of = |action| -> Arc<[PolicyId]> {
        let says_so =
            |statement: &&Statement| !kept.contains(&statement.id) && catch_all::is_default_of(statement.ast(), action);
        statements.iter().filter(says_so).map(|statement| statement.id.clone()).collect()
    };
    let default = DefaultDeny { connecting: default_of(CONNECT), querying: default_of(QUERY) };
    let slices = Slices::of(policies.iter().copied());
    let literals: BTreeSet<_> = clauses.iter().flat_map(|clause| clause.addresses.iter().copied()).collect();
    let index: HashMap<_, _> =
        statements.iter().enumerate().map(|(index, statement)| (statement.id.clone(), index)).collect();
    let ports_of = ports_of(&statements);
    Ok(Policy {
        connecting: slices.standing(&vocabulary.connect, []),
        querying: slices.standing(&vocabulary.query, []),
        default,
        decisions: Decisions::new(),
        literals: literals.into_iter().collect(),
        ports_of,
        statements,
        index,
        vocabulary,
        principals,
        slices,
        clauses,
    })
}

/// The ports that scopes name, by host.
fn ports_of(statements: &[Statement]) -> FxHashMap<Box<str>, Vec<Port>> {
    let mut ports_of: FxHashMap<Box<str>, BTreeSet<Port>> = FxHashMap::default();
    for statement in statements {
        let constraint = statement.ast().resource_constraint();
        let constraint: &PrincipalOrResourceConstraint = constraint.as_inner();
        let Some(entity) = constraint.get_euid() else { continue };
        if let Ok(ResourceId::Host(host, port)) = literal::resource(entity.eid().as_ref()) {
            ports_of.entry(host.as_str().into()).or_default().insert(port);
        }
    }
    ports_of.into_iter().map(|(host, ports)| (host, ports.into_iter().collect())).collect()
}

/// The statement of this id.
pub(super) fn statement<'a>(policy: &'a Policy, id: &PolicyId) -> Option<&'a Statement> {
    policy.index.get(id).and_then(|index| policy.statements.get(*index))
}
