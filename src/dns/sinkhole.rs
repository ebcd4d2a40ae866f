//! [`Sinkhole`]: the addresses that denied names got, shared by the handler
//! that gives them away and by whoever sees a packet to one of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clients::Clients;
use crate::core::decision::Denial;
use crate::core::identities::Identity;
use crate::core::judge::Law;
use crate::core::name::Name;
use crate::core::query::{Client, RecordKind};
use crate::core::sinkhole::{Family, Sinkholes};
use crate::core::time::{Moment, Ttl, WallTime};

/// How long an answer may be under way before its time begins to run.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What a name in the sinkhole is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swallowed {
    /// This address.
    At(IpAddr),
    /// That it exists: nobody connects to what was asked for.
    WithoutAddress,
    /// There is no room for it.
    Full,
}

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

    /// Gives `name` an address that `client` may remember for `ttl`: of the
    /// family that was asked for, if the client could connect over it.
    pub(super) fn swallow(
        &self,
        client: Client,
        kind: RecordKind,
        name: &Name,
        denial: &Denial,
        ttl: Ttl,
    ) -> Swallowed {
        let (family, any) = match kind {
            RecordKind::A => (Family::Ipv4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            RecordKind::Aaaa => (Family::Ipv6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            RecordKind::Https | RecordKind::Svcb | RecordKind::Other(_) => return Swallowed::WithoutAddress,
        };
        let Some(Identity { addresses, .. }) = self.clients.identify(client) else { return Swallowed::WithoutAddress };
        if !addresses.iter().any(|address| address.reaches(any)) {
            return Swallowed::WithoutAddress;
        }
        let now = Moment::from_millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX));
        let until = now + ttl.duration() + UNDER_WAY;
        let party = addresses.first().copied().unwrap_or(client);
        let address = self.names().address_of(party, name, denial, family, until, now);
        address.map_or(Swallowed::Full, Swallowed::At)
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
