//! [`Sightings`]: under which names clients got which addresses. It opens
//! nothing and decides nothing; it is what an address is called in evidence.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use smallvec::{SmallVec, smallvec};

use super::name::Name;
use super::query::Client;
use super::sharded::Sharded;
use super::time::WallTime;

/// Sightings remembered in all, and for one client: names a client makes up
/// below a permitted domain crowd out its own only.
const MAX: usize = 65_536;
const MAX_OF_CLIENT: usize = 8_192;

/// An address was told to a client as that of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whom.
    pub client: Client,
    /// As whose.
    pub name: Name,
    /// When last.
    pub at: WallTime,
    turn: u64,
}

/// What clients were told. What was seen longest ago is forgotten first.
#[derive(Debug, Default)]
pub struct Sightings {
    /// Most addresses have one name.
    of: Sharded<IpAddr, SmallVec<[Sighting; 1]>>,
    /// In the order in which they were seen: over all, and for each client.
    turns: BTreeMap<u64, Client>,
    turns_of: HashMap<Client, BTreeMap<u64, IpAddr>>,
    next: u64,
}

/// The names of one address, the last first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those that the client itself was told.
    pub own: Vec<Name>,
    /// Those that only others were told.
    pub of_others: Vec<Name>,
}

impl Sightings {
    /// Notes that `client` was told `addresses` as those of `name`.
    pub fn see(&mut self, client: Client, name: &Name, addresses: &[IpAddr], at: WallTime) {
        for &address in addresses {
            let address = address.to_canonical();
            let same = self.of(address).find(|seen| seen.client == client && seen.name == *name);
            if let Some(turn) = same.map(|seen| seen.turn) {
                self.forget(turn);
            }
            let turn = self.next;
            self.next += 1;
            let sighting = Sighting { client, name: name.clone(), at, turn };
            match self.of.get_mut(&address) {
                Some(sightings) => sightings.push(sighting),
                None => _ = self.of.insert(address, smallvec![sighting]),
            }
            self.turns.insert(turn, client);
            self.turns_of.entry(client).or_default().insert(turn, address);
            self.make_room(client);
        }
    }

    /// Every sighting of `address`, the last first.
    pub fn of(&self, address: IpAddr) -> impl Iterator<Item = &Sighting> {
        self.of.get(&address.to_canonical()).into_iter().flatten().rev()
    }

    /// What `address` is called, as seen from a client with these addresses;
    /// at most `most` names of each kind.
    pub fn names(&self, clients: &[Client], address: IpAddr, most: usize) -> Names {
        let mut names = Names::default();
        for seen in self.of(address).filter(|seen| clients.contains(&seen.client)) {
            if names.own.len() < most && !names.own.contains(&seen.name) {
                names.own.push(seen.name.clone());
            }
        }
        for seen in self.of(address).filter(|seen| !clients.contains(&seen.client)) {
            let is_known = names.own.contains(&seen.name) || names.of_others.contains(&seen.name);
            if names.of_others.len() < most && !is_known {
                names.of_others.push(seen.name.clone());
            }
        }
        names
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether nobody was told anything.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// As many go as there are too many.
    fn make_room(&mut self, client: Client) {
        let own = self.turns_of.get(&client).filter(|turns| turns.len() > MAX_OF_CLIENT);
        if let Some(turn) = own.and_then(|turns| turns.keys().next().copied()) {
            self.forget(turn);
        }
        if self.turns.len() > MAX
            && let Some(turn) = self.turns.keys().next().copied()
        {
            self.forget(turn);
        }
    }

    fn forget(&mut self, turn: u64) {
        let Some(client) = self.turns.remove(&turn) else { return };
        let Entry::Occupied(mut turns) = self.turns_of.entry(client) else { return };
        let address = turns.get_mut().remove(&turn);
        if turns.get().is_empty() {
            turns.remove();
        }
        let Some(address) = address else { return };
        if let Some(sightings) = self.of.get_mut(&address) {
            sightings.retain(|seen| seen.turn != turn);
            if sightings.is_empty() {
                self.of.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::new([10, 77, 0, last].into())
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn texts(names: &[Name]) -> Vec<&str> {
        names.iter().map(Name::as_str).collect()
    }

    const ADDRESS: [u8; 4] = [192, 0, 2, 7];

    #[test]
    fn an_address_has_the_names_it_was_told_under_the_last_first() {
        let (mut sightings, address) = (Sightings::default(), IpAddr::from(ADDRESS));
        for (at, from, text) in [(1, 2, "a.example.com"), (2, 2, "b.example.com"), (3, 3, "c.example.com")] {
            sightings.see(client(from), &name(text), &[address], WallTime(at));
        }
        sightings.see(client(2), &name("a.example.com"), &[address], WallTime(4));
        sightings.see(client(3), &name("a.example.com"), &[address], WallTime(5));
        assert_eq!(sightings.len(), 4, "the same once more is no other");
        let names = sightings.names(&[client(2)], address, 8);
        assert_eq!(texts(&names.own), ["a.example.com", "b.example.com"]);
        assert_eq!(texts(&names.of_others), ["c.example.com"]);
        assert_eq!(texts(&sightings.names(&[client(4)], address, 1).of_others), ["a.example.com"]);
        assert_eq!(sightings.of(address).next().unwrap().at, WallTime(5));
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(sightings.names(&[client(2)], mapped, 8), names);
        assert_eq!(sightings.names(&[client(2)], [192, 0, 2, 8].into(), 8), Names::default());
    }

    #[test]
    fn a_client_that_makes_names_up_crowds_out_its_own_and_the_oldest_go_first() {
        let (mut sightings, address) = (Sightings::default(), IpAddr::from(ADDRESS));
        sightings.see(client(3), &name("kept.example.com"), &[address], WallTime(0));
        for number in 0..u32::try_from(MAX_OF_CLIENT).unwrap() + 10 {
            let [_, high, middle, low] = number.to_be_bytes();
            let address = IpAddr::from([100, high, middle, low]);
            sightings.see(client(2), &name(&format!("x{number}.example.net")), &[address], WallTime(1));
        }
        assert_eq!(sightings.len(), MAX_OF_CLIENT + 1);
        assert_eq!(texts(&sightings.names(&[client(3)], address, 8).own), ["kept.example.com"]);
        assert_eq!(sightings.of([100, 0, 0, 9].into()).count(), 0);
        assert_eq!(sightings.of([100, 0, 0, 10].into()).count(), 1);
    }

    #[test]
    fn many_clients_take_no_more_than_there_is() {
        let mut sightings = Sightings::default();
        for number in 0..80_000_u32 {
            let [_, high, middle, low] = number.to_be_bytes();
            let client = Client::new([10, high, middle, low].into());
            sightings.see(client, &name("a.example.com"), &[[192, 0, middle, low].into()], WallTime(0));
        }
        assert_eq!(sightings.len(), MAX);
        assert_eq!(sightings.turns_of.len(), MAX);
        assert_eq!(sightings.of.iter().map(|(_, seen)| seen.len()).sum::<usize>(), MAX);
    }
}
