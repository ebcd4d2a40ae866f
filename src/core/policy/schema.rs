//! The words a policy can use: the built-in schema, and Cedar's names for
//! them.

use std::str::FromStr;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

use super::super::name::Name;
use super::super::problem::Problem;
use super::super::query::{Agent, Port, Protocol, RecordKind};

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
    pub(super) connect: EntityUid,
    pub(super) query: EntityUid,
    agent: EntityTypeName,
    domain: EntityTypeName,
    resource: EntityTypeName,
    protocol: EntityTypeName,
}

impl Vocabulary {
    /// Parses the built-in schema.
    pub(super) fn new() -> Result<Self, Problem> {
        let broken = |what: String| Problem::error(None, format!("the built-in schema is broken: {what}"));
        let (schema, _) = Schema::from_cedarschema_str(TEXT).map_err(|error| broken(error.to_string()))?;
        let type_named = |name: &str| EntityTypeName::from_str(name).map_err(|error| broken(error.to_string()));
        let action = type_named("Action")?;
        Ok(Self {
            schema,
            connect: EntityUid::from_type_name_and_id(action.clone(), EntityId::new(CONNECT)),
            query: EntityUid::from_type_name_and_id(action, EntityId::new(QUERY)),
            agent: type_named("Agent")?,
            domain: type_named("Domain")?,
            resource: type_named("Resource")?,
            protocol: type_named("Protocol")?,
        })
    }

    pub(super) fn agent(&self, agent: &Agent) -> EntityUid {
        EntityUid::from_type_name_and_id(self.agent.clone(), EntityId::new(agent.as_str()))
    }

    pub(super) fn domain(&self, name: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.domain.clone(), EntityId::new(name))
    }

    pub(super) fn resource(&self, host: &Name, port: Port) -> EntityUid {
        EntityUid::from_type_name_and_id(self.resource.clone(), EntityId::new(format!("{host}:{port}")))
    }

    pub(super) fn protocol(&self, protocol: Protocol) -> EntityUid {
        EntityUid::from_type_name_and_id(self.protocol.clone(), EntityId::new(protocol.as_str()))
    }

    /// The action that decides a question of this type.
    pub(super) fn action_for(&self, kind: RecordKind) -> &EntityUid {
        if kind.leads_to_connections() { &self.connect } else { &self.query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_schema_parses_without_a_warning() {
        assert!(Vocabulary::new().is_ok());
        let (_, warnings) = Schema::from_cedarschema_str(TEXT).unwrap();
        assert_eq!(warnings.map(|warning| warning.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    }
}
