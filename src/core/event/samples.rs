//! One event of each kind, with every field it can have: what the reference of
//! events shows, and what readers of a journal are tried on.

use std::sync::Arc;

use super::*;
use crate::core::cap::{Cap, Party};
use crate::core::decision::Reason;
use crate::core::process::{Process, Untraced};
use crate::core::query::{Port, PortRange, Protocol};

/// Every kind of event, in the order of [`Event::CODES`].
pub(crate) fn all() -> Vec<Event> {
    let client = Client::new("10.77.0.2".parse().unwrap());
    let agent = || Some(Agent::parse("claude").unwrap());
    let subject = |name: &str| Subject {
        client,
        agent: agent(),
        name: name.into(),
        kind: RecordKind::A,
        resolver: None,
        search: false,
    };
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let address: IpAddr = "203.0.113.10".parse().unwrap();
    let https = Opening { protocol: Protocol::Tcp, ports: PortRange::from(Port::new(443).unwrap()) };
    let lease = |seconds| LeaseTold {
        client,
        agent: agent(),
        name: Name::parse("api.example.com").unwrap(),
        addresses: vec![address],
        openings: if seconds == 0 { Vec::new() } else { vec![https] },
        seconds,
    };
    let denial = || Denial { reason: Reason::Forbidden, policies: [PolicyId::new("no-telemetry")].into() };
    let flow = |source_port| Flow {
        client,
        agent: agent(),
        source_port,
        address: "203.0.113.66".parse().unwrap(),
        protocol: "tcp".into(),
        port: Some(443),
    };
    let would_deny = Some(Denial::by_default(Reason::NotPermitted));
    let container = |agent| ContainerTold {
        id: "4f1f7c0b9a3e".into(),
        name: "agent-1".into(),
        agent,
        addresses: vec![client.address()],
    };
    vec![
        Event::QueryAnswered {
            subject: subject("api.example.com"),
            policies: [PolicyId::new("api")].into(),
            opened: [address].into(),
            openings: Arc::from([https]),
            removed: ["10.0.0.1".parse().unwrap()].into(),
            ttl: 60,
            micros: 433,
            would_deny: would_deny.clone(),
            times: 2,
        },
        Event::QueryEmpty {
            subject: subject("old.example.com"),
            policies: [PolicyId::new("api")].into(),
            no_such_name: true,
            micros: 402,
            would_deny,
        },
        Event::QueryDenied {
            subject: subject("telemetry.example.com"),
            denial: denial(),
            process: Traced::Found(Arc::new(process())),
            sinkhole: Some("198.18.0.7".parse().unwrap()),
            times: 2,
        },
        Event::QueryDenied {
            subject: Subject { agent: None, ..subject("api.example.com") },
            denial: Denial::by_default(Reason::UnknownClient),
            process: Traced::Unasked,
            sinkhole: None,
            times: 1,
        },
        Event::QueryFailed { subject: subject("api.example.com"), failure: Failure::UpstreamSilent, micros: 4_000_112 },
        Event::LeaseOpened(lease(75)),
        Event::LeaseRefreshed(lease(75)),
        Event::LeaseExpired(lease(0)),
        Event::LeaseRevoked(lease(0)),
        Event::ConnectDenied {
            flow: Flow { address: "198.18.0.7".parse().unwrap(), ..flow(Some(40512)) },
            hostname: "telemetry.example.com".into(),
            denial: denial(),
            process: Traced::Missing(Untraced::Gone),
        },
        Event::PacketDropped {
            flow: flow(Some(40514)),
            flags: "S".into(),
            hostnames: texts(&["api.example.com"]),
            hostnames_of_others: texts(&["telemetry.example.com"]),
            process: Traced::Found(Arc::new(process())),
        },
        Event::PacketsSummarised { client, agent: agent(), packets: 93_114, millis: 1000, most: Some(flow(None)) },
        Event::PacketsLost { times: 3 },
        Event::TrafficCounted {
            flow: flow(None),
            hostnames: texts(&["api.example.com"]),
            connections: 2,
            packets: 48,
            bytes: 31_744,
        },
        Event::AuditMode { would_deny: 12 },
        Event::PolicyLoaded {
            path: "/etc/cedarwall/policies".into(),
            policies: 3,
            warnings: texts(&["/etc/cedarwall/policies/team.cedar:4:1: warning: it permits what another one permits"]),
        },
        Event::PolicyRefused {
            path: "/etc/cedarwall/policies".into(),
            problems: texts(&["/etc/cedarwall/policies/team.cedar:4:1: this is no policy"]),
        },
        Event::PolicyRevoked { leases: 1, elements: 2, flows: 1 },
        Event::ConfigLoaded { path: "/etc/cedarwall/cedarwall.toml".into(), waiting: texts(&["dns.listen"]) },
        Event::ConfigRefused {
            path: "/etc/cedarwall/cedarwall.toml".into(),
            problems: texts(&["/etc/cedarwall/cedarwall.toml:7:1: there is no key in [dns] named \"lisen\""]),
        },
        Event::OperatorRevoked {
            agent: Agent::parse("claude").unwrap(),
            name: Some(Name::parse("api.example.com").unwrap()),
            leases: 1,
            elements: 2,
            flows: 1,
        },
        Event::WallUp { table: "cedarwall".into(), mode: "gateway", listen: texts(&["10.77.0.1:53"]) },
        Event::TableAdopted { table: "cedarwall".into(), leases: 4, statics: 2, unexplained: 1, flows: 1 },
        Event::TableRestored { table: "cedarwall".into(), leases: 4 },
        Event::TableRepaired { table: "cedarwall".into(), removed: 1, restored: 2, flows: 1 },
        Event::JournalLost { lines: 120 },
        Event::StreamLost { lines: 512 },
        Event::CapReached(Reached {
            cap: Cap::NamesPerMinute,
            party: Party { client: Some(client), agent: agent() },
            count: 7,
        }),
        Event::Stopped { cause: "SIGTERM" },
        Event::ContainerKnown(container(agent())),
        Event::ContainerGone(container(agent())),
        Event::ContainerUnknown {
            container: container(None),
            why: "it has no label cedarwall.agent, and no [[docker.agent]] fits it".into(),
        },
        Event::EngineLost { path: "/run/docker.sock".into(), problem: "it ended its list of events".into() },
        Event::EngineFound { path: "/run/docker.sock".into(), containers: 3 },
    ]
}

