//! A line of a journal in words, for `cedarwall log`.

use std::fmt::{self, Display, Write};
use std::iter;

use super::record::Record;
use crate::core::printable::Printable;
use crate::core::process::Process;

/// What `record` says, in one line in which nothing steers a terminal.
pub fn sentence(record: &Record) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, record);
    Printable(&text).to_string()
}

fn write(text: &mut String, record: &Record) -> fmt::Result {
    match record.event.as_str() {
        "query.answered" => {
            write!(text, "answered {}", Asked(record))?;
            listed(text, " = ", &record.opened)?;
            listed(text, " on ", &record.ports)?;
            listed(text, ", without ", &record.removed)?;
            seconds(text, record.ttl.map(u64::from))?;
            by(text, &record.policies)?;
            would_deny(text, record)
        }
        "query.empty" => {
            let what = if record.no_such_name == Some(true) { "no such name" } else { "no such record" };
            write!(text, "answered {}: {what}", Asked(record))?;
            by(text, &record.policies)?;
            would_deny(text, record)
        }
        "query.denied" | "client.unknown" => {
            write!(text, "denied {}", Asked(record))?;
            why(text, record)?;
            listed(text, ", sent to ", record.sinkhole)?;
            whose(text, record)
        }
        "query.failed" => {
            write!(text, "failed {}", Asked(record))?;
            why(text, record)
        }
        "lease.opened" | "lease.refreshed" | "lease.expired" | "lease.revoked" => {
            let (_, turn) = record.event.split_once('.').unwrap_or_default();
            write!(text, "{turn} {} for {}", or_dash(&record.hostname), Sender(record))?;
            listed(text, " = ", &record.opened)?;
            listed(text, " on ", &record.ports)?;
            seconds(text, record.seconds)
        }
        "connect.denied" => {
            write!(text, "denied {} connecting to {}", Sender(record), or_dash(&record.hostname))?;
            listed(text, ":", record.port)?;
            listed(text, "/", &record.protocol)?;
            why(text, record)?;
            whose(text, record)
        }
        "packet.dropped" => {
            write!(text, "dropped {}", Sent(record))?;
            listed(text, " ", &record.tcp_flags)?;
            listed(text, ", an address last answered for ", &record.hostnames)?;
            listed(text, ", and to others for ", &record.hostnames_of_others)?;
            whose(text, record)
        }
        "packets.summarised" => {
            let millis = record.millis.unwrap_or_default();
            write!(text, "dropped {} more packets of {} in {millis} ms", number(record.packets), Sender(record))?;
            if record.address.is_some() { write!(text, ", most of them {}", Sent(record)) } else { Ok(()) }
        }
        "packets.lost" => {
            let times = number(record.count);
            write!(text, "the kernel dropped packets faster than they could be told of, {times} times")
        }
        "traffic.counted" => {
            write!(text, "counted {}", Sent(record))?;
            listed(text, ", known as ", &record.hostnames)?;
            let Record { connections, packets, bytes, .. } = record;
            let (connections, packets, bytes) = (number(*connections), number(*packets), number(*bytes));
            write!(text, ": {connections} connections, {packets} packets, {bytes} octets")
        }
        "audit.mode" => {
            write!(text, "AUDIT MODE: nothing is denied; {} questions would have been", number(record.count))
        }
        "policy.loaded" => {
            write!(text, "policy {} is in force: {} policies", or_dash(&record.path), number(record.count))?;
            listed(text, "; ", &record.warnings)
        }
        "config.loaded" => {
            write!(text, "configuration {} is in force", or_dash(&record.path))?;
            listed(text, "; at the next start takes effect: ", &record.waiting)
        }
        "policy.refused" | "config.refused" => {
            let what = if record.event == "policy.refused" { "policy" } else { "configuration" };
            write!(text, "{what} {} is refused, the one in force stays", or_dash(&record.path))?;
            listed(text, ": ", &record.problems)
        }
        "policy.revoked" | "operator.revoked" => {
            match &record.agent {
                Some(agent) => write!(text, "closed by hand: {agent}'s leases")?,
                None => write!(text, "the policy closed what it no longer permits")?,
            }
            listed(text, " of ", &record.hostname)?;
            let Record { leases, count, flows, .. } = record;
            write!(text, ": {} names, {} elements, {} flows", number(*leases), number(*count), number(*flows))
        }
        "wall.up" => {
            write!(text, "the wall is up: {}, table {}", or_dash(&record.mode), or_dash(&record.table))?;
            listed(text, ", answering on ", &record.listen)
        }
        "table.adopted" => {
            let Record { leases, statics, unexplained, flows, .. } = record;
            write!(text, "table {} was taken over with ", or_dash(&record.table))?;
            write!(text, "{} leases and {} addresses of the policy; ", number(*leases), number(*statics))?;
            let (unexplained, flows) = (number(*unexplained), number(*flows));
            write!(text, "nothing explained {unexplained} elements and {flows} flows, which are ended")
        }
        "table.restored" => {
            let (table, leases) = (or_dash(&record.table), number(record.count));
            write!(text, "table {table} was put back with {leases} leases")
        }
        "table.repaired" => {
            let Record { elements_removed, elements_restored, flows, .. } = record;
            write!(text, "somebody had changed table {}: ", or_dash(&record.table))?;
            let (removed, restored) = (number(*elements_removed), number(*elements_restored));
            write!(text, "{removed} elements taken out, {restored} put back, {} flows ended", number(*flows))
        }
        "journal.lost" => write!(text, "{} lines of the journal were lost", number(record.count)),
        "stream.lost" => write!(text, "{} lines came too fast to be shown", number(record.count)),
        "cap.reached" => {
            match record.client {
                Some(_) => write!(text, "{}", Sender(record))?,
                None => text.write_str("strangers")?,
            }
            write!(text, " met the cap {} {} times", or_dash(&record.cap), number(record.count))
        }
        "daemon.stopped" => write!(text, "stopped by {}; the default drop stands", or_dash(&record.cause)),
        "container.known" => {
            write!(text, "container {} is known", Contained(record))?;
            listed(text, " as ", &record.agent)
        }
        "container.gone" => write!(text, "container {} is gone, and what was open for it closed", Contained(record)),
        "container.unknown" => {
            write!(text, "container {} acts as nobody", Contained(record))?;
            listed(text, ": ", &record.problems)
        }
        "engine.lost" => {
            write!(text, "the engine at {} does not answer", or_dash(&record.path))?;
            listed(text, ": ", &record.problems)?;
            text.write_str("; the containers that are known stay, and nobody new is")
        }
        "engine.found" => {
            let (path, containers) = (or_dash(&record.path), number(record.count));
            write!(text, "the engine at {path} answers: {containers} containers on walled networks")
        }
        // A newer release's; its line has the rest.
        unknown => {
            text.write_str(unknown)?;
            listed(text, " ", &record.agent)?;
            listed(text, " ", record.client)?;
            listed(text, " ", &record.hostname)
        }
    }
}

