//! Which ports a decision can tell apart.
//!
//! A policy knows the port only through comparisons with integer literals and
//! through `Resource` literals ([`super::lint`] refuses the rest). Between two
//! neighbouring breakpoints (n and n+1 for each such number n) every
//! comparison has one value, so one evaluation speaks for the whole interval.

use std::collections::{BTreeSet, HashMap};

use super::super::decision::Opening;
use super::super::name::Name;
use super::super::query::{Port, PortRange};
use super::lint::{Facts, Reach};

/// Where intervals start, by the names for which they matter.
#[derive(Debug, Default)]
pub(super) struct Breakpoints {
    everywhere: BTreeSet<Port>,
    host: HashMap<Name, BTreeSet<Port>>,
    below: HashMap<Box<str>, BTreeSet<Port>>,
}

impl Breakpoints {
    /// Adds those of one statement.
    pub(super) fn add(&mut self, facts: &Facts) {
        for (host, port) in &facts.resources {
            self.host.entry(host.clone()).or_default().extend(starts_around(i64::from(port.number())));
        }
        let starts = facts.numbers.iter().copied().flat_map(starts_around);
        match &facts.reach {
            Reach::Everywhere => self.everywhere.extend(starts),
            Reach::Host(host) => self.host.entry(host.clone()).or_default().extend(starts),
            Reach::Below(domain) => self.below.entry(domain.as_str().into()).or_default().extend(starts),
        }
    }

    /// The intervals into which policies can divide the ports of `host`:
    /// sorted, disjoint, together every port.
    pub(super) fn intervals(&self, host: &Name) -> Vec<PortRange> {
        let mut starts = self.everywhere.clone();
        starts.insert(Port::MIN);
        starts.extend(self.host.get(host).into_iter().flatten());
        starts.extend(host.ancestors().filter_map(|domain| self.below.get(domain)).flatten());

        let followers = starts.iter().skip(1).map(|next| port(i64::from(next.number()) - 1)).chain([Some(Port::MAX)]);
        starts.iter().zip(followers).filter_map(|(first, last)| PortRange::new(*first, last?)).collect()
    }
}

/// `openings` sorted, with those merged that touch or overlap.
pub(super) fn merged(mut openings: Vec<Opening>) -> Vec<Opening> {
    openings.sort_unstable();
    let mut merged: Vec<Opening> = Vec::with_capacity(openings.len());
    for opening in openings {
        if let Some(last) = merged.last_mut()
            && last.protocol == opening.protocol
            && u32::from(opening.ports.first().number()) <= u32::from(last.ports.last().number()) + 1
        {
            let end = last.ports.last().max(opening.ports.last());
            last.ports = PortRange::new(last.ports.first(), end).unwrap_or(last.ports);
            continue;
        }
        merged.push(opening);
    }
    merged
}

fn starts_around(number: i64) -> impl Iterator<Item = Port> {
    [Some(number), number.checked_add(1)].into_iter().flatten().filter_map(port)
}

fn port(number: i64) -> Option<Port> {
    u16::try_from(number).ok().and_then(Port::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap()
    }

    #[test]
    fn a_port_of_another_host_divides_nothing() {
        let mut breakpoints = Breakpoints::default();
        let host = Name::parse("api.example.com").unwrap();
        let other = Name::parse("example.com").unwrap();
        breakpoints.add(&Facts { resources: vec![(host.clone(), Port::new(443).unwrap())], ..Facts::default() });
        assert_eq!(breakpoints.intervals(&host), [range(1, 442), range(443, 443), range(444, 65535)]);
        assert_eq!(breakpoints.intervals(&other), [PortRange::ALL]);
    }

    proptest! {
        #[test]
        fn intervals_are_every_port_once(numbers in proptest::collection::vec(any::<i64>().prop_map(|n| n % 70_000), 0..20)) {
            let mut breakpoints = Breakpoints::default();
            breakpoints.add(&Facts { numbers, ..Facts::default() });
            let intervals = breakpoints.intervals(&Name::parse("example.com").unwrap());
            let mut next = 1u32;
            for interval in intervals {
                prop_assert_eq!(u32::from(interval.first().number()), next);
                next = u32::from(interval.last().number()) + 1;
            }
            prop_assert_eq!(next, 65_536);
        }
    }
}
