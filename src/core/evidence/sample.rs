//! A journal as a session leaves it, for tests: agents at work, a package
//! that phones home, and texts that would break out of wherever they are
//! shown.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};

use crate::core::cap::{Cap, Party, Reached};
use crate::core::decision::{Denial, Opening, PolicyId, Reason};
use crate::core::event::{Event, Flow, LeaseTold, Subject};
use crate::core::name::Name;
use crate::core::process::{Process, Traced, Untraced};
use crate::core::query::{Agent, Client, Port, Protocol, RecordKind};

/// Texts that somebody may try to have shown.
pub const HOSTILE: [&str; 8] = [
    "</td></tr></table><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "`|x|` **b** [a](javascript:alert(1)) <!--",
    "a\nforbid(principal, action, resource);\n// b",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{202e}moc.elpmaxe\u{2066}\u{2028}x",
    "\"); permit(principal, action, resource); //",
    "%s%n${HOME}$(reboot)'\\",
];

/// A journal being written.
#[derive(Debug)]
pub struct Sample {
    lines: String,
    time: Timestamp,
}

impl Default for Sample {
    fn default() -> Self {
        Self { lines: String::new(), time: "2026-11-23T02:00:00.25Z".parse().unwrap() }
    }
}

impl Sample {
    /// Writes an event, so many milliseconds after the one before.
    pub fn after(&mut self, millis: i64, event: &Event) {
        self.time = self.time.checked_add(millis.milliseconds()).unwrap();
        let line = serde_json::to_string(&event.line(self.time, None)).unwrap();
        writeln!(self.lines, "{line}").unwrap();
    }

