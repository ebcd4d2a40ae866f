//! Runs of ports: an interval set refuses what overlaps in part, so runs are
//! cut along common edges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::lease::{Key, Ports};
use super::super::query::{Client, Port, PortRange, Protocol};
use super::super::time::Moment;
use super::{Ledger, Plan};

impl Ledger {
    /// Cuts a run of ports so that it overlaps no other run in part, which an
    /// interval set refuses; runs already there are cut along the same edges.
    pub(super) fn pieces(&self, plan: &mut Plan, key: Key, now: Moment) -> Vec<Key> {
        let Ports::Run(range) = key.ports else { return vec![key] };
        let neighbours = self.overlapping_runs(plan, &key, range, now);
        let mut edges: BTreeSet<u32> = BTreeSet::from([start(range), end(range)]);
        for (_, other) in &neighbours {
            edges.extend([start(*other), end(*other)]);
        }
        for (neighbour, other) in neighbours {
            let cuts = runs_between(&edges, other);
            if cuts.len() < 2 {
                continue;
            }
            let Some(lease) = self.lease(plan, &neighbour, now).cloned() else { continue };
            plan.next.insert(neighbour, None);
            let cut_keys = cuts.into_iter().map(|cut| Key { ports: Ports::Run(cut), ..key });
            plan.next.extend(cut_keys.map(|key| (key, Some(lease.clone().into_first()))));
        }
        runs_between(&edges, range).into_iter().map(|cut| Key { ports: Ports::Run(cut), ..key }).collect()
    }

    fn overlapping_runs(&self, plan: &Plan, key: &Key, range: PortRange, now: Moment) -> Vec<(Key, PortRange)> {
        let of_target = |ports| Key { ports, ..*key };
        let runs = of_target(Ports::Run(Port::MIN.into()))..=of_target(Ports::Run(Port::MAX.into()));
        let known = self.leases.runs().range(runs.clone()).copied();
        let planned = plan.next.keys().copied().filter(|other| runs.contains(other));
        known
            .chain(planned)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|other| self.lease(plan, other, now).is_some())
            .map(|other| (other, other.ports.range()))
            .filter(|(_, run)| run.first() <= range.last() && range.first() <= run.last())
            .collect()
    }
}

/// Every key that a flow of `client` to `address` and `port` may rest on, of
/// those `runs` that there are.
pub(super) fn keys_over(
    runs: &BTreeSet<Key>,
    client: Client,
    address: IpAddr,
    protocol: Protocol,
    port: Port,
) -> impl Iterator<Item = Key> {
    let key = |ports| Key { client, address, protocol, ports };
    let of_target = key(Ports::Run(Port::MIN.into()))..=key(Ports::Run(Port::MAX.into()));
    let over = runs.range(of_target).filter(move |run| run.ports.range().contains(port)).copied();
    [key(Ports::One(port)), key(Ports::All)].into_iter().chain(over)
}

fn start(range: PortRange) -> u32 {
    u32::from(range.first().number())
}

fn end(range: PortRange) -> u32 {
    u32::from(range.last().number()) + 1
}

/// `range` cut at every edge inside it.
fn runs_between(edges: &BTreeSet<u32>, range: PortRange) -> Vec<PortRange> {
    let inside: Vec<u32> = edges.range(start(range)..=end(range)).copied().collect();
    let port = |number: u32| u16::try_from(number).ok().and_then(Port::new);
    inside
        .iter()
        .zip(inside.iter().skip(1))
        .filter_map(|(&from, &to)| PortRange::new(port(from)?, port(to - 1)?))
        .collect()
}
