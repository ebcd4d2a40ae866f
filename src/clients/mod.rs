//! Who is asking: the clients known now, for those who answer.

pub mod docker;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::identities::{Identities, Identity};
use crate::core::query::Client;

/// The known clients. Clones share one table, so a reload reaches every
/// listener at once.
#[derive(Clone, Debug)]
pub struct Clients(Arc<ArcSwap<Identities>>);

impl Clients {
    /// The clients in `identities`.
    pub fn new(identities: Arc<Identities>) -> Self {
        Self(Arc::new(ArcSwap::new(identities)))
    }

    /// Who asks from the address of `client`; `None` for a stranger.
    pub fn identify(&self, client: Client) -> Option<Identity> {
        self.0.load().of(client).cloned()
    }

    /// All of them, as they are now.
    pub fn known(&self) -> Arc<Identities> {
        self.0.load_full()
    }

    /// From now on, the clients in `identities` and no others.
    pub fn replace(&self, identities: Arc<Identities>) {
        self.0.store(identities);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::config::ClientEntry;
    use crate::core::query::Agent;

    fn identities(entries: &[ClientEntry]) -> Arc<Identities> {
        Arc::new(Identities::new(entries))
    }

    fn client(address: &str) -> Client {
        Client::new(address.parse().unwrap())
    }

    fn entry(addresses: &[&str], agent: &str) -> ClientEntry {
        let addresses = addresses.iter().map(|address| client(address)).collect();
        ClientEntry { addresses, agent: Agent::parse(agent).unwrap() }
    }

    #[test]
    fn a_stranger_has_no_agent_and_a_reload_reaches_every_clone() {
        let clients = Clients::new(identities(&[entry(&["10.77.0.2"], "claude")]));
        let elsewhere = clients.clone();
        let known = elsewhere.identify(client("::ffff:10.77.0.2")).unwrap();
        assert_eq!(known.agent, Agent::parse("claude").unwrap());
        assert_eq!(elsewhere.identify(client("10.77.0.3")), None);

        clients.replace(identities(&[entry(&["10.77.0.3"], "ci")]));
        assert_eq!(elsewhere.identify(client("10.77.0.2")), None);
        assert_eq!(elsewhere.known().len(), 1);
    }

    #[test]
    fn a_client_is_known_by_each_of_its_addresses() {
        let clients = Clients::new(identities(&[entry(&["10.77.0.2", "fd77::2"], "claude")]));
        assert_eq!(clients.identify(client("10.77.0.2")), clients.identify(client("fd77::2")));
        assert_eq!(clients.identify(client("fd77::2")).unwrap().addresses.len(), 2);
    }
}
