//! Walks a statement's syntax tree: refuses what would silently mean something
//! else than its author thinks, and notes what deciding has to know.
//!
//! The exact ports of a decision come from evaluating one port per interval
//! between breakpoints (see [`super::super::slice`]). That is only right if the port
//! matters through comparisons with literals alone, so every other use of it
//! is refused here.

use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, Pattern, PatternElem, UnaryOp, Var};
use cedar_policy_core::parser::Loc;
use ipnet::IpNet;

use super::super::super::name::Name;
use super::super::super::problem::{Place, Problem};
use super::super::super::query::Port;
use super::super::super::rule::Rule;
use super::super::literal::{self, AddressLiteral, Fault, ResourceId};
use super::super::statement::Statement;

/// Conditions may be nested this deep. Cedar's evaluator recurses, and gives
/// up with an error (which denies) when its stack runs low; a policy must not
/// depend on which thread evaluates it.
pub(in crate::core::policy) const MAX_DEPTH: usize = 64;

/// What deciding has to know of a statement.
#[derive(Debug, Default)]
pub(in crate::core::policy) struct Facts {
    /// Integer literals the port is compared with.
    pub(in crate::core::policy) numbers: Vec<i64>,
    /// `Resource` literals with a host.
    pub(in crate::core::policy) resources: Vec<(Name, Port)>,
    /// `Resource` literals with an address.
    pub(in crate::core::policy) addresses: Vec<AddressLiteral>,
    /// The networks of `ip("…")`.
    pub(in crate::core::policy) networks: Vec<IpNet>,
    /// Whether it looks at `context.ip`.
    pub(in crate::core::policy) mentions_ip: bool,
    /// Whether it looks at `context.now`.
    pub(in crate::core::policy) mentions_now: bool,
    /// Whether it looks at `context.client`.
    pub(in crate::core::policy) mentions_client: bool,
    /// Whether it looks at `context.protocol`.
    pub(in crate::core::policy) mentions_protocol: bool,
    /// Agents and teams it names, and where.
    pub(in crate::core::policy) principals: Vec<(String, String, Place)>,
}

/// Looks through `statement`. Problems found on the way go to `problems`.
pub(in crate::core::policy) fn inspect(statement: &Statement, problems: &mut Vec<Problem>) -> Facts {
    let mut walk = Walk { statement, facts: Facts::default(), problems };
    walk.scope();
    if let Some(condition) = statement.ast().non_scope_constraints() {
        walk.condition(condition);
    }
    walk.facts
}