/// Who it was: the agent and its address.
struct Sender<'a>(&'a Record);

impl Display for Sender<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.agent, self.0.client) {
            (Some(agent), Some(client)) => write!(formatter, "{agent} ({client})"),
            (Some(agent), None) => formatter.write_str(agent),
            (None, Some(client)) => client.fmt(formatter),
            (None, None) => formatter.write_str("-"),
        }
    }
}

struct Asked<'a>(&'a Record);

impl Display for Asked<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { hostname, kind, resolver, search, .. } = self.0;
        write!(formatter, "{} {} {}", Sender(self.0), or_dash(hostname), or_dash(kind))?;
        listed(formatter, ", captured on its way to ", resolver)?;
        formatter.write_str(if *search == Some(true) { ", of a search list" } else { "" })
    }
}

struct Sent<'a>(&'a Record);

impl Display for Sent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} to ", Sender(self.0))?;
        listed(formatter, "", self.0.address)?;
        listed(formatter, " port ", self.0.port)?;
        listed(formatter, " ", &self.0.protocol)
    }
}

struct Contained<'a>(&'a Record);

impl Display for Contained<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(or_dash(&self.0.container))?;
        listed(formatter, " at ", &self.0.addresses)
    }
}

/// Why, and by which policies.
fn why(text: &mut String, record: &Record) -> fmt::Result {
    if let Some(reason) = &record.reason {
        write!(text, ": {}", reason.replace('_', " "))?;
    }
    by(text, &record.policies)
}

fn by(text: &mut String, policies: &[String]) -> fmt::Result {
    listed(text, " (policy ", policies)?;
    if policies.is_empty() { Ok(()) } else { text.write_char(')') }
}

fn would_deny(text: &mut String, record: &Record) -> fmt::Result {
    let Some(would_deny) = &record.would_deny else { return Ok(()) };
    write!(text, "; would deny: {}", would_deny.reason.replace('_', " "))?;
    by(text, &would_deny.policies)
}

/// Which process it was, and what had started that.
fn whose(text: &mut String, record: &Record) -> fmt::Result {
    let chain = iter::successors(record.process.as_ref(), |process| process.parent_process.as_deref());
    for (index, Process { pid, name, cmd_line, .. }) in chain.enumerate() {
        let said = if cmd_line.is_empty() { name } else { cmd_line };
        write!(text, "{}{said}[{pid}]", if index == 0 { "; by " } else { " <- " })?;
    }
    listed(text, "; process ", &record.process_missing)
}

fn seconds(text: &mut String, seconds: Option<u64>) -> fmt::Result {
    seconds.map_or(Ok(()), |seconds| write!(text, " for {seconds}s"))
}

/// `start`, then the items with commas between them; nothing if there are
/// none.
fn listed(text: &mut dyn Write, start: &str, items: impl IntoIterator<Item = impl Display>) -> fmt::Result {
    for (index, item) in items.into_iter().enumerate() {
        write!(text, "{}{item}", if index == 0 { start } else { ", " })?;
    }
    Ok(())
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

fn number(number: Option<u64>) -> u64 {
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::samples;
    use crate::core::printable::steers;

    fn told(line: &str) -> String {
        sentence(&Record::parse(line).unwrap())
    }

    #[test]
    fn a_denial_names_who_what_why_and_the_process_with_what_started_it() {
        let denied = &samples::all()[2];
        assert_eq!(
            told(&samples::line(denied)),
            "denied claude (10.77.0.2) telemetry.example.com A: forbidden (policy no-telemetry), \
             sent to 198.18.0.7; by node postinstall.js[4117] <- npm install left-pad[4102]"
        );
    }

    #[test]
    fn every_event_has_words_of_its_own() {
        for event in samples::all() {
            let text = told(&samples::line(&event));
            assert!(!text.starts_with(event.code()) && text.len() > 20 && !text.contains(" - "), "{text}");
        }
        assert_eq!(told(r#"{"event":"moon.risen","agent":"claude"}"#), "moon.risen claude");
    }

    #[test]
    fn what_others_wrote_cannot_steer_a_terminal() {
        let text = told(
            r#"{"event":"query.denied","hostname":"\u001b[2J\u202ea","reason":"x\ty","process":{"pid":1,"name":"\u009b31m","uid":0}}"#,
        );
        assert!(!text.chars().any(steers), "{text:?}");
        assert!(text.contains("\\u{1b}[2J\\u{202e}a"), "{text}");
    }
}
