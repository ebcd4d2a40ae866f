//! [`Suggestions`]: from what a journal says was denied to the Cedar that
//! would permit it, and nothing else.
//!
//! What a permit cannot help, or should not be taken from a journal unread, is
//! left out, and a comment says so.

mod write;

use std::collections::{BTreeMap, BTreeSet};

use super::chain::Actor;
use super::limited::Limited;
use super::record::Record;
use super::refusal::Refusal;
use super::remedy::{ASSUMED, obstacle};
use super::tally::Tally;
use super::wanted::{Wanted, registrable, usable_agent, usable_name};
use crate::core::config::CatchAllForbid;
use crate::core::name::Name;
use crate::core::policy::{Policy, Sources, format};
use crate::core::problem::Problem;
use crate::core::query::{Agent, Port, RecordKind};

/// Names that are suggested at most; a flood of made-up names is nothing to
/// permit name by name.
const NAMES: usize = 2000;
/// What is left out with a comment at most.
const LEFT_OUT: usize = 200;
/// Process chains that are told of one name.
const ACTORS: usize = 3;
/// Ports that are suggested for one name at most.
const PORTS: usize = 16;
/// How the text is called in messages.
pub const FILE: &str = "suggested.cedar";

/// What to suggest, of all that was denied.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only what was denied to this agent.
    pub agent: Option<Agent>,
    /// Only these names; all, where there are none.
    pub names: BTreeSet<Name>,
    /// Whole registrable domains instead of names.
    pub by_domain: bool,
    /// Forbids over everything: what they alone denied is suggested, as if
    /// they were read as the default.
    pub catch_alls: BTreeSet<String>,
}

/// What was denied, while a journal is read.
#[derive(Debug)]
pub struct Suggestions {
    choice: Choice,
    span: Option<Tally>,
    denied: Limited<(Agent, Name), Denied>,
    /// Ports by agent and name, from whatever tells one.
    ports: Limited<(Agent, Name), BTreeSet<Port>>,
    left_out: Limited<LeftOut, Tally>,
}

/// A name that was denied to an agent.
#[derive(Debug)]
struct Denied {
    kinds: BTreeSet<RecordKind>,
    times: Tally,
    would: bool,
    actors: Limited<Actor, u64>,
    catch_alls: BTreeSet<String>,
}

/// What is not suggested, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LeftOut {
    who: String,
    what: String,
    why: String,
}

/// A permit, and who would need it.
#[derive(Debug)]
struct Suggestion {
    agent: Agent,
    wanted: Wanted,
    /// The registrable domain, or the name itself.
    domain: Name,
    /// The names that were asked for.
    names: BTreeSet<Name>,
    times: Tally,
    would: bool,
    actors: BTreeMap<Actor, u64>,
    more_actors: u64,
    port_assumed: bool,
}

/// Policies to be read by a person, and what the validator says of them.
#[derive(Debug)]
pub struct Suggested {
    /// Cedar, laid out, with comments.
    pub text: String,
    /// How many policies it holds.
    pub policies: usize,
    /// What is doubtful about them.
    pub warnings: Vec<Problem>,
}

impl Suggestions {
    /// Nothing read yet.
    pub const fn new(choice: Choice) -> Self {
        Self {
            choice,
            span: None,
            denied: Limited::to(NAMES),
            ports: Limited::to(NAMES),
            left_out: Limited::to(LEFT_OUT),
        }
    }

    /// Takes the next line.
    pub fn add(&mut self, record: &Record) {
        self.learn_ports(record);
        if let Some(refusal) = Refusal::of_wanted(record) {
            self.add_refusal(record, refusal);
        } else if record.event == "packet.dropped" {
            self.add_dropped(record);
        }
    }