struct Walk<'a> {
    statement: &'a Statement,
    facts: Facts,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn scope(&mut self) {
        let ast = self.statement.ast();
        if let Some(principal) = ast.principal_constraint().as_inner().get_euid() {
            self.entity(principal, None);
        }
        if let Some(resource) = ast.resource_constraint().as_inner().get_euid() {
            self.entity(resource, None);
        }
    }

    /// Visits every sub-expression. A stack of our own, because a chain of
    /// `||` may be as deep as the file is long.
    fn condition(&mut self, condition: &'a Expr) {
        if is_deeper(condition, MAX_DEPTH) {
            let place = self.statement.place.clone();
            let message =
                format!("this condition is nested, or strings operators together, more than {MAX_DEPTH} deep");
            let help = "write it as several policies, or the alternatives as one set: [\"a\", \"b\"].contains(…)";
            return self.problems.push(Problem::error(place, message).with_help(help).of(Rule::TooDeep));
        }
        let mut waiting = vec![condition];
        while let Some(expression) = waiting.pop() {
            self.expression(expression, &mut waiting);
        }
    }

    fn expression(&mut self, expression: &'a Expr, waiting: &mut Vec<&'a Expr>) {
        match expression.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(entity)) => self.entity(entity, expression.source_loc()),
            ExprKind::Lit(_)
            | ExprKind::Slot(_)
            | ExprKind::Unknown(_)
            | ExprKind::Var(Var::Principal | Var::Action) => {}
            ExprKind::Var(variable @ (Var::Resource | Var::Context)) => self.refuse(
                Rule::EntityUse,
                expression,
                format!("`{variable}` as a whole may only be compared with literals, because its port is part of it"),
                "compare `resource` with `==` or `in`, or name the attribute you mean",
            ),
            ExprKind::BinaryApp { op: BinaryOp::In, arg1, .. } if is_port(arg1) || is_host(arg1) => self.refuse(
                Rule::Schema,
                expression,
                "`in` asks about entities, not about numbers and texts".to_owned(),
                "write `[80, 443].contains(context.port)`",
            ),
            ExprKind::BinaryApp { op, arg1, arg2 } => self.binary(*op, arg1, arg2, waiting),
            ExprKind::GetAttr { expr, attr } => self.attribute(expression, expr, attr, waiting),
            ExprKind::HasAttr { expr, attr } => self.presence(expr, attr, waiting),
            ExprKind::ExtHasAttr { expr, attrs } => self.presence(expr, attrs.first(), waiting),
            ExprKind::Is { expr, .. } => {
                if !matches!(expr.expr_kind(), ExprKind::Var(_)) {
                    waiting.push(expr);
                }
            }
            ExprKind::Like { expr, pattern } => {
                if is_host(expr) {
                    self.pattern(expression, pattern);
                }
                waiting.push(expr);
            }
            ExprKind::If { test_expr, then_expr, else_expr } => waiting.extend([&**else_expr, then_expr, test_expr]),
            ExprKind::And { left, right } | ExprKind::Or { left, right } => waiting.extend([&**right, left]),
            ExprKind::UnaryApp { arg, .. } => waiting.push(arg),
            ExprKind::ExtensionFunctionApp { fn_name, args } => {
                if fn_name.to_string() == "ip" {
                    self.network(args);
                }
                waiting.extend(args.iter());
            }
            ExprKind::Set(members) => waiting.extend(members.iter()),
            ExprKind::Record(fields) => waiting.extend(fields.values()),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &'a Expr, right: &'a Expr, waiting: &mut Vec<&'a Expr>) {
        let understood = match op {
            BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq => {
                self.comparison(left, right) || self.comparison(right, left)
            }
            BinaryOp::Contains => match left.expr_kind() {
                ExprKind::Set(members) => !members.is_empty() && self.membership(right, members),
                _ => false,
            },
            BinaryOp::In => self.hierarchy(left, right),
            _ => false,
        };
        if !understood {
            waiting.extend([right, left]);
        }
    }

    /// `subject` against a literal, where the subject is one of those whose
    /// literals matter. False if it is anything else.
    fn comparison(&mut self, subject: &'a Expr, value: &'a Expr) -> bool {
        if is_port(subject) {
            if let ExprKind::Lit(Literal::String(text)) = value.expr_kind() {
                self.fault(value, Fault::port_as_text(text));
                return true;
            }
            let Some(number) = integer(value) else { return false };
            self.facts.numbers.push(number);
            return true;
        }
        if is_host(subject) {
            let ExprKind::Lit(Literal::String(text)) = value.expr_kind() else { return false };
            if let Err(fault) = literal::name(text) {
                self.fault(value, fault);
            }
            return true;
        }
        if matches!(subject.expr_kind(), ExprKind::Var(Var::Resource)) {
            let ExprKind::Lit(Literal::EntityUID(entity)) = value.expr_kind() else { return false };
            self.entity(entity, value.source_loc());
            return true;
        }
        false
    }

    fn membership(&mut self, subject: &'a Expr, members: &'a Arc<Vec<Expr>>) -> bool {
        // The subject alone decides whether `comparison` understands it, and
        // a set of another kind than literals is refused at its member.
        let all_literal =
            members.iter().all(|member| matches!(member.expr_kind(), ExprKind::Lit(_)) || integer(member).is_some());
        all_literal && members.iter().all(|member| self.comparison(subject, member))
    }

    fn hierarchy(&mut self, left: &'a Expr, right: &'a Expr) -> bool {
        if let ExprKind::Lit(Literal::EntityUID(_)) = left.expr_kind() {
            self.refuse(
                Rule::EntityUse,
                left,
                "an entity written out on the left of `in` is no question about the request".to_owned(),
                "write `principal in …` or `resource in …`",
            );
        }
        if !matches!(left.expr_kind(), ExprKind::Var(Var::Principal | Var::Resource | Var::Action)) {
            return false;
        }
        match right.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(entity)) => self.entity(entity, right.source_loc()),
            ExprKind::Set(members) => {
                for member in members.iter() {
                    let ExprKind::Lit(Literal::EntityUID(entity)) = member.expr_kind() else { return false };
                    self.entity(entity, member.source_loc());
                }
            }
            _ => return false,
        }
        true
    }

    fn attribute(&mut self, whole: &'a Expr, of: &'a Expr, attribute: &str, waiting: &mut Vec<&'a Expr>) {
        if is_port(whole) {
            return self.refuse(
                Rule::PortUse,
                whole,
                "the port may only be compared (==, !=, <, <=, >, >=, contains) with integer literals".to_owned(),
                "write the numbers out, for example `context.port >= 8000 && context.port <= 8999`",
            );
        }
        match of.expr_kind() {
            ExprKind::Var(Var::Context) => self.note(attribute),
            ExprKind::Var(_) => {}
            ExprKind::Lit(Literal::EntityUID(_)) => self.refuse(
                Rule::EntityUse,
                of,
                "the attributes of an entity written out are not known here".to_owned(),
                "use `resource.host` or `context.host`",
            ),
            _ => waiting.push(of),
        }
    }

    fn presence(&mut self, of: &'a Expr, attribute: &str, waiting: &mut Vec<&'a Expr>) {
        match of.expr_kind() {
            ExprKind::Var(Var::Context) => self.note(attribute),
            ExprKind::Var(_) => {}
            _ => waiting.push(of),
        }
    }

    fn note(&mut self, context_attribute: &str) {
        match context_attribute {
            "ip" => self.facts.mentions_ip = true,
            "now" => self.facts.mentions_now = true,
            "client" => self.facts.mentions_client = true,
            "protocol" => self.facts.mentions_protocol = true,
            _ => {}
        }
    }

    /// The network of `ip("…")`; one that does not parse is the validator's to
    /// refuse.
    fn network(&mut self, arguments: &[Expr]) {
        let [argument] = arguments else { return };
        let ExprKind::Lit(Literal::String(text)) = argument.expr_kind() else { return };
        let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
        self.facts.networks.extend(network.ok());
    }

    fn entity(&mut self, entity: &EntityUID, loc: Option<&Loc>) {
        let place = self.statement.place_of(entity.loc().or(loc));
        let kind = basename(entity);
        let fault = match kind.as_str() {
            "Resource" => match literal::resource(id(entity)) {
                Ok(ResourceId::Host(host, port)) => {
                    self.facts.resources.push((host, port));
                    None
                }
                Ok(ResourceId::Address(address)) => {
                    self.facts.addresses.push(address);
                    None
                }
                Err(fault) => Some(fault),
            },
            "Domain" => literal::domain(id(entity)).err(),
            "Agent" => literal::agent(id(entity)).err(),
            _ => None,
        };
        match fault {
            Some(fault) => self.problems.push(fault.at(place)),
            None if kind == "Agent" || kind == "Team" => {
                self.facts.principals.push((kind, id(entity).to_owned(), place));
            }
            None => {}
        }
    }

    fn pattern(&mut self, whole: &Expr, pattern: &Pattern) {
        let elements = pattern.get_elems();
        if elements.first() == Some(&PatternElem::Wildcard) && elements.get(1) != Some(&PatternElem::Char('.')) {
            return self.refuse(
                Rule::LeadingWildcard,
                whole,
                "a leading `*` without a dot after it also matches names of other owners: `*example.com` matches \
                 `evilexample.com`"
                    .to_owned(),
                "write `resource in Domain::\"example.com\"`, or `like \"*.example.com\"` for the names below it only",
            );
        }
        let in_alphabet = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '-' | '_' | '.')
        };
        let never = elements.iter().any(|element| matches!(element, PatternElem::Char(other) if !in_alphabet(*other)));
        if never || elements.last() == Some(&PatternElem::Char('.')) {
            return self.refuse(
                Rule::DeadPattern,
                whole,
                "this pattern matches no name: names are lower case, in ASCII, without a trailing dot".to_owned(),
                "write the pattern in that form",
            );
        }
        if elements.last() == Some(&PatternElem::Wildcard) {
            let place = self.statement.place_of(whole.source_loc());
            let message = "a trailing `*` also matches names of other owners: `api.*` matches `api.evil.example`";
            let help = "end the pattern with the domain you mean";
            self.problems.push(Problem::warning(place, message).with_help(help).of(Rule::TrailingWildcard));
        }
    }

    fn fault(&mut self, at: &Expr, fault: Fault) {
        let place = self.statement.place_of(at.source_loc());
        self.problems.push(fault.at(place));
    }

    fn refuse(&mut self, rule: Rule, at: &Expr, message: String, help: &str) {
        self.fault(at, Fault::new(rule, message, help));
    }
}

