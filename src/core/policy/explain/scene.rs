//! One request as Cedar sees it, with the entities the wall supplies, for
//! looking at policies one by one.

use std::collections::HashMap;
use std::net::IpAddr;

use cedar_policy::{Context, Entities, Entity, EvalResult, Expression, Request, RestrictedExpression, eval_expression};
use cedar_policy_core::ast::{Expr, Policy};

use super::super::super::name::Name;
use super::super::super::query::{Port, Protocol};
use super::super::super::question::Question;
use super::super::Policy as Rules;

/// A request and its entities.
pub(super) struct Scene {
    request: Request,
    entities: Entities,
}

impl Scene {
    /// A connection to one port of `host`; `None` if Cedar cannot express it.
    pub(super) fn connection(
        rules: &Rules,
        question: &Question,
        host: &Name,
        (protocol, port): (Protocol, Port),
        address: Option<IpAddr>,
    ) -> Option<Self> {
        let vocabulary = &rules.vocabulary;
        let mut context = common(question)?;
        context.push(("host".to_owned(), RestrictedExpression::new_string(host.to_string())));
        context.push(("port".to_owned(), RestrictedExpression::new_long(port.number().into())));
        let protocol = RestrictedExpression::new_entity_uid(vocabulary.protocol(protocol));
        context.push(("protocol".to_owned(), protocol));
        if let Some(address) = address {
            context.push(("ip".to_owned(), RestrictedExpression::new_ip(address.to_canonical().to_string())));
        }
        let principal = rules.principals.entity(question.agent(), vocabulary);
        let resource = resource(rules, host, port)?;
        Self::new(vocabulary.connect.clone(), principal, resource, context)
    }

    /// A query for a record that leads to no connection.
    pub(super) fn records(rules: &Rules, question: &Question, name: &Name) -> Option<Self> {
        let mut context = common(question)?;
        context.push(("qtype".to_owned(), RestrictedExpression::new_string(question.kind().to_string())));
        let principal = rules.principals.entity(question.agent(), &rules.vocabulary);
        Self::new(rules.vocabulary.query.clone(), principal, domain(rules, name), context)
    }

    fn new(
        action: cedar_policy::EntityUid,
        principal: Entity,
        resource: Entity,
        context: Vec<(String, RestrictedExpression)>,
    ) -> Option<Self> {
        let context = Context::from_pairs(context).ok()?;
        let request = Request::new(principal.uid(), action, resource.uid(), context, None).ok()?;
        let entities = Entities::from_entities([principal, resource], None).ok()?;
        Some(Self { request, entities })
    }

    /// Whether the scope of `policy` covers the request.
    pub(super) fn covers(&self, policy: &Policy) -> bool {
        self.is_for(policy) && self.is_about(policy) && self.holds(&policy.resource_constraint().as_expr()) == Ok(true)
    }

    /// Whether `policy` is for the one who asks.
    pub(super) fn is_for(&self, policy: &Policy) -> bool {
        self.holds(&policy.principal_constraint().as_expr()) == Ok(true)
    }

    /// Whether `policy` is about the action.
    pub(super) fn is_about(&self, policy: &Policy) -> bool {
        self.holds(&policy.action_constraint().as_expr()) == Ok(true)
    }

    /// Whether `condition` holds; otherwise Cedar's words on why it has no
    /// value.
    pub(super) fn holds(&self, condition: &Expr) -> Result<bool, String> {
        match eval_expression(&self.request, &self.entities, &Expression::from(condition.clone())) {
            Ok(EvalResult::Bool(value)) => Ok(value),
            Ok(_) => Err("it is neither true nor false".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The `Resource` of a host's port, as the wall makes it.
pub(in super::super) fn resource(rules: &Rules, host: &Name, port: Port) -> Option<Entity> {
    let vocabulary = &rules.vocabulary;
    let attributes = HashMap::from([
        ("host".to_owned(), RestrictedExpression::new_string(host.to_string())),
        ("port".to_owned(), RestrictedExpression::new_long(port.number().into())),
    ]);
    let domains = host.ancestors().map(|domain| vocabulary.domain(domain)).collect();
    Entity::new(vocabulary.resource(host, port), attributes, domains).ok()
}

/// The `Domain` of a name, as the wall makes it.
pub(in super::super) fn domain(rules: &Rules, name: &Name) -> Entity {
    let vocabulary = &rules.vocabulary;
    let parents = name.ancestors().skip(1).map(|parent| vocabulary.domain(parent)).collect();
    Entity::new_no_attrs(vocabulary.domain(name.as_str()), parents)
}

fn common(question: &Question) -> Option<Vec<(String, RestrictedExpression)>> {
    let now = jiff::Timestamp::from_millisecond(question.at().0).ok()?.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    Some(vec![
        ("client".to_owned(), RestrictedExpression::new_ip(question.client().to_string())),
        ("now".to_owned(), RestrictedExpression::new_datetime(now)),
    ])
}
