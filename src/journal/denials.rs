//! What was denied to whom: a table of names that no client can grow without
//! bound.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::decision::{Denial, PolicyId, Reason};
use crate::core::event::Subject;
use crate::core::name::Hostname;
use crate::core::query::{Agent, Client};

/// Names remembered over all agents.
const MAX_NAMES: usize = 10_000;
/// Names remembered for one agent, so that one that invents names leaves room
/// for the others.
const MAX_NAMES_PER_AGENT: usize = 2_000;
/// Clients counted; there are only as many as the operator has named.
const MAX_CLIENTS: usize = 65_536;
/// Agents told apart; there are only as many as the operator has named.
const MAX_AGENTS: usize = 1_000;

/// What was denied since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denials {
    /// All denials.
    pub count: u64,
    /// By agent and reason, the most frequent first.
    pub totals: Vec<DenialTotal>,
    /// By name, the most frequent first.
    pub names: Vec<DenialRow>,
    /// Denials of names beyond those remembered in `names`.
    pub other: u64,
    /// Denials besides, at or below a search suffix: no alarm, and counted
    /// nowhere else in here.
    #[serde(default)]
    pub search: u64,
}

/// How often one agent was denied something for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialTotal {
    /// The principal; `None`: nobody known.
    pub agent: Option<String>,
    /// [`Reason::code`].
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// How often one name was denied to one agent for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialRow {
    /// The name, as [`Subject::name`] has it.
    pub name: String,
    /// The principal; `None`: nobody known.
    pub agent: Option<String>,
    /// [`Reason::code`].
    pub reason: String,
    /// The policies that decided the last time; none: the default.
    pub policies: Vec<String>,
    /// How often.
    pub count: u64,
    /// When last (RFC 3339, UTC).
    pub last: String,
}

/// The table that [`Denials`] is a picture of.
#[derive(Debug, Default)]
pub(super) struct DenialTable {
    agents: BTreeMap<Option<Agent>, AgentDenials>,
    names: usize,
    /// Denials of agents beyond those told apart.
    other: u64,
    search: u64,
    clients: HashMap<Client, u64>,
}

#[derive(Debug, Default)]
struct AgentDenials {
    by_reason: BTreeMap<Reason, u64>,
    names: HashMap<Hostname, BTreeMap<Reason, NameDenials>>,
    other: u64,
}

#[derive(Debug)]
struct NameDenials {
    policies: Arc<[PolicyId]>,
    count: u64,
    last: Timestamp,
}

impl DenialTable {
    /// `times` such denials, the last one `now`.
    pub(super) fn add(&mut self, subject: &Subject, denial: &Denial, times: u64, now: Timestamp) {
        if subject.search {
            self.search += times;
            return;
        }
        // Strangers are not counted one by one: addresses can be invented, and
        // nobody would be told.
        let is_known = subject.agent.is_some();
        if is_known && (self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&subject.client)) {
            *self.clients.entry(subject.client).or_default() += times;
        }
        let agent = subject.agent.as_ref().map(Agent::without_team);
        if self.agents.len() >= MAX_AGENTS && !self.agents.contains_key(&agent) {
            self.other += times;
            return;
        }
        let agent = self.agents.entry(agent).or_default();
        *agent.by_reason.entry(denial.reason).or_default() += times;

