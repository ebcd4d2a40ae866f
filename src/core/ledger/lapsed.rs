//! Leases that have run out, which are remembered because flows outlive them.

use std::collections::{BTreeSet, HashMap};

use super::super::lease::Key;
use super::super::time::Moment;
use super::Lease;

/// Leases that have run out, as many as a set of the kernel holds, counted once
/// for each of their names; the oldest goes first.
#[derive(Debug, Default)]
pub(super) struct Lapsed {
    pub(super) leases: HashMap<Key, Lease>,
    order: BTreeSet<(Moment, Key)>,
    names: usize,
}

impl Lapsed {
    /// Remembers `lease`, and no more than `at_most` in all.
    pub(super) fn remember(&mut self, key: Key, lease: Lease, at_most: u32) {
        self.take(&key);
        self.order.insert((lease.until(), key));
        self.names += lease.holders.len();
        self.leases.insert(key, lease);
        while self.names > usize::try_from(at_most).unwrap_or(usize::MAX) {
            let Some((_, oldest)) = self.order.first().copied() else { return };
            self.take(&oldest);
        }
    }

    /// Takes the lease of `key` out.
    pub(super) fn take(&mut self, key: &Key) -> Option<Lease> {
        let lease = self.leases.remove(key)?;
        self.order.remove(&(lease.until(), *key));
        self.names -= lease.holders.len();
        Some(lease)
    }
}