fn is_deeper(condition: &Expr, limit: usize) -> bool {
    let mut level = vec![condition];
    for _ in 0..limit {
        level = level.into_iter().flat_map(children).collect();
    }
    !level.is_empty()
}

pub(super) fn children(expression: &Expr) -> Vec<&Expr> {
    match expression.expr_kind() {
        ExprKind::Lit(_) | ExprKind::Slot(_) | ExprKind::Unknown(_) | ExprKind::Var(_) => Vec::new(),
        ExprKind::BinaryApp { arg1, arg2, .. } => vec![arg1, arg2],
        ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. }
        | ExprKind::Is { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::UnaryApp { arg: expr, .. } => vec![expr],
        ExprKind::If { test_expr, then_expr, else_expr } => vec![test_expr, then_expr, else_expr],
        ExprKind::And { left, right } | ExprKind::Or { left, right } => vec![left, right],
        ExprKind::ExtensionFunctionApp { args, .. } => args.iter().collect(),
        ExprKind::Set(members) => members.iter().collect(),
        ExprKind::Record(fields) => fields.values().collect(),
    }
}

pub(super) fn is_port(expression: &Expr) -> bool {
    is_attribute(expression, "port")
}

pub(super) fn is_host(expression: &Expr) -> bool {
    is_attribute(expression, "host")
}

/// `context.NAME` or `resource.NAME`.
pub(super) fn is_attribute(expression: &Expr, name: &str) -> bool {
    matches!(
        expression.expr_kind(),
        ExprKind::GetAttr { expr, attr }
            if attr == name && matches!(expr.expr_kind(), ExprKind::Var(Var::Context | Var::Resource))
    )
}

pub(super) fn integer(expression: &Expr) -> Option<i64> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::Long(number)) => Some(*number),
        ExprKind::UnaryApp { op: UnaryOp::Neg, arg } => match arg.expr_kind() {
            ExprKind::Lit(Literal::Long(number)) => number.checked_neg(),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn basename(entity: &EntityUID) -> String {
    entity.entity_type().to_string()
}

pub(super) fn id(entity: &EntityUID) -> &str {
    entity.eid().as_ref()
}
