//! [`Accounts`]: how many leases each client holds, and each of its names.
//!
//! A lease counts once for each name that holds it: otherwise any number of
//! names with one address would count as one, and each has to be remembered.

use std::hash::Hash;

use super::asked::Asked;
use super::{Holder, Lease};
use crate::core::name::Name;
use crate::core::query::Client;
use crate::core::sharded::Sharded;

/// Counts, kept in step with the leases.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    clients: Sharded<Client, u32>,
    names: Sharded<Asked, u32>,
}

impl Accounts {
    /// What `client` holds under any name.
    pub(super) fn of(&self, client: Client) -> u32 {
        self.clients.get(&client).copied().unwrap_or(0)
    }

    /// What `client` holds under `name`, and the two as they are written down
    /// already, if it holds anything.
    pub(super) fn of_name(&self, client: Client, name: &Name) -> (Asked, u32) {
        let asked = (client, name.clone());
        match self.names.get_key_value(&asked) {
            Some((known, count)) => (known.clone(), *count),
            None => (asked.into(), 0),
        }
    }

    /// Takes note that `after` is there in the place of `before`.
    pub(super) fn replace(&mut self, before: Option<&Lease>, after: Option<&Lease>) {
        match (before, after) {
            (Some(before), Some(after)) if before.account == after.account => {
                self.update(before.account, &before.holders, &after.holders);
            }
            _ => {
                if let Some(Lease { account, holders }) = before {
                    self.take(*account, holders);
                }
                if let Some(Lease { account, holders }) = after {
                    self.give(*account, holders);
                }
            }
        }
    }

    /// Most holders of a lease stay, in their order: only the others cost.
    fn update(&mut self, account: Client, before: &[Holder], after: &[Holder]) {
        let mut rest = after;
        for holder in before {
            match rest.split_first() {
                Some((next, others)) if next.name() == holder.name() => rest = others,
                _ => self.take(account, std::slice::from_ref(holder)),
            }
        }
        self.give(account, rest);
    }

    fn give(&mut self, account: Client, holders: &[Holder]) {
        for holder in holders {
            one_more(&mut self.clients, account);
            one_more(&mut self.names, counted(account, holder));
        }
    }

    fn take(&mut self, account: Client, holders: &[Holder]) {
        for holder in holders {
            one_less(&mut self.clients, account);
            one_less(&mut self.names, counted(account, holder));
        }
    }
}

/// A client asks for its own leases, unless it has several addresses.
fn counted(account: Client, holder: &Holder) -> Asked {
    if holder.asked.client() == account {
        return holder.asked.clone();
    }
    Asked::new(account, holder.name().clone())
}

fn one_more<K: Eq + Hash>(counts: &mut Sharded<K, u32>, key: K) {
    if let Some(count) = counts.or_default(key) {
        *count += 1;
    }
}

/// Whoever holds nothing costs nothing.
fn one_less<K: Eq + Hash>(counts: &mut Sharded<K, u32>, key: K) {
    match counts.get_mut(&key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => _ = counts.remove(&key),
    }
}
