//! An event as JSON: one level of fields, absent ones left out.

use std::net::IpAddr;
use std::slice;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{ContainerTold, Event, EventId, Flow, LeaseTold, Subject, VERSION};
use crate::core::cap::Reached;
use crate::core::decision::{Denial, Opening, PolicyId};
use crate::core::name::Name;
use crate::core::process::{Process, Traced};
use crate::core::query::{Agent, Client};

/// Every field any event has.
#[derive(Default, Serialize)]
pub(super) struct Fields<'a> {
    time: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
    version: u32,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<bool>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    would_deny: Option<WouldDeny<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sinkhole: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_missing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_flags: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostnames: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostnames_of_others: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(rename = "duration", skip_serializing_if = "Option::is_none")]
    millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<&'a [IpAddr]>,
}

/// A point in time as RFC 3339 has it, in UTC, with microseconds.
#[derive(Default)]
struct Micros(Timestamp);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.6}", self.0))
    }
}

/// What audit mode let through.
#[derive(Serialize)]
struct WouldDeny<'a> {
    reason: &'static str,
    policies: &'a [PolicyId],
}

impl<'a> From<&'a Denial> for WouldDeny<'a> {
    fn from(denial: &'a Denial) -> Self {
        Self { reason: denial.reason.code(), policies: &denial.policies }
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(event: &'a Event, time: Timestamp, id: Option<EventId>) -> Self {
        Self { time: Micros(time), id, version: VERSION, ..Self::from(event) }
    }

    fn about(code: &'static str, subject: &'a Subject) -> Self {
        Self {
            event: code,
            client: Some(subject.client.address()),
            agent: subject.agent.as_ref().map(Agent::as_str),
            hostname: Some(subject.name.as_str()),
            kind: Some(subject.kind.to_string()),
            resolver: subject.resolver,
            search: subject.search.then_some(true),
            ..Self::default()
        }
    }

    fn of_flow(code: &'static str, flow: &'a Flow) -> Self {
        let Flow { client, agent, source_port, address, protocol, port } = flow;
        Self {
            event: code,
            client: Some(client.address()),
            agent: agent.as_ref().map(Agent::as_str),
            source_port: *source_port,
            address: Some(*address),
            protocol: Some(protocol),
            port: *port,
            ..Self::default()
        }
    }

    fn of_lease(code: &'static str, told: &'a LeaseTold) -> Self {
        let LeaseTold { client, agent, name, addresses, openings, seconds } = told;
        Self {
            event: code,
            client: Some(client.address()),
            agent: agent.as_ref().map(Agent::as_str),
            hostname: Some(name.as_str()),
            opened: Some(addresses),
            ports: (!openings.is_empty()).then(|| openings.iter().map(Opening::to_string).collect()),
            seconds: (*seconds > 0).then_some(*seconds),
            ..Self::default()
        }
    }

    fn of_container(code: &'static str, told: &'a ContainerTold) -> Self {
        let ContainerTold { id, name, agent, addresses } = told;
        Self {
            event: code,
            agent: agent.as_ref().map(Agent::as_str),
            container: Some(name),
            container_id: Some(id),
            addresses: Some(addresses),
            ..Self::default()
        }
    }

    fn by(self, process: &'a Traced) -> Self {
        match process {
            Traced::Found(process) => Self { process: Some(process), ..self },
            Traced::Missing(why) => Self { process_missing: Some(why.code()), ..self },
            Traced::Unasked => self,
        }
    }
}

