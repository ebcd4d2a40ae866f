//! [`Sinkhole`]: the addresses that denied names got, shared by the handler
//! that gives them away and by whoever sees a packet to one of them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::clients::Clients;
use crate::core::decision::Denial;
use crate::core::judge::Law;
use crate::core::name::Name;
use crate::core::query::Client;
use crate::core::sinkhole::{Family, Sinkholes};
use crate::core::time::{Moment, Ttl, WallTime};

/// A handle to the sinkhole.
#[derive(Clone)]
pub struct Sinkhole {
    names: Arc<Mutex<Sinkholes>>,
    clients: Clients,
    epoch: Instant,
}

impl Sinkhole {
    /// An empty sinkhole for these `clients`.
    pub(super) fn new(clients: Clients) -> Self {
        Self { names: Arc::new(Mutex::new(Sinkholes::new(rand::random()))), clients, epoch: Instant::now() }
    }

    /// The address of `name`, which `client` may remember for `ttl`; `None`
    /// where there is no room for it.
    pub(super) fn address_of(
        &self,
        client: Client,
        name: &Name,
        denial: &Denial,
        family: Family,
        ttl: Ttl,
    ) -> Option<IpAddr> {
        let now = Moment::from_millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX));
        // The answer is under way for a moment before its time begins to run.
        let until = now + ttl.duration() + ttl.duration().min(std::time::Duration::from_secs(1));
        self.names().address_of(self.first_of(client), name, denial, family, until, now)
    }

    /// The denied name that `client` got `address` for, and why it was denied.
    ///
    /// With `is_sidecar` packets come from whichever address the route chose,
    /// which need not be a client's: then the name counts that anybody got it
    /// for, if there is but one.
    pub fn named(&self, client: Client, address: IpAddr, is_sidecar: bool) -> Option<(String, Denial)> {
        let names = self.names();
        let found = match names.named(self.first_of(client), address) {
            None if is_sidecar => names.named_to_anybody(address),
            found => found,
        };
        found.map(|(name, denial)| (name.to_string(), denial.clone()))
    }

    /// Forgets what `law` denies no longer.
    pub fn judge(&self, law: Law<'_>, now: WallTime) {
        // Answers must not wait for the policy.
        let names = self.names().names();
        let permitted = names.into_iter().filter(|(client, name)| !law.denies(*client, name, now));
        for (client, name) in permitted.collect::<Vec<_>>() {
            self.names().forget(client, &name);
        }
    }

    /// All addresses of a client have one table.
    fn first_of(&self, client: Client) -> Client {
        let identity = self.clients.identify(client);
        identity.and_then(|identity| identity.addresses.first().copied()).unwrap_or(client)
    }

    fn names(&self) -> MutexGuard<'_, Sinkholes> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
