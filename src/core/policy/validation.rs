//! What Cedar's validator says, in one message for each fault.
//!
//! The validator looks at a policy once for each combination of types that it
//! can meet, and says each time what it finds; and where a scope is wrong, it
//! adds that the policy is impossible. What is wrong is told once, with what
//! to write instead.

use std::collections::{HashMap, HashSet};

use cedar_policy::{PolicyId, ValidationError, ValidationResult, ValidationWarning};
use cedar_policy_core::ast::{EntityUID, PrincipalOrResourceConstraint};
use cedar_policy_core::parser::Loc;
use miette::Diagnostic;

use super::super::problem::{Place, Problem, nearest};
use super::super::rule::Rule;
use super::schema::{CONNECT, QUERY};
use super::statement::{Statement, one_line};

/// The attributes of `context` for `net.connect`.
const CONNECT_CONTEXT: [&str; 6] = ["client", "now", "host", "port", "protocol", "ip"];
/// The attributes of `context` for `dns.query`.
const QUERY_CONTEXT: [&str; 3] = ["client", "now", "qtype"];

/// The problems in `result`. `statement` finds the statement that the
/// validator names; its warnings refuse a policy, too.
pub(super) fn problems<'a>(
    result: &ValidationResult,
    statement: impl Fn(&PolicyId) -> Option<&'a Statement>,
) -> Vec<Problem> {
    let mut findings = Vec::new();
    let mut refused: HashSet<&PolicyId> = HashSet::new();
    let mut misplaced: HashSet<&PolicyId> = HashSet::new();
    for error in result.validation_errors() {
        refused.insert(error.policy_id());
        let is_of_scope =
            matches!(error, ValidationError::UnrecognizedEntityType(_) | ValidationError::UnrecognizedActionId(_));
        if is_of_scope {
            misplaced.insert(error.policy_id());
        }
        findings.push(Located::of(error, error.policy_id(), statement(error.policy_id())).error(error));
    }
    for warning in result.validation_warnings() {
        let id = warning.policy_id();
        match warning {
            ValidationWarning::ImpossiblePolicy(_) => {}
            // An unknown word in the scope explains it.
            ValidationWarning::InvalidActionApplication(_) if misplaced.contains(id) => {}
            _ => {
                refused.insert(id);
                findings.push(Located::of(warning, id, statement(id)).warning(warning));
            }
        }
    }
    // "Impossible" is worth saying only where nothing else is wrong.
    let impossible = result
        .validation_warnings()
        .filter(|warning| matches!(warning, ValidationWarning::ImpossiblePolicy(_)))
        .filter(|warning| !refused.contains(warning.policy_id()));
    let impossible: Vec<_> = impossible.filter_map(|warning| statement(warning.policy_id())).map(never).collect();
    findings.extend(impossible);
    once_each(findings)
}

/// Drops those of `found` that lie where one of `told` does, by which they are
/// explained.
pub(super) fn unexplained(found: Vec<Problem>, told: &[Problem]) -> Vec<Problem> {
    let mut by_line: HashMap<(&str, usize), Vec<&Place>> = HashMap::new();
    for place in told.iter().filter(|problem| problem.is_error()).filter_map(|problem| problem.place.as_ref()) {
        by_line.entry((&place.file, place.line)).or_default().push(place);
    }
    let overlap = |left: &Place, right: &Place| {
        left.column < right.column + right.length.max(1) && right.column < left.column + left.length.max(1)
    };
    let is_explained = |problem: &Problem| {
        problem.place.as_ref().is_some_and(|place| {
            by_line.get(&(&*place.file, place.line)).is_some_and(|others| others.iter().any(|at| overlap(place, at)))
        })
    };
    found.into_iter().filter(|problem| !is_explained(problem)).collect()
}

/// The first for each place: the others say the same of another type.
fn once_each(mut findings: Vec<Problem>) -> Vec<Problem> {
    // The validator gives them in no order.
    findings.sort_by(|left, right| (&left.place, &left.message).cmp(&(&right.place, &right.message)));
    findings.dedup_by(|later, earlier| earlier.place.is_some() && earlier.place == later.place);
    findings
}

fn never(statement: &Statement) -> Problem {
    let message = format!("`{}` never applies: its condition never holds", statement.id);
    Problem::error(statement.place.clone(), message)
        .with_help("delete it, or mend the condition; after `unless`, it has to be false for the policy to apply")
        .of(Rule::Unreachable)
}

