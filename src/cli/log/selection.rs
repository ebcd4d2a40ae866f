//! Which events are shown.

use jiff::{SpanRelativeTo, Timestamp, Unit};

use crate::core::event::Event;
use crate::core::evidence::record::Record;
use crate::core::problem::nearest;
use crate::core::time::WallTime;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(super) struct Selection {
    agent: Option<String>,
    kinds: Vec<String>,
    since: Option<Timestamp>,
}

impl Selection {
    pub(super) const fn new(agent: Option<String>, kinds: Vec<String>, since: Option<Timestamp>) -> Self {
        Self { agent, kinds, since }
    }

    /// Whether `record` is shown. That events are missing is always shown.
    pub(super) fn takes(&self, record: &Record) -> bool {
        if record.event == "stream.lost" {
            return true;
        }
        let is_kind = |kind: &String| {
            record.event.strip_prefix(kind.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.kinds.is_empty() || self.kinds.iter().any(is_kind))
            && self.agent.as_ref().is_none_or(|agent| record.agent.as_ref() == Some(agent))
            && self.since.is_none_or(|since| record.time >= since)
    }
}

/// A kind of event, or the first word of some.
pub(super) fn kind(text: &str) -> Result<String, String> {
    let groups = Event::CODES.iter().filter_map(|code| Some(code.split_once('.')?.0));
    let known = || Event::CODES.into_iter().chain(groups.clone());
    if known().any(|kind| kind == text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, known()) {
        Some(near) => format!("there is no such event; did you mean `{near}`?"),
        None => format!("there is no such event; there are: {}", Event::CODES.join(", ")),
    })
}

/// A time, or how long ago it was.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    since_from(text, Timestamp::now())
}

fn since_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<WallTime>() {
        return Timestamp::from_millisecond(time.0).map_err(|error| error.to_string());
    }
    let help = "write how long ago, `10m`, `2h 30m`, `3d`, or a time such as 2026-11-23T09:00:00Z";
    let span: jiff::Span = text.parse().map_err(|_| help.to_owned())?;
    let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| help.to_owned())?;
    let ago = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| help.to_owned())?;
    if ago.is_negative() {
        return Err(help.to_owned());
    }
    now.checked_sub(ago).map_err(|_| help.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: &str, agent: Option<&str>, time: &str) -> Record {
        let time = time.parse().unwrap();
        Record { event: event.into(), agent: agent.map(Into::into), time, ..Record::default() }
    }

    #[test]
    fn a_selection_is_by_agent_kind_and_time() {
        let since = "2026-01-01T09:00:00Z".parse().unwrap();
        let kinds = vec!["query.denied".to_owned(), "packet".to_owned()];
        let selection = Selection::new(Some("claude".into()), kinds, Some(since));
        let takes = |event, agent, time| selection.takes(&record(event, agent, time));
        let (claude, now) = (Some("claude"), "2026-01-01T09:00:00Z");
        assert!(takes("query.denied", claude, now) && takes("packet.dropped", claude, now));
        assert!(!takes("query.answered", claude, now) && !takes("packets.lost", claude, now));
        assert!(!takes("query.denied", Some("ci"), now) && !takes("query.denied", None, now));
        assert!(!takes("query.denied", claude, "2026-01-01T08:59:59.999999Z"));
        assert!(takes("stream.lost", None, now), "who selects has to know that something is missing");
    }

    #[test]
    fn a_misspelt_kind_is_told_with_the_nearest() {
        assert_eq!(kind("query").unwrap(), "query");
        assert!(kind("query.deneid").unwrap_err().contains("`query.denied`"));
        assert!(kind("xyzzy").unwrap_err().contains("daemon.stopped"));
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let now: Timestamp = "2026-01-04T09:00:00Z".parse().unwrap();
        for (text, time) in [
            ("10m", "2026-01-04T08:50:00Z"),
            ("2h 30m", "2026-01-04T06:30:00Z"),
            ("3d", "2026-01-01T09:00:00Z"),
            ("2026-01-02T10:00:00+01:00", "2026-01-02T09:00:00Z"),
        ] {
            assert_eq!(since_from(text, now), Ok(time.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "-10m", "10", "2026-01-02", "999999y"] {
            assert!(since_from(text, now).is_err(), "{text}");
        }
    }
}
