//! Addresses times ports, as rectangles: what an interval set holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::lease::StaticGrant;
use super::super::query::{Client, Port, PortRange, Protocol};

/// A run of addresses of one family, each with the same run of ports. Both
/// runs include their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Area {
    first: u128,
    last: u128,
    lowest: u16,
    highest: u16,
}

impl Area {
    /// The area of `grant`; `None` if its families do not agree or it is
    /// empty.
    pub(super) fn of(grant: &StaticGrant) -> Option<Self> {
        let one_family = grant.client.reaches(grant.first) && grant.client.reaches(grant.last);
        let (first, last) = (number(grant.first), number(grant.last));
        let (lowest, highest) = (grant.ports.first().number(), grant.ports.last().number());
        (one_family && first <= last).then_some(Self { first, last, lowest, highest })
    }

    /// The grant of this area to `client`, in the client's family.
    pub(super) fn grant(self, client: Client, protocol: Protocol) -> Option<StaticGrant> {
        let address = |number: u128| match client.address() {
            IpAddr::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::from(Ipv4Addr::from(number))),
            IpAddr::V6(_) => Some(IpAddr::from(Ipv6Addr::from(number))),
        };
        let ports = PortRange::new(Port::new(self.lowest)?, Port::new(self.highest)?)?;
        Some(StaticGrant { client, first: address(self.first)?, last: address(self.last)?, protocol, ports })
    }

    /// Whether `areas`, which are sorted, together cover all of it.
    pub(super) fn is_within(self, areas: &[Self]) -> bool {
        areas.binary_search(&self).is_ok() || without(vec![self], areas).is_empty()
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last
            && other.first <= self.last
            && self.lowest <= other.highest
            && other.lowest <= self.highest
    }

    /// What is left of it without `other`: at most four pieces.
    fn minus(self, other: Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![self];
        }
        let mut pieces = Vec::with_capacity(4);
        // In each subtraction the operand is above the lower bound, or below
        // the upper one, of a number of the same width.
        if self.first < other.first {
            pieces.push(Self { last: other.first - 1, ..self });
        }
        let middle = Self { first: self.first.max(other.first), last: self.last.min(other.last), ..self };
        if self.lowest < other.lowest {
            pieces.push(Self { highest: other.lowest - 1, ..middle });
        }
        if other.highest < self.highest {
            pieces.push(Self { lowest: other.highest + 1, ..middle });
        }
        if other.last < self.last {
            pieces.push(Self { first: other.last + 1, ..self });
        }
        pieces
    }
}

/// The same addresses and ports, sorted, and cut so that no two areas overlap.
pub(super) fn disjoint(mut areas: Vec<Area>) -> Vec<Area> {
    areas.sort_unstable();
    areas.dedup();
    let mut found: Vec<Area> = Vec::with_capacity(areas.len());
    // Those found that may still overlap one to come.
    let mut near: Vec<Area> = Vec::new();
    for area in areas {
        near.retain(|other| other.last >= area.first);
        let pieces = cut(area, &near);
        near.extend_from_slice(&pieces);
        found.extend(pieces);
    }
    found.sort_unstable();
    found
}

/// `areas` without what `taken` covers, sorted.
pub(super) fn without(mut areas: Vec<Area>, taken: &[Area]) -> Vec<Area> {
    areas.sort_unstable();
    let mut taken = taken.to_vec();
    taken.sort_unstable();
    let mut taken = taken.into_iter().peekable();
    let mut left = Vec::with_capacity(areas.len());
    let mut near: Vec<Area> = Vec::new();
    for area in areas {
        while let Some(next) = taken.next_if(|next| next.first <= area.last) {
            near.push(next);
        }
        near.retain(|other| other.last >= area.first);
        left.extend(cut(area, &near));
    }
    left.sort_unstable();
    left
}

fn cut(area: Area, others: &[Area]) -> Vec<Area> {
    others.iter().fold(vec![area], |pieces, other| pieces.into_iter().flat_map(|piece| piece.minus(*other)).collect())
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}
