//! [`Quota`]: a cap on something clients hold, over all of them and each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::query::Client;

/// So many slots in all, and so many for one client, so that no client can
/// lock the others out.
#[derive(Debug)]
pub(super) struct Quota {
    free: Arc<Semaphore>,
    per_client: usize,
    held: Mutex<HashMap<Client, usize>>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The client has as many as it may.
    ForClient,
    /// All are taken.
    ForAll,
}

/// One slot, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    quota: Arc<Quota>,
    client: Client,
    _permit: OwnedSemaphorePermit,
}

impl Quota {
    /// `total` slots, at most `per_client` of them for one client; at least
    /// one each.
    pub(super) fn new(total: usize, per_client: usize) -> Arc<Self> {
        let total = total.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(total)),
            per_client: per_client.max(1),
            held: Mutex::new(HashMap::new()),
        })
    }

    /// A slot for `client`.
    ///
    /// # Errors
    /// When there is none left for it.
    pub(super) fn take(self: &Arc<Self>, client: Client) -> Result<Slot, Full> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&client).copied().unwrap_or(0);
        if count >= self.per_client {
            return Err(Full::ForClient);
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| Full::ForAll)?;
        held.insert(client, count + 1);
        drop(held);
        Ok(Slot { quota: Arc::clone(self), client, _permit: permit })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.quota.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_every_slot_and_slots_come_back() {
        let client = |text: &str| Client::new(text.parse().unwrap());
        let quota = Quota::new(3, 2);
        let first = quota.take(client("10.0.0.1"));
        let _second = quota.take(client("10.0.0.1")).unwrap();
        assert_eq!(quota.take(client("10.0.0.1")).unwrap_err(), Full::ForClient);
        let _third = quota.take(client("10.0.0.2")).unwrap();
        assert_eq!(quota.take(client("10.0.0.3")).unwrap_err(), Full::ForAll, "all three are taken");
        drop(first);
        assert!(quota.take(client("10.0.0.3")).is_ok());
        assert_eq!(quota.held.lock().unwrap().len(), 2, "who holds nothing costs nothing");
    }
}
