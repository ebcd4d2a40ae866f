//! Leases that have run out, which are remembered because flows outlive them.

use super::super::lease::{Key, Ports};
use super::super::query::Port;
use super::Lease;
use super::leases::Leases;

/// Leases that have run out, as many as a set of the kernel holds, counted once
/// for each of their names; the oldest goes first.
#[derive(Debug, Default)]
pub(super) struct Lapsed {
    pub(super) leases: Leases,
    names: usize,
}

impl Lapsed {
    /// Remembers `lease`, and no more than `at_most` in all.
    pub(super) fn remember(&mut self, key: Key, lease: Lease, at_most: u32) {
        self.take(&key);
        self.names += lease.holders.len();
        self.leases.insert(key, lease);
        while self.names > usize::try_from(at_most).unwrap_or(usize::MAX) {
            let Some((_, oldest)) = self.leases.first() else { return };
            self.take(&oldest);
        }
    }

    /// Takes the lease of `key` out.
    pub(super) fn take(&mut self, key: &Key) -> Option<Lease> {
        let lease = self.leases.remove(key)?;
        self.names -= lease.holders.len();
        Some(lease)
    }

    /// Whether one of them opened a flow to `port` of what `key` is about, on
    /// whatever ports.
    pub(super) fn covers(&self, key: Key, port: Port) -> bool {
        let of_ports = |ports| Key { ports, ..key };
        let runs = of_ports(Ports::Run(Port::MIN.into()))..=of_ports(Ports::Run(Port::MAX.into()));
        [Ports::One(port), Ports::All].into_iter().any(|ports| self.leases.contains_key(&of_ports(ports)))
            || self.leases.runs().range(runs).any(|run| run.ports.range().contains(port))
    }
}
