//! The hosts at which a condition can hold.

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Var};

use super::super::super::name::Name;
use super::mentions::domain_of;
use super::scope::{What, endpoint, host};
use super::walk::{basename, id, is_host};

/// Which hosts a scope leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    Any,
    One(Name),
    Below(Name),
}

impl Hosts {
    /// Those of a resource; `None` if it is no host at all.
    pub(super) fn of(what: &What) -> Option<Self> {
        match what {
            What::Everything => Some(Self::Any),
            What::Below(domain) => Some(Self::Below(domain.clone())),
            What::Exactly(name) | What::Endpoint(name, _) => Some(Self::One(name.clone())),
            What::Other(_) => None,
        }
    }

    /// Whether `condition` can hold for one of them, as far as it speaks of
    /// hosts.
    pub(super) fn allow(&self, condition: &Expr) -> bool {
        match condition.expr_kind() {
            ExprKind::And { left, right } => self.allow(left) && self.allow(right),
            ExprKind::Or { left, right } => self.allow(left) || self.allow(right),
            ExprKind::BinaryApp { op: BinaryOp::Eq, arg1, arg2 } => {
                self.allow_equal(arg1, arg2) && self.allow_equal(arg2, arg1)
            }
            ExprKind::BinaryApp { op: BinaryOp::Contains, arg1, arg2 } => match arg1.expr_kind() {
                ExprKind::Set(members) if !members.is_empty() => {
                    members.iter().any(|member| self.allow_equal(arg2, member))
                }
                _ => true,
            },
            ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 }
                if matches!(arg1.expr_kind(), ExprKind::Var(Var::Resource)) =>
            {
                match arg2.expr_kind() {
                    ExprKind::Set(members) if !members.is_empty() => {
                        members.iter().any(|member| self.allow_within(member))
                    }
                    _ => self.allow_within(arg2),
                }
            }
            ExprKind::Like { expr, pattern } if is_host(expr) => match self {
                Self::Any => true,
                Self::One(host) => pattern.wildcard_match(host.as_str()),
                Self::Below(_) => domain_of(pattern).is_none_or(|domain| self.meet(&domain)),
            },
            _ => true,
        }
    }

    fn allow_equal(&self, subject: &Expr, value: &Expr) -> bool {
        let name = match (subject.expr_kind(), value.expr_kind()) {
            (_, ExprKind::Lit(Literal::String(text))) if is_host(subject) => host(text),
            (ExprKind::Var(Var::Resource), ExprKind::Lit(Literal::EntityUID(entity))) => {
                match basename(entity).as_str() {
                    "Resource" => endpoint(id(entity)).map(|(host, _)| host),
                    "Domain" => host(id(entity)),
                    _ => None,
                }
            }
            _ => None,
        };
        match (self, name) {
            (Self::One(host), Some(name)) => *host == name,
            (Self::Below(domain), Some(name)) => name.is_within(domain),
            _ => true,
        }
    }

    fn allow_within(&self, entity: &Expr) -> bool {
        let ExprKind::Lit(Literal::EntityUID(uid)) = entity.expr_kind() else { return true };
        match basename(uid).as_str() {
            "Domain" => host(id(uid)).is_none_or(|domain| self.meet(&domain)),
            "Resource" => endpoint(id(uid)).is_none_or(|(name, _)| match self {
                Self::Any => true,
                Self::One(host) => *host == name,
                Self::Below(domain) => name.is_within(domain),
            }),
            _ => true,
        }
    }

    /// Whether some of them lie at or below `domain`.
    fn meet(&self, domain: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::One(host) => host.is_within(domain),
            Self::Below(own) => own.is_within(domain) || domain.is_within(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn allows(hosts: &Hosts, condition: &str) -> bool {
        hosts.allow(cedar_policy::Expression::from_str(condition).unwrap().as_ref())
    }

    #[test]
    fn a_condition_about_another_host_cannot_hold() {
        let below = Hosts::Below(Name::parse("example.com").unwrap());
        let one = Hosts::One(Name::parse("api.example.com").unwrap());
        for condition in [
            "context.host == \"api.example.org\"",
            "\"api.example.org\" == resource.host",
            "[\"a.example.org\", \"b.example.org\"].contains(context.host)",
            "context.host like \"*.example.org\"",
            "context.host like \"api.*.example.org\"",
            "resource in Domain::\"example.org\"",
            "resource in [Domain::\"example.org\", Resource::\"example.net:443\"]",
            "resource == Resource::\"example.org:443\"",
            "context.host == \"api.example.org\" || context.host == \"example.net\"",
            "context.port == 1 && context.host == \"api.example.org\"",
        ] {
            assert!(!allows(&below, condition) && !allows(&one, condition), "{condition}");
            assert!(allows(&Hosts::Any, condition), "{condition}");
        }
    }

    #[test]
    fn a_condition_that_may_hold_is_allowed() {
        let below = Hosts::Below(Name::parse("example.com").unwrap());
        let one = Hosts::One(Name::parse("api.example.com").unwrap());
        for condition in [
            "context.host == \"api.example.com\"",
            "[\"a.example.org\", \"api.example.com\"].contains(context.host)",
            "context.host like \"*.example.com\"",
            "context.host like \"*.com\"",
            "context.host like \"api*\"",
            "!(context.host == \"api.example.org\")",
            "resource in Domain::\"com\"",
            "resource in [Domain::\"example.org\", Domain::\"api.example.com\"]",
            "context.host == \"api.example.org\" || context.port == 1",
        ] {
            assert!(allows(&below, condition) && allows(&one, condition), "{condition}");
        }
        assert!(allows(&below, "context.host like \"*.a.example.com\""));
    }
}