        if !agent.names.contains_key(&subject.name) {
            if self.names >= MAX_NAMES || agent.names.len() >= MAX_NAMES_PER_AGENT {
                agent.other += times;
                return;
            }
            self.names += 1;
        }
        let reasons = agent.names.entry(subject.name.clone()).or_default();
        let row =
            reasons.entry(denial.reason).or_insert_with(|| NameDenials { policies: [].into(), count: 0, last: now });
        row.count += times;
        row.last = now;
        row.policies.clone_from(&denial.policies);
    }

    pub(super) fn of_client(&self, client: Client) -> u64 {
        self.clients.get(&client).copied().unwrap_or(0)
    }

    pub(super) fn snapshot(&self) -> Denials {
        let mut denials = Denials { other: self.other, count: self.other, search: self.search, ..Denials::default() };
        for (agent, told) in &self.agents {
            let agent = agent.as_ref().map(ToString::to_string);
            denials.other += told.other;
            for (reason, &count) in &told.by_reason {
                denials.count += count;
                let reason = reason.code().to_owned();
                denials.totals.push(DenialTotal { agent: agent.clone(), reason, count });
            }
            for (name, reasons) in &told.names {
                denials.names.extend(reasons.iter().map(|(reason, row)| DenialRow {
                    name: name.to_string(),
                    agent: agent.clone(),
                    reason: reason.code().to_owned(),
                    policies: row.policies.iter().map(ToString::to_string).collect(),
                    count: row.count,
                    last: format!("{:.0}", row.last),
                }));
            }
        }
        denials.totals.sort_by_key(|total| Reverse(total.count));
        denials.names.sort_by(|left, right| right.count.cmp(&left.count).then_with(|| left.name.cmp(&right.name)));
        denials
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::core::query::RecordKind;

    fn subject(number: u32) -> Subject {
        let [_, high, middle, low] = number.to_be_bytes();
        // Every second one is a stranger with an address of its own.
        let is_known = number.is_multiple_of(2);
        let address = if is_known { [10, 77, 0, low] } else { [10, high, middle, low] };
        Subject {
            client: Client::new(address.into()),
            agent: is_known.then(|| Agent::parse("claude").unwrap()),
            name: format!("x{number}.example.org").as_str().into(),
            kind: RecordKind::A,
            resolver: None,
            search: false,
        }
    }

    #[test]
    fn the_millionth_refusal_costs_what_the_first_did_and_every_one_is_counted() {
        const PART: u32 = 100_000;
        let (mut table, denial, now) =
            (DenialTable::default(), Denial::by_default(Reason::NotPermitted), Timestamp::MIN);
        let mut took: Vec<Duration> = Vec::new();
        for part in 0..10 {
            let subjects: Vec<_> = (part * PART..(part + 1) * PART).map(subject).collect();
            let start = Instant::now();
            subjects.iter().for_each(|subject| table.add(subject, &denial, 1, now));
            took.push(start.elapsed());
        }
        assert!(table.names <= MAX_NAMES && table.clients.len() == 128, "{} {}", table.names, table.clients.len());
        // The fastest of several, as others use the processor, too.
        let fastest = |parts: &[Duration]| parts.iter().min().copied().unwrap();
        assert!(fastest(&took[7..]) < 2 * fastest(&took[..3]), "{took:?}");
        let denials = table.snapshot();
        assert_eq!(denials.count, 1_000_000);
        assert_eq!(denials.names.iter().map(|row| row.count).sum::<u64>() + denials.other, 1_000_000);
        assert_eq!(table.clients.values().sum::<u64>(), 500_000);
        assert_eq!(table.of_client(subject(1).client), 0, "strangers are told of together");
    }

    #[test]
    fn one_agent_is_one_in_whatever_team_it_asks() {
        let (mut table, denial) = (DenialTable::default(), Denial::by_default(Reason::NotPermitted));
        let readers = subject(2).agent.map(|agent| agent.in_team("readers").unwrap());
        table.add(&subject(2), &denial, 1, Timestamp::MIN);
        table.add(&Subject { agent: readers, ..subject(2) }, &denial, 1, Timestamp::MIN);
        let Denials { names, totals, .. } = table.snapshot();
        assert_eq!((names.len(), names[0].count), (1, 2));
        assert_eq!((totals.len(), totals[0].count), (1, 2));
    }

    #[test]
    fn what_a_search_list_made_is_counted_apart_and_stands_in_no_list() {
        let (mut table, denial) = (DenialTable::default(), Denial::by_default(Reason::NotPermitted));
        table.add(&Subject { search: true, ..subject(2) }, &denial, 1, Timestamp::MIN);
        table.add(&subject(4), &denial, 1, Timestamp::MIN);
        let Denials { count, names, totals, other, search } = table.snapshot();
        assert_eq!((count, other, search), (1, 0, 1));
        assert_eq!((names.len(), names[0].name.as_str(), totals[0].count), (1, "x4.example.org", 1));
        assert_eq!((table.of_client(subject(2).client), table.of_client(subject(4).client)), (0, 1));
    }
}
