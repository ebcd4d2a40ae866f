//! What is told of leases: not each element, but what a name opened for whoever
//! asked, and when that ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::asked::Asked;
use super::leases::Leases;
use super::{Holder, Lease, Plan};
use crate::core::decision::Opening;
use crate::core::event::{Event, LeaseTold};
use crate::core::lease::Wanted;
use crate::core::name::Name;
use crate::core::query::Client;
use crate::core::time::Moment;

/// What happened to a name's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// It holds the same addresses for longer.
    Refreshed,
    /// It holds addresses that it did not hold before.
    Opened,
    /// It ran out.
    Expired,
    /// It was ended.
    Revoked,
}

/// A turn of one name's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTurn {
    /// What happened.
    pub turn: Turn,
    /// Who asked for the name.
    pub client: Client,
    /// The name.
    pub name: Name,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports; none once it ended.
    pub openings: Vec<Opening>,
    /// Until when.
    pub until: Moment,
}

impl LeaseTurn {
    /// The event that tells it. Who stands behind the address is not known
    /// here.
    pub fn event(self, now: Moment) -> Event {
        let Self { turn, client, name, addresses, openings, until } = self;
        let seconds = until.left(now).as_secs();
        let told = LeaseTold { client, agent: None, name, addresses, openings, seconds };
        match turn {
            Turn::Opened => Event::LeaseOpened(told),
            Turn::Refreshed => Event::LeaseRefreshed(told),
            Turn::Expired => Event::LeaseExpired(told),
            Turn::Revoked => Event::LeaseRevoked(told),
        }
    }
}

impl Lease {
    /// What it means for the name of `holder` that it holds this lease.
    pub(super) fn turn(&self, holder: &Holder, now: Moment) -> Option<Turn> {
        match self.holders.iter().find(|known| known.name() == holder.name() && known.until > now) {
            None => Some(Turn::Opened),
            Some(known) => (holder.until > known.until).then_some(Turn::Refreshed),
        }
    }

    /// Those of its holders that have ended by `now`, once.
    pub(super) fn ended(&mut self, now: Moment) -> impl Iterator<Item = &Holder> {
        let ended = self.holders.iter_mut().filter(move |holder| !holder.is_told && holder.until <= now);
        ended.map(|holder| {
            holder.is_told = true;
            &*holder
        })
    }

    /// When a holder ends next of which that has not been told.
    pub(super) fn next_end(&self) -> Moment {
        let untold = self.holders.iter().filter(|holder| !holder.is_told);
        untold.map(|holder| holder.until).min().unwrap_or_else(|| self.until())
    }
}

impl Plan {
    /// Takes note of what opening what is `wanted` means for its name. Of
    /// several questions for one name there is one turn.
    pub(super) fn note(&mut self, turn: Turn, asked: Asked, wanted: &Wanted, until: Moment) {
        let noted = self.turns.entry(asked).or_insert_with_key(|asked| LeaseTurn {
            turn,
            client: asked.client(),
            name: asked.name().clone(),
            addresses: Vec::new(),
            openings: Vec::new(),
            until,
        });
        noted.turn = noted.turn.max(turn);
        noted.until = noted.until.max(until);
        for grant in &wanted.grants {
            if !noted.addresses.contains(&grant.address) {
                noted.addresses.push(grant.address);
            }
            let new = grant.openings.iter().filter(|opening| !noted.openings.contains(opening));
            noted.openings.extend(new.copied().collect::<Vec<_>>());
        }
    }
}

/// Names that hold addresses no longer. Where a name got some ports of an
/// address later than others, each end is told.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<Asked, (Moment, BTreeSet<IpAddr>)>);

impl Ends {
    /// That `holder` holds nothing of `address` any more.
    pub(super) fn note(&mut self, holder: &Holder, address: IpAddr) {
        let (until, addresses) = self.0.entry(holder.asked.clone()).or_default();
        *until = holder.until.max(*until);
        addresses.insert(address);
    }

    /// What `plan` takes from a holder that is still there.
    pub(super) fn planned(plan: &Plan, leases: &Leases) -> Self {
        let mut ends = Self::default();
        for (key, next) in &plan.next {
            let before = leases.get(key).map_or(&[][..], |lease| &lease.holders);
            let stays = |holder: &Holder| {
                next.as_ref().is_some_and(|next| next.lease.names().any(|name| name == holder.name()))
            };
            let goes = before.iter().filter(|holder| !holder.is_told && !stays(holder));
            goes.for_each(|holder| ends.note(holder, key.address));
        }
        ends
    }

    /// Without what is held by another of `leases`.
    pub(super) fn unless_held(mut self, leases: &Leases) -> Self {
        let noted: BTreeSet<_> = self.0.values().flat_map(|(_, addresses)| addresses).copied().collect();
        for (key, lease) in leases.iter().filter(|(key, _)| noted.contains(&key.address)) {
            for holder in &lease.holders {
                // Whoever asks last is the one who has asked: of a client's
                // addresses, any may have been the one before.
                for client in [holder.asked.client(), lease.account, key.client] {
                    if let Some((_, addresses)) = self.0.get_mut(&(client, holder.name().clone())) {
                        addresses.remove(&key.address);
                    }
                }
            }
        }
        self.0.retain(|_, (_, addresses)| !addresses.is_empty());
        self
    }

    /// To be told as `turn`, by client and name.
    pub(super) fn into_turns(self, turn: Turn) -> Vec<LeaseTurn> {
        let turns = self.0.into_iter().map(|(asked, (until, addresses))| LeaseTurn {
            turn,
            client: asked.client(),
            name: asked.name().clone(),
            addresses: addresses.into_iter().collect(),
            openings: Vec::new(),
            until,
        });
        turns.collect()
    }
}

#[cfg(test)]
mod tests;
