//! [`Event`]: the closed list of all that is ever logged or counted.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::cap::Reached;
use super::decision::{Denial, Failure, Opening, PolicyId};
use super::name::Name;
use super::query::{Agent, Client, RecordKind};

/// Something that happened, told once. The journal writes it as one JSON
/// line, the counters count it, and nothing else is ever logged about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A permitted question was answered and its addresses are open.
    QueryAnswered {
        /// Who asked what.
        subject: Subject,
        /// The policies that permitted it.
        policies: Vec<PolicyId>,
        /// The addresses the kernel acknowledged.
        opened: Vec<IpAddr>,
        /// The ports they are open on.
        openings: Arc<[Opening]>,
        /// Addresses taken out of the answer.
        removed: Vec<IpAddr>,
        /// TTL of the answer, seconds.
        ttl: u32,
        /// From the question's arrival to the answer, microseconds.
        micros: u64,
    },
    /// A permitted name does not exist, or has no such record.
    QueryEmpty {
        /// Who asked what.
        subject: Subject,
        /// The policies that permitted it.
        policies: Vec<PolicyId>,
        /// NXDOMAIN rather than NODATA.
        no_such_name: bool,
        /// From the question's arrival to the answer, microseconds.
        micros: u64,
    },
    /// A question was refused.
    QueryDenied {
        /// Who asked what.
        subject: Subject,
        /// Why, and by which policies.
        denial: Denial,
    },
    /// A permitted question could not be answered.
    QueryFailed {
        /// Who asked what.
        subject: Subject,
        /// What broke.
        failure: Failure,
        /// From the question's arrival to the answer, microseconds.
        micros: u64,
    },
    /// The policy was read and is in force.
    PolicyLoaded {
        /// The file or folder.
        path: String,
        /// How many policies it holds.
        policies: usize,
        /// Warnings, one line each.
        warnings: Vec<String>,
    },
    /// A policy was to replace the one in force, and cannot be used.
    PolicyRefused {
        /// The file or folder.
        path: String,
        /// What is wrong with it, one line each.
        problems: Vec<String>,
    },
    /// The configuration was read again and is in force.
    ConfigLoaded {
        /// The file.
        path: String,
        /// Settings that take effect at the next start, `table.key`.
        waiting: Vec<String>,
    },
    /// A configuration was to replace the one in force, and cannot be used.
    ConfigRefused {
        /// The file.
        path: String,
        /// What is wrong with it, one line each.
        problems: Vec<String>,
    },
    /// An operator closed leases by hand.
    LeaseRevoked {
        /// Those of this agent.
        agent: Agent,
        /// Under this name; under every name where there is none.
        name: Option<Name>,
        /// Kernel elements taken out.
        elements: usize,
        /// Flows that had been admitted, and were ended.
        flows: usize,
    },
    /// What the policy permits no longer was closed.
    Revoked {
        /// Kernel elements taken out.
        elements: usize,
        /// Flows that had been admitted, and were ended.
        flows: usize,
    },
    /// The rules are in the kernel and were read back.
    WallUp {
        /// The nftables table.
        table: String,
        /// `gateway` or `sidecar`.
        mode: &'static str,
        /// Where questions are answered.
        listen: Vec<String>,
    },
    /// The daemon found its table standing, or flows of a wall before it, and
    /// took over what was open.
    TableAdopted {
        /// The nftables table.
        table: String,
        /// Leases taken over.
        leases: usize,
        /// Elements taken over that a policy has named.
        statics: usize,
        /// Elements that were not the daemon's own, and were taken out.
        unexplained: usize,
        /// Flows that nothing explained, and that were ended.
        flows: usize,
    },
    /// The table was gone or refused an element it should have taken; it was
    /// put back with every live lease.
    TableRestored {
        /// The nftables table.
        table: String,
        /// Leases put back.
        leases: usize,
    },
    /// Somebody had changed elements of the table; that was undone, and the
    /// rest of it was not touched.
    TableRepaired {
        /// The nftables table.
        table: String,
        /// Elements taken out that nothing permits.
        removed: usize,
        /// Leases and addresses of the policy that are again as they were.
        restored: usize,
        /// Flows that such elements had let in, and were ended.
        flows: usize,
    },
    /// The journal could not keep up, or could not write: lines are missing
    /// here. The counters have counted them.
    JournalLost {
        /// How many lines are missing.
        lines: usize,
    },
    /// A cap was met; told at most once a second for each cap and client.
    CapReached(Reached),
    /// The daemon stopped; the default drop stands.
    Stopped {
        /// The signal or command that ended it.
        cause: &'static str,
    },
}

/// Who asked what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The source address.
    pub client: Client,
    /// The principal, if one is known for the address.
    pub agent: Option<Agent>,
    /// The name as asked, canonical where it has a canonical form; otherwise
    /// with everything but printable ASCII escaped.
    pub name: String,
    /// The type asked for.
    pub kind: RecordKind,
}

/// Where events go: the journal, or a test.
pub trait Report: Send + Sync {
    /// Takes one event. It must not block: the caller is about to answer.
    fn report(&self, event: Event);
}

impl<R: Report> Report for std::sync::Arc<R> {
    fn report(&self, event: Event) {
        R::report(self, event);
    }
}

