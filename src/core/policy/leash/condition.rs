//! The hosts that a `when` names: `resource in [Host::"a", Host::"b"]`,
//! `resource == Host::"a"`, `context.hostname == "a"` and
//! `context.hostname like "*.zone"`, or several of them with `||`.

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, Pattern, PatternElem, Var};

use super::super::super::problem::{Place, Problem};
use super::Original;

/// What a policy is about: the entity's type and id, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// The name of its type, with its namespace.
    pub(super) name: String,
    pub(super) id: String,
    pub(super) place: Place,
}

impl Resource {
    pub(super) fn of(entity: &EntityUID, place: Place) -> Self {
        Self { name: entity.entity_type().to_string(), id: AsRef::<str>::as_ref(entity.eid()).to_owned(), place }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.name.rsplit("::").next().unwrap_or_default() {
            "Host" | "Hostname" | "Endpoint" => Kind::Host,
            "DnsZone" => Kind::Zone,
            "Server" => Kind::Server,
            "Tool" => Kind::Tool,
            "IpRange" => Kind::Network,
            _ => Kind::Other,
        }
    }

    fn host(id: String, place: Place) -> Self {
        Self { name: "Host".to_owned(), id, place }
    }
}

/// What sort of thing a resource is. Leash takes some older names, too.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Host,
    Zone,
    Server,
    Tool,
    Network,
    Other,
}

/// The resources that `condition` names.
///
/// # Errors
/// A condition of any other form.
pub(super) fn resources(original: &Original<'_>, condition: &Expr) -> Result<Vec<Resource>, Problem> {
    let mut resources = Vec::new();
    let mut waiting = vec![condition];
    while let Some(expression) = waiting.pop() {
        match expression.expr_kind() {
            ExprKind::Or { left, right } => waiting.extend([&**right, left]),
            ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 } if is_resource(arg1) => {
                resources.extend(members(original, arg2)?);
            }
            ExprKind::BinaryApp { op: BinaryOp::Eq, arg1, arg2 } => {
                resources.push(equal(original, arg1, arg2).or_else(|_| equal(original, arg2, arg1))?);
            }
            ExprKind::Like { expr, pattern } if is_hostname(expr) => {
                let place = original.place(expression.source_loc());
                let id = plain(pattern).ok_or_else(|| unknown(original, expression))?;
                resources.push(Resource::host(id, place));
            }
            ExprKind::And { .. } => {
                let message = "several conditions at once: Leash adds their hosts up, Cedar takes what they share";
                let problem = Problem::error(original.place(expression.source_loc()), message);
                return Err(problem.with_help("write one policy for each condition, or one list of hosts"));
            }
            _ => return Err(unknown(original, expression)),
        }
    }
    Ok(resources)
}

fn members(original: &Original<'_>, set: &Expr) -> Result<Vec<Resource>, Problem> {
    match set.expr_kind() {
        ExprKind::Set(members) => members.iter().map(|member| entity(original, member)).collect(),
        _ => Ok(vec![entity(original, set)?]),
    }
}

fn entity(original: &Original<'_>, expression: &Expr) -> Result<Resource, Problem> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(entity)) => {
            Ok(Resource::of(entity, original.place(entity.loc().or(expression.source_loc()))))
        }
        _ => Err(unknown(original, expression)),
    }
}

fn equal(original: &Original<'_>, subject: &Expr, value: &Expr) -> Result<Resource, Problem> {
    if is_resource(subject) {
        return entity(original, value);
    }
    match value.expr_kind() {
        ExprKind::Lit(Literal::String(name)) if is_hostname(subject) => {
            Ok(Resource::host(name.to_string(), original.place(value.source_loc())))
        }
        _ => Err(unknown(original, value)),
    }
}

/// The pattern as an id; an escaped `*` has no such form.
fn plain(pattern: &Pattern) -> Option<String> {
    pattern
        .get_elems()
        .iter()
        .map(|element| match element {
            PatternElem::Wildcard => Some('*'),
            PatternElem::Char('*') => None,
            PatternElem::Char(character) => Some(*character),
        })
        .collect()
}

fn is_resource(expression: &Expr) -> bool {
    matches!(expression.expr_kind(), ExprKind::Var(Var::Resource))
}

fn is_hostname(expression: &Expr) -> bool {
    matches!(
        expression.expr_kind(),
        ExprKind::GetAttr { expr, attr } if attr == "hostname" && matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
    )
}

fn unknown(original: &Original<'_>, expression: &Expr) -> Problem {
    let message = "this condition is not rewritten: Leash ignores all but lists of resources and host names";
    Problem::error(original.place(expression.source_loc()), message)
        .with_help("write `when { resource in [Host::\"api.example.com:443\"] }`")
}
