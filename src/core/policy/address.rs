//! Judging a name before its addresses are known.
//!
//! A policy that looks at `context.ip` cannot be decided by a name alone, and
//! the question must not go upstream if no address could make it permitted.
//! So each condition is replaced by one without `ip` that holds whenever the
//! original holds for at least one address (or, the other way round, for every
//! address): in each smallest Boolean part that mentions `ip`, `true` or
//! `false` stands in, according to how many negations lie around it. The
//! original then judges each address of the answer.

use std::sync::Arc;

use cedar_policy_core::ast::{Expr, ExprKind, UnaryOp, Var};

use super::lint::MAX_DEPTH;

/// Which way to err.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Holds if the original holds for some address.
    Some,
    /// Holds only if the original holds for every address.
    Every,
}

impl Bound {
    const fn stand_in(self) -> bool {
        matches!(self, Self::Some)
    }

    const fn negated(self) -> Self {
        match self {
            Self::Some => Self::Every,
            Self::Every => Self::Some,
        }
    }
}

/// `condition` without its looks at `context.ip`; `None` if they are nested
/// deeper than [`MAX_DEPTH`].
pub(super) fn without_address(condition: &Expr, bound: Bound) -> Option<Expr> {
    replaced(condition, bound, MAX_DEPTH)
}

fn replaced(condition: &Expr, bound: Bound, depth: usize) -> Option<Expr> {
    if !mentions_ip(condition) {
        return Some(condition.clone());
    }
    let depth = depth.checked_sub(1)?;
    let again = |part: &Arc<Expr>| replaced(part, bound, depth);
    Some(match condition.expr_kind() {
        // An address to judge is an address that is there.
        _ if asks_for_presence(condition) => Expr::val(true),
        ExprKind::And { left, right } => Expr::and(again(left)?, again(right)?),
        ExprKind::Or { left, right } => Expr::or(again(left)?, again(right)?),
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Expr::not(replaced(arg, bound.negated(), depth)?),
        ExprKind::If { test_expr, then_expr, .. } if asks_for_presence(test_expr) => again(then_expr)?,
        ExprKind::If { test_expr, then_expr, else_expr } if !mentions_ip(test_expr) => {
            Expr::ite(test_expr.as_ref().clone(), again(then_expr)?, again(else_expr)?)
        }
        // Either branch may be taken.
        ExprKind::If { then_expr, else_expr, .. } => match bound {
            Bound::Some => Expr::or(again(then_expr)?, again(else_expr)?),
            Bound::Every => Expr::and(again(then_expr)?, again(else_expr)?),
        },
        _ => Expr::val(bound.stand_in()),
    })
}

fn asks_for_presence(expression: &Expr) -> bool {
    matches!(
        expression.expr_kind(),
        ExprKind::HasAttr { expr, attr } if attr == "ip" && matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
    )
}

/// Whether `expression` looks at `context.ip`.
pub(super) fn mentions_ip(expression: &Expr) -> bool {
    let is_context = |expression: &Expr| matches!(expression.expr_kind(), ExprKind::Var(Var::Context));
    expression.subexpressions().any(|part| match part.expr_kind() {
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => attr == "ip" && is_context(expr),
        ExprKind::ExtHasAttr { expr, attrs } => attrs.first() == "ip" && is_context(expr),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn bounded(condition: &str, bound: Bound) -> String {
        let expression = cedar_policy::Expression::from_str(condition).unwrap();
        replaced(expression.as_ref(), bound, MAX_DEPTH).unwrap().to_string()
    }

    fn same(left: &str, bound: Bound, right: &str) {
        assert_eq!(bounded(left, bound), cedar_policy::Expression::from_str(right).unwrap().to_string(), "{left}");
    }

    #[test]
    fn what_does_not_look_at_the_address_stays() {
        let condition = "context.host == \"a.example\" && context has ip && context.ip.isLoopback()";
        same(condition, Bound::Some, "context.host == \"a.example\" && true && true");
        same(condition, Bound::Every, "context.host == \"a.example\" && true && false");
    }

    #[test]
    fn a_negation_turns_the_bound_around() {
        same("!(context.ip.isLoopback())", Bound::Some, "!false");
        same("!(context.ip.isLoopback())", Bound::Every, "!true");
        same("!(context has ip)", Bound::Some, "!true");
    }

    #[test]
    fn either_branch_of_an_unknown_choice_may_be_taken() {
        let choice = "if context.ip.isIpv4() then context.port == 1 else context.port == 2";
        same(choice, Bound::Some, "context.port == 1 || context.port == 2");
        same(choice, Bound::Every, "context.port == 1 && context.port == 2");
        same("if context has ip then context.port == 1 else true", Bound::Some, "context.port == 1");
    }
}
