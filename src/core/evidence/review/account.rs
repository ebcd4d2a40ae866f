//! What one agent did, counted line by line.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::chain::Actor;
use super::super::limited::Limited;
use super::super::record::Record;
use super::super::refusal::{Refusal, known_reason};
use super::super::remedy::Remedy;
use super::super::tally::Tally;
use super::super::wanted::registrable;
use super::folded::folded;
use super::story::{AgentStory, Below, Denied, Dropped, Reached};
use crate::core::name::Name;
use crate::core::query::{Port, RecordKind};

/// Names, with their reasons, that are told one by one.
const DENIED: usize = 1000;
/// Registrable domains under which further denied names are counted.
const DOMAINS: usize = 200;
/// Destinations of dropped packets that are told.
const DROPPED: usize = 300;
/// Names and addresses reached that are told.
const REACHED: usize = 1000;
/// Process chains that are told of one name.
const ACTORS: usize = 4;
/// Ports, types, policies and names that are told of one row.
const FEW: usize = 12;

/// What an agent did.
#[derive(Debug)]
pub(super) struct Account {
    denied: Limited<DeniedKey, DeniedRow>,
    denied_below: Limited<String, Tally>,
    dropped: Limited<(IpAddr, String), DroppedRow>,
    /// Packets that were counted, and not told one by one.
    summarised: u64,
    reached: Limited<String, ReachedRow>,
    /// Ports by name, from whatever tells one.
    ports: Limited<String, BTreeSet<(Port, String)>>,
    denied_questions: u64,
    answered_questions: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DeniedKey {
    hostname: String,
    reason: String,
    policies: Vec<String>,
    would: bool,
}

#[derive(Debug)]
struct DeniedRow {
    kinds: BTreeSet<RecordKind>,
    questions: Tally,
    connections: u64,
    actors: Limited<Actor, u64>,
}

#[derive(Debug)]
struct DroppedRow {
    hostnames: BTreeSet<String>,
    hostnames_of_others: BTreeSet<String>,
    packets: Tally,
    actors: Limited<Actor, u64>,
}

#[derive(Debug)]
struct ReachedRow {
    ports: BTreeSet<String>,
    policies: BTreeSet<String>,
    answered: u64,
    empty: u64,
    failed: u64,
    connections: u64,
    bytes: u64,
    events: Tally,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            denied: Limited::to(DENIED),
            denied_below: Limited::to(DOMAINS),
            dropped: Limited::to(DROPPED),
            summarised: 0,
            reached: Limited::to(REACHED),
            ports: Limited::to(REACHED),
            denied_questions: 0,
            answered_questions: 0,
        }
    }
}

impl Account {
    pub(super) fn add(&mut self, record: &Record) {
        if let Some(refusal) = Refusal::of_wanted(record) {
            self.add_refusal(record, refusal);
        }
        match record.event.as_str() {
            "query.answered" | "query.empty" | "query.failed" | "lease.opened" | "lease.refreshed" => {
                self.add_question(record);
            }
            "traffic.counted" => self.add_traffic(record),
            "packet.dropped" => self.add_dropped(record),
            "packets.summarised" => {
                self.summarised = self.summarised.saturating_add(record.packets.unwrap_or_default());
            }
            "connect.denied" => {
                if let Some(hostname) = &record.hostname {
                    self.learn_port(hostname, record);
                }
            }
            _ => {}
        }
    }

    fn add_refusal(&mut self, record: &Record, refusal: Refusal<'_>) {
        let asks = record.event != "connect.denied";
        self.denied_questions = self.denied_questions.saturating_add(if asks { record.questions() } else { 0 });
        let key = DeniedKey {
            hostname: refusal.hostname.to_owned(),
            reason: refusal.reason.to_owned(),
            policies: refusal.policies.iter().take(FEW).cloned().collect(),
            would: refusal.would,
        };
        let Some(row) = self.denied.entry(key, || DeniedRow::begun(record)) else {
            let below = Name::parse(refusal.hostname).ok().and_then(|name| registrable(&name));
            let below = below.map_or_else(|| "other names".to_owned(), |domain| domain.to_string());
            if let Some(tally) = self.denied_below.entry(below, || Tally::begun(record.time)) {
                tally.add_many(record.time, record.questions());
            }
            return;
        };
        row.kinds.extend(refusal.kind.filter(|_| row.kinds.len() < FEW));
        if asks {
            row.questions.add_many(record.time, record.questions());
        } else {
            row.questions.add_many(record.time, 0);
            row.connections = row.connections.saturating_add(1);
        }
        count_actor(&mut row.actors, record);
    }

