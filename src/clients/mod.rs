//! Who is asking: from a source address to the principal it acts as.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::config::ClientEntry;
use crate::core::query::{Agent, Client};

/// The known clients. Clones share one table, so a reload reaches every
/// listener at once.
#[derive(Clone, Debug)]
pub struct Clients(Arc<ArcSwap<HashMap<Client, Agent>>>);

impl Clients {
    /// The clients that `entries` name.
    pub fn new(entries: &[ClientEntry]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table(entries))))
    }

    /// The principal that `client` acts as; `None` for a stranger.
    pub fn agent(&self, client: Client) -> Option<Agent> {
        self.0.load().get(&client).cloned()
    }

    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on, the clients that `entries` name and no others.
    pub fn replace(&self, entries: &[ClientEntry]) {
        self.0.store(Arc::new(table(entries)));
    }
}

fn table(entries: &[ClientEntry]) -> HashMap<Client, Agent> {
    entries.iter().map(|entry| (entry.client, entry.agent.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, agent: &str) -> ClientEntry {
        ClientEntry { client: Client::new(address.parse().unwrap()), agent: Agent::parse(agent).unwrap() }
    }

    #[test]
    fn a_stranger_has_no_agent_and_a_reload_reaches_every_clone() {
        let clients = Clients::new(&[entry("10.77.0.2", "claude")]);
        let elsewhere = clients.clone();
        assert_eq!(elsewhere.agent(entry("::ffff:10.77.0.2", "x").client), Some(Agent::parse("claude").unwrap()));
        assert_eq!(elsewhere.agent(entry("10.77.0.3", "x").client), None);

        clients.replace(&[entry("10.77.0.3", "ci")]);
        assert_eq!(elsewhere.agent(entry("10.77.0.2", "x").client), None);
        assert_eq!(elsewhere.len(), 1);
    }
}
