//! What a statement covers: whom, which actions, which resources, and on which
//! conditions.

use cedar_policy_core::ast::{
    ActionConstraint, Effect, EntityReference, EntityUID, Expr, ExprKind, PrincipalOrResourceConstraint,
};

use super::super::super::name::Name;
use super::super::super::query::Port;
use super::super::catch_all::{MAX_DEPTH, constant};
use super::super::schema::{CONNECT, QUERY};
use super::super::statement::Statement;
use super::walk::{basename, id};

/// The scope and the conditions of one statement.
pub(super) struct Scope<'a> {
    pub(super) statement: &'a Statement,
    pub(super) actions: Actions,
    pub(super) who: Who,
    pub(super) what: What,
    /// What has to hold: the `&&` of all conditions, taken apart. Those that
    /// always hold are left out.
    pub(super) conditions: Vec<&'a Expr>,
}

/// Which of the two actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Actions {
    pub(super) connect: bool,
    pub(super) query: bool,
}

/// Which principals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Everybody,
    Agent(String),
    Team(String),
}

/// Which resources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Everything,
    /// A domain and everything below it.
    Below(Name),
    /// The domain itself, as `dns.query` asks for it.
    Exactly(Name),
    /// One port of a host.
    Endpoint(Name, Port),
    /// Something else, by its id: an address or a network.
    Other(String),
}

impl<'a> Scope<'a> {
    /// That of `statement`, which is valid.
    pub(super) fn of(statement: &'a Statement) -> Self {
        let ast = statement.ast();
        let what = what(ast.resource_constraint().as_inner());
        Self {
            statement,
            actions: actions(ast.action_constraint(), ast.resource_constraint().as_inner(), &what),
            who: who(ast.principal_constraint().as_inner()),
            what,
            conditions: ast.non_scope_constraints().map(conjuncts).unwrap_or_default(),
        }
    }

    pub(super) fn effect(&self) -> Effect {
        self.statement.ast().effect()
    }
}

impl Actions {
    /// Whether these include all of `other`.
    pub(super) const fn include(self, other: Self) -> bool {
        (self.connect || !other.connect) && (self.query || !other.query)
    }
}

/// The parts of a condition that all have to hold, without those that always
/// do.
fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    let mut parts = Vec::new();
    let mut waiting = vec![condition];
    while let Some(part) = waiting.pop() {
        match part.expr_kind() {
            ExprKind::And { left, right } => waiting.extend([&**right, left]),
            _ if constant(part, MAX_DEPTH) == Some(true) => {}
            _ => parts.push(part),
        }
    }
    parts
}

fn who(constraint: &PrincipalOrResourceConstraint) -> Who {
    match entity(constraint) {
        None => Who::Everybody,
        Some(entity) if basename(entity) == "Team" => Who::Team(id(entity).to_owned()),
        Some(entity) => Who::Agent(id(entity).to_owned()),
    }
}

fn what(constraint: &PrincipalOrResourceConstraint) -> What {
    let Some(entity) = entity(constraint) else { return What::Everything };
    let id = id(entity);
    if basename(entity) == "Resource" {
        return endpoint(id).map_or_else(|| What::Other(id.to_owned()), |(host, port)| What::Endpoint(host, port));
    }
    match host(id) {
        None => What::Other(id.to_owned()),
        Some(name) if matches!(constraint, PrincipalOrResourceConstraint::Eq(_)) => What::Exactly(name),
        Some(name) => What::Below(name),
    }
}

/// Each action has one type of resource, so the resource narrows the actions.
fn actions(constraint: &ActionConstraint, resource: &PrincipalOrResourceConstraint, what: &What) -> Actions {
    use PrincipalOrResourceConstraint::{Is, IsIn};
    let named = |action| match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(entity) => id(entity) == action,
        ActionConstraint::In(entities) => entities.iter().any(|entity| id(entity) == action),
    };
    let type_allows = |kind: &str| match resource {
        Is(of) | IsIn(of, _) => of.to_string() == kind,
        _ => true,
    };
    Actions {
        connect: named(CONNECT) && type_allows("Resource") && !matches!(what, What::Exactly(_)),
        query: named(QUERY) && type_allows("Domain") && !matches!(what, What::Endpoint(..) | What::Other(_)),
    }
}

fn entity(constraint: &PrincipalOrResourceConstraint) -> Option<&EntityUID> {
    use PrincipalOrResourceConstraint::{Any, Eq, In, Is, IsIn};
    match constraint {
        Any | Is(_) => None,
        In(reference) | Eq(reference) | IsIn(_, reference) => match reference {
            EntityReference::EUID(entity) => Some(entity),
            EntityReference::Slot(_) => None,
        },
    }
}

/// The host and port of a `Resource` id that names a host.
pub(super) fn endpoint(id: &str) -> Option<(Name, Port)> {
    let (host_text, port) = id.rsplit_once(':')?;
    Some((host(host_text)?, port.parse().ok()?))
}

/// `text` as a host or domain, if it is one and no address.
pub(super) fn host(text: &str) -> Option<Name> {
    let name = Name::parse(text).ok()?;
    let last_label = name.labels().last()?;
    let is_number = last_label.bytes().all(|octet| octet.is_ascii_digit());
    (!is_number).then_some(name)
}
