//! Every name that policies mention, and where.

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, Pattern, PatternElem};
use cedar_policy_core::parser::Loc;

use super::super::super::name::Name;
use super::super::super::problem::Place;
use super::super::statement::Statement;
use super::scope::{endpoint, host};
use super::walk::{basename, id, is_host};

/// What a policy mentions, in the order of its text.
#[derive(Default)]
pub(super) struct Mentions<'a> {
    /// Hosts and domains.
    pub(super) names: Vec<Mention<'a, Name>>,
    /// Agents.
    pub(super) agents: Vec<Mention<'a, &'a str>>,
}

/// One mention.
pub(super) struct Mention<'a, T> {
    pub(super) what: T,
    statement: &'a Statement,
    loc: Option<&'a Loc>,
}

impl<T> Mention<'_, T> {
    /// Where it is.
    pub(super) fn place(&self) -> Place {
        self.statement.place_of(self.loc)
    }
}

impl<'a> Mentions<'a> {
    /// Those in `statements`.
    pub(super) fn in_all(statements: &[&'a Statement]) -> Self {
        let mut mentions = Self::default();
        for statement in statements {
            mentions.add(statement);
        }
        mentions
    }

    fn add(&mut self, statement: &'a Statement) {
        // A linked policy hands out its constraints as copies: what is written
        // lives in its template, and what is linked beside it.
        let template = statement.ast().template();
        for constraint in [template.principal_constraint().as_inner(), template.resource_constraint().as_inner()] {
            if let Some(entity) = constraint.get_euid() {
                self.entity(statement, entity, None);
            }
        }
        for linked in statement.ast().env().values() {
            self.entity(statement, linked, None);
        }
        if let Some(condition) = statement.ast().non_scope_constraints() {
            condition.subexpressions().for_each(|part| self.expression(statement, part));
        }
    }

    fn expression(&mut self, statement: &'a Statement, part: &'a Expr) {
        match part.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(entity)) => self.entity(statement, entity, part.source_loc()),
            ExprKind::BinaryApp { op: BinaryOp::Eq, arg1, arg2 } => {
                for (subject, value) in [(arg1, arg2), (arg2, arg1)] {
                    if is_host(subject) {
                        self.text(statement, value);
                    }
                }
            }
            ExprKind::BinaryApp { op: BinaryOp::Contains, arg1, arg2 } if is_host(arg2) => {
                if let ExprKind::Set(members) = arg1.expr_kind() {
                    members.iter().for_each(|member| self.text(statement, member));
                }
            }
            ExprKind::Like { expr, pattern } if is_host(expr) => {
                if let Some(domain) = domain_of(pattern) {
                    self.names.push(Mention { what: domain, statement, loc: part.source_loc() });
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, statement: &'a Statement, value: &'a Expr) {
        if let ExprKind::Lit(Literal::String(text)) = value.expr_kind()
            && let Some(name) = host(text)
        {
            self.names.push(Mention { what: name, statement, loc: value.source_loc() });
        }
    }

    fn entity(&mut self, statement: &'a Statement, entity: &'a EntityUID, loc: Option<&'a Loc>) {
        let loc = entity.loc().or(loc);
        let name = match basename(entity).as_str() {
            "Agent" => return self.agents.push(Mention { what: id(entity), statement, loc }),
            "Resource" => endpoint(id(entity)).map(|(host, _)| host),
            "Domain" => host(id(entity)),
            _ => None,
        };
        self.names.extend(name.map(|what| Mention { what, statement, loc }));
    }
}

/// The domain that each host ends in that matches `pattern`: its whole labels
/// after the last `*`.
pub(super) fn domain_of(pattern: &Pattern) -> Option<Name> {
    let elements = pattern.get_elems();
    let after = elements.iter().rposition(|element| *element == PatternElem::Wildcard).map_or(0, |last| last + 1);
    let text: String = elements
        .iter()
        .skip(after)
        .filter_map(|element| match element {
            PatternElem::Char(character) => Some(*character),
            PatternElem::Wildcard => None,
        })
        .collect();
    let whole = if after == 0 { text.as_str() } else { text.split_once('.')?.1 };
    host(whole)
}