    /// The policies, valid and laid out. `beside` is who there is to speak of:
    /// the `entities.json` of the policy they are for.
    ///
    /// # Errors
    /// What keeps them from being usable, which is a mistake of this program;
    /// and their text.
    pub fn suggested(self, beside: Option<(String, String)>) -> Result<Suggested, (String, Vec<Problem>)> {
        let text = write::written(&self);
        let policies = vec![(FILE.to_owned(), text.clone())];
        let sources = Sources { policies, entities: beside, links: None };
        let loaded = match Policy::load(&sources, CatchAllForbid::Strict) {
            Ok(loaded) => loaded,
            Err(problems) => return Err((text, problems)),
        };
        // Valid Cedar with comments that its formatter cannot place stays as it was written.
        let text = format::formatted(FILE, &text).unwrap_or(text);
        let warnings = loaded.warnings.into_iter().filter(|problem| problem.place.is_some()).collect();
        Ok(Suggested { text, policies: loaded.policy.len(), warnings })
    }

    fn add_refusal(&mut self, record: &Record, refusal: Refusal<'_>) {
        let agent = record.agent.as_deref().and_then(usable_agent);
        let name = usable_name(refusal.hostname);
        if !self.is_chosen(agent.as_ref(), name.as_ref()) {
            return;
        }
        self.span.get_or_insert_with(|| Tally::begun(record.time)).add(record.time);
        let by_catch_alls = refusal.reason == "forbidden"
            && !refusal.policies.is_empty()
            && refusal.policies.iter().all(|policy| self.choice.catch_alls.contains(policy));
        let obstacle = obstacle(refusal.reason, refusal.policies).filter(|_| !by_catch_alls);
        match (agent, name, obstacle) {
            (Some(agent), Some(name), None) => {
                let begun = || Denied {
                    kinds: BTreeSet::new(),
                    times: Tally::begun(record.time),
                    would: false,
                    actors: Limited::to(ACTORS),
                    catch_alls: BTreeSet::new(),
                };
                let Some(denied) = self.denied.entry((agent, name), begun) else { return };
                denied.times.add_many(record.time, record.questions());
                denied.would |= refusal.would;
                denied.kinds.extend(refusal.kind);
                if by_catch_alls {
                    denied.catch_alls.extend(refusal.policies.iter().cloned());
                }
                if let Some(count) = Actor::of(record).and_then(|actor| denied.actors.entry(actor, || 0)) {
                    *count = count.saturating_add(1);
                }
            }
            (Some(_), None, None) => self.leave_out(record, refusal.hostname, "no policy can name this".to_owned()),
            (None, _, None) => {
                self.leave_out(
                    record,
                    refusal.hostname,
                    "the configuration names no agent for it that a policy can name".to_owned(),
                );
            }
            (_, _, Some(takes)) => self.leave_out(record, refusal.hostname, format!("it takes {takes}")),
        }
    }

    /// A packet to a port that no name of the client had opened is told of,
    /// and not suggested: an address that nobody asked for is opened for good
    /// by a policy that names it.
    fn add_dropped(&mut self, record: &Record) {
        let agent = record.agent.as_deref().and_then(usable_agent);
        let name = record.hostnames.first().and_then(|hostname| usable_name(hostname));
        let (Some(agent), Some(address), Some(port)) = (agent, record.address, record.port.and_then(Port::new)) else {
            return;
        };
        if !self.is_chosen(Some(&agent), name.as_ref()) {
            return;
        }
        let wanted = match name {
            Some(name) => Wanted::Connection(name, port),
            None => Wanted::Address(address, port),
        };
        let service = record.protocol.as_deref().unwrap_or("?");
        let host = match record.hostnames.first() {
            Some(hostname) => format!("{hostname} at {address}"),
            None => address.to_string(),
        };
        let why = format!("packets that no lease admitted; if they were meant: {}", wanted.permit(&agent));
        self.leave_out(record, &format!("{host}, port {port}/{service}"), why);
    }

    fn leave_out(&mut self, record: &Record, what: &str, why: String) {
        let who = match (&record.agent, record.client) {
            (Some(agent), _) => agent.clone(),
            (None, Some(client)) => client.to_string(),
            (None, None) => "strangers".to_owned(),
        };
        let key = LeftOut { who, what: what.to_owned(), why };
        if let Some(tally) = self.left_out.entry(key, || Tally::begun(record.time)) {
            tally.add_many(record.time, record.questions());
        }
    }

