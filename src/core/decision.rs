//! What becomes of a query, and why: closed enums, each matched exhaustively
//! wherever an answer, a log line or a counter is made of them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::query::{PortRange, Protocol, RecordKind};
use super::screen::Screened;
use super::time::Ttl;

/// A policy's id: its `@id`, or `file#n`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyId(Arc<str>);

impl PolicyId {
    /// The id `text`.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A run of ports of one protocol that a permit opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Opening {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Which ports.
    pub ports: PortRange,
}

impl Opening {
    /// Every port of every protocol that a lease can open.
    pub fn every() -> [Self; 2] {
        Protocol::ALL.map(|protocol| Self { protocol, ports: PortRange::ALL })
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports == PortRange::ALL {
            return write!(formatter, "every port/{}", self.protocol);
        }
        write!(formatter, "{}/{}", self.ports, self.protocol)
    }
}

/// Cedar's verdict on a query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody reads authorizes nothing"]
pub enum Decision {
    /// The query may be asked upstream.
    Permit(Permit),
    /// It may not.
    Deny(Denial),
}

/// A permitted query: which policies said so, and what it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The policies that decided.
    pub policies: Arc<[PolicyId]>,
    /// Disjoint, sorted, non-empty for address queries; empty for types that
    /// lead to no connection.
    pub openings: Arc<[Opening]>,
    /// Whether a policy in play looks at `context.ip`: then each address has
    /// to be judged by itself.
    pub judges_addresses: bool,
    /// How long the decision holds if a policy in play looks at
    /// `context.now`; `None` if time does not matter.
    pub valid_for: Option<Duration>,
    /// How many labels of the name, from the left, no permit that decided
    /// names: `0` for the host of a `Resource::"host:port"`, `1` for
    /// `www.example.com` below `Domain::"example.com"`.
    pub unnamed: usize,
    /// In audit mode, the denial that this permit stands in for.
    pub would_deny: Option<Denial>,
}

impl Permit {
    /// What audit mode makes of `denial`: every port is open, and no policy
    /// has permitted it.
    pub fn despite(denial: Denial, kind: RecordKind) -> Self {
        Self {
            policies: Arc::default(),
            openings: if kind.leads_to_connections() { Opening::every().into() } else { Arc::default() },
            judges_addresses: false,
            valid_for: None,
            unnamed: 0,
            would_deny: Some(denial),
        }
    }
}

/// A refused query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The policies that decided; empty when it was the default.
    pub policies: Arc<[PolicyId]>,
}

impl Denial {
    /// A denial that no policy in particular decided.
    pub fn by_default(reason: Reason) -> Self {
        Self { reason, policies: Arc::default() }
    }
}

impl fmt::Display for Denial {
    /// One line for people, as EDE texts carry it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.reason)?;
        for (index, policy) in self.policies.iter().enumerate() {
            write!(formatter, "{}{policy}", if index == 0 { " (policy " } else { ", " })?;
        }
        if !self.policies.is_empty() {
            formatter.write_str(")")?;
        }
        Ok(())
    }
}

/// Every reason for which the wall refuses a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No agent is known for the client's address.
    UnknownClient,
    /// The name is outside the alphabet of [`super::name::Name`]; no policy can permit it.
    UnusableName,
    /// No policy permits it: the default.
    NotPermitted,
    /// A `forbid` policy matches.
    Forbidden,
    /// A policy failed to evaluate; Cedar would have skipped it (G10).
    PolicyError,
    /// A name on the CNAME chain is explicitly forbidden.
    ForbiddenAlias,
    /// Every address of the answer lies in a special-purpose range or is
    /// forbidden by a policy.
    NoPermittedAddress,
    /// The client holds as many leases as it may.
    TooManyLeases,
    /// The name holds as many leases as it may for one client.
    TooManyLeasesOfName,
    /// All clients together hold as many leases as they may.
    TooManyLeasesInAll,
    /// A set in the kernel has no room left.
    LeaseSetFull,
    /// The client has asked for as many names below permitted domains as it
    /// may in a minute.
    TooManyNames,
    /// The labels of those names have as many octets as they may in a minute.
    TooManyNameOctets,
    /// Those labels can tell as much as they may in a minute.
    TooManyNameBits,
    /// The client asks faster than it may.
    TooManyQueries,
}

impl Reason {
    /// Every reason, for counters that must exist before their first use.
    pub const ALL: [Self; 15] = [
        Self::UnknownClient,
        Self::UnusableName,
        Self::NotPermitted,
        Self::Forbidden,
        Self::PolicyError,
        Self::ForbiddenAlias,
        Self::NoPermittedAddress,
        Self::TooManyLeases,
        Self::TooManyLeasesOfName,
        Self::TooManyLeasesInAll,
        Self::LeaseSetFull,
        Self::TooManyNames,
        Self::TooManyNameOctets,
        Self::TooManyNameBits,
        Self::TooManyQueries,
    ];

