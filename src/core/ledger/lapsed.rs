//! Leases that have run out, which are remembered because flows outlive them.

use std::collections::{BTreeSet, HashMap};

use super::super::lease::{Key, Ports};
use super::super::query::Port;
use super::super::time::Moment;
use super::Lease;

/// Leases that have run out, as many as a set of the kernel holds; the oldest
/// goes first.
#[derive(Debug, Default)]
pub(super) struct Lapsed {
    pub(super) leases: HashMap<Key, Lease>,
    /// The keys with a run of ports.
    runs: BTreeSet<Key>,
    order: BTreeSet<(Moment, Key)>,
}

impl Lapsed {
    /// Remembers `lease`, and no more than `at_most` in all.
    pub(super) fn remember(&mut self, key: Key, lease: Lease, at_most: u32) {
        self.order.insert((lease.until(), key));
        self.leases.insert(key, lease);
        if matches!(key.ports, Ports::Run(_)) {
            self.runs.insert(key);
        }
        while self.order.len() > usize::try_from(at_most).unwrap_or(usize::MAX) {
            if let Some((_, oldest)) = self.order.pop_first() {
                self.leases.remove(&oldest);
                self.runs.remove(&oldest);
            }
        }
    }

    /// Takes the lease of `key` out.
    pub(super) fn take(&mut self, key: &Key) -> Option<Lease> {
        let lease = self.leases.remove(key)?;
        self.order.remove(&(lease.until(), *key));
        self.runs.remove(key);
        Some(lease)
    }

    /// Whether one of them opened a flow to `port` of what `key` is about, on
    /// whatever ports.
    pub(super) fn covers(&self, key: Key, port: Port) -> bool {
        let of_ports = |ports| Key { ports, ..key };
        let runs = of_ports(Ports::Run(Port::MIN.into()))..=of_ports(Ports::Run(Port::MAX.into()));
        [Ports::One(port), Ports::All].into_iter().any(|ports| self.leases.contains_key(&of_ports(ports)))
            || self.runs.range(runs).any(|run| run.ports.range().contains(port))
    }
}
