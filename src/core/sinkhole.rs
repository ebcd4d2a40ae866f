//! The sinkhole: each denied name gets an address of its own that leads
//! nowhere, so that whoever connects to it says which name it was after, and
//! on which port.
//!
//! The addresses are those that the registries keep for other purposes than
//! reaching anybody: benchmarking (RFC 2544) and discarding (RFC 6666). The
//! rules in the kernel refuse every packet to them, and nothing else can open
//! them: [`covers`] is part of [`super::ranges::is_open`].

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::decision::{Denial, Reason};
use super::name::Name;
use super::query::Client;
use super::time::Moment;

/// Where denied names lead over IPv4; as in nft/gateway.nft and
/// nft/sidecar.nft.
pub const RANGE4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);
/// Where they lead over IPv6; as there.
pub const RANGE6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64);

/// Names that are remembered for one client.
pub const PER_CLIENT: usize = 4096;
/// Names that are remembered for all clients together.
pub const TOTAL: usize = 65_536;

/// Whether packets to `address` are refused as those to denied names are.
pub fn covers(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => RANGE4.contains(&address),
        IpAddr::V6(address) => RANGE6.contains(&address),
    }
}

/// Whether all of `network` is the sinkhole's.
pub fn covers_all_of(network: IpNet) -> bool {
    match network {
        IpNet::V4(network) => RANGE4.contains(&network),
        IpNet::V6(network) => RANGE6.contains(&network),
    }
}

/// Whether a name that is denied for `reason` leads to the sinkhole.
///
/// It does where the policy denies the name as a whole. What is denied because
/// of something else than its name (who asks, how much, in which form, or
/// where it leads) is told as without a sinkhole: an address would be a reason
/// to connect, and there is nothing to learn from that.
pub const fn swallows(reason: Reason) -> bool {
    match reason {
        Reason::NotPermitted | Reason::Forbidden | Reason::PolicyError | Reason::ForbiddenAlias => true,
        Reason::UnknownClient
        | Reason::UnusableName
        | Reason::NoPermittedAddress
        | Reason::TooManyLeases
        | Reason::TooManyLeasesOfName
        | Reason::TooManyLeasesInAll
        | Reason::LeaseSetFull
        | Reason::TooManyNames
        | Reason::TooManyNameOctets
        | Reason::TooManyNameBits
        | Reason::TooManyQueries => false,
    }
}

/// Which family an address is wanted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// For a question of type A.
    Ipv4,
    /// For a question of type AAAA.
    Ipv6,
}

/// The denied names that have an address, for each client its own. All
/// addresses of a client count as its first.
///
/// A name keeps its address for as long as it is remembered. Of a client at
/// its cap the name is forgotten that was asked for the longest ago, but never
/// one that the client may still remember itself; and an address that is free
/// again is the last to be given away anew.
#[derive(Debug)]
pub struct Sinkholes {
    /// Where a client's first name is.
    first: Slot,
    clients: HashMap<Client, Table>,
    /// Whose names were asked for, the longest ago first.
    turns: BTreeMap<u64, Client>,
    turn: u64,
}

/// The names of one client.
#[derive(Debug)]
struct Table {
    slots: HashMap<Name, Slot>,
    holders: HashMap<Slot, Holder>,
    turns: BTreeMap<u64, Slot>,
    /// Where to look for the next free address.
    next: Slot,
}

/// Who has an address.
#[derive(Debug)]
struct Holder {
    name: Name,
    denial: Denial,
    /// How long the client may remember it.
    until: Moment,
    /// When it was asked for last, in the order of all.
    turn: u64,
}

impl Sinkholes {
    /// Nobody has an address. `seed` chooses where the first one is, so that
    /// what a client remembers of a daemon before this one is seldom given to
    /// another name.
    pub fn new(seed: u32) -> Self {
        let first = Slot(seed % Slot::LAST + 1);
        Self { first, clients: HashMap::new(), turns: BTreeMap::new(), turn: 0 }
    }

    /// The address of `name`, which is denied to `client`; `None` where there
    /// is no room. The client may remember it `until` then.
    pub fn address_of(
        &mut self,
        client: Client,
        name: &Name,
        denial: &Denial,
        family: Family,
        until: Moment,
        now: Moment,
    ) -> Option<IpAddr> {
        let (known, until) = match self.holder(client, name) {
            Some((slot, holder)) => (Some(slot), holder.until.max(until)),
            None => (None, until),
        };
        if known.is_some() {
            self.forget(client, name);
        } else {
            self.make_room(client, now)?;
        }
        self.turn += 1;
        let turn = self.turn;
        let table = self.clients.entry(client).or_insert_with(|| Table::starting_at(self.first));
        let slot = known.unwrap_or_else(|| table.free());
        table.slots.insert(name.clone(), slot);
        table.holders.insert(slot, Holder { name: name.clone(), denial: denial.clone(), until, turn });
        table.turns.insert(turn, slot);
        self.turns.insert(turn, client);
        Some(slot.address(family))
    }