    fn is_chosen(&self, agent: Option<&Agent>, name: Option<&Name>) -> bool {
        let Choice { agent: wanted, names, .. } = &self.choice;
        let is_agent = wanted.as_ref().is_none_or(|wanted| agent == Some(wanted));
        is_agent && (names.is_empty() || name.is_some_and(|name| names.contains(name)))
    }

    fn learn_ports(&mut self, record: &Record) {
        let hostname = match record.event.as_str() {
            "connect.denied" => record.hostname.as_ref(),
            "traffic.counted" | "packet.dropped" => record.hostnames.first(),
            _ => return,
        };
        let Some(agent) = record.agent.as_deref().and_then(usable_agent) else { return };
        let Some(name) = hostname.and_then(|hostname| usable_name(hostname)) else { return };
        let Some(port) = record.port.and_then(Port::new) else { return };
        if !matches!(record.protocol.as_deref(), Some("tcp" | "udp")) || !self.is_chosen(Some(&agent), Some(&name)) {
            return;
        }
        let Some(ports) = self.ports.entry((agent, name), BTreeSet::new) else { return };
        if ports.len() < PORTS {
            ports.insert(port);
        }
    }

    /// One for each name, or domain, and port or type of record.
    fn all(&self) -> Vec<Suggestion> {
        let mut all: BTreeMap<(Agent, Wanted), Suggestion> = BTreeMap::new();
        for ((agent, name), denied) in self.denied.iter() {
            let domain = registrable(name);
            let whole = domain.clone().filter(|_| self.choice.by_domain);
            let known = self.ports.get(&(agent.clone(), name.clone()));
            let connects = denied.kinds.is_empty() || denied.kinds.iter().any(|kind| kind.leads_to_connections());
            let assumed = Port::new(ASSUMED).filter(|_| connects && known.is_none());
            let connections = known.into_iter().flatten().copied().chain(assumed).map(|port| match &whole {
                Some(domain) => Wanted::Below(domain.clone(), port),
                None => Wanted::Connection(name.clone(), port),
            });
            let records = denied.kinds.iter().filter(|kind| !kind.leads_to_connections());
            let records = records.map(|kind| match &whole {
                Some(domain) => Wanted::RecordBelow(domain.clone(), *kind),
                None => Wanted::Record(name.clone(), *kind),
            });
            for wanted in connections.chain(records) {
                let is_connection = matches!(wanted, Wanted::Connection(..) | Wanted::Below(..));
                let suggestion = all.entry((agent.clone(), wanted.clone())).or_insert_with(|| Suggestion {
                    agent: agent.clone(),
                    wanted,
                    domain: domain.clone().unwrap_or_else(|| name.clone()),
                    names: BTreeSet::new(),
                    times: Tally { count: 0, ..denied.times },
                    would: false,
                    actors: BTreeMap::new(),
                    more_actors: 0,
                    port_assumed: is_connection,
                });
                suggestion.take(name, denied, assumed.is_some());
            }
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by(|left, right| left.place().cmp(&right.place()));
        all
    }
}

impl Suggestion {
    fn take(&mut self, name: &Name, denied: &Denied, assumed: bool) {
        self.names.insert(name.clone());
        self.times.add_many(denied.times.first, denied.times.count);
        self.times.add_many(denied.times.last, 0);
        self.would |= denied.would;
        self.port_assumed &= assumed;
        for (actor, count) in denied.actors.iter() {
            let sum = self.actors.entry(actor.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.more_actors = self.more_actors.saturating_add(denied.actors.beyond());
    }

    /// The process that asked most often.
    fn actor(&self) -> Option<&Actor> {
        self.actors.iter().max_by_key(|(_, count)| **count).map(|(actor, _)| actor)
    }

    /// Where it stands: by agent, process and registrable domain.
    fn place(&self) -> (&Agent, Option<&Actor>, &Name, &Wanted) {
        (&self.agent, self.actor(), &self.domain, &self.wanted)
    }
}

#[cfg(test)]
mod tests;