/// The same events where they have other fields than in [`all`].
pub(crate) fn more() -> Vec<Event> {
    let forked = Process { socket_holders: Some(2), ..process() };
    let whose = [Traced::Found(Arc::new(forked)), Traced::Missing(Untraced::TooSlow)];
    let with = |process: &Traced| {
        all()
            .into_iter()
            .filter_map(|event| match event {
                Event::QueryDenied { subject, denial, times, .. } => {
                    let sinkhole = Some("198.18.0.7".parse().unwrap());
                    Some(Event::QueryDenied { subject, denial, process: process.clone(), sinkhole, times })
                }
                Event::ConnectDenied { flow, hostname, denial, .. } => {
                    Some(Event::ConnectDenied { flow, hostname, denial, process: process.clone() })
                }
                Event::PacketDropped { flow, flags, hostnames, hostnames_of_others, .. } => {
                    let process = process.clone();
                    Some(Event::PacketDropped { flow, flags, hostnames, hostnames_of_others, process })
                }
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    whose.iter().flat_map(with).chain(all().into_iter().filter_map(captured)).collect()
}

/// The same question, sent to another resolver; if it was denied, by a search
/// list.
fn captured(mut event: Event) -> Option<Event> {
    let resolver = Some("192.0.2.53".parse().unwrap());
    match &mut event {
        Event::QueryAnswered { subject, .. }
        | Event::QueryEmpty { subject, .. }
        | Event::QueryDenied { subject, .. } => {
            (subject.resolver, subject.search) = (resolver, subject.agent.is_some());
        }
        Event::QueryFailed { subject, .. } => subject.resolver = resolver,
        _ => return None,
    }
    Some(event)
}

/// The line that the reference shows of `event`, without its end.
pub(crate) fn line(event: &Event) -> String {
    let place = Event::CODES.iter().position(|code| *code == event.code()).unwrap();
    let started = "2026-01-01T09:00:00Z".parse::<Timestamp>().unwrap();
    let run = Run::new(u32::try_from(started.as_second()).unwrap(), 0x1f6c_b2a4);
    let number = u64::try_from(place).unwrap() + 1;
    let time = started + std::time::Duration::from_micros(1_204_771 * number);
    let id = (!matches!(event, Event::StreamLost { .. })).then_some(run.event(number));
    serde_json::to_string(&event.line(time, id)).unwrap()
}

/// The script of the story, and what started it.
fn process() -> Process {
    let shared = Process {
        pid: 1,
        name: String::new(),
        path: None,
        cmd_line: String::new(),
        uid: 1000,
        user: Some("agent".into()),
        container: Some("4f1f7c0b9a3e".into()),
        cgroup: Some("/system.slice/docker-4f1f7c0b9a3e.scope".into()),
        socket_holders: None,
        parent_process: None,
    };
    let npm = Process {
        pid: 4102,
        name: "npm".into(),
        path: Some("/usr/bin/node".into()),
        cmd_line: "npm install left-pad".into(),
        ..shared.clone()
    };
    Process {
        pid: 4117,
        name: "node".into(),
        path: Some("/usr/bin/node".into()),
        cmd_line: "node postinstall.js".into(),
        parent_process: Some(Box::new(npm)),
        ..shared
    }
}
