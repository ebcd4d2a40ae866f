//! The circumstances of one request, in Cedar's terms: the entities and the
//! context that conditions look at.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::RestrictedExpression;
use cedar_policy_core::ast::{Context, Entity, EntityUID, EntityUIDEntry, PartialValue, Request, Value};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use smol_str::SmolStr;

use super::super::query::{Client, Port, Protocol};
use super::super::time::WallTime;
use super::answer::Failed;
use super::clause::Mentions;
use super::schema::Vocabulary;

/// Who asks, and when: the part of the circumstances that is the same for
/// every port.
pub(super) struct Circumstances<'a> {
    vocabulary: &'a Vocabulary,
    principal: Arc<Entity>,
    context: BTreeMap<SmolStr, Value>,
}

/// What is connected to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// The `Resource`'s id.
    pub(super) id: &'a str,
    pub(super) host: &'a str,
    /// The host's domains, nearest first.
    pub(super) domains: &'a HashSet<EntityUID>,
    pub(super) protocol: Protocol,
    pub(super) port: Port,
}

impl<'a> Circumstances<'a> {
    /// Of what conditions look at alone: a context that nobody looks at is
    /// not worth its making. The address, where there is one, is there.
    pub(super) fn new(
        vocabulary: &'a Vocabulary,
        principal: Arc<Entity>,
        client: Client,
        now: WallTime,
        address: Option<IpAddr>,
        mentions: Mentions,
    ) -> Result<Self, Failed> {
        let mut context = BTreeMap::new();
        if mentions.client {
            context.insert("client".into(), ip(client.address())?);
        }
        if mentions.now {
            context.insert("now".into(), datetime(now)?);
        }
        if let Some(address) = address.filter(|_| mentions.ip) {
            context.insert("ip".into(), ip(address.to_canonical())?);
        }
        Ok(Self { vocabulary, principal, context })
    }

    /// A request to connect, and what it is about.
    pub(super) fn connection(&self, target: Target<'_>) -> Result<(Request, Entities), Failed> {
        let host = Value::from(target.host);
        let port = Value::from(i64::from(target.port.number()));
        let mut context = self.context.clone();
        context.insert("host".into(), host.clone());
        context.insert("port".into(), port.clone());
        context.insert("protocol".into(), Value::from(self.vocabulary.protocol(target.protocol)));
        let attributes = [("host".into(), PartialValue::Value(host)), ("port".into(), PartialValue::Value(port))];
        let resource = Entity::new_with_attr_partial_value(
            self.vocabulary.resource(target.id),
            attributes,
            target.domains.clone(),
            HashSet::new(),
            [],
        );
        self.request(&self.vocabulary.connect, resource, context)
    }

    /// A request for records of `domain`, which is in `parents`.
    pub(super) fn records(
        &self,
        domain: EntityUID,
        parents: HashSet<EntityUID>,
        record_type: &str,
    ) -> Result<(Request, Entities), Failed> {
        let mut context = self.context.clone();
        context.insert("qtype".into(), Value::from(record_type));
        let domain = Entity::new_with_attr_partial_value(domain, [], parents, HashSet::new(), []);
        self.request(&self.vocabulary.query, domain, context)
    }

    fn request(
        &self,
        action: &EntityUID,
        resource: Entity,
        context: BTreeMap<SmolStr, Value>,
    ) -> Result<(Request, Entities), Failed> {
        let known = |entity: &EntityUID| EntityUIDEntry::known(entity.clone(), None);
        let request = Request::new_unchecked(
            known(self.principal.uid()),
            known(action),
            known(resource.uid()),
            Some(Context::Value(Arc::new(context))),
        );
        let entities = [Arc::clone(&self.principal), Arc::new(resource)];
        let entities = Entities::new()
            .add_entities(
                entities,
                None::<&NoEntitiesSchema>,
                TCComputation::AssumeAlreadyComputed,
                Extensions::all_available(),
            )
            .map_err(|_| Failed)?;
        Ok((request, entities))
    }
}

fn ip(address: IpAddr) -> Result<Value, Failed> {
    value(&RestrictedExpression::new_ip(address.to_string()))
}

fn datetime(now: WallTime) -> Result<Value, Failed> {
    let now = jiff::Timestamp::from_millisecond(now.0).map_err(|_| Failed)?;
    value(&RestrictedExpression::new_datetime(now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()))
}

fn value(expression: &RestrictedExpression) -> Result<Value, Failed> {
    let expression: &cedar_policy_core::ast::RestrictedExpr = expression.as_ref();
    RestrictedEvaluator::new(Extensions::all_available()).interpret(expression.as_borrowed()).map_err(|_| Failed)
}
