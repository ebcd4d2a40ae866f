//! A condition part by part: which of the parts that must all hold is the
//! first that does not.

use cedar_policy_core::ast::{Expr, ExprKind};
use cedar_policy_core::parser::Loc;
use serde::Serialize;

use super::super::super::problem::Place;
use super::super::address::mentions_ip;
use super::super::statement::{Statement, one_line};
use super::mentions;
use super::scene::Scene;

/// The part of a condition at which a policy came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stumble {
    /// Its text, on one line.
    pub text: String,
    /// Where it stands.
    pub place: Place,
    /// Cedar's words, if it could not be evaluated; `None` if it is false.
    pub error: Option<String>,
    #[serde(skip)]
    pub(super) is_about_name: bool,
}

/// The first part of the statement's condition that does not hold. Where no
/// address is named, parts that look at it are taken to hold.
pub(super) fn stumble(statement: &Statement, scene: &Scene, address_is_known: bool) -> Option<Stumble> {
    let parts = conjuncts(statement.ast().non_scope_constraints()?);
    let parts = parts.into_iter().filter(|part| address_is_known || !mentions_ip(part));
    parts.into_iter().find_map(|part| {
        let error = match scene.holds(part) {
            Ok(true) => return None,
            Ok(false) => None,
            Err(error) => Some(one_line(&error)),
        };
        let text = part.source_loc().and_then(Loc::snippet).map_or_else(|| part.to_string(), ToOwned::to_owned);
        Some(Stumble {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            place: statement.place_of(part.source_loc()),
            error,
            is_about_name: !mentions::places(part).is_empty(),
        })
    })
}

/// The parts that must all hold, in their order. A stack of our own, because
/// a chain of `&&` may be long.
fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    let mut parts = Vec::new();
    let mut waiting = vec![condition];
    while let Some(expression) = waiting.pop() {
        match expression.expr_kind() {
            ExprKind::And { left, right } => waiting.extend([&**right, left]),
            _ => parts.push(expression),
        }
    }
    parts
}