    /// The lines so far.
    pub fn lines(&self) -> &str {
        &self.lines
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn subject(agent: &str, client: &str, name: &str, kind: &str) -> Subject {
    Subject {
        client: Client::new(address(client)),
        agent: (!agent.is_empty()).then(|| Agent::parse(agent).unwrap()),
        name: name.into(),
        kind: kind.parse().unwrap(),
        resolver: None,
        search: false,
    }
}

fn opening(port: u16) -> Opening {
    Opening { protocol: Protocol::Tcp, ports: Port::new(port).unwrap().into() }
}

/// A process and those that it descends from.
pub fn process(commands: &[&str]) -> Traced {
    let chain = commands.iter().rev().enumerate().fold(None, |parent: Option<Process>, (index, command)| {
        let name = command.split(' ').next().unwrap_or_default().to_owned();
        let pid = 100 + u32::try_from(index).unwrap();
        let cmd_line = (*command).to_owned();
        Some(Process { pid, name, cmd_line, uid: 1000, parent_process: parent.map(Box::new), ..Process::default() })
    });
    chain.map_or(Traced::Unasked, |process| Traced::Found(Arc::new(process)))
}

/// `agent` asked for `name` and was denied.
pub fn denied(agent: &str, name: &str, kind: &str, denial: (Reason, &[&str]), by: Traced) -> Event {
    Event::QueryDenied {
        subject: subject(agent, client_of(agent), name, kind),
        denial: Denial { reason: denial.0, policies: denial.1.iter().map(|id| PolicyId::new(id)).collect() },
        process: by,
        sinkhole: None,
        times: 1,
    }
}

/// `agent` asked for `name` and got addresses; in audit mode, in spite of
/// `would_deny`.
pub fn answered(agent: &str, name: &str, port: u16, would_deny: Option<Denial>) -> Event {
    Event::QueryAnswered {
        subject: subject(agent, client_of(agent), name, "A"),
        policies: if would_deny.is_some() { [].into() } else { [PolicyId::new("claude-api")].into() },
        opened: [address("203.0.113.10")].into(),
        openings: [opening(port)].into(),
        removed: [].into(),
        ttl: 60,
        micros: 800,
        would_deny,
        times: 1,
    }
}

/// What went through.
pub fn traffic(agent: &str, name: &str, port: u16, connections: u64, bytes: u64) -> Event {
    Event::TrafficCounted {
        flow: flow(agent, "203.0.113.10", port),
        hostnames: vec![name.to_owned()],
        connections,
        packets: bytes / 800 + 1,
        bytes,
    }
}

/// From an agent to an address.
pub fn flow(agent: &str, to: &str, port: u16) -> Flow {
    Flow {
        client: Client::new(address(client_of(agent))),
        agent: Some(Agent::parse(agent).unwrap()),
        source_port: Some(40_000),
        address: address(to),
        protocol: "tcp".into(),
        port: Some(port),
    }
}

fn client_of(agent: &str) -> &'static str {
    match agent {
        "claude" => "10.77.0.2",
        "ci" => "10.77.0.3",
        _ => "10.77.0.99",
    }
}

/// What the agent's package installation came to.
const INSTALL: [&str; 4] =
    ["node postinstall.js", "sh -c node postinstall.js", "npm install left-pad", "bash -c npm install left-pad"];

/// A whole session.
pub fn session() -> String {
    let mut sample = Sample::default();
    begun(&mut sample);
    at_work(&mut sample);
    phoned_home(&mut sample);
    hostile(&mut sample);
    befell(&mut sample);
    let mut lines = sample.lines;
    lines.push_str("half a li");
    lines
}

fn begun(sample: &mut Sample) {
    sample.after(0, &Event::PolicyLoaded { path: "policies".into(), policies: 3, warnings: Vec::new() });
    let listen = vec!["10.77.0.1:53".into()];
    sample.after(4, &Event::WallUp { table: "inet cedarwall".into(), mode: "gateway", listen });
}

fn at_work(sample: &mut Sample) {
    for (agent, name, bytes) in [
        ("claude", "api.example.com", 48_213_000),
        ("claude", "registry.example.com", 1_213_000),
        ("ci", "git.example.com", 9_000),
    ] {
        for _ in 0..12 {
            sample.after(1300, &answered(agent, name, 443, None));
        }
        sample.after(
            10,
            &Event::LeaseOpened(LeaseTold {
                client: Client::new(address(client_of(agent))),
                agent: Some(Agent::parse(agent).unwrap()),
                name: Name::parse(name).unwrap(),
                addresses: vec![address("203.0.113.10")],
                openings: vec![opening(443)],
                seconds: 75,
            }),
        );
        sample.after(900, &traffic(agent, name, 443, 7, bytes));
    }
}

fn phoned_home(sample: &mut Sample) {
    let default = (Reason::NotPermitted, &[][..]);
    for kind in ["A", "AAAA", "A", "AAAA"] {
        sample.after(180, &denied("claude", "telemetry.example.com", kind, default, process(&INSTALL)));
    }
    sample.after(
        20,
        &Event::ConnectDenied {
            flow: flow("claude", "198.18.0.7", 443),
            hostname: "telemetry.example.com".into(),
            denial: Denial::by_default(Reason::NotPermitted),
            process: process(&INSTALL),
        },
    );
    sample.after(40, &denied("claude", "example.net", "TXT", default, process(&["dig TXT example.net", "bash"])));
    let forbidden = (Reason::Forbidden, &["no-ads"][..]);
    sample.after(90, &denied("ci", "ads.example.org", "A", forbidden, Traced::Missing(Untraced::Gone)));
    sample.after(5, &denied("", "who.example.org", "A", (Reason::UnknownClient, &[]), Traced::Unasked));
    sample.after(
        400,
        &Event::PacketDropped {
            flow: flow("claude", "203.0.113.66", 8443),
            flags: "S".into(),
            hostnames: Vec::new(),
            hostnames_of_others: vec!["git.example.com".into()],
            process: process(&["curl -s https://203.0.113.66:8443/", "bash"]),
        },
    );
    sample.after(
        40,
        &Event::PacketDropped {
            flow: flow("claude", "203.0.113.10", 22),
            flags: "S".into(),
            hostnames: vec!["api.example.com".into()],
            hostnames_of_others: Vec::new(),
            process: process(&["ssh api.example.com", "bash"]),
        },
    );
}

fn hostile(sample: &mut Sample) {
    let default = (Reason::NotPermitted, &[][..]);
    for text in HOSTILE {
        let by = process(&[text, "sh"]);
        sample.after(70, &denied("claude", text, "A", default, by.clone()));
        sample.after(70, &denied("claude", "h.example.net", "A", (Reason::Forbidden, &[text]), by));
        sample.after(1, &traffic("ci", text, 443, 1, 100));
    }
    for number in 0..40 {
        let name = format!("{}.{number}.exfil.example.net", "c2VjcmV0".repeat(7).to_lowercase());
        sample.after(25, &denied("ci", &name, "A", default, process(&["python3 exfil.py", "bash"])));
    }
    sample.after(5, &denied("ci", "192.0.2.7", "A", default, Traced::Unasked));
}

fn befell(sample: &mut Sample) {
    let path = HOSTILE.concat();
    sample.after(3000, &Event::PolicyRefused { path, problems: vec![HOSTILE.concat()] });
    sample.after(10, &Event::JournalLost { lines: 3 });
    let party = Party { client: Some(Client::new(address("10.77.0.3"))), agent: Agent::parse("ci").ok() };
    sample.after(10, &Event::CapReached(Reached { cap: Cap::ALL[0], party, count: 17 }));
    sample.after(10, &Event::Stopped { cause: "SIGTERM" });
}

/// An event of a name that audit mode let pass.
pub fn audited(agent: &str, name: &str) -> Event {
    answered(agent, name, 443, Some(Denial::by_default(Reason::NotPermitted)))
}

/// The kinds that lead to connections, and one that does not.
pub const KINDS: [RecordKind; 3] = [RecordKind::A, RecordKind::Aaaa, RecordKind::Other(16)];