/// A diagnosis with what it points at.
struct Located<'a> {
    statement: Option<&'a Statement>,
    loc: Option<Loc>,
    place: Option<Place>,
    message: String,
    help: Option<String>,
}

impl<'a> Located<'a> {
    fn of(diagnosis: &dyn Diagnostic, id: &PolicyId, statement: Option<&'a Statement>) -> Self {
        let label = diagnosis.labels().and_then(|mut labels| labels.next());
        let whole = statement.and_then(|statement| statement.ast().loc());
        let loc = whole.zip(label).map(|(loc, label)| loc.span(*label.inner()));
        // The place says already which policy it is.
        let prefix = format!("for policy `{id}`");
        let plain =
            |text: String| one_line(text.strip_prefix(&prefix).unwrap_or(&text).trim_start_matches([',', ':', ' ']));
        Self {
            statement,
            place: statement.map(|statement| statement.place_of(loc.as_ref())),
            loc,
            message: plain(diagnosis.to_string()),
            help: diagnosis.help().map(|help| plain(help.to_string())),
        }
    }

    fn snippet(&self) -> &str {
        self.loc.as_ref().and_then(Loc::snippet).unwrap_or_default()
    }

    fn error(self, error: &ValidationError) -> Problem {
        match error {
            ValidationError::UnrecognizedEntityType(_) => {
                let kind = between_backticks(&self.message);
                let message = format!("there is no entity type `{kind}`");
                let help = self.help.clone();
                self.told(
                    message,
                    help.unwrap_or_else(|| "the types are Agent, Team, Resource, Domain, Protocol".to_owned()),
                )
            }
            ValidationError::UnrecognizedActionId(_) => {
                let message = format!("there is no action `{}`", between_backticks(&self.message));
                let help = self.help.clone();
                self.told(message, help.unwrap_or_else(|| format!("the actions are `{CONNECT}` and `{QUERY}`")))
            }
            ValidationError::UnsafeAttributeAccess(_) => self.missing_attribute(),
            ValidationError::UnsafeOptionalAttributeAccess(_) => {
                let attribute = between_backticks(&self.message).to_owned();
                let access = format!("context.{attribute}");
                let message = format!("`{access}` may be absent: while only the name is known there is no address");
                self.covering(&access).told(message, format!("test for it first: `context has {attribute} && …`"))
            }
            ValidationError::FunctionArgumentValidation(_) if self.snippet().starts_with("ip(") => {
                let message = format!("{} is no address and no network", between_backticks(&self.message));
                self.told(
                    message,
                    "write one such as `ip(\"192.0.2.7\")`, `ip(\"10.0.0.0/8\")` or `ip(\"2001:db8::/32\")`",
                )
            }
            ValidationError::InvalidEnumEntity(_) => {
                let entity = self.snippet().to_owned();
                let id = entity.split('"').nth(1).unwrap_or_default();
                let help = match ["tcp", "udp"].into_iter().find(|known| strsim::osa_distance(id, known) == 1) {
                    Some(meant) => format!("did you mean `Protocol::\"{meant}\"`?"),
                    None => "the protocols are `Protocol::\"tcp\"` and `Protocol::\"udp\"`".to_owned(),
                };
                let message = format!("there is no `{entity}`");
                self.told(message, help)
            }
            _ => self.in_its_words(Rule::Schema),
        }
    }

    fn warning(self, warning: &ValidationWarning) -> Problem {
        match warning {
            ValidationWarning::InvalidActionApplication(_) => self.scope(),
            _ => self.scripts(),
        }
    }

