//! Leases that have run out, which are remembered because flows outlive them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::super::lease::{Key, Ports};
use super::super::query::{Client, Port, Protocol};
use super::super::time::Moment;
use super::{Lease, runs};

/// Leases that have run out, as many as a set of the kernel holds; the oldest
/// goes first.
#[derive(Debug, Default)]
pub(super) struct Lapsed {
    pub(super) leases: HashMap<Key, Lease>,
    order: BTreeSet<(Moment, Key)>,
    runs: BTreeSet<Key>,
}

impl Lapsed {
    /// Remembers `lease`, and no more than `at_most` in all.
    pub(super) fn remember(&mut self, key: Key, lease: Lease, at_most: u32) {
        self.order.insert((lease.until(), key));
        if matches!(key.ports, Ports::Run(_)) {
            self.runs.insert(key);
        }
        self.leases.insert(key, lease);
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

    /// Whether one of them would have opened this.
    pub(super) fn covered(&self, client: Client, address: IpAddr, protocol: Protocol, port: Port) -> bool {
        runs::keys_over(&self.runs, client, address, protocol, port).any(|key| self.leases.contains_key(&key))
    }
}