    /// A stable word for logs and metric labels.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown_client",
            Self::UnusableName => "unusable_name",
            Self::NotPermitted => "not_permitted",
            Self::Forbidden => "forbidden",
            Self::PolicyError => "policy_error",
            Self::ForbiddenAlias => "forbidden_alias",
            Self::NoPermittedAddress => "no_permitted_address",
            Self::TooManyLeases => "too_many_leases",
            Self::TooManyLeasesOfName => "too_many_leases_of_name",
            Self::TooManyLeasesInAll => "too_many_leases_in_all",
            Self::LeaseSetFull => "lease_set_full",
            Self::TooManyNames => "too_many_names",
            Self::TooManyNameOctets => "too_many_name_octets",
            Self::TooManyNameBits => "too_many_name_bits",
            Self::TooManyQueries => "too_many_queries",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownClient => "no agent is known for this client",
            Self::UnusableName => "no policy can permit a name of this form",
            Self::NotPermitted => "no policy permits this name",
            Self::Forbidden => "a policy forbids this name",
            Self::PolicyError => "a policy failed to evaluate",
            Self::ForbiddenAlias => "a policy forbids a name this one is an alias of",
            Self::NoPermittedAddress => "every address of this name is in a closed range",
            Self::TooManyLeases => "this client holds too many leases",
            Self::TooManyLeasesOfName => "this name holds too many leases",
            Self::TooManyLeasesInAll => "all clients together hold too many leases",
            Self::LeaseSetFull => "the kernel has no room for another lease",
            Self::TooManyNames => "this client asks for too many names a minute",
            Self::TooManyNameOctets => "this client asks for names that are too long, taken together, a minute",
            Self::TooManyNameBits => "this client asks for names that can tell too much a minute",
            Self::TooManyQueries => "this client asks too many questions a second",
        })
    }
}

/// Every way in which a permitted query comes to nothing. The client gets
/// SERVFAIL and no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No upstream server answered in time.
    UpstreamSilent,
    /// No upstream server could be reached.
    UpstreamUnreachable,
    /// Every upstream server answered with an error.
    UpstreamRefused,
    /// The answer makes no sense: a CNAME loop, a chain too long, not DNS.
    UpstreamUnusable,
    /// The kernel refused an element.
    KernelRefused,
    /// The kernel did not acknowledge in time.
    KernelSilent,
    /// The daemon has as many queries in flight as it can hold.
    Overloaded,
    /// The client has as many queries in flight as it may.
    ClientOverloaded,
}

impl Failure {
    /// Every failure, for counters that must exist before their first use.
    pub const ALL: [Self; 8] = [
        Self::UpstreamSilent,
        Self::UpstreamUnreachable,
        Self::UpstreamRefused,
        Self::UpstreamUnusable,
        Self::KernelRefused,
        Self::KernelSilent,
        Self::Overloaded,
        Self::ClientOverloaded,
    ];

    /// A stable word for logs and metric labels.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UpstreamSilent => "upstream_silent",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamUnusable => "upstream_unusable",
            Self::KernelRefused => "kernel_refused",
            Self::KernelSilent => "kernel_silent",
            Self::Overloaded => "overloaded",
            Self::ClientOverloaded => "client_overloaded",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UpstreamSilent => "no upstream server answered in time",
            Self::UpstreamUnreachable => "no upstream server could be reached",
            Self::UpstreamRefused => "every upstream server answered with an error",
            Self::UpstreamUnusable => "the upstream server's answer makes no sense",
            Self::KernelRefused => "the kernel did not open the addresses",
            Self::KernelSilent => "the kernel did not acknowledge the addresses in time",
            Self::Overloaded => "too many queries are in flight",
            Self::ClientOverloaded => "this client has too many queries in flight",
        })
    }
}

/// Where a query's journey ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "every outcome becomes an answer and an event"]
pub enum Outcome {
    /// The client gets records, and every address in them is open to it.
    Answered(Answered),
    /// The name is permitted, and has no such record, or does not exist.
    Empty(Empty),
    /// The policy, or a guard, says no.
    Denied(Denial),
    /// It was permitted, and something broke.
    Failed(Failure),
}

/// A positive answer that may leave the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The policies that permitted it.
    pub policies: Arc<[PolicyId]>,
    /// The chain and the final records.
    pub screened: Arc<Screened>,
    /// The TTL every record of the answer carries at most.
    pub ttl: Ttl,
    /// The addresses the kernel has acknowledged for this client.
    pub opened: Arc<[IpAddr]>,
    /// Through which ports.
    pub openings: Arc<[Opening]>,
    /// In audit mode, what would have been said instead.
    pub would_deny: Option<Denial>,
    /// Whether time alone does not change what was decided.
    pub stays: bool,
}

/// A negative answer from upstream (RFC 2308).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Empty {
    /// The policies that permitted the question.
    pub policies: Arc<[PolicyId]>,
    /// The aliases that lead to the missing name or record.
    pub screened: Arc<Screened>,
    /// How long the client may remember it.
    pub ttl: Ttl,
    /// In audit mode, what would have been said instead.
    pub would_deny: Option<Denial>,
}
