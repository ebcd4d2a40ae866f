//! [`Traffic`]: what went through since it was last told, from counts that only
//! rise.

use std::collections::{BTreeMap, BTreeSet};

use super::packet::Way;

/// As many lines are told in one go; the rest waits for the next.
const MOST: usize = 256;

/// What the kernel has counted of one way, or what was added to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Flows that began.
    pub connections: u64,
    /// Packets, both directions.
    pub packets: u64,
    /// Octets, both directions, from the IP header on.
    pub bytes: u64,
}

/// What was told of each way that the kernel still counts.
#[derive(Debug, Default)]
pub struct Traffic(BTreeMap<Way, Volume>);

impl Traffic {
    /// What was counted before anybody could be told.
    pub fn begin(counts: BTreeMap<Way, Volume>) -> Self {
        Self(counts)
    }

    /// What is to be told now that the kernel has counted this much, the most
    /// octets first. A count that is lower than before began anew.
    pub fn told(&mut self, counts: &BTreeMap<Way, Volume>) -> Vec<(Way, Volume)> {
        self.0.retain(|way, _| counts.contains_key(way));
        let added = counts.iter().map(|(way, count)| (*way, count.since(self.0.get(way))));
        let mut added: Vec<_> = added.filter(|(_, added)| *added != Volume::default()).collect();
        added.sort_by_key(|(way, added)| (std::cmp::Reverse(added.bytes), *way));
        added.truncate(MOST);
        let told: BTreeSet<_> = added.iter().map(|(way, _)| *way).collect();
        self.0.extend(counts.iter().filter(|(way, _)| told.contains(way)).map(|(way, count)| (*way, *count)));
        added
    }
}

impl Volume {
    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return *self };
        if self.packets < before.packets {
            return *self;
        }
        Self {
            connections: self.connections.saturating_sub(before.connections),
            packets: self.packets - before.packets,
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::query::Client;

    fn way(port: u16) -> Way {
        let client = Client::new([10, 77, 0, 2].into());
        Way { client, address: [192, 0, 2, 7].into(), protocol: 6, port: Some(port) }
    }

    fn volume(connections: u64, packets: u64, bytes: u64) -> Volume {
        Volume { connections, packets, bytes }
    }

    #[test]
    fn only_what_was_added_is_told_and_only_where_something_was() {
        let mut traffic = Traffic::begin(BTreeMap::from([(way(80), volume(1, 10, 1000))]));
        let counts = BTreeMap::from([(way(80), volume(1, 10, 1000)), (way(443), volume(2, 20, 9000))]);
        assert_eq!(traffic.told(&counts), [(way(443), volume(2, 20, 9000))]);
        assert_eq!(traffic.told(&counts), []);
        let counts = BTreeMap::from([(way(80), volume(2, 11, 1040)), (way(443), volume(2, 25, 9500))]);
        assert_eq!(traffic.told(&counts), [(way(443), volume(0, 5, 500)), (way(80), volume(1, 1, 40))]);
    }

    #[test]
    fn an_element_that_came_back_counts_from_nothing() {
        let mut traffic = Traffic::default();
        traffic.told(&BTreeMap::from([(way(443), volume(2, 20, 9000))]));
        assert_eq!(traffic.told(&BTreeMap::from([(way(443), volume(1, 3, 300))])), [(way(443), volume(1, 3, 300))]);
        assert_eq!(traffic.told(&BTreeMap::new()), []);
        assert_eq!(traffic.told(&BTreeMap::from([(way(443), volume(1, 3, 300))])), [(way(443), volume(1, 3, 300))]);
    }

    #[test]
    fn what_is_too_much_for_one_go_is_told_in_the_next_ones() {
        let counts: BTreeMap<_, _> = (1..=1000).map(|port| (way(port), volume(1, 1, u64::from(port)))).collect();
        let mut traffic = Traffic::default();
        let mut told = Vec::new();
        for expected in [256, 256, 256, 232, 0] {
            let lines = traffic.told(&counts);
            assert_eq!(lines.len(), expected);
            told.extend(lines);
        }
        assert_eq!(told.first().map(|(way, _)| way.port), Some(Some(1000)));
        assert_eq!(told.iter().map(|(_, added)| added.bytes).sum::<u64>(), 500_500);
    }
}