    fn add_question(&mut self, record: &Record) {
        let is_question = matches!(record.event.as_str(), "query.answered" | "query.empty");
        let times = record.questions();
        self.answered_questions = self.answered_questions.saturating_add(if is_question { times } else { 0 });
        let Some(hostname) = record.hostname.clone() else { return };
        let Some(row) = self.reached.entry(hostname, || ReachedRow::begun(record)) else { return };
        row.events.add(record.time);
        extend_few(&mut row.ports, record.ports.iter().cloned());
        extend_few(&mut row.policies, record.policies.iter().cloned());
        let counter = match record.event.as_str() {
            "query.answered" => &mut row.answered,
            "query.empty" => &mut row.empty,
            "query.failed" => &mut row.failed,
            _ => return,
        };
        *counter = counter.saturating_add(times);
    }

    /// Counts what went through an address under the name that the client got
    /// it for last.
    fn add_traffic(&mut self, record: &Record) {
        let Some(address) = record.address else { return };
        let host = record.hostnames.first().cloned().unwrap_or_else(|| address.to_canonical().to_string());
        self.learn_port(&host, record);
        let Some(row) = self.reached.entry(host, || ReachedRow::begun(record)) else { return };
        row.events.add(record.time);
        row.connections = row.connections.saturating_add(record.connections.unwrap_or_default());
        row.bytes = row.bytes.saturating_add(record.bytes.unwrap_or_default());
        extend_few(&mut row.ports, [service(record)]);
    }

    fn add_dropped(&mut self, record: &Record) {
        let Some(address) = record.address else { return };
        let begun = || DroppedRow {
            hostnames: BTreeSet::new(),
            hostnames_of_others: BTreeSet::new(),
            packets: Tally::begun(record.time),
            actors: Limited::to(ACTORS),
        };
        let Some(row) = self.dropped.entry((address.to_canonical(), service(record)), begun) else { return };
        row.packets.add(record.time);
        extend_few(&mut row.hostnames, record.hostnames.iter().cloned());
        extend_few(&mut row.hostnames_of_others, record.hostnames_of_others.iter().cloned());
        count_actor(&mut row.actors, record);
    }

    fn learn_port(&mut self, hostname: &str, record: &Record) {
        let (Some(port), Some(protocol)) = (record.port.and_then(Port::new), &record.protocol) else { return };
        let Some(ports) = self.ports.entry(hostname.to_owned(), BTreeSet::new) else { return };
        if ports.len() < FEW {
            ports.insert((port, protocol.clone()));
        }
    }

    /// All of it, in the order in which it is told.
    pub(super) fn told(self, agent: Option<String>, clients: Vec<String>) -> AgentStory {
        let Self { denied, denied_below, dropped, summarised, reached, ports, denied_questions, answered_questions } =
            self;
        let denied_beyond = denied_below.beyond();
        let dropped_beyond = summarised.saturating_add(dropped.beyond());
        let reached_beyond = reached.beyond();

        let mut denied: Vec<_> =
            denied.into_entries().map(|(key, row)| row.told(key, agent.as_deref(), &ports)).collect();
        denied = folded(denied);
        denied.sort_by_key(|row| std::cmp::Reverse(row.questions.count.saturating_add(row.connections)));
        let mut denied_below: Vec<_> =
            denied_below.into_entries().map(|(domain, questions)| Below { domain, questions }).collect();
        denied_below.sort_by_key(|below| std::cmp::Reverse(below.questions.count));
        let mut dropped: Vec<_> = dropped.into_entries().map(|(key, row)| row.told(key)).collect();
        dropped.sort_by_key(|row| std::cmp::Reverse(row.packets.count));
        let mut reached: Vec<_> = reached.into_entries().map(|(host, row)| row.told(host)).collect();
        reached.sort_by_key(|row| std::cmp::Reverse((row.bytes, row.connections, row.answered)));

        AgentStory {
            agent,
            clients,
            denied_questions,
            answered_questions,
            denied,
            denied_below,
            denied_beyond,
            dropped,
            dropped_beyond,
            reached,
            reached_beyond,
        }
    }
}

