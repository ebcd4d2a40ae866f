//! [`Cap`]: everything clients can use up, and [`Tally`]: who has met which
//! cap, told at most once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decision::{Failure, Reason};
use super::query::{Agent, Client};
use super::time::Moment;

/// How often one cap of one client is told of at most.
const RHYTHM: Duration = Duration::from_secs(1);

/// What a client, or all of them, can use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cap {
    /// `lease.per_client`
    LeasesPerClient,
    /// `lease.per_name`
    LeasesPerName,
    /// `lease.total`
    LeasesTotal,
    /// `lease.set_size`: a set in the kernel is full.
    LeaseSet,
    /// `names.per_minute`
    NamesPerMinute,
    /// `names.octets_per_minute`
    NameOctetsPerMinute,
    /// `names.bits_per_minute`
    NameBitsPerMinute,
    /// `dns.in_flight_per_client`
    InFlightPerClient,
    /// `dns.max_in_flight`
    InFlightTotal,
    /// `dns.queries_per_second`
    QueriesPerSecond,
    /// Datagrams in work at once, over all clients: beyond any query's share.
    Datagrams,
    /// A client's share of `dns.max_connections`.
    ConnectionsPerClient,
    /// `dns.max_connections`
    ConnectionsTotal,
    /// Denied names that have an address in the sinkhole.
    SinkholeNames,
}

impl Cap {
    /// Every cap, for counters that must exist before their first use.
    pub const ALL: [Self; 14] = [
        Self::LeasesPerClient,
        Self::LeasesPerName,
        Self::LeasesTotal,
        Self::LeaseSet,
        Self::NamesPerMinute,
        Self::NameOctetsPerMinute,
        Self::NameBitsPerMinute,
        Self::InFlightPerClient,
        Self::InFlightTotal,
        Self::QueriesPerSecond,
        Self::Datagrams,
        Self::ConnectionsPerClient,
        Self::ConnectionsTotal,
        Self::SinkholeNames,
    ];

    /// A stable word for logs and metric labels.
    pub const fn code(self) -> &'static str {
        match self {
            Self::LeasesPerClient => "leases_per_client",
            Self::LeasesPerName => "leases_per_name",
            Self::LeasesTotal => "leases_total",
            Self::LeaseSet => "lease_set",
            Self::NamesPerMinute => "names_per_minute",
            Self::NameOctetsPerMinute => "name_octets_per_minute",
            Self::NameBitsPerMinute => "name_bits_per_minute",
            Self::InFlightPerClient => "in_flight_per_client",
            Self::InFlightTotal => "in_flight_total",
            Self::QueriesPerSecond => "queries_per_second",
            Self::Datagrams => "datagrams",
            Self::ConnectionsPerClient => "connections_per_client",
            Self::ConnectionsTotal => "connections_total",
            Self::SinkholeNames => "sinkhole_names",
        }
    }

    /// The cap that a denial comes from, if it is one.
    pub const fn behind(reason: Reason) -> Option<Self> {
        match reason {
            Reason::TooManyLeases => Some(Self::LeasesPerClient),
            Reason::TooManyLeasesOfName => Some(Self::LeasesPerName),
            Reason::TooManyLeasesInAll => Some(Self::LeasesTotal),
            Reason::LeaseSetFull => Some(Self::LeaseSet),
            Reason::TooManyNames => Some(Self::NamesPerMinute),
            Reason::TooManyNameOctets => Some(Self::NameOctetsPerMinute),
            Reason::TooManyNameBits => Some(Self::NameBitsPerMinute),
            Reason::TooManyQueries => Some(Self::QueriesPerSecond),
            Reason::UnknownClient
            | Reason::UnusableName
            | Reason::NotPermitted
            | Reason::Forbidden
            | Reason::PolicyError
            | Reason::ForbiddenAlias
            | Reason::NoPermittedAddress => None,
        }
    }

    /// The cap that a failure comes from, if it is one.
    pub const fn behind_failure(failure: Failure) -> Option<Self> {
        match failure {
            Failure::Overloaded => Some(Self::InFlightTotal),
            Failure::ClientOverloaded => Some(Self::InFlightPerClient),
            Failure::UpstreamSilent
            | Failure::UpstreamUnreachable
            | Failure::UpstreamRefused
            | Failure::UpstreamUnusable
            | Failure::KernelRefused
            | Failure::KernelSilent => None,
        }
    }
}

/// Who met a cap; all strangers are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party {
    /// The client's first address; `None`: strangers.
    pub client: Option<Client>,
    /// The principal it acts as.
    pub agent: Option<Agent>,
}

/// How often a cap was met since it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which cap.
    pub cap: Cap,
    /// By whom.
    pub party: Party,
    /// How often.
    pub count: u64,
}

/// Caps met and not yet told. It holds an entry for each cap and party that
/// met it within the last second or so; parties are the operator's own list.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<(Cap, Party), Entry>);

#[derive(Debug)]
struct Entry {
    told: Moment,
    count: u64,
}

impl Tally {
    /// Counts that `party` met `cap`; returns what is to be told at once, if
    /// nothing was within the last second.
    pub fn add(&mut self, cap: Cap, party: Party, now: Moment) -> Option<Reached> {
        if let Some(entry) = self.0.get_mut(&(cap, party.clone())) {
            entry.count = entry.count.saturating_add(1);
            return None;
        }
        self.0.insert((cap, party.clone()), Entry { told: now, count: 0 });
        Some(Reached { cap, party, count: 1 })
    }

    /// What is to be told by now. To be called about once a second.
    pub fn due(&mut self, now: Moment) -> Vec<Reached> {
        let mut due = Vec::new();
        self.0.retain(|(cap, party), entry| {
            if now.since(entry.told) < RHYTHM {
                return true;
            }
            if entry.count == 0 {
                return false;
            }
            due.push(Reached { cap: *cap, party: party.clone(), count: std::mem::take(&mut entry.count) });
            entry.told = now;
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(last: u8) -> Party {
        Party { client: Some(Client::new([192, 0, 2, last].into())), agent: None }
    }

    #[test]
    fn a_flood_is_told_at_once_and_then_once_a_second_with_nothing_missing() {
        let mut tally = Tally::default();
        let mut told = Vec::new();
        for millis in 0..5_000 {
            let now = Moment::from_millis(millis);
            for _ in 0..20 {
                told.extend(tally.add(Cap::QueriesPerSecond, party(1), now));
            }
            if millis % 250 == 249 {
                told.extend(tally.due(now));
            }
        }
        assert!(told.len() <= 6, "{} lines in five seconds", told.len());
        assert_eq!(told.first().map(|reached| reached.count), Some(1), "the first is told at once");
        told.extend(tally.due(Moment::from_millis(7_000)));
        assert_eq!(told.iter().map(|reached| reached.count).sum::<u64>(), 100_000);
    }

    #[test]
    fn each_cap_and_each_client_is_told_apart_and_forgotten_when_over() {
        let mut tally = Tally::default();
        let now = Moment::from_millis(500);
        assert!(tally.add(Cap::QueriesPerSecond, party(1), now).is_some());
        assert!(tally.add(Cap::QueriesPerSecond, party(2), now).is_some());
        assert!(tally.add(Cap::LeasesPerClient, party(1), now).is_some());
        assert!(tally.add(Cap::LeasesPerClient, party(1), now).is_none());
        assert_eq!(tally.due(Moment::from_millis(1_499)), []);
        assert_eq!(tally.due(Moment::from_millis(1_500)).len(), 1);
        assert_eq!(tally.due(Moment::from_millis(9_000)), []);
        assert!(tally.0.is_empty());
    }
}
