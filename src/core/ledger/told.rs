//! What is told of leases: not each element, but what a name opened for whoever
//! asked, and when that ended.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use smallvec::SmallVec;

use super::asked::Asked;
use super::{Holder, Lease, Plan};
use crate::core::decision::Opening;
use crate::core::event::{Event, LeaseTold};
use crate::core::lease::{Key, Wanted};
use crate::core::name::Name;
use crate::core::query::Client;
use crate::core::sharded::Sharded;
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

    fn end(turn: Turn, asked: &Asked, addresses: Vec<IpAddr>, until: Moment) -> Self {
        let (client, name) = (asked.client(), asked.name().clone());
        Self { turn, client, name, addresses, openings: Vec::new(), until }
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

/// Most names have one or two.
type Addresses = SmallVec<[(IpAddr, Moment); 1]>;

/// Until when each name holds which addresses, for whoever asked for it.
#[derive(Debug, Default)]
pub(super) struct Held {
    names: Sharded<Asked, Addresses>,
    /// When the first address of each name ends.
    ends: BTreeSet<(Moment, Asked)>,
}

impl Held {
    /// What is held by the holders of `leases`.
    pub(super) fn of<'a>(leases: impl Iterator<Item = (Key, &'a Lease)>) -> Self {
        let mut held = Self::default();
        for (key, lease) in leases {
            for holder in &lease.holders {
                held.hold(&holder.asked, &[key.address], holder.until);
            }
        }
        held
    }

    /// Takes note that `name` holds `addresses` until then at least.
    pub(super) fn hold(&mut self, asked: &Asked, addresses: &[IpAddr], until: Moment) {
        self.change(asked, |held| {
            for address in addresses {
                match held.iter_mut().find(|(known, _)| known == address) {
                    Some((_, known)) => *known = until.max(*known),
                    None => held.push((*address, until)),
                }
            }
        });
    }

    /// Forgets what has ended by `now`, and says whose it was.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<LeaseTurn> {
        let mut ended = Vec::new();
        while let Some((until, asked)) = self.ends.first().filter(|(until, _)| *until <= now).cloned() {
            let mut addresses = Vec::new();
            self.change(&asked, |held| {
                addresses.extend(held.iter().filter(|(_, until)| *until <= now).map(|(address, _)| *address));
                held.retain(|(_, until)| *until > now);
            });
            ended.push(LeaseTurn::end(Turn::Expired, &asked, addresses, until));
        }
        ended
    }

    /// Forgets what none of `leases` holds any more, and says whose it was.
    pub(super) fn compare<'a>(&mut self, leases: impl Iterator<Item = (Key, &'a Lease)>) -> Vec<LeaseTurn> {
        let mut standing: HashSet<(Client, &Name, IpAddr)> = HashSet::new();
        for (key, lease) in leases {
            for holder in &lease.holders {
                // Whoever asks last is the one who has asked: of a client's
                // addresses, any may have been the one before.
                let clients = [holder.asked.client(), lease.account, key.client];
                standing.extend(clients.map(|client| (client, holder.name(), key.address)));
            }
        }
        let stands = |client, name, address| standing.contains(&(client, name, address));
        let mut ended = Vec::new();
        for (asked, held) in self.names.iter() {
            let gone = held.iter().filter(|(address, _)| !stands(asked.client(), asked.name(), *address));
            let addresses: Vec<_> = gone.map(|(address, _)| *address).collect();
            if !addresses.is_empty() {
                ended.push((asked.clone(), addresses));
            }
        }
        for (asked, addresses) in &ended {
            self.change(asked, |held| held.retain(|(address, _)| !addresses.contains(address)));
        }
        let told = |(asked, addresses)| LeaseTurn::end(Turn::Revoked, &asked, addresses, Moment::ZERO);
        let mut ended: Vec<_> = ended.into_iter().map(told).collect();
        ended.sort_by(|left, right| (left.client, &left.name).cmp(&(right.client, &right.name)));
        ended
    }

    fn change(&mut self, asked: &Asked, change: impl FnOnce(&mut Addresses)) {
        let first = |held: &Addresses| held.iter().map(|(_, until)| *until).min();
        let mut anew = Addresses::new();
        let held = self.names.get_mut(asked).unwrap_or(&mut anew);
        let before = first(held);
        change(held);
        let after = first(held);
        if !anew.is_empty() {
            self.names.insert(asked.clone(), anew);
        }
        if let Some(until) = before {
            self.ends.remove(&(until, asked.clone()));
        }
        match after {
            Some(until) => _ = self.ends.insert((until, asked.clone())),
            None => _ = self.names.remove(asked),
        }
    }
}

#[cfg(test)]
mod tests;
