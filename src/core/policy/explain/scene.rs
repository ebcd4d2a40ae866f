//! One request as Cedar sees it, with the entities the wall supplies, for
//! looking at policies one by one.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy_core::ast::{Entity, EntityUID, Expr, Literal, Policy, Request, SlotEnv, Value, ValueKind};
use cedar_policy_core::entities::Entities;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::super::super::name::Name;
use super::super::super::query::{Port, Protocol};
use super::super::super::question::Question;
use super::super::Policy as Rules;
use super::super::circumstances::{self, Circumstances, Target};
use super::super::clause::Mentions;
use super::super::literal::{self, AddressLiteral, ResourceId};

/// A policy looked at by itself may look at anything.
const EVERYTHING: Mentions = Mentions { host: true, ip: true, now: true, client: true, protocol: true };

/// A request and its entities.
pub(in super::super) struct Scene {
    request: Request,
    entities: Arc<Entities>,
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
        let domains = domains(rules, host).collect();
        let id = format!("{host}:{port}");
        let target = Target { id: &id, host: host.as_str(), domains: &domains, protocol, port };
        Self::of(circumstances(rules, question, address)?.connection(target).ok()?)
    }

    /// A connection to one of the addresses that a policy names.
    pub(super) fn literal(
        rules: &Rules,
        question: &Question,
        literal: AddressLiteral,
        protocol: Protocol,
        address: IpAddr,
    ) -> Option<Self> {
        let (id, host, domains) = (literal.to_string(), literal.host(), HashSet::new());
        let target = Target { id: &id, host: &host, domains: &domains, protocol, port: literal.port() };
        Self::of(circumstances(rules, question, Some(address))?.connection(target).ok()?)
    }

    /// A query for a record that leads to no connection.
    pub(super) fn records(rules: &Rules, question: &Question, name: &Name) -> Option<Self> {
        let parents = domains(rules, name).skip(1).collect();
        let domain = rules.vocabulary.domain(name.as_str());
        let circumstances = circumstances(rules, question, None)?;
        Self::of(circumstances.records(domain, parents, &question.kind().to_string()).ok()?)
    }

    fn of((request, entities): (Request, Arc<Entities>)) -> Option<Self> {
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
        let evaluator = Evaluator::new(self.request.clone(), &self.entities, Extensions::all_available());
        let value = evaluator.interpret(condition, &SlotEnv::new()).map_err(|error| error.to_string())?;
        match value.value_kind() {
            ValueKind::Lit(Literal::Bool(holds)) => Ok(*holds),
            _ => Err("it is neither true nor false".to_owned()),
        }
    }
}

/// The `Resource` of this id, as the wall makes it.
pub(in super::super) fn resource(rules: &Rules, id: &str) -> Option<Entity> {
    let (host, port, domains) = match literal::resource(id).ok()? {
        ResourceId::Host(host, port) => (host.to_string(), port, domains(rules, &host).collect()),
        ResourceId::Address(literal) => (literal.host(), literal.port(), HashSet::new()),
    };
    Some(circumstances::resource(rules.vocabulary.resource(id), Value::from(host), port, domains))
}

/// The `Domain` of a name, as the wall makes it.
pub(in super::super) fn domain(rules: &Rules, name: &Name) -> Entity {
    let parents = domains(rules, name).skip(1).collect();
    circumstances::domain(rules.vocabulary.domain(name.as_str()), parents)
}

/// A name's domains, nearest first.
fn domains<'a>(rules: &'a Rules, name: &'a Name) -> impl Iterator<Item = EntityUID> + 'a {
    name.ancestors().map(|domain| rules.vocabulary.domain(domain))
}

fn circumstances<'a>(rules: &'a Rules, question: &Question, address: Option<IpAddr>) -> Option<Circumstances<'a>> {
    let vocabulary = &rules.vocabulary;
    let principal = rules.principals.entity(question.agent(), vocabulary);
    Circumstances::new(vocabulary, principal, question.client(), question.at(), address, EVERYTHING).ok()
}
