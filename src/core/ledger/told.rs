//! What is told of leases: not each element, but what a name opened for whoever
//! asked, and when that ended.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::{Holder, Lease, Plan};
use crate::core::decision::Opening;
use crate::core::event::{Event, LeaseTold};
use crate::core::lease::{Key, Wanted};
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

    fn end(turn: Turn, client: Client, name: Name, addresses: Vec<IpAddr>, until: Moment) -> Self {
        Self { turn, client, name, addresses, openings: Vec::new(), until }
    }
}

impl Lease {
    /// What it means for the name of `holder` that it holds this lease.
    pub(super) fn turn(&self, holder: &Holder, now: Moment) -> Option<Turn> {
        match self.holders.iter().find(|known| known.name == holder.name && known.until > now) {
            None => Some(Turn::Opened),
            Some(known) => (holder.until > known.until).then_some(Turn::Refreshed),
        }
    }
}

impl Plan {
    /// Takes note of what opening what is `wanted` means for its name. Of
    /// several questions for one name there is one turn.
    pub(super) fn note(&mut self, turn: Turn, wanted: &Wanted, until: Moment) {
        let noted = self.turns.entry((wanted.client, wanted.name.clone())).or_insert_with_key(|(client, name)| {
            LeaseTurn { turn, client: *client, name: name.clone(), addresses: Vec::new(), openings: Vec::new(), until }
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

/// Until when each name holds which addresses, for whoever asked for it.
#[derive(Debug, Default)]
pub(super) struct Held {
    names: HashMap<(Client, Name), Vec<(IpAddr, Moment)>>,
    /// When the first address of each name ends.
    ends: BTreeSet<(Moment, Client, Name)>,
}

impl Held {
    /// What is held by the holders of `leases`.
    pub(super) fn of<'a>(leases: impl Iterator<Item = (&'a Key, &'a Lease)>) -> Self {
        let mut held = Self::default();
        for (key, lease) in leases {
            for holder in &lease.holders {
                held.hold(holder.asked_by, &holder.name, &[key.address], holder.until);
            }
        }
        held
    }

    /// Takes note that `name` holds `addresses` until then at least.
    pub(super) fn hold(&mut self, client: Client, name: &Name, addresses: &[IpAddr], until: Moment) {
        self.change(client, name, |held| {
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
        while let Some((until, client, name)) = self.ends.first().filter(|(until, ..)| *until <= now).cloned() {
            let mut addresses = Vec::new();
            self.change(client, &name, |held| {
                addresses.extend(held.extract_if(.., |(_, until)| *until <= now).map(|(address, _)| address));
            });
            ended.push(LeaseTurn::end(Turn::Expired, client, name, addresses, until));
        }
        ended
    }

    /// Forgets what none of `leases` holds any more, and says whose it was.
    pub(super) fn compare<'a>(&mut self, leases: impl Iterator<Item = (&'a Key, &'a Lease)>) -> Vec<LeaseTurn> {
        let mut standing: HashSet<(Client, &Name, IpAddr)> = HashSet::new();
        for (key, lease) in leases {
            for holder in &lease.holders {
                // Whoever asks last is the one who has asked: of a client's
                // addresses, any may have been the one before.
                let clients = [holder.asked_by, lease.account, key.client];
                standing.extend(clients.map(|client| (client, &holder.name, key.address)));
            }
        }
        let stands = |client, name, address| standing.contains(&(client, name, address));
        let mut ended = Vec::new();
        for ((client, name), held) in &self.names {
            let gone = held.iter().filter(|(address, _)| !stands(*client, name, *address));
            let addresses: Vec<_> = gone.map(|(address, _)| *address).collect();
            if !addresses.is_empty() {
                ended.push(LeaseTurn::end(Turn::Revoked, *client, name.clone(), addresses, Moment::ZERO));
            }
        }
        for LeaseTurn { client, name, addresses, .. } in &ended {
            self.change(*client, name, |held| held.retain(|(address, _)| !addresses.contains(address)));
        }
        ended.sort_by(|left, right| (left.client, &left.name).cmp(&(right.client, &right.name)));
        ended
    }

    fn change(&mut self, client: Client, name: &Name, change: impl FnOnce(&mut Vec<(IpAddr, Moment)>)) {
        let first = |held: &[(IpAddr, Moment)]| held.iter().map(|(_, until)| *until).min();
        let key = (client, name.clone());
        let held = self.names.entry(key.clone()).or_default();
        if let Some(until) = first(held) {
            self.ends.remove(&(until, client, name.clone()));
        }
        change(held);
        match first(held) {
            Some(until) => _ = self.ends.insert((until, client, name.clone())),
            None => _ = self.names.remove(&key),
        }
    }
}

#[cfg(test)]
mod tests;
