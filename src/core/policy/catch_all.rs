//! The catch-all forbid: `forbid(principal, action == Action::"net.connect",
//! resource);`, which people write to say "and nothing else", and which in
//! Cedar overrides every permit.

use cedar_policy_core::ast::{ActionConstraint, Effect, EntityUID, Expr, ExprKind, Literal, UnaryOp};
use cedar_policy_core::ast::{Policy, PrincipalOrResourceConstraint};

use super::super::config::CatchAllForbid;
use super::super::problem::Problem;
use super::super::rule::Rule;
use super::schema::{CONNECT, QUERY};
use super::statement::Statement;

/// Deeper conditions than this are no constant anybody would write.
pub(super) const MAX_DEPTH: usize = 32;

/// Takes the catch-all forbids out of `statements` where they are to be read
/// as the default. Says so, or what they do where they stay.
pub(super) fn applied(statements: &[Statement], reading: CatchAllForbid) -> (Vec<&Statement>, Vec<Problem>) {
    let mut kept = Vec::with_capacity(statements.len());
    let mut warnings = Vec::new();
    for statement in statements {
        if !is_catch_all(statement.ast()) {
            kept.push(statement);
            continue;
        }
        match reading {
            CatchAllForbid::DefaultDeny => warnings.push(read_as_default(statement)),
            CatchAllForbid::Strict => {
                warnings.extend(overriding(statement, statements));
                kept.push(statement);
            }
        }
    }
    (kept, warnings)
}

fn read_as_default(forbid: &Statement) -> Problem {
    let message =
        format!("`{}` forbids everything to everybody; it is read as the default it was meant to be", forbid.id);
    Problem::warning(forbid.place.clone(), message)
        .with_help("delete it: what no policy permits is denied anyway (catch_all_forbid = \"default-deny\")")
        .of(Rule::CatchAllForbid)
}

fn overriding(forbid: &Statement, statements: &[Statement]) -> Option<Problem> {
    let overridden = statements
        .iter()
        .filter(|statement| statement.ast().effect() == Effect::Permit && share_an_action(statement, forbid))
        .count();
    if overridden == 0 {
        return None;
    }
    let permits = if overridden == 1 { "the one permit".to_owned() } else { format!("the {overridden} permits") };
    let message = format!(
        "`{}` denies everything: in Cedar a forbid overrides every permit, so {permits} here are void",
        forbid.id
    );
    let message = if overridden == 1 { message.replace(" here are void", " here is void") } else { message };
    let help = "delete it, since what no policy permits is denied anyway; or have it read that way: \
                catch_all_forbid = \"default-deny\" in [policy], or --catch-all-forbid default-deny";
    Some(Problem::warning(forbid.place.clone(), message).with_help(help).of(Rule::CatchAllForbid))
}

/// Whether it, read as the default, is what denies `action`.
pub(super) fn is_default_of(policy: &Policy, action: &str) -> bool {
    is_catch_all(policy) && covers(policy.action_constraint(), action)
}

/// Whether it forbids everything to everybody, whatever is asked.
pub(super) fn is_catch_all(policy: &Policy) -> bool {
    policy.effect() == Effect::Forbid
        && is_everything(policy.principal_constraint().as_inner())
        && is_everything(policy.resource_constraint().as_inner())
        && policy.non_scope_constraints().is_none_or(|condition| constant(condition, MAX_DEPTH) == Some(true))
}

/// No constraint, or only on the type: each action has one type of principal
/// and one of resource.
fn is_everything(constraint: &PrincipalOrResourceConstraint) -> bool {
    matches!(constraint, PrincipalOrResourceConstraint::Any | PrincipalOrResourceConstraint::Is(_))
}

fn share_an_action(left: &Statement, right: &Statement) -> bool {
    let covers = |statement: &Statement, action| covers(statement.ast().action_constraint(), action);
    [CONNECT, QUERY].into_iter().any(|action| covers(left, action) && covers(right, action))
}

fn covers(constraint: &ActionConstraint, action: &str) -> bool {
    let is_it = |entity: &EntityUID| AsRef::<str>::as_ref(entity.eid()) == action;
    match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(entity) => is_it(entity),
        ActionConstraint::In(entities) => entities.iter().any(|entity| is_it(entity)),
    }
}

/// The value of a condition that is made of `true` and `false` alone.
pub(super) fn constant(condition: &Expr, depth: usize) -> Option<bool> {
    let depth = depth.checked_sub(1)?;
    match condition.expr_kind() {
        ExprKind::Lit(Literal::Bool(value)) => Some(*value),
        ExprKind::And { left, right } => Some(constant(left, depth)? && constant(right, depth)?),
        ExprKind::Or { left, right } => Some(constant(left, depth)? || constant(right, depth)?),
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => constant(arg, depth).map(|value| !value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::statement;

    const PERMIT: &str =
        "permit(principal, action == Action::\"net.connect\", resource == Resource::\"a.example:1\");\n";

    fn outcome(text: &str, reading: CatchAllForbid) -> (usize, Vec<String>) {
        let statements = statement::parse(&[("p.cedar".to_owned(), text.to_owned())]).unwrap().statements;
        let (kept, warnings) = applied(&statements, reading);
        (kept.len(), warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_catch_all_is_kept_and_told_of_or_read_as_the_default() {
        for forbid in [
            "forbid(principal, action == Action::\"net.connect\", resource);",
            "forbid(principal, action in [Action::\"dns.query\", Action::\"net.connect\"], resource);",
            "forbid(principal, action, resource);",
            "forbid(principal is Agent, action, resource is Resource);",
            "forbid(principal, action, resource) when { true };",
            "forbid(principal, action, resource) when { true } unless { false };",
        ] {
            let text = format!("{PERMIT}{forbid}");
            let (kept, warnings) = outcome(&text, CatchAllForbid::Strict);
            assert_eq!(kept, 2, "{forbid}");
            assert!(warnings[0].starts_with("p.cedar:2:1: warning: `p.cedar#2` denies everything"), "{warnings:?}");
            assert!(warnings[0].contains("--catch-all-forbid default-deny"));

            let (kept, warnings) = outcome(&text, CatchAllForbid::DefaultDeny);
            assert_eq!(kept, 1, "{forbid}");
            assert!(warnings[0].contains("read as the default"), "{warnings:?}");
        }
    }

    #[test]
    fn a_forbid_with_any_condition_is_no_catch_all() {
        for forbid in [
            "forbid(principal == Agent::\"a\", action, resource);",
            "forbid(principal, action, resource in Domain::\"example.com\");",
            "forbid(principal, action, resource) when { context.port == 25 };",
            "forbid(principal, action, resource) unless { true };",
            "forbid(principal, action, resource) when { true } when { context.port == 25 };",
        ] {
            for reading in [CatchAllForbid::Strict, CatchAllForbid::DefaultDeny] {
                assert_eq!(outcome(&format!("{PERMIT}{forbid}"), reading), (2, vec![]), "{forbid}");
            }
        }
    }

    #[test]
    fn a_catch_all_over_no_permit_kills_nothing() {
        let text = format!("{PERMIT}forbid(principal, action == Action::\"dns.query\", resource);");
        assert_eq!(outcome(&text, CatchAllForbid::Strict), (2, vec![]));
    }
}
