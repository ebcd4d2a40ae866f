//! The ports at which a condition can hold.

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, UnaryOp, Var};

use super::scope::endpoint;
use super::walk::{basename, id, integer, is_port};

const FIRST: i64 = 1;
const LAST: i64 = 65_535;

/// A set of ports: runs, sorted and apart from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    runs: Vec<(i64, i64)>,
    /// Whether the condition holds at each of these ports, whatever else the
    /// question is. Otherwise it holds at no other.
    exact: bool,
}

impl Ports {
    /// Every port, where nothing is known.
    pub(super) fn any() -> Self {
        Self { exact: false, ..Self::within(FIRST, LAST) }
    }

    /// One port.
    pub(super) fn one(port: i64) -> Self {
        Self::within(port, port)
    }

    pub(super) fn are_none(&self) -> bool {
        self.runs.is_empty()
    }

    /// The ports at which `condition` can hold.
    pub(super) fn of(condition: &Expr) -> Self {
        match condition.expr_kind() {
            ExprKind::And { left, right } => Self::of(left).and(&Self::of(right)),
            ExprKind::Or { left, right } => Self::of(left).or(&Self::of(right)),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Self::of(arg).not(),
            ExprKind::BinaryApp { op, arg1, arg2 } => Self::of_comparison(*op, arg1, arg2).unwrap_or_else(Self::any),
            _ => Self::any(),
        }
    }

    /// The ports of both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let runs = self.runs.iter().flat_map(|(first, last)| {
            other
                .runs
                .iter()
                .map(move |(from, to)| (*first.max(from), *last.min(to)))
                .filter(|(first, last)| first <= last)
        });
        Self { runs: sorted(runs.collect()), exact: self.exact && other.exact }
    }

    fn or(&self, other: &Self) -> Self {
        Self { runs: sorted([&*self.runs, &*other.runs].concat()), exact: self.exact && other.exact }
    }

    fn not(&self) -> Self {
        if !self.exact {
            return Self::any();
        }
        let mut runs = Vec::new();
        let mut next = FIRST;
        for (first, last) in &self.runs {
            if next < *first {
                runs.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= LAST {
            runs.push((next, LAST));
        }
        Self { runs, exact: true }
    }

    fn of_comparison(op: BinaryOp, left: &Expr, right: &Expr) -> Option<Self> {
        match op {
            BinaryOp::Eq => one_of(left, right).or_else(|| one_of(right, left)),
            BinaryOp::Less if is_port(left) => integer(right).map(|most| Self::within(FIRST, most.saturating_sub(1))),
            BinaryOp::LessEq if is_port(left) => integer(right).map(|most| Self::within(FIRST, most)),
            BinaryOp::Less if is_port(right) => integer(left).map(|least| Self::within(least.saturating_add(1), LAST)),
            BinaryOp::LessEq if is_port(right) => integer(left).map(|least| Self::within(least, LAST)),
            BinaryOp::Contains => {
                let ExprKind::Set(members) = left.expr_kind() else { return None };
                let mut all = Self { runs: Vec::new(), exact: true };
                for member in members.iter() {
                    all = all.or(&one_of(right, member)?);
                }
                Some(all)
            }
            _ => None,
        }
    }

    fn within(first: i64, last: i64) -> Self {
        let (first, last) = (first.max(FIRST), last.min(LAST));
        Self { runs: if first <= last { vec![(first, last)] } else { Vec::new() }, exact: true }
    }
}

/// The port that `subject` has if it equals `value`.
fn one_of(subject: &Expr, value: &Expr) -> Option<Ports> {
    if is_port(subject) {
        return integer(value).map(Ports::one);
    }
    match (subject.expr_kind(), value.expr_kind()) {
        (ExprKind::Var(Var::Resource), ExprKind::Lit(Literal::EntityUID(entity))) if basename(entity) == "Resource" => {
            let (_, port) = endpoint(id(entity))?;
            // The host has to be right, too.
            Some(Ports { exact: false, ..Ports::one(i64::from(port.number())) })
        }
        _ => None,
    }
}

fn sorted(mut runs: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    runs.sort_unstable();
    let mut apart: Vec<(i64, i64)> = Vec::with_capacity(runs.len());
    for (first, last) in runs {
        match apart.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn runs(condition: &str) -> Vec<(i64, i64)> {
        let expression = cedar_policy::Expression::from_str(condition).unwrap();
        Ports::of(expression.as_ref()).runs
    }

    #[test]
    fn comparisons_are_runs_of_ports() {
        for (condition, expected) in [
            ("context.port == 443", vec![(443, 443)]),
            ("443 == resource.port", vec![(443, 443)]),
            ("context.port != 443", vec![(1, 442), (444, LAST)]),
            ("context.port > 8000 && context.port <= 8010", vec![(8001, 8010)]),
            ("[22, 443, 23].contains(context.port)", vec![(22, 23), (443, 443)]),
            ("context.port < 10 || 65000 < context.port", vec![(1, 9), (65_001, LAST)]),
            ("resource == Resource::\"a.example:22\" && context.port == 23", vec![]),
            ("context.port == 0", vec![]),
            ("context.port > 65535", vec![]),
            ("!(context.port >= 1)", vec![]),
            ("context.port < -9223372036854775807", vec![]),
            ("context.port > 9223372036854775807", vec![]),
        ] {
            assert_eq!(runs(condition), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_not_known_may_be_any_port() {
        for condition in [
            "context.host == \"a.example\"",
            "!(context.port == 1 && context.host == \"a.example\")",
            "!(resource == Resource::\"a.example:22\")",
            "context.port == 1 || context.host == \"a.example\"",
        ] {
            assert_eq!(runs(condition), [(FIRST, LAST)], "{condition}");
        }
    }
}
