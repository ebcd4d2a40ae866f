//! [`Record`]: one line of a journal, as [`Event`](crate::core::event::Event)
//! wrote it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::process::Process;

/// One event as a journal keeps it. A field that the event does not have is
/// empty; a field that this release does not know is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is documented in the reference of events, docs/EVENTS.md")]
pub struct Record {
    pub time: Timestamp,
    pub id: String,
    pub version: u32,
    pub event: String,
    pub client: Option<IpAddr>,
    pub agent: Option<String>,
    pub hostname: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub resolver: Option<IpAddr>,
    pub search: Option<bool>,
    pub reason: Option<String>,
    pub policies: Vec<String>,
    pub would_deny: Option<WouldDeny>,
    pub opened: Vec<IpAddr>,
    pub removed: Vec<IpAddr>,
    pub ports: Vec<String>,
    pub ttl: Option<u32>,
    pub micros: Option<u64>,
    pub times: Option<u64>,
    pub no_such_name: Option<bool>,
    pub sinkhole: Option<IpAddr>,
    pub process: Option<Process>,
    pub process_missing: Option<String>,
    pub source_port: Option<u16>,
    pub address: Option<IpAddr>,
    pub protocol: Option<String>,
    pub port: Option<u16>,
    pub tcp_flags: Option<String>,
    pub hostnames: Vec<String>,
    pub hostnames_of_others: Vec<String>,
    pub connections: Option<u64>,
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
    #[serde(rename = "duration")]
    pub millis: Option<u64>,
    pub seconds: Option<u64>,
    pub count: Option<u64>,
    pub path: Option<String>,
    pub cap: Option<String>,
    pub cause: Option<String>,
    pub warnings: Vec<String>,
    pub problems: Vec<String>,
    pub waiting: Vec<String>,
    pub elements_removed: Option<u64>,
    pub elements_restored: Option<u64>,
    pub flows: Option<u64>,
    pub leases: Option<u64>,
    pub statics: Option<u64>,
    pub unexplained: Option<u64>,
    pub table: Option<String>,
    pub mode: Option<String>,
    pub listen: Vec<String>,
    pub container: Option<String>,
    pub container_id: Option<String>,
    pub addresses: Vec<IpAddr>,
}

/// What audit mode let through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WouldDeny {
    /// [`Reason::code`](crate::core::decision::Reason::code).
    pub reason: String,
    /// The policies that would have decided.
    pub policies: Vec<String>,
}

impl Record {
    /// Reads one line; `None` where it is no event.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().filter(|record: &Self| !record.event.is_empty())
    }

    /// How many questions it tells of, if it tells of questions.
    pub fn questions(&self) -> u64 {
        self.times.unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::samples;

    #[test]
    fn every_field_of_every_event_is_read_again() {
        for event in samples::all().into_iter().chain(samples::more()) {
            let line = samples::line(&event);
            let record = Record::parse(&line).unwrap_or_else(|| panic!("{line}"));
            let mut again = serde_json::to_value(&record).unwrap();
            // What an event does not have is empty in the record.
            let fields = again.as_object_mut().unwrap();
            fields.retain(|_, value| !value.is_null() && *value != serde_json::json!([]) && *value != "");
            let mut written: serde_json::Value = serde_json::from_str(&line).unwrap();
            written.as_object_mut().unwrap().retain(|_, value| *value != serde_json::json!([]));
            // A record's time is a time; the line's has all six digits.
            assert_eq!(fields.remove("time").is_some(), written.as_object_mut().unwrap().remove("time").is_some());
            assert_eq!(again, written, "{line}");
        }
    }

    #[test]
    fn what_is_no_event_is_none() {
        for line in ["", "nonsense", "[]", "{}", "null", r#"{"event":1}"#, r#"{"event":"","hostname":"a"}"#] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
        let unknown = r#"{"event":"moon.risen","phase":"full"}"#;
        assert_eq!(Record::parse(unknown).unwrap().event, "moon.risen", "a newer release knows more");
    }
}
