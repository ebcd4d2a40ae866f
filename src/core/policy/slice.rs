//! [`Slice`]: the policies that have a say in one agent's question about one
//! host, and the ports they can tell apart.
//!
//! A policy knows the port only through comparisons with integer literals and
//! through `Resource` literals ([`super::lint`] refuses the rest). Between two
//! neighbouring breakpoints (n and n+1 for each such number n) every
//! comparison has one value, so one evaluation speaks for the whole run.

use std::collections::{BTreeMap, BTreeSet};

use super::super::name::Name;
use super::super::query::{Port, PortRange};
use super::clause::{Clause, Mentions};

/// Policies by their numbers.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// Which host they have a say about: the ports of others divide nothing.
    host: Name,
    /// Those whose scope holds on every port.
    common: Vec<u32>,
    /// Those whose scope names the host with one port.
    at: BTreeMap<Port, Vec<u32>>,
    /// Where runs start, but for the first.
    starts: BTreeSet<Port>,
    pub(super) mentions: Mentions,
}

impl Slice {
    /// An empty slice for `host`.
    pub(super) const fn of(host: Name) -> Self {
        let mentions = Mentions { host: false, ip: false, now: false, client: false, protocol: false };
        Self { host, common: Vec::new(), at: BTreeMap::new(), starts: BTreeSet::new(), mentions }
    }

    /// Adds policies whose scope holds on every port.
    pub(super) fn add<'a>(&mut self, policies: Vec<u32>, clause: impl Fn(u32) -> Option<&'a Clause>) {
        for clause in policies.iter().filter_map(|number| clause(*number)) {
            self.note(clause);
        }
        self.common.extend(policies);
    }

    /// Adds policies whose scope holds on one port alone.
    pub(super) fn add_at<'a>(&mut self, port: Port, policies: Vec<u32>, clause: impl Fn(u32) -> Option<&'a Clause>) {
        if policies.is_empty() {
            return;
        }
        for clause in policies.iter().filter_map(|number| clause(*number)) {
            self.note(clause);
        }
        self.starts.extend(starts_around(i64::from(port.number())));
        self.at.insert(port, policies);
    }

    fn note(&mut self, clause: &Clause) {
        self.mentions = self.mentions.or(clause.mentions);
        self.starts.extend(clause.numbers.iter().copied().flat_map(starts_around));
        let of_host = clause.resources.iter().filter(|(host, _)| *host == self.host);
        self.starts.extend(of_host.flat_map(|(_, port)| starts_around(i64::from(port.number()))));
    }

    /// Whether no policy has a say.
    pub(super) fn is_empty(&self) -> bool {
        self.common.is_empty() && self.at.is_empty()
    }

    /// The policies whose scope holds on `port`.
    pub(super) fn on(&self, port: Port) -> impl Iterator<Item = u32> + '_ {
        self.common.iter().chain(self.at.get(&port).into_iter().flatten()).copied()
    }

    /// The policies, if none of them can tell this host from another in whose
    /// slice they are.
    pub(super) fn of_any_host(&self) -> Option<&[u32]> {
        (self.at.is_empty() && !self.mentions.host).then_some(&*self.common)
    }

    /// Whether any policy's scope holds on `port`.
    pub(super) fn has_say_on(&self, port: Port) -> bool {
        !self.common.is_empty() || self.at.contains_key(&port)
    }
}

/// The runs into which policies can divide the ports under any of `slices`:
/// sorted, disjoint, together every port.
pub(super) fn runs(slices: &[&Slice]) -> Vec<PortRange> {
    let mut starts: BTreeSet<_> = slices.iter().flat_map(|slice| slice.starts.iter().copied()).collect();
    starts.insert(Port::MIN);
    let ends = starts.iter().skip(1).map(|next| port(i64::from(next.number()) - 1)).chain([Some(Port::MAX)]);
    starts.iter().zip(ends).filter_map(|(first, last)| PortRange::new(*first, last?)).collect()
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

    proptest! {
        #[test]
        fn runs_are_every_port_once(numbers in proptest::collection::vec(any::<i64>().prop_map(|n| n % 70_000), 0..20)) {
            let starts = numbers.into_iter().flat_map(starts_around).collect();
            let slice = Slice { starts, ..Slice::of(Name::parse("host.example").unwrap()) };
            let mut next = 1u32;
            for run in runs(&[&slice]) {
                prop_assert_eq!(u32::from(run.first().number()), next);
                next = u32::from(run.last().number()) + 1;
            }
            prop_assert_eq!(next, 65_536);
        }
    }
}
