//! Who is asking: from a source address to the principal it acts as.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::ClientEntry;
use super::query::{Agent, Client};

/// Who stands behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal.
    pub agent: Agent,
    /// Every address of the client, the asked one among them.
    pub addresses: Arc<[Client]>,
}

/// All known clients at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities(HashMap<Client, Identity>);

impl Identities {
    /// The clients that `entries` name.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a ClientEntry>) -> Self {
        let identity =
            |entry: &ClientEntry| Identity { agent: entry.agent.clone(), addresses: Arc::clone(&entry.addresses) };
        let each =
            |entry: &ClientEntry| entry.addresses.iter().map(|&client| (client, identity(entry))).collect::<Vec<_>>();
        Self(entries.into_iter().flat_map(each).collect())
    }

    /// Who asks from the address of `client`; `None` for a stranger.
    pub fn of(&self, client: Client) -> Option<&Identity> {
        self.0.get(&client)
    }

    /// Every address from which `agent` asks.
    pub fn addresses_of(&self, agent: &Agent) -> Vec<Client> {
        self.0
            .iter()
            .filter(|(_, identity)| identity.agent.as_str() == agent.as_str())
            .map(|(client, _)| *client)
            .collect()
    }

    /// Every address that is known, and who asks from it.
    pub fn iter(&self) -> impl Iterator<Item = (Client, &Identity)> {
        self.0.iter().map(|(client, identity)| (*client, identity))
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
