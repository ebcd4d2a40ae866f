//! Who is asking: from a source address to the principal it acts as.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::config::ClientEntry;
use crate::core::query::{Agent, Client};

/// The known clients. Clones share one table, so a reload reaches every
/// listener at once.
#[derive(Clone, Debug)]
pub struct Clients(Arc<ArcSwap<HashMap<Client, Identity>>>);

/// Who stands behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal.
    pub agent: Agent,
    /// Every address of the client, the asked one among them.
    pub addresses: Arc<[Client]>,
}

impl Clients {
    /// The clients that `entries` name.
    pub fn new(entries: &[ClientEntry]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table(entries))))
    }

    /// Who asks from the address of `client`; `None` for a stranger.
    pub fn identify(&self, client: Client) -> Option<Identity> {
        self.0.load().get(&client).cloned()
    }

    /// Every address that is known, and who asks from it.
    pub fn known(&self) -> Vec<(Client, Identity)> {
        self.0.load().iter().map(|(client, identity)| (*client, identity.clone())).collect()
    }

    /// How many addresses are known.
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

fn table(entries: &[ClientEntry]) -> HashMap<Client, Identity> {
    let identity =
        |entry: &ClientEntry| Identity { agent: entry.agent.clone(), addresses: Arc::clone(&entry.addresses) };
    entries.iter().flat_map(|entry| entry.addresses.iter().map(move |&client| (client, identity(entry)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::new(address.parse().unwrap())
    }

    fn entry(addresses: &[&str], agent: &str) -> ClientEntry {
        let addresses = addresses.iter().map(|address| client(address)).collect();
        ClientEntry { addresses, agent: Agent::parse(agent).unwrap() }
    }

    #[test]
    fn a_stranger_has_no_agent_and_a_reload_reaches_every_clone() {
        let clients = Clients::new(&[entry(&["10.77.0.2"], "claude")]);
        let elsewhere = clients.clone();
        let known = elsewhere.identify(client("::ffff:10.77.0.2")).unwrap();
        assert_eq!(known.agent, Agent::parse("claude").unwrap());
        assert_eq!(elsewhere.identify(client("10.77.0.3")), None);

        clients.replace(&[entry(&["10.77.0.3"], "ci")]);
        assert_eq!(elsewhere.identify(client("10.77.0.2")), None);
        assert_eq!(elsewhere.len(), 1);
    }

    #[test]
    fn a_client_is_known_by_each_of_its_addresses() {
        let clients = Clients::new(&[entry(&["10.77.0.2", "fd77::2"], "claude")]);
        assert_eq!(clients.identify(client("10.77.0.2")), clients.identify(client("fd77::2")));
        assert_eq!(clients.identify(client("fd77::2")).unwrap().addresses.len(), 2);
    }
}
