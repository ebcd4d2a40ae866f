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
/// every host and port.
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
    /// The host's domains.
    pub(super) domains: &'a HashSet<EntityUID>,
    pub(super) protocol: Protocol,
    pub(super) port: Port,
}

/// Connections to one host, at several ports: what they have in common is
/// made once.
pub(super) struct Connections<'a> {
    vocabulary: &'a Vocabulary,
    principal: EntityUIDEntry,
    action: EntityUIDEntry,
    resources: BTreeMap<Port, EntityUIDEntry>,
    context: BTreeMap<SmolStr, Value>,
    entities: Arc<Entities>,
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

    /// Connections to `host`, which is in `domains`, at ports whose `Resource`
    /// ids are `ids`.
    pub(super) fn connections(
        &self,
        host: &str,
        domains: &HashSet<EntityUID>,
        ids: impl IntoIterator<Item = (Port, String)>,
    ) -> Result<Connections<'a>, Failed> {
        let host = Value::from(host);
        let mut resources = BTreeMap::new();
        let mut entities = vec![Arc::clone(&self.principal)];
        for (port, id) in ids {
            let entity = resource(self.vocabulary.resource(&id), host.clone(), port, domains.clone());
            resources.insert(port, known(entity.uid()));
            entities.push(Arc::new(entity));
        }
        let mut context = self.context.clone();
        context.insert("host".into(), host);
        Ok(Connections {
            vocabulary: self.vocabulary,
            principal: known(self.principal.uid()),
            action: known(&self.vocabulary.connect),
            resources,
            context,
            entities: Arc::new(store(entities)?),
        })
    }

    /// A request to connect, and what it is about.
    pub(super) fn connection(&self, target: Target<'_>) -> Result<(Request, Arc<Entities>), Failed> {
        let ids = [(target.port, target.id.to_owned())];
        self.connections(target.host, target.domains, ids)?.request(target.protocol, target.port)
    }

    /// A request for records of `domain`, which is in `parents`.
    pub(super) fn records(
        &self,
        domain: EntityUID,
        parents: HashSet<EntityUID>,
        record_type: &str,
    ) -> Result<(Request, Arc<Entities>), Failed> {
        let mut context = self.context.clone();
        context.insert("qtype".into(), Value::from(record_type));
        let resource = known(&domain);
        let entities = store([Arc::clone(&self.principal), Arc::new(self::domain(domain, parents))])?;
        let (principal, action) = (known(self.principal.uid()), known(&self.vocabulary.query));
        let request = Request::new_unchecked(principal, action, resource, Some(Context::Value(Arc::new(context))));
        Ok((request, Arc::new(entities)))
    }
}

impl Connections<'_> {
    /// The request to connect to one of the ports.
    pub(super) fn request(&self, protocol: Protocol, port: Port) -> Result<(Request, Arc<Entities>), Failed> {
        let resource = self.resources.get(&port).cloned().ok_or(Failed)?;
        let mut context = self.context.clone();
        context.insert("port".into(), Value::from(i64::from(port.number())));
        context.insert("protocol".into(), Value::from(self.vocabulary.protocol(protocol)));
        let context = Context::Value(Arc::new(context));
        let request = Request::new_unchecked(self.principal.clone(), self.action.clone(), resource, Some(context));
        Ok((request, Arc::clone(&self.entities)))
    }
}

/// A `Resource` as the wall makes it.
pub(super) fn resource(id: EntityUID, host: Value, port: Port, domains: HashSet<EntityUID>) -> Entity {
    let port = Value::from(i64::from(port.number()));
    let attributes = [("host".into(), PartialValue::Value(host)), ("port".into(), PartialValue::Value(port))];
    Entity::new_with_attr_partial_value(id, attributes, domains, HashSet::new(), [])
}

/// A `Domain` as the wall makes it.
pub(super) fn domain(id: EntityUID, parents: HashSet<EntityUID>) -> Entity {
    Entity::new_with_attr_partial_value(id, [], parents, HashSet::new(), [])
}

fn known(entity: &EntityUID) -> EntityUIDEntry {
    EntityUIDEntry::known(entity.clone(), None)
}

fn store(entities: impl IntoIterator<Item = Arc<Entity>>) -> Result<Entities, Failed> {
    let (schema, extensions) = (None::<&NoEntitiesSchema>, Extensions::all_available());
    let store = Entities::new().add_entities(entities, schema, TCComputation::AssumeAlreadyComputed, extensions);
    store.map_err(|_| Failed)
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
