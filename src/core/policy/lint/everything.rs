//! A permit of everything, which makes the wall a spectator.

use cedar_policy_core::ast::Effect;

use super::super::super::problem::Problem;
use super::super::super::rule::Rule;
use super::scope::{Scope, What, Who};

/// A warning if `scope` permits every connection.
pub(super) fn doubt(scope: &Scope) -> Option<Problem> {
    if !is_everything(scope) {
        return None;
    }
    let whom = match &scope.who {
        Who::Everybody => "everybody".to_owned(),
        Who::Agent(agent) => format!("Agent `{agent}`"),
        Who::Team(team) => format!("Team `{team}`"),
    };
    let message = format!("`{}` permits {whom} everything: every host, on every port", scope.statement.id);
    Some(
        Problem::warning(scope.statement.place.clone(), message)
            .with_help("name what is needed, as in `resource in Domain::\"example.com\"`")
            .of(Rule::PermitsEverything),
    )
}

/// Whether it permits every connection to everybody.
pub(super) fn is_for_everybody(scope: &Scope) -> bool {
    is_everything(scope) && scope.who == Who::Everybody
}

fn is_everything(scope: &Scope) -> bool {
    scope.effect() == Effect::Permit
        && scope.actions.connect
        && scope.what == What::Everything
        && scope.conditions.is_empty()
}