impl<'a> From<&'a Event> for Fields<'a> {
    fn from(event: &'a Event) -> Self {
        let code = event.code();
        match event {
            Event::QueryAnswered { subject, policies, opened, openings, removed, ttl, micros, would_deny, times } => {
                Self {
                    times: more_than_one(*times),
                    policies: Some(policies),
                    opened: Some(opened),
                    ports: Some(openings.iter().map(Opening::to_string).collect()),
                    removed: (!removed.is_empty()).then_some(removed),
                    ttl: Some(*ttl),
                    micros: Some(*micros),
                    would_deny: would_deny.as_ref().map(WouldDeny::from),
                    ..Self::about(code, subject)
                }
            }
            Event::QueryEmpty { subject, policies, no_such_name, micros, would_deny } => Self {
                would_deny: would_deny.as_ref().map(WouldDeny::from),
                policies: Some(policies),
                no_such_name: Some(*no_such_name),
                micros: Some(*micros),
                ..Self::about(code, subject)
            },
            Event::QueryDenied { subject, denial, process, sinkhole, times } => Self {
                times: more_than_one(*times),
                reason: Some(denial.reason.code()),
                policies: Some(&denial.policies),
                sinkhole: *sinkhole,
                ..Self::about(code, subject)
            }
            .by(process),
            Event::QueryFailed { subject, failure, micros } => {
                Self { reason: Some(failure.code()), micros: Some(*micros), ..Self::about(code, subject) }
            }
            Event::LeaseOpened(told)
            | Event::LeaseRefreshed(told)
            | Event::LeaseExpired(told)
            | Event::LeaseRevoked(told) => Self::of_lease(code, told),
            Event::ConnectDenied { flow, hostname, denial, process } => Self {
                hostname: Some(hostname),
                reason: Some(denial.reason.code()),
                policies: Some(&denial.policies),
                ..Self::of_flow(code, flow)
            }
            .by(process),
            Event::PacketDropped { flow, flags, hostnames, hostnames_of_others, process } => Self {
                tcp_flags: (!flags.is_empty()).then_some(flags),
                hostnames: (!hostnames.is_empty()).then_some(hostnames),
                hostnames_of_others: (!hostnames_of_others.is_empty()).then_some(hostnames_of_others),
                ..Self::of_flow(code, flow)
            }
            .by(process),
            Event::PacketsSummarised { client, agent, packets, millis, most } => Self {
                event: code,
                client: Some(client.address()),
                agent: agent.as_ref().map(Agent::as_str),
                packets: Some(*packets),
                millis: Some(*millis),
                ..most.as_ref().map_or_else(Self::default, |most| Self::of_flow(code, most))
            },
            Event::PacketsLost { times } => {
                Self { event: code, count: Some(usize::try_from(*times).unwrap_or(usize::MAX)), ..Self::default() }
            }
            Event::TrafficCounted { flow, hostnames, connections, packets, bytes } => Self {
                hostnames: (!hostnames.is_empty()).then_some(hostnames),
                connections: Some(*connections),
                packets: Some(*packets),
                bytes: Some(*bytes),
                ..Self::of_flow(code, flow)
            },
            Event::AuditMode { would_deny } => {
                Self { event: code, count: Some(usize::try_from(*would_deny).unwrap_or(usize::MAX)), ..Self::default() }
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
            Event::OperatorRevoked { agent, name, leases, elements, flows } => Self {
                event: code,
                agent: Some(agent.as_str()),
                hostname: name.as_ref().map(Name::as_str),
                leases: Some(*leases),
                count: Some(*elements),
                flows: Some(*flows),
                ..Self::default()
            },
            Event::PolicyRefused { path, problems } | Event::ConfigRefused { path, problems } => {
                Self { event: code, path: Some(path), problems: Some(problems), ..Self::default() }
            }
            Event::PolicyRevoked { leases, elements, flows } => Self {
                event: code,
                leases: Some(*leases),
                count: Some(*elements),
                flows: Some(*flows),
                ..Self::default()
            },
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
            Event::StreamLost { lines } => {
                Self { event: code, count: Some(usize::try_from(*lines).unwrap_or(usize::MAX)), ..Self::default() }
            }
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
            Event::ContainerKnown(told) | Event::ContainerGone(told) => Self::of_container(code, told),
            Event::ContainerUnknown { container, why } => {
                Self { problems: Some(slice::from_ref(why)), ..Self::of_container(code, container) }
            }
            Event::EngineLost { path, problem } => {
                Self { event: code, path: Some(path), problems: Some(slice::from_ref(problem)), ..Self::default() }
            }
            Event::EngineFound { path, containers } => {
                Self { event: code, path: Some(path), count: Some(*containers), ..Self::default() }
            }
        }
    }
}

/// One goes without saying.
const fn more_than_one(times: u64) -> Option<u64> {
    if times > 1 { Some(times) } else { None }
}
