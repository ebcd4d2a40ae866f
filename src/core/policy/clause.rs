//! [`Clause`]: what deciding has to know of one policy.

use std::sync::Arc;

use cedar_policy_core::ast::{Effect, Expr, ExprKind, Var};
use ipnet::IpNet;

use super::super::name::Name;
use super::super::problem::Problem;
use super::super::query::Port;
use super::super::rule::Rule;
use super::address::{Bound, without_address};
use super::lint::{Facts, MAX_DEPTH};
use super::literal::AddressLiteral;
use super::statement::Statement;

/// One policy, as it is evaluated.
#[derive(Debug)]
pub(super) struct Clause {
    /// Its statement's number.
    pub(super) statement: u32,
    pub(super) effect: Effect,
    condition: Condition,
    /// Numbers the port is compared with.
    pub(super) numbers: Box<[i64]>,
    /// Hosts and ports it names.
    pub(super) resources: Box<[(Name, Port)]>,
    /// Addresses it names.
    pub(super) addresses: Box<[AddressLiteral]>,
    /// Networks it compares addresses with.
    pub(super) networks: Box<[IpNet]>,
    pub(super) mentions: Mentions,
}

/// What of the circumstances a condition looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mentions {
    pub(super) host: bool,
    pub(super) ip: bool,
    pub(super) now: bool,
    pub(super) client: bool,
    pub(super) protocol: bool,
}

impl Mentions {
    pub(super) const fn or(self, other: Self) -> Self {
        Self {
            host: self.host || other.host,
            ip: self.ip || other.ip,
            now: self.now || other.now,
            client: self.client || other.client,
            protocol: self.protocol || other.protocol,
        }
    }
}

/// Which form of the policies a question is put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// As written.
    Exact,
    /// Without `context.ip`: permits whatever some address could make
    /// permitted.
    ByName,
    /// The forbids that look at `context.ip`, without it: forbids whatever
    /// some address could make forbidden.
    Wary,
}

/// What a policy's scope is followed by.
#[derive(Debug)]
enum Condition {
    None,
    Plain(Arc<Expr>),
    OnAddress(Box<OnAddress>),
}

/// A condition that looks at `context.ip`, and what stands in for it.
#[derive(Debug)]
struct OnAddress {
    exact: Arc<Expr>,
    by_name: Expr,
    wary: Option<Expr>,
}

/// What is left to ask of a policy whose scope matches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// It is no part of this view.
    Absent,
    /// Nothing: it holds.
    Holds,
    /// Its condition.
    If(&'a Expr),
}

impl Clause {
    /// What deciding needs of `statement`, whose number is `number`.
    ///
    /// # Errors
    /// A condition that looks at `context.ip` too deep inside.
    pub(super) fn of(statement: &Statement, number: u32, facts: Facts) -> Result<Self, Problem> {
        let effect = statement.ast().effect();
        let condition = match statement.ast().non_scope_constraints_arc() {
            None => Condition::None,
            Some(condition) if !facts.mentions_ip => Condition::Plain(Arc::clone(condition)),
            Some(condition) => {
                let on_address = OnAddress::of(condition, effect).ok_or_else(|| too_deep(statement))?;
                Condition::OnAddress(Box::new(on_address))
            }
        };
        Ok(Self {
            statement: number,
            effect,
            condition,
            mentions: Mentions {
                host: statement.ast().non_scope_constraints().is_some_and(looks_at_host),
                ip: facts.mentions_ip,
                now: facts.mentions_now,
                client: facts.mentions_client,
                protocol: facts.mentions_protocol,
            },
            numbers: facts.numbers.into(),
            resources: facts.resources.into(),
            addresses: facts.addresses.into(),
            networks: facts.networks.into(),
        })
    }

    /// What is left to ask of it under `view`.
    pub(super) fn asked(&self, view: View) -> Asked<'_> {
        match (&self.condition, view) {
            (Condition::None, View::Exact | View::ByName) => Asked::Holds,
            (Condition::Plain(condition), View::Exact | View::ByName) => Asked::If(condition),
            (Condition::None | Condition::Plain(_), View::Wary) => Asked::Absent,
            (Condition::OnAddress(forms), View::Exact) => Asked::If(&forms.exact),
            (Condition::OnAddress(forms), View::ByName) => Asked::If(&forms.by_name),
            (Condition::OnAddress(forms), View::Wary) => forms.wary.as_ref().map_or(Asked::Absent, Asked::If),
        }
    }
}

impl OnAddress {
    fn of(condition: &Arc<Expr>, effect: Effect) -> Option<Self> {
        let (bound, wary) = match effect {
            Effect::Permit => (Bound::Some, None),
            Effect::Forbid => (Bound::Every, Some(without_address(condition, Bound::Some)?)),
        };
        Some(Self { exact: Arc::clone(condition), by_name: without_address(condition, bound)?, wary })
    }
}

/// Whether `condition` can tell one host from another: by anything of the
/// resource but its port, or by `context.host`.
fn looks_at_host(condition: &Expr) -> bool {
    let harmless = |of: &Expr, attribute: &str| match of.expr_kind() {
        ExprKind::Var(Var::Resource) => attribute == "port",
        ExprKind::Var(Var::Context) => attribute != "host",
        _ => false,
    };
    let (mut looks, mut harmless_looks) = (0_usize, 0_usize);
    for part in condition.subexpressions() {
        match part.expr_kind() {
            ExprKind::Var(Var::Resource | Var::Context) => looks += 1,
            ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } if harmless(expr, attr) => {
                harmless_looks += 1;
            }
            ExprKind::ExtHasAttr { expr, attrs } if harmless(expr, attrs.first()) => harmless_looks += 1,
            _ => {}
        }
    }
    looks != harmless_looks
}

fn too_deep(statement: &Statement) -> Problem {
    let message = format!("this policy looks at `context.ip` more than {MAX_DEPTH} levels deep");
    Problem::error(statement.place.clone(), message).with_help("write it as several policies").of(Rule::TooDeep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn whatever_could_tell_hosts_apart_looks_at_the_host() {
        let looks = |condition: &str| looks_at_host(cedar_policy::Expression::from_str(condition).unwrap().as_ref());
        for condition in [
            "context.host == \"a.example\"",
            "context has host",
            "context has host.length",
            "resource.host like \"*.example\"",
            "resource in Domain::\"example\"",
            "resource == Resource::\"a.example:443\"",
            "resource is Resource",
            "context.port == 443 && !(resource in Domain::\"example\")",
            "context == {host: \"a.example\"}",
            "if resource.port == 1 then true else principal == resource",
        ] {
            assert!(looks(condition), "{condition}");
        }
        for condition in [
            "context.port == 443 && context.protocol == Protocol::\"tcp\"",
            "resource.port >= 8000 && context.now > datetime(\"2026-01-01\")",
            "resource has port && context has port",
            "principal.trusted || context has ip && context.ip.isLoopback()",
        ] {
            assert!(!looks(condition), "{condition}");
        }
    }
}
