//! The words a policy can use: the built-in schema, and Cedar's names for
//! them.

use std::sync::Arc;

use cedar_policy::Schema;
use cedar_policy_core::ast::{Eid, EntityType, EntityUID};

use super::super::problem::Problem;
use super::super::query::{Agent, Protocol};
use super::attributes::Attributes;

/// The built-in schema, as `policies/schema.cedarschema` ships it.
pub const TEXT: &str = include_str!("../../../policies/schema.cedarschema");

/// The action of opening a connection.
pub const CONNECT: &str = "net.connect";
/// The action of asking for records that lead to no connection.
pub const QUERY: &str = "dns.query";

/// The schema, parsed, and the types and actions it declares.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub(super) schema: Schema,
    pub(super) connect: EntityUID,
    pub(super) query: EntityUID,
    pub(super) agent: EntityType,
    team: EntityType,
    pub(super) domain: EntityType,
    pub(super) resource: EntityType,
    tcp: Arc<EntityUID>,
    udp: Arc<EntityUID>,
}

impl Vocabulary {
    /// Parses the built-in schema, with `attributes` declared in it.
    pub(super) fn new(attributes: &Attributes) -> Result<Self, Problem> {
        let broken = |what: String| Problem::error(None, format!("the schema is not usable: {what}"));
        let (schema, _) =
            Schema::from_cedarschema_str(&attributes.declared_in(TEXT)).map_err(|error| broken(error.to_string()))?;
        let type_named = |name: &str| EntityType::from_normalized_str(name).map_err(|error| broken(error.to_string()));
        let (action, protocol) = (type_named("Action")?, type_named("Protocol")?);
        Ok(Self {
            schema,
            connect: entity(&action, CONNECT),
            query: entity(&action, QUERY),
            agent: type_named("Agent")?,
            team: type_named("Team")?,
            domain: type_named("Domain")?,
            resource: type_named("Resource")?,
            tcp: Arc::new(entity(&protocol, Protocol::Tcp.as_str())),
            udp: Arc::new(entity(&protocol, Protocol::Udp.as_str())),
        })
    }

    pub(super) fn agent(&self, agent: &Agent) -> EntityUID {
        entity(&self.agent, agent.as_str())
    }

    pub(super) fn team(&self, id: &str) -> EntityUID {
        entity(&self.team, id)
    }

    pub(super) fn domain(&self, name: &str) -> EntityUID {
        entity(&self.domain, name)
    }

    pub(super) fn resource(&self, id: &str) -> EntityUID {
        entity(&self.resource, id)
    }

    pub(super) fn protocol(&self, protocol: Protocol) -> Arc<EntityUID> {
        Arc::clone(match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        })
    }
}

fn entity(kind: &EntityType, id: &str) -> EntityUID {
    EntityUID::from_components(kind.clone(), Eid::new(id), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_schema_parses_without_a_warning() {
        assert!(Vocabulary::new(&Attributes::default()).is_ok());
        let (_, warnings) = Schema::from_cedarschema_str(TEXT).unwrap();
        assert_eq!(warnings.map(|warning| warning.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    }
}
