//! [`Leases`]: leases by what they open, and in the order in which they end.
//!
//! There may be a million of them, so each takes as little room as it can: the
//! tables hold a short form of the key, and a pointer to the lease.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::lease::{Key, Ports};
use super::super::query::{Client, Port, Protocol};
use super::super::sharded::Sharded;
use super::super::time::Moment;
use super::Lease;

/// Milliseconds by which an end may be noticed late; whether a lease is live is
/// asked of the lease itself.
const GRAIN: u64 = 50;

/// A table of leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    // Boxed, because a table has room for up to twice what is in it.
    of: Sharded<Short, Box<Lease>>,
    /// When a holder of each ends next, to a [`GRAIN`]: those that end together
    /// share what it takes to say when.
    ends: BTreeMap<Moment, BTreeSet<Short>>,
    /// The keys with a run of ports, which have to be found by overlap.
    runs: BTreeSet<Key>,
}

impl Leases {
    pub(super) fn get(&self, key: &Key) -> Option<&Lease> {
        self.of.get(&Short::of(key)).map(Box::as_ref)
    }

    pub(super) fn contains_key(&self, key: &Key) -> bool {
        self.of.get(&Short::of(key)).is_some()
    }

    /// Every lease, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Lease)> {
        self.of.iter().map(|(short, lease)| (short.key(), lease.as_ref()))
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Those with a run of ports.
    pub(super) const fn runs(&self) -> &BTreeSet<Key> {
        &self.runs
    }

    /// The one of which a holder ends first, and when at the latest.
    pub(super) fn first(&self) -> Option<(Moment, Key)> {
        let (due, together) = self.ends.first_key_value()?;
        Some((*due, together.first()?.key()))
    }

    /// Puts `lease` there, in the place of whatever was.
    pub(super) fn insert(&mut self, key: Key, lease: Lease) {
        let (short, due) = (Short::of(&key), due(&lease));
        if let Some(before) = self.of.insert(short.clone(), Box::new(lease)) {
            self.forget_end(&before, &short);
        }
        self.ends.entry(due).or_default().insert(short);
        if matches!(key.ports, Ports::Run(_)) {
            self.runs.insert(key);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Lease> {
        let short = Short::of(key);
        let lease = self.of.remove(&short)?;
        self.forget_end(&lease, &short);
        self.runs.remove(key);
        Some(*lease)
    }

    fn forget_end(&mut self, lease: &Lease, short: &Short) {
        if let Entry::Occupied(mut together) = self.ends.entry(due(lease)) {
            together.get_mut().remove(short);
            if together.get().is_empty() {
                together.remove();
            }
        }
    }

    /// Has `change` made to the lease of `key`, if there is one. It must not
    /// change when it ends.
    pub(super) fn alter(&mut self, key: &Key, change: impl FnOnce(&mut Lease)) {
        if let Some(lease) = self.of.get_mut(&Short::of(key)) {
            change(lease);
        }
    }
}

/// When `lease` has to be looked at, up to a [`GRAIN`] late.
fn due(lease: &Lease) -> Moment {
    Moment::from_millis(lease.next_end().as_millis().div_ceil(GRAIN).saturating_mul(GRAIN))
}

/// A [`Key`] in 16 octets instead of 42, unless it is of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Short {
    V4 { client: [u8; 4], address: [u8; 4], protocol: Protocol, ports: ShortPorts },
    Other(Box<Key>),
}

/// [`Ports`] but wide runs, which are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ShortPorts {
    One(Port),
    All,
}

impl Short {
    fn of(key: &Key) -> Self {
        use std::net::IpAddr::V4;
        let ports = match key.ports {
            Ports::One(port) => Some(ShortPorts::One(port)),
            Ports::All => Some(ShortPorts::All),
            Ports::Run(_) => None,
        };
        match (key.client.address(), key.address, ports) {
            (V4(client), V4(address), Some(ports)) => {
                Self::V4 { client: client.octets(), address: address.octets(), protocol: key.protocol, ports }
            }
            _ => Self::Other(Box::new(*key)),
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::V4 { client, address, protocol, ports } => Key {
                client: Client::new((*client).into()),
                address: (*address).into(),
                protocol: *protocol,
                ports: match ports {
                    ShortPorts::One(port) => Ports::One(*port),
                    ShortPorts::All => Ports::All,
                },
            },
            Self::Other(key) => **key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::query::PortRange;
    use proptest::prelude::*;

    #[test]
    fn a_lease_of_ipv4_takes_16_octets_for_its_key() {
        assert_eq!(size_of::<Short>(), 16);
        assert!(size_of::<Lease>() <= 64, "{}", size_of::<Lease>());
    }

    proptest! {
        /// Also where the addresses are of both families, as IPv4 is mapped
        /// into IPv6.
        #[test]
        fn the_short_form_of_a_key_is_the_whole_key(
            client: std::net::IpAddr, address: std::net::IpAddr, udp: bool, kind in 0..3, first in 1..=u16::MAX, last in 1..=u16::MAX
        ) {
            let (first, last) = (Port::new(first.min(last)).unwrap(), Port::new(first.max(last)).unwrap());
            let ports = match kind {
                0 => Ports::One(first),
                1 => Ports::All,
                _ => Ports::Run(PortRange::new(first, last).unwrap()),
            };
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let key = Key { client: Client::new(client), address, protocol, ports };
            prop_assert_eq!(Short::of(&key).key(), key);
        }
    }
}
