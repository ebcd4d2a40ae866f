//! The openings of a decision against a model that judges port by port.

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;

use super::{NOW, loaded, query};
use crate::core::config::CatchAllForbid;
use crate::core::decision::{Decision, Reason};
use crate::core::query::{PortRange, Protocol, RecordKind};

/// A condition that looks at the port in any of the accepted ways, and its
/// meaning, told without Cedar.
#[derive(Clone, Debug)]
enum Condition {
    Compare { subject: &'static str, operator: &'static str, number: i64, turned: bool },
    Among { subject: &'static str, numbers: Vec<i64> },
    Is(u16),
    Tcp,
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

impl Condition {
    fn holds(&self, protocol: Protocol, port: i64) -> bool {
        let holds = |part: &Self| part.holds(protocol, port);
        match self {
            Self::Compare { operator, number, turned, .. } => {
                let (left, right) = if *turned { (*number, port) } else { (port, *number) };
                match *operator {
                    "==" => left == right,
                    "!=" => left != right,
                    "<" => left < right,
                    "<=" => left <= right,
                    ">" => left > right,
                    _ => left >= right,
                }
            }
            Self::Among { numbers, .. } => numbers.contains(&port),
            Self::Is(number) => i64::from(*number) == port,
            Self::Tcp => protocol == Protocol::Tcp,
            Self::And(left, right) => holds(left) && holds(right),
            Self::Or(left, right) => holds(left) || holds(right),
            Self::Not(part) => !holds(part),
            Self::If(test, then, other) => {
                if holds(test) {
                    holds(then)
                } else {
                    holds(other)
                }
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare { subject, operator, number, turned: true } => {
                write!(formatter, "{number} {operator} {subject}")
            }
            Self::Compare { subject, operator, number, .. } => write!(formatter, "{subject} {operator} {number}"),
            Self::Among { subject, numbers } => write!(formatter, "{numbers:?}.contains({subject})"),
            Self::Is(port) => write!(formatter, "resource == Resource::\"host.example:{port}\""),
            Self::Tcp => formatter.write_str("context.protocol == Protocol::\"tcp\""),
            Self::And(left, right) => write!(formatter, "({left} && {right})"),
            Self::Or(left, right) => write!(formatter, "({left} || {right})"),
            Self::Not(part) => write!(formatter, "!({part})"),
            Self::If(test, then, other) => write!(formatter, "(if {test} then {then} else {other})"),
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let number = prop_oneof![0..=65_536i64, Just(-1), Just(i64::MAX), 440..=446i64];
    let subject = prop_oneof![Just("context.port"), Just("resource.port")];
    let operator = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let compare = (subject.clone(), operator, number.clone(), any::<bool>())
        .prop_map(|(subject, operator, number, turned)| Condition::Compare { subject, operator, number, turned });
    let among = (subject, proptest::collection::vec(number, 1..4))
        .prop_map(|(subject, numbers)| Condition::Among { subject, numbers });
    let is = prop_oneof![1..=65_535u16, 440..=446u16].prop_map(Condition::Is);
    prop_oneof![compare, among, is, Just(Condition::Tcp)].prop_recursive(3, 12, 3, |inner| {
        let inner = inner.prop_map(Box::new);
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Condition::And(left, right)),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Condition::Or(left, right)),
            inner.clone().prop_map(Condition::Not),
            (inner.clone(), inner.clone(), inner).prop_map(|(test, then, other)| Condition::If(test, then, other)),
        ]
    })
}

/// One policy of a set.
#[derive(Clone, Debug)]
struct Line {
    forbids: bool,
    scope: Scope,
    condition: Option<Condition>,
}

#[derive(Clone, Debug)]
enum Scope {
    Any,
    Port(u16),
    Domain,
    Elsewhere(u16),
}

impl Line {
    fn holds(&self, protocol: Protocol, port: i64) -> bool {
        let in_scope = match self.scope {
            Scope::Any | Scope::Domain => true,
            Scope::Port(number) => i64::from(number) == port,
            Scope::Elsewhere(_) => false,
        };
        in_scope && self.condition.as_ref().is_none_or(|condition| condition.holds(protocol, port))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.forbids { "forbid" } else { "permit" };
        let resource = match self.scope {
            Scope::Any => "resource".to_owned(),
            Scope::Port(port) => format!("resource == Resource::\"host.example:{port}\""),
            Scope::Domain => "resource in Domain::\"example\"".to_owned(),
            Scope::Elsewhere(port) => format!("resource == Resource::\"other.example:{port}\""),
        };
        write!(formatter, "{effect}(principal, action == Action::\"net.connect\", {resource})")?;
        match &self.condition {
            Some(condition) => writeln!(formatter, " when {{ {condition} }};"),
            None => writeln!(formatter, ";"),
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    let port = prop_oneof![1..=65_535u16, 440..=446u16];
    let scope = prop_oneof![
        2 => Just(Scope::Any),
        2 => port.clone().prop_map(Scope::Port),
        1 => Just(Scope::Domain),
        1 => port.prop_map(Scope::Elsewhere),
    ];
    (proptest::bool::weighted(0.3), scope, proptest::option::weighted(0.7, condition()))
        .prop_map(|(forbids, scope, condition)| Line { forbids, scope, condition })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn the_ports_of_two_thousand_policy_sets_are_those_of_judging_every_port(
        lines in proptest::collection::vec(line(), 1..5)
    ) {
        let mut text = String::new();
        for line in &lines {
            write!(text, "{line}").unwrap();
        }
        // The validator refuses what can never hold; nothing is to be learnt from that.
        let loaded = loaded(&text, CatchAllForbid::Strict);
        prop_assume!(loaded.is_ok());
        let policy = loaded.unwrap().policy;

        let openings = match policy.decide(&query("host.example", RecordKind::A), NOW) {
            Decision::Permit(permit) => permit.openings,
            Decision::Deny(denial) => {
                prop_assert_ne!(denial.reason, Reason::PolicyError);
                Arc::default()
            }
        };
        let apart = openings.windows(2).all(|pair| {
            let touching = pair[0].ports.last().number().saturating_add(1) >= pair[1].ports.first().number();
            pair[0] < pair[1] && (pair[0].protocol != pair[1].protocol || !touching)
        });
        prop_assert!(apart, "{:?}", openings);
        for protocol in Protocol::ALL {
            for port in PortRange::ALL.ports() {
                let holds = |forbids| {
                    let lines = lines.iter().filter(|line| line.forbids == forbids);
                    lines.into_iter().any(|line| line.holds(protocol, port.number().into()))
                };
                let expected = !holds(true) && holds(false);
                let open = openings.iter().any(|opening| opening.protocol == protocol && opening.ports.contains(port));
                prop_assert_eq!(open, expected, "{}/{} of {}", port, protocol, text);
            }
        }
    }
}
