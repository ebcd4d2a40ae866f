//! What an event looks like: as a line of JSON, and as a line for people.

use std::io::{self, Write};
use std::{fmt, iter};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::core::cap::Reached;
use crate::core::decision::PolicyId;
use crate::core::event::{ContainerTold, Event, EventId, Flow, LeaseTold, Subject};
use crate::core::printable;
use crate::core::process::Traced;
use crate::core::query::{Agent, Client};

/// Octets that most lines have at most.
const USUAL: usize = 384;

/// `event` as one line of JSON with its end. Nothing in it can steer a
/// terminal: whoever reads a journal may do so with `cat`.
pub(super) fn json(event: &Event, time: Timestamp, id: Option<EventId>) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(USUAL);
    event.line(time, id).serialize(&mut Serializer::with_formatter(&mut line, Plain))?;
    line.push(b'\n');
    Ok(line)
}

/// Writes the characters that steer a terminal as escapes. JSON itself asks for
/// that below U+0020 alone.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('\u{7f}') {
            return writer.write_all(fragment.as_bytes());
        }
        writer.write_all(printable::json_line(fragment).as_bytes())
    }
}

/// An event in one line for people.
pub(super) struct Spoken<'a>(pub(super) &'a Event);

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::QueryAnswered { subject, policies, opened, openings, removed, ttl, would_deny, times, .. } => {
                write!(formatter, "answered {}", Asked(subject))?;
                listed(formatter, " = ", opened.iter())?;
                listed(formatter, " on ", openings.iter())?;
                write!(formatter, " for {ttl}s")?;
                listed(formatter, ", without ", removed.iter())?;
                by(formatter, policies)?;
                listed(formatter, ", times: ", Some(times).filter(|times| **times > 1).into_iter())?;
                listed(formatter, "; would deny: ", would_deny.iter())
            }
            Event::QueryEmpty { subject, policies, no_such_name, would_deny, .. } => {
                let what = if *no_such_name { "no such name" } else { "no such record" };
                write!(formatter, "answered {}: {what}", Asked(subject))?;
                by(formatter, policies)?;
                listed(formatter, "; would deny: ", would_deny.iter())
            }
            Event::QueryDenied { subject, denial, process, sinkhole, times } => {
                write!(formatter, "denied {}: {denial}", Asked(subject))?;
                listed(formatter, ", sent to ", sinkhole.iter())?;
                listed(formatter, ", times: ", Some(times).filter(|times| **times > 1).into_iter())?;
                asked_by(formatter, process)
            }
            Event::QueryFailed { subject, failure, .. } => write!(formatter, "failed {}: {failure}", Asked(subject)),
            Event::LeaseOpened(told) => write!(formatter, "opened {}", Told(told)),
            Event::LeaseRefreshed(told) => write!(formatter, "refreshed {}", Told(told)),
            Event::LeaseExpired(told) => write!(formatter, "expired {}", Told(told)),
            Event::ConnectDenied { flow, hostname, denial, process } => {
                write!(formatter, "denied {} connecting to {hostname}", Sender(flow.agent.as_ref(), flow.client))?;
                if let Some(port) = flow.port {
                    write!(formatter, ":{port}")?;
                }
                write!(formatter, " ({}): {denial}", flow.protocol)?;
                asked_by(formatter, process)
            }
            Event::PacketDropped { flow, flags, hostnames, hostnames_of_others, process } => {
                write!(formatter, "dropped {}", Sent(flow))?;
                listed(formatter, " ", Some(flags).filter(|flags| !flags.is_empty()).into_iter())?;
                listed(formatter, ", an address last answered for ", hostnames.iter())?;
                listed(formatter, ", and to others for ", hostnames_of_others.iter())?;
                asked_by(formatter, process)
            }
            Event::PacketsSummarised { client, agent, packets, millis, most } => {
                let sender = Sender(agent.as_ref(), *client);
                write!(formatter, "dropped {packets} more packets of {sender} in {millis} ms")?;
                listed(formatter, ", most of them ", most.iter().map(Sent))
            }
            Event::PacketsLost { times } => {
                write!(formatter, "the kernel dropped packets faster than they could be told of, {times} times")
            }
            Event::TrafficCounted { flow, hostnames, connections, packets, bytes } => {
                write!(formatter, "counted {}", Sent(flow))?;
                listed(formatter, ", known as ", hostnames.iter())?;
                write!(formatter, ": {connections} connections, {packets} packets, {bytes} octets")
            }
            Event::AuditMode { would_deny } => write!(
                formatter,
                "AUDIT MODE: nothing is denied and everything is open; {would_deny} questions would have been denied"
            ),
            Event::PolicyLoaded { path, policies, warnings } => {
                write!(formatter, "policy {path} is in force: {policies} policies")?;
                listed(formatter, "; ", warnings.iter().map(|warning| warning.escape_debug()))
            }
            Event::PolicyRefused { path, problems } => {
                write!(formatter, "policy {path} is refused, the one in force stays")?;
                listed(formatter, ": ", problems.iter().map(|problem| problem.escape_debug()))
            }
            Event::ConfigLoaded { path, waiting } => {
                write!(formatter, "configuration {path} is in force")?;
                listed(formatter, "; at the next start takes effect: ", waiting.iter())
            }
            Event::ConfigRefused { path, problems } => {
                write!(formatter, "configuration {path} is refused, the one in force stays")?;
                listed(formatter, ": ", problems.iter().map(|problem| problem.escape_debug()))
            }
            Event::LeaseRevoked(told) => write!(formatter, "revoked {}", Told(told)),
            Event::OperatorRevoked { agent, name, leases, elements, flows } => {
                write!(formatter, "closed by hand: {agent}'s leases")?;
                listed(formatter, " of ", name.iter())?;
                write!(formatter, ", {leases} names, {elements} elements, {flows} flows")
            }
            Event::PolicyRevoked { leases, elements, flows } => write!(
                formatter,
                "the policy closed what it no longer permits: {leases} names, {elements} elements, {flows} flows"
            ),
            Event::WallUp { table, mode, listen } => {
                write!(formatter, "the wall is up: {mode}, nftables table {table}")?;
                listed(formatter, ", answering on ", listen.iter())
            }
            Event::TableAdopted { table, leases, statics, unexplained, flows } => write!(
                formatter,
                "nftables table {table} was taken over with {leases} leases and {statics} addresses of the policy; \
                 nothing explained {unexplained} elements and {flows} flows, which are ended"
            ),
            Event::TableRestored { table, leases } => {
                write!(formatter, "nftables table {table} was put back with {leases} leases")
            }
            Event::TableRepaired { table, removed, restored, flows } => write!(
                formatter,
                "somebody had changed nftables table {table}: \
                 {removed} elements taken out, {restored} put back, {flows} flows ended"
            ),
            Event::JournalLost { lines } => write!(formatter, "{lines} lines of the journal were lost"),
            Event::StreamLost { lines } => write!(formatter, "{lines} lines came too fast for their reader"),
            Event::CapReached(Reached { cap, party, count }) => {
                match (&party.agent, party.client) {
                    (Some(agent), Some(client)) => write!(formatter, "{agent} ({client})")?,
                    (None, Some(client)) => write!(formatter, "{client}")?,
                    (_, None) => formatter.write_str("strangers")?,
                }
                write!(formatter, " met the cap {} {count} times", cap.code())
            }
            Event::Stopped { cause } => write!(formatter, "stopped by {cause}; the default drop stands"),
            Event::ContainerKnown(told) => {
                write!(formatter, "container {} is known", Contained(told))?;
                listed(formatter, " as ", told.agent.iter())
            }
            Event::ContainerGone(told) => {
                write!(formatter, "container {} is gone, and what was open for it closed", Contained(told))
            }
            Event::ContainerUnknown { container, why } => {
                write!(formatter, "container {} acts as nobody: {}", Contained(container), why.escape_debug())
            }
            Event::EngineLost { path, problem } => write!(
                formatter,
                "the engine at {path} does not answer: {}; the containers that are known stay, and nobody new is",
                problem.escape_debug()
            ),
            Event::EngineFound { path, containers } => {
                write!(formatter, "the engine at {path} answers: {containers} containers on walled networks")
            }
        }
    }
}

