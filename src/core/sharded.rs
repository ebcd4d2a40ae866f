//! [`Sharded`]: a hash table made of many, and [`cache`], the same for caches.
//!
//! A table that grows moves all that is in it at once; with 60,000 names that
//! takes 15 ms and with a million a second, in which nobody is answered. Of
//! these, one at a time grows, or gives room back.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// How many tables: with a million entries, some thousands in each. Its square
/// is 2^16.
const SHARDS: usize = 256;
/// Entries for which a table keeps its room.
const LITTLE: usize = 64;

/// A hash table that never stands still for long.
#[derive(Debug)]
pub struct Sharded<K, V> {
    shards: Box<[HashTable<(K, V)>]>,
    hasher: RandomState,
    len: usize,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), hasher: RandomState::new(), len: 0 }
    }
}

impl<K: Eq + Hash, V> Sharded<K, V> {
    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten().map(|(key, value)| (key, value))
    }

    /// What is there for `key`.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The same, and the key that it was put there under.
    pub fn get_key_value<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        // What is not there need not be searched for: to hash a name takes longer.
        if self.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        let (key, value) = self.shards.get(number(hash))?.find(hash, |(known, _)| known.borrow() == key)?;
        Some((key, value))
    }

    /// What is there for `key`, to be changed.
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let entry = self.shards.get_mut(number(hash))?.find_mut(hash, |(known, _)| known.borrow() == key)?;
        Some(&mut entry.1)
    }

    /// What is there for `key`, to be changed, and put there first where
    /// nothing is.
    pub fn or_default(&mut self, key: K) -> Option<&mut V>
    where
        V: Default,
    {
        let hash = self.hasher.hash_one(&key);
        let hasher = |(key, _): &(K, V)| self.hasher.hash_one(key);
        match self.shards.get_mut(number(hash))?.entry(hash, |(known, _)| *known == key, hasher) {
            Entry::Occupied(entry) => Some(&mut entry.into_mut().1),
            Entry::Vacant(place) => {
                self.len += 1;
                Some(&mut place.insert((key, V::default())).into_mut().1)
            }
        }
    }

    /// Puts `value` there, and returns what it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let hasher = |(key, _): &(K, V)| self.hasher.hash_one(key);
        match self.shards.get_mut(number(hash))?.entry(hash, |(known, _)| *known == key, hasher) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, value)),
            Entry::Vacant(place) => {
                self.len += 1;
                place.insert((key, value));
                None
            }
        }
    }

    /// Takes it out, and gives back room that is needed no longer.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if self.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get_mut(number(hash))?;
        let ((_, value), _) = shard.find_entry(hash, |(known, _)| known.borrow() == key).ok()?.remove();
        self.len -= 1;
        if shard.capacity() > LITTLE && shard.len() < shard.capacity() / 4 {
            shard.shrink_to(2 * shard.len(), |(key, _)| self.hasher.hash_one(key));
        }
        Some(value)
    }
}

/// In which table what has this hash is: by bits that the tables themselves make
/// no use of, but for the largest.
///
/// The last table is twice as likely as the first, and those between in
/// proportion: so they double one after the other, and what is empty in all of
/// them together is about the same at any time.
fn number(hash: u64) -> usize {
    let [_, _, high, low, ..] = hash.to_be_bytes();
    let random = usize::from(u16::from_be_bytes([high, low]));
    (SHARDS * SHARDS + 3 * random).isqrt() - SHARDS
}

/// A cache that is made of as many, for the same reason: of about `usual`
/// entries, which together weigh `most`.
pub fn cache<K: Eq + Hash, V: Clone, W: Weighter<K, V> + Clone>(
    usual: usize,
    most: u64,
    weighter: W,
) -> Cache<K, V, W> {
    let options = OptionsBuilder::new().shards(SHARDS).estimated_items_capacity(usual).weight_capacity(most).build();
    match options {
        Ok(options) => {
            Cache::with_options(options, weighter, DefaultHashBuilder::default(), DefaultLifecycle::default())
        }
        Err(_) => Cache::with_weighter(usual, most, weighter),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_entry_waits_for_all_others_to_be_moved() {
        let mut table: Sharded<u64, [u64; 4]> = Sharded::default();
        for key in 0..300_000 {
            table.insert(key, [key; 4]);
            let shard = &table.shards[number(table.hasher.hash_one(key))];
            assert!(shard.len() < 100 || shard.len() * SHARDS < 2 * table.len(), "{} of {}", shard.len(), table.len());
        }
        for key in 0..299_000 {
            table.remove(&key);
        }
        let room: usize = table.shards.iter().map(HashTable::capacity).sum();
        assert!(room < 300_000 / 10, "{room} places for {} entries", table.len());
    }

    #[test]
    fn they_do_not_all_have_empty_room_at_once() {
        let mut table: Sharded<u64, ()> = Sharded::default();
        for key in 0..300_000 {
            table.insert(key, ());
            if key > 100_000 && key % 1000 == 0 {
                let room: usize = table.shards.iter().map(HashTable::capacity).sum();
                let all = usize::try_from(key).unwrap();
                assert!(room < all / 5 * 8, "{room} places for {key} entries");
            }
        }
        assert!(table.shards.iter().all(|shard| !shard.is_empty()));
    }

    proptest! {
        #[test]
        fn it_is_a_hash_table(steps in prop::collection::vec((0..5_u8, 0..50_u16, 0..u32::MAX / 2), 0..300)) {
            let (mut table, mut plain) = (Sharded::default(), HashMap::new());
            for (step, key, value) in steps {
                match step {
                    4 => {
                        *table.or_default(key).unwrap() += 1;
                        *plain.entry(key).or_default() += 1;
                    }
                    0 | 1 => prop_assert_eq!(table.insert(key, value), plain.insert(key, value)),
                    2 => prop_assert_eq!(table.remove(&key), plain.remove(&key)),
                    _ => prop_assert_eq!(table.get_mut(&key).map(std::mem::take), plain.get_mut(&key).map(std::mem::take)),
                }
                prop_assert_eq!(table.get(&key), plain.get(&key));
                prop_assert_eq!(table.get_key_value(&key), plain.get_key_value(&key));
                prop_assert_eq!((table.len(), table.is_empty()), (plain.len(), plain.is_empty()));
            }
            let all: HashMap<_, _> = table.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(all, plain);
        }
    }
}
