//! Statements whose conditions cannot hold together with their scope.

use super::super::super::problem::Problem;
use super::super::super::rule::Rule;
use super::hosts::Hosts;
use super::port_runs::Ports;
use super::scope::{Scope, What};

/// A warning if nothing that can be asked meets all that `scope` wants.
pub(super) fn doubt(scope: &Scope) -> Option<Problem> {
    let mut ports = match &scope.what {
        What::Endpoint(_, port) => Ports::one(i64::from(port.number())),
        _ => Ports::any(),
    };
    let hosts = Hosts::of(&scope.what);
    for condition in &scope.conditions {
        let place = || scope.statement.place_of(condition.source_loc());
        if hosts.as_ref().is_some_and(|hosts| !hosts.allow(condition)) {
            let message = format!("`{}` never applies: this is no host of its resource", scope.statement.id);
            return Some(told(Problem::warning(place(), message), "name a host that the resource covers"));
        }
        ports = ports.and(&Ports::of(condition));
        if ports.are_none() {
            let rest = if Ports::of(condition).are_none() { "" } else { " together with the rest" };
            let message = format!("`{}` never applies: no port meets this{rest}", scope.statement.id);
            return Some(told(Problem::warning(place(), message), "ports are 1 to 65535; of alternatives, write `||`"));
        }
    }
    None
}

fn told(problem: Problem, help: &str) -> Problem {
    problem.with_help(help).of(Rule::Unreachable)
}