/// Who sends: the agent and its address.
struct Sender<'a>(Option<&'a Agent>, Client);

impl fmt::Display for Sender<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(agent) => write!(formatter, "{agent} ({})", self.1),
            None => write!(formatter, "{}", self.1),
        }
    }
}

struct Sent<'a>(&'a Flow);

impl fmt::Display for Sent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flow { client, agent, address, protocol, port, .. } = self.0;
        write!(formatter, "{} to {address}", Sender(agent.as_ref(), *client))?;
        listed(formatter, " port ", port.iter())?;
        write!(formatter, " {protocol}")
    }
}

struct Told<'a>(&'a LeaseTold);

impl fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeaseTold { client, agent, name, addresses, openings, seconds } = self.0;
        write!(formatter, "{name} for {}", Sender(agent.as_ref(), *client))?;
        listed(formatter, " = ", addresses.iter())?;
        listed(formatter, " on ", openings.iter())?;
        if *seconds > 0 { write!(formatter, " for {seconds}s") } else { Ok(()) }
    }
}

struct Contained<'a>(&'a ContainerTold);

impl fmt::Display for Contained<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.name.escape_debug())?;
        listed(formatter, " at ", self.0.addresses.iter())
    }
}

/// Who did it, and who started that.
fn asked_by(formatter: &mut fmt::Formatter<'_>, process: &Traced) -> fmt::Result {
    match process {
        Traced::Found(process) => {
            let chain = iter::successors(Some(&**process), |process| process.parent_process.as_deref());
            for (index, process) in chain.enumerate() {
                let said = if process.cmd_line.is_empty() { &process.name } else { &process.cmd_line };
                write!(
                    formatter,
                    "{}{}[{}]",
                    if index == 0 { "; by " } else { " <- " },
                    said.escape_debug(),
                    process.pid
                )?;
            }
            Ok(())
        }
        Traced::Missing(why) => write!(formatter, "; process {}", why.code()),
        Traced::Unasked => Ok(()),
    }
}

struct Asked<'a>(&'a Subject);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { client, agent, name, kind, resolver, search } = self.0;
        write!(formatter, "{} {name} {kind}", Sender(agent.as_ref(), *client))?;
        listed(formatter, ", captured on its way to ", resolver.iter())?;
        formatter.write_str(if *search { ", of a search list" } else { "" })
    }
}

fn by(formatter: &mut fmt::Formatter<'_>, policies: &[PolicyId]) -> fmt::Result {
    listed(formatter, " (policy ", policies.iter())?;
    if policies.is_empty() { Ok(()) } else { formatter.write_str(")") }
}

/// `start`, then the items with commas between them; nothing if there are
/// none.
fn listed(
    formatter: &mut fmt::Formatter<'_>,
    start: &str,
    items: impl Iterator<Item = impl fmt::Display>,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        write!(formatter, "{}{item}", if index == 0 { start } else { ", " })?;
    }
    Ok(())
}
