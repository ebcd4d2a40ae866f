//! Cedar's own strict validation. Its warnings refuse a policy, too.
//!
//! It takes longer than parsing does, and whether a policy passes depends on
//! the types of what its scope names, on the action, and on its condition; not
//! on which agent or which host. So one policy of each such kind is validated,
//! and the others of the kind only if that one fails, each for its own message.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{PolicySet, ValidationMode, Validator};
use cedar_policy_core::ast::{self, ActionConstraint, EntityType, Expr, PrincipalOrResourceConstraint};

use super::super::problem::Problem;
use super::super::rule::Rule;
use super::schema::Vocabulary;
use super::statement::{Statement, Template, spelt_out};
use super::validation;

/// What Cedar's validator finds in the policies and templates.
pub(super) fn invalid(statements: &[Statement], templates: &[Template], vocabulary: &Vocabulary) -> Vec<Problem> {
    let validator = Validator::new(vocabulary.schema.clone());
    let mut kinds = HashSet::new();
    let mut firsts = Vec::new();
    for statement in statements {
        if Kind::of(statement.ast()).is_none_or(|kind| kinds.insert(kind)) {
            firsts.push(statement);
        }
    }
    if problems_of(&validator, &firsts, templates).is_empty() {
        return Vec::new();
    }
    problems_of(&validator, &spelt_out(statements).iter().collect::<Vec<_>>(), templates)
}

/// What policies have in common that pass or fail validation together.
#[derive(PartialEq, Eq, Hash)]
struct Kind<'a> {
    principal: Shape,
    action: &'a ActionConstraint,
    resource: Shape,
    condition: Option<&'a Expr>,
}

impl<'a> Kind<'a> {
    /// `None` for a policy that is like no other: one whose scope names
    /// something that is not plain ASCII, which the validator looks at, too,
    /// and one that is made of a template.
    fn of(policy: &'a ast::Policy) -> Option<Self> {
        if !policy.is_static() {
            return None;
        }
        Some(Self {
            principal: Shape::of(policy.principal_constraint().as_inner())?,
            action: policy.action_constraint(),
            resource: Shape::of(policy.resource_constraint().as_inner())?,
            condition: policy.non_scope_constraints(),
        })
    }
}

/// A scope's constraint without the entity's id.
#[derive(PartialEq, Eq, Hash)]
enum Shape {
    Any,
    Is(Arc<EntityType>),
    Eq(EntityType),
    In(EntityType),
    IsIn(Arc<EntityType>, EntityType),
}

impl Shape {
    fn of(constraint: &PrincipalOrResourceConstraint) -> Option<Self> {
        let named = || {
            let entity = constraint.get_euid()?;
            let id: &str = entity.eid().as_ref();
            id.is_ascii().then(|| entity.entity_type().clone())
        };
        Some(match constraint {
            PrincipalOrResourceConstraint::Any => Self::Any,
            PrincipalOrResourceConstraint::Is(kind) => Self::Is(Arc::clone(kind)),
            PrincipalOrResourceConstraint::Eq(_) => Self::Eq(named()?),
            PrincipalOrResourceConstraint::In(_) => Self::In(named()?),
            PrincipalOrResourceConstraint::IsIn(kind, _) => Self::IsIn(Arc::clone(kind), named()?),
        })
    }
}

fn problems_of(validator: &Validator, statements: &[&Statement], templates: &[Template]) -> Vec<Problem> {
    let mut set = ast::PolicySet::new();
    for template in templates {
        if let Err(error) = set.add_template(template.template.as_ref().clone()) {
            return vec![unrelated(&error)];
        }
    }
    for statement in statements {
        if let Err(error) = set.add(statement.ast().clone()) {
            return vec![unrelated(&error)];
        }
    }
    let examples: Vec<_> = templates.iter().filter_map(Template::example).collect();
    let by_id: HashMap<&str, &Statement> =
        statements.iter().copied().chain(&examples).map(|statement| (statement.id.as_str(), statement)).collect();
    let result = validator.validate(&PolicySet::from(set), ValidationMode::Strict);
    validation::problems(&result, |id| by_id.get(AsRef::<str>::as_ref(id)).copied())
}

fn unrelated(error: &dyn std::fmt::Display) -> Problem {
    Problem::error(None, format!("these policies do not go together: {error}")).of(Rule::PolicyId)
}
