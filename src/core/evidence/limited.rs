//! [`Limited`]: a map that never grows past its limit, and says what it left
//! out.

use std::collections::BTreeMap;

/// A map of at most so many keys. Those that came first stay.
#[derive(Clone, Debug)]
pub struct Limited<K, V> {
    entries: BTreeMap<K, V>,
    most: usize,
    beyond: u64,
}

impl<K: Ord, V> Limited<K, V> {
    /// An empty map for at most `most` keys.
    pub const fn to(most: usize) -> Self {
        Self { entries: BTreeMap::new(), most, beyond: 0 }
    }

    /// What is kept for `key`, `new` at first; `None` where the map is full of
    /// others, which is counted.
    pub fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> Option<&mut V> {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.beyond = self.beyond.saturating_add(1);
            return None;
        }
        Some(self.entries.entry(key).or_insert_with(new))
    }

    /// What is kept for `key`, if anything.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// How often something was left out.
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }

    /// The keys and what is kept for them, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// The keys and what is kept for them, in the order of the keys.
    pub fn into_entries(self) -> impl Iterator<Item = (K, V)> {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_what_is_there_goes_on() {
        let mut map = Limited::to(2);
        for key in ["a", "b", "c", "a", "c"] {
            if let Some(count) = map.entry(key, || 0) {
                *count += 1;
            }
        }
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&"a", &2), (&"b", &1)]);
        assert_eq!(map.beyond(), 2);
    }
}