    /// Cedar says for which action it missed the attribute.
    fn missing_attribute(self) -> Problem {
        let attribute = between_backticks(&self.message).to_owned();
        let of_context = self.message.contains("in context");
        let access = match self.message.rsplit_once("entity type `") {
            Some((_, kind)) if kind.starts_with("Agent") => format!("principal.{attribute}"),
            _ if of_context => format!("context.{attribute}"),
            _ => format!("resource.{attribute}"),
        };
        let other = if self.message.contains(QUERY) && CONNECT_CONTEXT.contains(&attribute.as_str()) {
            Some((QUERY, CONNECT))
        } else if self.message.contains(CONNECT) && QUERY_CONTEXT.contains(&attribute.as_str()) {
            Some((CONNECT, QUERY))
        } else if self.message.contains("entity type `Domain`") && ["host", "port"].contains(&attribute.as_str()) {
            Some((QUERY, CONNECT))
        } else {
            None
        };
        if let Some((without, with)) = other {
            let guard = if of_context && attribute == "ip" { ", and test `context has ip` first" } else { "" };
            return self.covering(&access).told(
                format!("`{access}` does not exist for `{without}`, which this policy covers"),
                format!("limit the policy: `action == Action::\"{with}\"`{guard}"),
            );
        }
        let known = CONNECT_CONTEXT.into_iter().chain(QUERY_CONTEXT).filter(|_| of_context);
        let help = match nearest(&attribute, known.chain(["host", "port"].into_iter().filter(|_| !of_context))) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "the attributes are in policies/schema.cedarschema".to_owned(),
        };
        self.covering(&access).told(format!("there is no `{access}`"), help)
    }

    /// Cedar gives no place for what stands in the scope.
    fn scripts(self) -> Problem {
        let text = between_backticks(&self.message).to_owned();
        let in_scope = self.statement.and_then(|statement| {
            let template = statement.ast().template();
            let scope = [template.principal_constraint().as_inner(), template.resource_constraint().as_inner()];
            let is_it = |entity: &&EntityUID| entity.eid().escaped() == text;
            let entity = scope.into_iter().filter_map(|part| part.get_euid()).map(AsRef::as_ref).find(is_it)?;
            Some(statement.place_of(entity.loc()))
        });
        let problem = Problem::error(in_scope.or(self.place), self.message);
        problem.with_help("write it in the letters of one script, none of them invisible").of(Rule::MixedScripts)
    }

    /// No action goes with both the principal and the resource.
    fn scope(self) -> Problem {
        use PrincipalOrResourceConstraint::Eq;
        let Some(statement) = self.statement else { return self.in_its_words(Rule::Schema) };
        let ast = statement.ast();
        let (principal, resource) = (ast.principal_constraint(), ast.resource_constraint());
        let told = |entity: &EntityUID, message: String, help: String| {
            Problem::error(statement.place_of(entity.loc()), message).with_help(help).of(Rule::Schema)
        };
        let is = |entity: &EntityUID, kind: &str| entity.entity_type().to_string() == kind;
        if let Some(team) = principal.as_inner().get_euid().filter(|entity| is(entity, "Team"))
            && matches!(principal.as_inner(), Eq(_))
        {
            let message = format!("the principal is an Agent and never `{team}` itself");
            return told(team, message, format!("write `principal in {team}`"));
        }
        if let Some(domain) = resource.as_inner().get_euid().filter(|entity| is(entity, "Domain"))
            && matches!(resource.as_inner(), Eq(_))
        {
            let message = format!("the resource of `{CONNECT}` is a host and port and never `{domain}` itself");
            return told(domain, message, format!("write `resource in {domain}`, for the name and all below it"));
        }
        if let Some(endpoint) = resource.as_inner().get_euid().filter(|entity| is(entity, "Resource")) {
            let id: &str = endpoint.eid().as_ref();
            let host = id.rsplit_once(':').map_or(id, |(host, _)| host);
            let message = format!("the resource of `{QUERY}` is a Domain and never `{endpoint}`");
            return told(endpoint, message, format!("write `resource == Domain::\"{host}\"`"));
        }
        self.told(
            "no action goes with this principal and resource".to_owned(),
            format!("`{CONNECT}` goes with an Agent and a Resource, `{QUERY}` with an Agent and a Domain"),
        )
    }

    /// Cedar points at the whole chain of calls that begins with `access`.
    fn covering(mut self, access: &str) -> Self {
        if self.snippet().starts_with(access) {
            self.place = self.place.map(|place| place.covering(access.chars().count()));
        }
        self
    }

    fn told(self, message: String, help: impl Into<String>) -> Problem {
        Problem::error(self.place, message).with_help(help).of(Rule::Schema)
    }

    fn in_its_words(self, rule: Rule) -> Problem {
        let problem = Problem::error(self.place, self.message).of(rule);
        match self.help {
            Some(help) => problem.with_help(help),
            None => problem,
        }
    }
}

/// What the first pair of backticks in `text` encloses.
fn between_backticks(text: &str) -> &str {
    text.split('`').nth(1).unwrap_or_default()
}