impl DeniedRow {
    fn begun(record: &Record) -> Self {
        Self {
            kinds: BTreeSet::new(),
            questions: Tally::begun(record.time),
            connections: 0,
            actors: Limited::to(ACTORS),
        }
    }

    fn told(self, key: DeniedKey, agent: Option<&str>, ports: &Limited<String, BTreeSet<(Port, String)>>) -> Denied {
        let DeniedKey { hostname, reason, policies, would } = key;
        let services = ports.get(&hostname);
        let numbers: BTreeSet<Port> = services.into_iter().flatten().map(|(port, _)| *port).collect();
        let numbers: Vec<Port> = numbers.into_iter().collect();
        let kinds: Vec<RecordKind> = self.kinds.into_iter().collect();
        let remedy = Remedy::of(agent, &hostname, (&reason, &policies), &numbers, &kinds);
        let (actors, more_actors) = told_actors(self.actors);
        Denied {
            names: 1,
            examples: Vec::new(),
            why: known_reason(&reason).map_or_else(|| reason.clone(), |reason| reason.to_string()),
            remedy,
            hostname,
            reason,
            policies,
            would,
            types: kinds.iter().map(RecordKind::to_string).collect(),
            ports: services.into_iter().flatten().map(|(port, protocol)| format!("{port}/{protocol}")).collect(),
            questions: self.questions,
            connections: self.connections,
            actors,
            more_actors,
        }
    }
}

impl DroppedRow {
    fn told(self, (address, service): (IpAddr, String)) -> Dropped {
        let (actors, more_actors) = told_actors(self.actors);
        Dropped {
            address,
            service,
            hostnames: self.hostnames.into_iter().collect(),
            hostnames_of_others: self.hostnames_of_others.into_iter().collect(),
            packets: self.packets,
            actors,
            more_actors,
        }
    }
}

impl ReachedRow {
    const fn begun(record: &Record) -> Self {
        Self {
            ports: BTreeSet::new(),
            policies: BTreeSet::new(),
            answered: 0,
            empty: 0,
            failed: 0,
            connections: 0,
            bytes: 0,
            events: Tally::begun(record.time),
        }
    }

    fn told(self, host: String) -> Reached {
        let Self { ports, policies, answered, empty, failed, connections, bytes, events } = self;
        let (ports, policies) = (ports.into_iter().collect(), policies.into_iter().collect());
        Reached { host, ports, policies, answered, empty, failed, connections, bytes, events }
    }
}

fn count_actor(actors: &mut Limited<Actor, u64>, record: &Record) {
    let Some(actor) = Actor::of(record) else { return };
    if let Some(count) = actors.entry(actor, || 0) {
        *count = count.saturating_add(record.questions());
    }
}

fn told_actors(actors: Limited<Actor, u64>) -> (Vec<(Actor, u64)>, u64) {
    let more = actors.beyond();
    let mut actors: Vec<_> = actors.into_entries().collect();
    actors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    (actors, more)
}

/// `443/tcp`, or the protocol alone.
fn service(record: &Record) -> String {
    let protocol = record.protocol.as_deref().unwrap_or("?");
    match record.port {
        Some(port) => format!("{port}/{protocol}"),
        None => protocol.to_owned(),
    }
}

fn extend_few(set: &mut BTreeSet<String>, more: impl IntoIterator<Item = String>) {
    for text in more {
        if set.len() >= FEW {
            return;
        }
        set.insert(text);
    }
}
