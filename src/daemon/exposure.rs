//! Which other names an open address has: what a wall of addresses cannot tell
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::house::spell;
use super::principals::Principals;
use super::wall_time;
use super::witness::Witness;
use crate::control::{ExposedName, ExposureRow};
use crate::core::decision::{Decision, Denial, Opening, Reason};
use crate::core::judge::Law;
use crate::core::lease::Key;
use crate::core::name::Name;
use crate::core::query::{Agent, Client, PortRange, Query, RecordKind};
use crate::core::sightings::Sighting;
use crate::core::time::WallTime;
use crate::nft::firewall::LeaseView;

/// Other names told of one address of a client.
const MOST_NAMES: usize = 64;

/// Holds what is open against what answers have said.
pub(super) struct Exposures {
    witness: Witness,
    principals: Principals,
}

impl Exposures {
    pub(super) const fn new(witness: Witness, principals: Principals) -> Self {
        Self { witness, principals }
    }

    /// Each open address that somebody was told under another name. Of that
    /// name nothing is asked upstream: it is known from answers alone.
    pub(super) fn of(&self, leases: &[LeaseView], law: Law<'_>) -> Vec<ExposureRow> {
        let mut open: BTreeMap<(Client, IpAddr), Vec<&LeaseView>> = BTreeMap::new();
        for lease in leases {
            open.entry((lease.key.client, lease.key.address)).or_default().push(lease);
        }
        let now = wall_time();
        open.into_iter()
            .filter_map(|((client, address), leases)| self.row(client, address, &leases, law, now))
            .collect()
    }

    fn row(
        &self,
        client: Client,
        address: IpAddr,
        leases: &[&LeaseView],
        law: Law<'_>,
        now: WallTime,
    ) -> Option<ExposureRow> {
        let names: BTreeSet<&String> = leases.iter().flat_map(|lease| &lease.names).collect();
        let (agent, addresses) = self.principals.of(client);
        let mut others: BTreeMap<Name, (WallTime, bool)> = BTreeMap::new();
        for Sighting { client, name, at, .. } in self.witness.sightings().of(address) {
            if names.contains(&name.to_string()) || (others.len() >= MOST_NAMES && !others.contains_key(name)) {
                continue;
            }
            // The last comes first.
            let (_, is_own) = others.entry(name.clone()).or_insert((*at, false));
            *is_own |= addresses.contains(client);
        }
        if others.is_empty() {
            return None;
        }
        let keys: Vec<Key> = leases.iter().map(|lease| lease.key).collect();
        let judged = others.into_iter().map(|(name, (at, told_to_client))| {
            let denial = agent.as_ref().map_or(Some(Denial::by_default(Reason::UnknownClient)), |agent| {
                denial(law, agent, &addresses, &name, &keys, now)
            });
            ExposedName {
                name: name.to_string(),
                denied: denial.is_some(),
                reason: denial.as_ref().map(|denial| denial.reason.code().to_owned()),
                policies: denial.iter().flat_map(|denial| denial.policies.iter()).map(ToString::to_string).collect(),
                told_to_client,
                last: Timestamp::from_millisecond(at.0).map(|at| format!("{at:.0}")).unwrap_or_default(),
            }
        });
        let mut others: Vec<ExposedName> = judged.collect();
        others.sort_by(|left, right| (!left.denied, &left.name).cmp(&(!right.denied, &right.name)));
        let ports: BTreeSet<String> =
            keys.iter().map(|key| format!("{}/{}", spell(key.ports.range()), key.protocol)).collect();
        Some(ExposureRow {
            client: client.address(),
            agent: agent.map(|agent| agent.to_string()),
            address,
            ports: ports.into_iter().collect(),
            names: names.into_iter().cloned().collect(),
            others,
        })
    }
}

/// Why `agent` would be denied one of `keys` at least under `name`.
fn denial(
    law: Law<'_>,
    agent: &Agent,
    addresses: &Arc<[Client]>,
    name: &Name,
    keys: &[Key],
    now: WallTime,
) -> Option<Denial> {
    let key = keys.first()?;
    let query = Query {
        client: addresses.first().copied().unwrap_or(key.client),
        addresses: Arc::clone(addresses),
        agent: agent.clone(),
        name: name.clone(),
        kind: if key.address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa },
        dnssec_ok: false,
        checking_disabled: false,
    };
    match law.policy.decide_address(&query, key.address, now) {
        Decision::Deny(denial) => Some(denial),
        Decision::Permit(permit) => {
            let is_permitted = |key: &Key| permit.openings.iter().any(|opening| opens(opening, key));
            (!keys.iter().all(is_permitted)).then_some(Denial::by_default(Reason::NotPermitted))
        }
    }
}

fn opens(opening: &Opening, key: &Key) -> bool {
    let ports: PortRange = key.ports.range();
    opening.protocol == key.protocol && opening.ports.contains(ports.first()) && opening.ports.contains(ports.last())
}
