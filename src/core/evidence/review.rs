//! [`Review`]: a journal, read line by line, becomes the [`Story`] of a
//! session.
//!
//! What is kept does not grow with the journal: names, processes, ports and
//! incidents are limited, and what did not fit is told as a number.

mod account;
mod folded;
mod incident;
pub mod story;
mod timeline;

use std::collections::BTreeSet;

use super::limited::Limited;
use super::record::Record;
use super::refusal::Refusal;
use super::tally::Tally;

use self::account::Account;
use self::incident::Incidents;
use self::story::{AgentStory, Story, Totals};
use self::timeline::Timeline;

/// Agents, and clients without one, that are told apart.
const AGENTS: usize = 32;
/// Addresses of an agent that are told.
const CLIENTS: usize = 8;

/// The review of a journal while it is read.
#[derive(Debug)]
pub struct Review {
    span: Option<Tally>,
    totals: Totals,
    agents: Limited<String, Party>,
    incidents: Incidents,
    timeline: Timeline,
}

/// An agent, or a client that acts as none.
#[derive(Debug)]
struct Party {
    agent: Option<String>,
    clients: BTreeSet<String>,
    account: Account,
}

impl Default for Review {
    fn default() -> Self {
        Self {
            span: None,
            totals: Totals::default(),
            agents: Limited::to(AGENTS),
            incidents: Incidents::default(),
            timeline: Timeline::default(),
        }
    }
}

impl Review {
    /// Takes the next line.
    pub fn add(&mut self, record: &Record) {
        self.span.get_or_insert_with(|| Tally::begun(record.time)).add(record.time);
        self.count(record);
        self.timeline.add(record);
        self.incidents.add(record);
        if record.client.is_none() && record.agent.is_none() {
            return;
        }
        let Some(party) = self.party(record) else { return };
        if let Some(client) = record.client
            && party.clients.len() < CLIENTS
        {
            party.clients.insert(client.to_canonical().to_string());
        }
        party.account.add(record);
    }

    /// Counts a line that is no event.
    pub const fn add_unreadable(&mut self) {
        self.totals.unreadable_lines = self.totals.unreadable_lines.saturating_add(1);
    }

    /// The story so far.
    pub fn story(self) -> Story {
        let Self { span, totals, agents, incidents, timeline } = self;
        let more_agents = agents.beyond();
        let mut agents: Vec<AgentStory> = agents
            .into_entries()
            .map(|(_, Party { agent, clients, account })| account.told(agent, clients.into_iter().collect()))
            .filter(|agent| !agent.is_empty())
            .collect();
        agents.sort_by_key(|agent| std::cmp::Reverse((agent.denied_questions, agent.answered_questions)));
        let (incidents, more_incidents) = incidents.told();
        Story { span, totals, agents, more_agents, incidents, more_incidents, timeline: timeline.told() }
    }

    fn party(&mut self, record: &Record) -> Option<&mut Party> {
        let agent = record.agent.clone().filter(|agent| !agent.is_empty());
        let key = match (&agent, record.client) {
            (Some(agent), _) => format!("agent {agent}"),
            (None, Some(client)) => format!("client {}", client.to_canonical()),
            (None, None) => return None,
        };
        self.agents.entry(key, || Party { agent, clients: BTreeSet::new(), account: Account::default() })
    }

    fn count(&mut self, record: &Record) {
        let totals = &mut self.totals;
        let add = |total: &mut u64, more: u64| *total = total.saturating_add(more);
        let questions = record.questions();
        add(&mut totals.events, 1);
        if Refusal::of_wanted(record).is_some_and(|refusal| refusal.would) {
            add(&mut totals.would_deny, questions);
        }
        match record.event.as_str() {
            "query.answered" => add(&mut totals.answered, questions),
            "query.empty" => add(&mut totals.empty, questions),
            "query.denied" if record.search == Some(true) => add(&mut totals.denied_search, questions),
            "query.denied" | "client.unknown" => add(&mut totals.denied, questions),
            "query.failed" => add(&mut totals.failed, questions),
            "connect.denied" => add(&mut totals.connections_denied, 1),
            "packet.dropped" => add(&mut totals.packets_dropped, 1),
            "packets.summarised" => add(&mut totals.packets_dropped, record.packets.unwrap_or_default()),
            "traffic.counted" => {
                add(&mut totals.connections, record.connections.unwrap_or_default());
                add(&mut totals.bytes, record.bytes.unwrap_or_default());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
