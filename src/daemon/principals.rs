//! On whose behalf a packet was sent.

use std::sync::Arc;

use crate::clients::Clients;
use crate::core::event::Flow;
use crate::core::packet::{Way, protocol_name};
use crate::core::query::{Agent, Client};

/// Who is behind an address that packets come from.
#[derive(Clone)]
pub(super) struct Principals {
    clients: Clients,
    is_sidecar: bool,
}

impl Principals {
    pub(super) const fn new(clients: Clients, is_sidecar: bool) -> Self {
        Self { clients, is_sidecar }
    }

    /// The principal, and every address of its.
    ///
    /// In sidecar mode questions come from loopback, and packets from whichever
    /// address the route chooses: they are of the one principal there is, or of
    /// nobody in particular.
    pub(super) fn of(&self, client: Client) -> (Option<Agent>, Arc<[Client]>) {
        if let Some(identity) = self.clients.identify(client) {
            return (Some(identity.agent), identity.addresses);
        }
        let stranger = (None, Arc::from([client]));
        if !self.is_sidecar {
            return stranger;
        }
        let known = self.clients.known();
        let mut agents: Vec<_> = known.iter().map(|(_, identity)| &identity.agent).collect();
        agents.dedup();
        match agents.as_slice() {
            [agent] => (Some((*agent).clone()), known.addresses_of(agent).into()),
            _ => stranger,
        }
    }

    /// From where to where, with its principal.
    pub(super) fn flow(&self, way: Way, source_port: Option<u16>) -> Flow {
        let Way { client, address, protocol, port } = way;
        let (agent, _) = self.of(client);
        Flow { client, agent, source_port, address, protocol: protocol_name(protocol), port }
    }
}
