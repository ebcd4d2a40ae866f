//! [`Story`]: what a session came to, for whoever shows it.
//!
//! Names, command lines and other texts that a journal got from outside are as
//! they were, but for command lines, which are plain; each way of showing them
//! escapes what means something there.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::super::chain::Actor;
use super::super::remedy::Remedy;
use super::super::tally::Tally;

/// The story of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// How many events, first and last; `None` where there is none.
    pub span: Option<Tally>,
    /// What came to how much.
    pub totals: Totals,
    /// Who did what; who was denied most comes first.
    pub agents: Vec<AgentStory>,
    /// Events of further agents, which are not told.
    pub more_agents: u64,
    /// What befell the daemon.
    pub incidents: Vec<Incident>,
    /// Events of further incidents, which are not told.
    pub more_incidents: u64,
    /// When it was.
    pub timeline: Vec<Slot>,
}

/// Counts of the whole journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Lines that are events.
    pub events: u64,
    /// Lines that are none, or are cut.
    pub unreadable_lines: u64,
    /// Questions that were answered with records.
    pub answered: u64,
    /// Questions whose permitted name or record does not exist.
    pub empty: u64,
    /// Questions that were denied.
    pub denied: u64,
    /// Questions besides, denied at or below a search suffix: no alarm.
    pub denied_search: u64,
    /// Questions that audit mode let pass.
    pub would_deny: u64,
    /// Permitted questions that could not be answered.
    pub failed: u64,
    /// Connections to addresses that denied names had got.
    pub connections_denied: u64,
    /// Packets that the kernel let go no further.
    pub packets_dropped: u64,
    /// Connections through open addresses.
    pub connections: u64,
    /// Octets through open addresses, both directions.
    pub bytes: u64,
}

/// What one agent did, or one client that acts as none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentStory {
    /// Its name; `None` for a client that acts as no agent.
    pub agent: Option<String>,
    /// From which addresses.
    pub clients: Vec<String>,
    /// Questions that were denied, or would have been.
    pub denied_questions: u64,
    /// Questions that were answered, or whose name does not exist.
    pub answered_questions: u64,
    /// What was denied, the most often denied first.
    pub denied: Vec<Denied>,
    /// Denied questions for further names, by registrable domain.
    pub denied_below: Vec<Below>,
    /// Denied questions for names beyond those, too.
    pub denied_beyond: u64,
    /// Where packets went that the kernel dropped, most first.
    pub dropped: Vec<Dropped>,
    /// Packets that were dropped beyond those told one by one.
    pub dropped_beyond: u64,
    /// What was reached, the most octets first.
    pub reached: Vec<Reached>,
    /// Events about names and addresses reached beyond those told.
    pub reached_beyond: u64,
}

impl AgentStory {
    /// Whether there is nothing to tell.
    pub const fn is_empty(&self) -> bool {
        self.denied.is_empty() && self.dropped.is_empty() && self.reached.is_empty() && self.dropped_beyond == 0
    }

    /// Who it is, for people.
    pub fn title(&self) -> String {
        match &self.agent {
            Some(agent) => super::super::plain::plain(agent),
            None => "a client without an agent".to_owned(),
        }
    }
}

/// A name that was denied for one reason; or many names below one registrable
/// domain, denied alike and asked for by the same processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// The name; the domain, where there are several.
    pub hostname: String,
    /// How many names.
    pub names: u64,
    /// Some of them, where there are several.
    pub examples: Vec<String>,
    /// Why, by its code.
    pub reason: String,
    /// Why, in words.
    pub why: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// Whether audit mode let it pass.
    pub would: bool,
    /// The types of record that were asked for.
    pub types: Vec<String>,
    /// The ports that were tried, `443/tcp`, where they are known.
    pub ports: Vec<String>,
    /// Questions: how often, first and last.
    pub questions: Tally,
    /// Connections tried to the address that the denied name got.
    pub connections: u64,
    /// Who asked, and how often, the most frequent first.
    pub actors: Vec<(Actor, u64)>,
    /// How often somebody asked who is not among them.
    pub more_actors: u64,
    /// What it would take to permit it.
    pub remedy: Remedy,
}

/// Denied names below one registrable domain, beyond those told by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Below {
    /// The domain.
    pub domain: String,
    /// Questions: how often, first and last.
    pub questions: Tally,
}

/// Where packets went that the kernel dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// To which address.
    pub address: IpAddr,
    /// `443/tcp`, or the protocol where it has no ports.
    pub service: String,
    /// Names that the client had got that address for.
    pub hostnames: Vec<String>,
    /// Names that others had got it for.
    pub hostnames_of_others: Vec<String>,
    /// Packets that were told one by one: how often, first and last.
    pub packets: Tally,
    /// Who sent them, and how often.
    pub actors: Vec<(Actor, u64)>,
    /// How often somebody sent them who is not among those.
    pub more_actors: u64,
}

/// A name, or an address without one, that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// The name, or the address.
    pub host: String,
    /// The ports that were open or used.
    pub ports: Vec<String>,
    /// The policies that permitted it.
    pub policies: Vec<String>,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions whose name or record does not exist.
    pub empty: u64,
    /// Questions that could not be answered.
    pub failed: u64,
    /// Connections that began.
    pub connections: u64,
    /// Octets, both directions.
    pub bytes: u64,
    /// All events about it: how often, first and last.
    pub events: Tally,
}

/// How much an [`Incident`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// Evidence or protection was not what it should be.
    Alarm,
    /// Somebody ought to look at it.
    Warning,
    /// As it should be.
    Note,
}

/// Something that befell the daemon, or that it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// The event's code.
    pub event: String,
    /// How much it matters.
    pub gravity: Gravity,
    /// What it was, in words.
    pub told: String,
    /// How often, first and last.
    pub times: Tally,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// When it began.
    pub from: Timestamp,
    /// How long it is, seconds.
    pub seconds: i64,
    /// Questions that were answered, or whose name does not exist.
    pub answered: u64,
    /// Questions that were denied or would have been, connections to denied
    /// names, and dropped packets.
    pub denied: u64,
}