    /// The name that `client` got `address` for, and why it was denied.
    pub fn named(&self, client: Client, address: IpAddr) -> Option<(&Name, &Denial)> {
        let holder = self.clients.get(&client)?.holders.get(&Slot::of(address)?)?;
        Some((&holder.name, &holder.denial))
    }

    /// The name that any client got `address` for, where no two of them got it
    /// for different names.
    pub fn named_to_anybody(&self, address: IpAddr) -> Option<(&Name, &Denial)> {
        let mut found = self.clients.keys().filter_map(|client| self.named(*client, address));
        let first = found.next()?;
        found.all(|other| other.0 == first.0).then_some(first)
    }

    /// Forgets `name`, as it is denied to `client` no longer.
    pub fn forget(&mut self, client: Client, name: &Name) {
        let Some(table) = self.clients.get_mut(&client) else { return };
        let Some(holder) = table.slots.remove(name).and_then(|slot| table.holders.remove(&slot)) else { return };
        table.turns.remove(&holder.turn);
        self.turns.remove(&holder.turn);
    }

    /// Every name that has an address, with its client.
    pub fn names(&self) -> Vec<(Client, Name)> {
        let of_client = |(client, table): (&Client, &Table)| {
            table.slots.keys().map(|name| (*client, name.clone())).collect::<Vec<_>>()
        };
        self.clients.iter().flat_map(of_client).collect()
    }

    /// How many names have an address.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether no name has one.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn holder(&self, client: Client, name: &Name) -> Option<(Slot, &Holder)> {
        let table = self.clients.get(&client)?;
        let slot = *table.slots.get(name)?;
        Some((slot, table.holders.get(&slot)?))
    }

    /// Room for one more name of `client`; `None` where every name that would
    /// have to go may still be remembered by who asked for it.
    fn make_room(&mut self, client: Client, now: Moment) -> Option<()> {
        if self.clients.get(&client).is_some_and(|table| table.slots.len() >= PER_CLIENT) {
            let oldest = self.clients.get(&client)?.oldest()?.ended(now)?;
            self.forget(client, &oldest);
        }
        if self.turns.len() >= TOTAL {
            let client = *self.turns.values().next()?;
            let oldest = self.clients.get(&client)?.oldest()?.ended(now)?;
            self.forget(client, &oldest);
        }
        Some(())
    }
}

impl Table {
    fn starting_at(next: Slot) -> Self {
        Self { slots: HashMap::new(), holders: HashMap::new(), turns: BTreeMap::new(), next }
    }

    fn oldest(&self) -> Option<&Holder> {
        self.holders.get(self.turns.values().next()?)
    }

    /// The next address that nobody has. There are far more than names.
    fn free(&mut self) -> Slot {
        while self.holders.contains_key(&self.next) {
            self.next = self.next.following();
        }
        let free = self.next;
        self.next = free.following();
        free
    }
}

impl Holder {
    fn ended(&self, now: Moment) -> Option<Name> {
        (self.until <= now).then(|| self.name.clone())
    }
}

/// The number of an address in either range. The lowest and the highest of the
/// IPv4 range have meanings of their own and are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slot(u32);

impl Slot {
    const LAST: u32 = (1 << (32 - RANGE4.prefix_len())) - 2;

    fn of(address: IpAddr) -> Option<Self> {
        if !covers(address) {
            return None;
        }
        let number = match address {
            IpAddr::V4(address) => address.to_bits() - RANGE4.addr().to_bits(),
            IpAddr::V6(address) => u32::try_from(address.to_bits() - RANGE6.addr().to_bits()).ok()?,
        };
        (1..=Self::LAST).contains(&number).then_some(Self(number))
    }

    fn address(self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => Ipv4Addr::from_bits(RANGE4.addr().to_bits() | self.0).into(),
            Family::Ipv6 => Ipv6Addr::from_bits(RANGE6.addr().to_bits() | u128::from(self.0)).into(),
        }
    }

    const fn following(self) -> Self {
        if self.0 >= Self::LAST { Self(1) } else { Self(self.0 + 1) }
    }
}

#[cfg(test)]
mod tests;