impl Event {
    /// A stable word for each kind of event.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QueryAnswered { .. } => "query.answered",
            Self::QueryEmpty { .. } => "query.empty",
            Self::QueryDenied { .. } => "query.denied",
            Self::QueryFailed { .. } => "query.failed",
            Self::PolicyLoaded { .. } => "policy.loaded",
            Self::PolicyRefused { .. } => "policy.refused",
            Self::ConfigLoaded { .. } => "config.loaded",
            Self::ConfigRefused { .. } => "config.refused",
            Self::LeaseRevoked { .. } => "lease.revoked",
            Self::Revoked { .. } => "policy.revoked",
            Self::WallUp { .. } => "wall.up",
            Self::TableAdopted { .. } => "table.adopted",
            Self::TableRestored { .. } => "table.restored",
            Self::TableRepaired { .. } => "table.repaired",
            Self::JournalLost { .. } => "journal.lost",
            Self::CapReached(_) => "cap.reached",
            Self::Stopped { .. } => "daemon.stopped",
        }
    }

    /// The JSON fields of the event, without its time stamp.
    pub fn fields(&self) -> impl Serialize + '_ {
        Fields::from(self)
    }
}

/// The flat form of an event: one level of fields, absent ones left out.
#[derive(Default, Serialize)]
struct Fields<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<&'a [PolicyId]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<&'a [IpAddr]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<&'a [IpAddr]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_such_name: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elements_removed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elements_restored: Option<usize>,
    waiting: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leases: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statics: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unexplained: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cap: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn about(code: &'static str, subject: &'a Subject) -> Self {
        Self {
            event: code,
            client: Some(subject.client.address()),
            agent: subject.agent.as_ref().map(Agent::as_str),
            name: Some(&subject.name),
            kind: Some(subject.kind.to_string()),
            ..Self::default()
        }
    }
}

impl<'a> From<&'a Event> for Fields<'a> {
    fn from(event: &'a Event) -> Self {
        let code = event.code();
        match event {
            Event::QueryAnswered { subject, policies, opened, openings, removed, ttl, micros } => Self {
                policies: Some(policies),
                opened: Some(opened),
                ports: Some(openings.iter().map(Opening::to_string).collect()),
                removed: (!removed.is_empty()).then_some(removed),
                ttl: Some(*ttl),
                micros: Some(*micros),
                ..Self::about(code, subject)
            },
            Event::QueryEmpty { subject, policies, no_such_name, micros } => Self {
                policies: Some(policies),
                no_such_name: Some(*no_such_name),
                micros: Some(*micros),
                ..Self::about(code, subject)
            },
            Event::QueryDenied { subject, denial } => Self {
                reason: Some(denial.reason.code()),
                policies: Some(&denial.policies),
                ..Self::about(code, subject)
            },
            Event::QueryFailed { subject, failure, micros } => {
                Self { reason: Some(failure.code()), micros: Some(*micros), ..Self::about(code, subject) }
            }
            Event::PolicyLoaded { path, policies, warnings } => Self {
                event: code,
                path: Some(path),
                count: Some(*policies),
                warnings: (!warnings.is_empty()).then_some(warnings),
                ..Self::default()
            },
            Event::ConfigLoaded { path, waiting } => Self {
                event: code,
                path: Some(path),
                waiting: (!waiting.is_empty()).then_some(waiting),
                ..Self::default()
            },
            Event::LeaseRevoked { agent, name, elements, flows } => Self {
                event: code,
                agent: Some(agent.as_str()),
                name: name.as_ref().map(Name::as_str),
                count: Some(*elements),
                flows: Some(*flows),
                ..Self::default()
            },
            Event::PolicyRefused { path, problems } | Event::ConfigRefused { path, problems } => {
                Self { event: code, path: Some(path), problems: Some(problems), ..Self::default() }
            }
            Event::Revoked { elements, flows } => {
                Self { event: code, count: Some(*elements), flows: Some(*flows), ..Self::default() }
            }
            Event::WallUp { table, mode, listen } => {
                Self { event: code, table: Some(table), mode: Some(mode), listen: Some(listen), ..Self::default() }
            }
            Event::TableAdopted { table, leases, statics, unexplained, flows } => Self {
                event: code,
                table: Some(table),
                leases: Some(*leases),
                statics: Some(*statics),
                unexplained: Some(*unexplained),
                flows: Some(*flows),
                ..Self::default()
            },
            Event::TableRestored { table, leases } => {
                Self { event: code, table: Some(table), count: Some(*leases), ..Self::default() }
            }
            Event::TableRepaired { table, removed, restored, flows } => Self {
                event: code,
                table: Some(table),
                elements_removed: Some(*removed),
                elements_restored: Some(*restored),
                flows: Some(*flows),
                ..Self::default()
            },
            Event::JournalLost { lines } => Self { event: code, count: Some(*lines), ..Self::default() },
            Event::CapReached(Reached { cap, party, count }) => Self {
                event: code,
                cap: Some(cap.code()),
                client: party.client.map(Client::address),
                agent: party.agent.as_ref().map(Agent::as_str),
                count: Some(usize::try_from(*count).unwrap_or(usize::MAX)),
                ..Self::default()
            },
            Event::Stopped { cause } => Self { event: code, cause: Some(cause), ..Self::default() },
        }
    }
}
