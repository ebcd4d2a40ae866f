//! Permits on everything below a public suffix: the names there belong to
//! anybody who asks for one.

use cedar_policy_core::ast::{BinaryOp, Effect, Expr, ExprKind, Literal, PatternElem, Var};
use psl::{Psl, Type};

use super::super::super::name::Name;
use super::super::super::problem::{Place, Problem};
use super::super::super::rule::Rule;
use super::mentions::domain_of;
use super::scope::{Scope, What, host};
use super::walk::{basename, id, is_host};

/// Warnings if `scope` is a permit limited by nothing narrower than a public
/// suffix.
pub(super) fn doubts(scope: &Scope) -> Vec<Problem> {
    if scope.effect() != Effect::Permit {
        return Vec::new();
    }
    let statement = scope.statement;
    if let What::Below(domain) = &scope.what {
        let template = statement.ast().template();
        let loc = template.resource_constraint().as_inner().get_euid().and_then(|entity| entity.loc());
        return doubt(scope, domain, || statement.place_of(loc)).into_iter().collect();
    }
    if scope.what != What::Everything {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for condition in &scope.conditions {
        let Some(domains) = domains(condition) else { continue };
        let found: Vec<_> = domains
            .into_iter()
            .filter_map(|(domain, at)| doubt(scope, &domain, || statement.place_of(at.source_loc())))
            .collect();
        if found.is_empty() {
            // This condition limits it to something narrower.
            return Vec::new();
        }
        problems.extend(found);
    }
    problems
}

fn doubt(scope: &Scope, domain: &Name, place: impl FnOnce() -> Place) -> Option<Problem> {
    let whose = match kind(domain)? {
        Type::Icann => "anybody can register",
        Type::Private => "anybody can have from the provider",
    };
    let message = format!("`{}` permits names that {whose}: `{domain}` is a public suffix", scope.statement.id);
    Some(
        Problem::warning(place(), message)
            .with_help(format!("name the domain you mean: Domain::\"example.{domain}\""))
            .of(Rule::PublicSuffix),
    )
}

/// Which part of the public suffix list `domain` itself is on, if it is.
fn kind(domain: &Name) -> Option<Type> {
    let info = psl::List.find(domain.as_str().rsplit('.').map(str::as_bytes));
    (info.len == domain.as_str().len()).then_some(info.typ).flatten()
}

/// The domains to one of which a condition limits the name; `None` if it
/// limits the name in another way, or not at all.
fn domains(condition: &Expr) -> Option<Vec<(Name, &Expr)>> {
    match condition.expr_kind() {
        ExprKind::Or { left, right } => {
            let mut all = domains(left)?;
            all.extend(domains(right)?);
            Some(all)
        }
        ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 } => {
            matches!(arg1.expr_kind(), ExprKind::Var(Var::Resource)).then_some(())?;
            match arg2.expr_kind() {
                ExprKind::Set(members) => members.iter().map(|member| Some((domain(member)?, member))).collect(),
                _ => Some(vec![(domain(arg2)?, &**arg2)]),
            }
        }
        ExprKind::Like { expr, pattern } if is_host(expr) => {
            let elements = pattern.get_elems();
            let is_below = elements.first() == Some(&PatternElem::Wildcard)
                && elements.iter().filter(|element| **element == PatternElem::Wildcard).count() == 1;
            let domain = is_below.then(|| domain_of(pattern)).flatten()?;
            Some(vec![(domain, condition)])
        }
        _ => None,
    }
}

fn domain(expression: &Expr) -> Option<Name> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(entity)) if basename(entity) == "Domain" => host(id(entity)),
        _ => None,
    }
}
