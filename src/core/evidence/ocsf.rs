//! A line of a journal as an event of the Open Cybersecurity Schema Framework,
//! version 1.8 (<https://schema.ocsf.io/1.8.0>).
//!
//! Each field of a line is taken to where the framework has a term for it;
//! whatever is then left stands in `unmapped` under our own name, so nothing is
//! ever dropped, not even what only a newer release writes.

mod class;

use serde_json::{Map, Value, json};

use self::class::{Class, Outcome};
use super::record::Record;

/// The version of the framework.
const VERSION: &str = "1.8.0";

/// What of OCSF the events use besides their class.
const PROFILES: [&str; 3] = ["security_control", "host", "container"];

/// The event that `line` is, as OCSF has it; `None` where it is no event.
pub fn event(line: &str) -> Option<Value> {
    let record = Record::parse(line)?;
    let left: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut mapping = Mapping { left, event: Map::new() };
    mapping.base(&record);
    match Class::of(&record.event) {
        Class::Dns => mapping.dns(&record),
        Class::Network(_) => mapping.network(),
        Class::Config => mapping.put("device", json!({"type_id": 9, "type": "Firewall", "name": "cedarwall"})),
        Class::Lifecycle(_) => mapping.put("app", product()),
        Class::Error | Class::Other => {}
    }
    Some(mapping.finish())
}

/// An event in the making.
struct Mapping {
    /// What of our line has no place yet.
    left: Map<String, Value>,
    event: Map<String, Value>,
}

impl Mapping {
    /// What every event has.
    fn base(&mut self, record: &Record) {
        let class = Class::of(&record.event);
        let (category, class_uid, class_name) = class.names();
        let (activity_id, activity_name) = class.activity(&record.event);
        let Outcome { severity_id, action_id, disposition_id, status_id } = Outcome::of(record);
        let mut metadata = Map::new();
        metadata.insert("version".into(), VERSION.into());
        metadata.insert("product".into(), product());
        metadata.insert("profiles".into(), json!(PROFILES));
        self.take("event").map(|code| metadata.insert("event_code".into(), code));
        self.take("id").map(|id| metadata.insert("uid".into(), id));
        self.take("time").map(|time| metadata.insert("original_time".into(), time));
        self.take("version").map(|version| metadata.insert("log_version".into(), Value::String(version.to_string())));
        self.put("metadata", metadata);
        self.put("time", record.time.as_millisecond());
        self.put("category_uid", category);
        self.put("class_uid", class_uid);
        self.put("class_name", class_name);
        self.put("activity_id", activity_id);
        self.put("activity_name", activity_name);
        self.put("type_uid", class_uid * 100 + activity_id);
        self.put("severity_id", severity_id);
        self.put("status_id", status_id);
        if let Some(action_id) = action_id {
            self.put("action_id", action_id);
            self.put("disposition_id", disposition_id);
        }
        self.move_to("reason", "status_detail");
        self.move_to("count", "count");
        self.move_to("times", "count");
        self.move_to("duration", "duration");
        self.policy();
        self.actor();
    }

    /// The first policy is the one that OCSF has room for.
    fn policy(&mut self) {
        let Some(Value::Array(policies)) = self.left.get("policies") else { return };
        let Some(first) = policies.first().cloned() else { return };
        if policies.len() == 1 {
            self.take("policies");
        }
        self.put("policy", json!({"uid": first, "is_applied": true}));
    }

    /// The process, and the agent as the user it acts for.
    fn actor(&mut self) {
        let mut actor = Map::new();
        if let Some(agent) = self.take("agent") {
            actor.insert("user".into(), json!({"name": agent, "type_id": 99, "type": "Agent"}));
        }
        if let Some(Value::Object(process)) = self.take("process") {
            actor.insert("process".into(), process_object(process));
        }
        if !actor.is_empty() {
            self.put("actor", actor);
        }
    }

    fn dns(&mut self, record: &Record) {
        self.gather("src_endpoint", &[("client", "ip")]);
        self.gather("dst_endpoint", &[("resolver", "ip")]);
        self.gather("query", &[("hostname", "hostname"), ("type", "type")]);
        let (rcode_id, rcode) = match record.event.as_str() {
            "query.failed" => (2, "ServError"),
            "client.unknown" => (5, "Refused"),
            "query.empty" if record.no_such_name == Some(true) => (3, "NXDomain"),
            // What a denied name gets is a setting, which the line does not
            // know; where it got an address, it got an answer.
            "query.denied" if record.sinkhole.is_none() => (99, "Denied"),
            _ => (0, "NoError"),
        };
        self.put("rcode_id", rcode_id);
        self.put("rcode", rcode);
        if record.event == "query.empty" {
            self.take("no_such_name");
        }
        let addresses = match self.take("opened") {
            Some(Value::Array(opened)) => opened,
            _ => self.take("sinkhole").into_iter().collect(),
        };
        let ttl = self.take("ttl");
        let answers = addresses.into_iter().map(|address| {
            let mut answer = Map::from_iter([("rdata".to_owned(), address)]);
            ttl.clone().map(|ttl| answer.insert("ttl".into(), ttl));
            Value::Object(answer)
        });
        let answers: Vec<_> = answers.collect();
        if answers.is_empty() {
            // It has no answer to stand in.
            ttl.map(|ttl| self.left.insert("ttl".into(), ttl));
        } else {
            self.put("answers", answers);
        }
    }

    fn network(&mut self) {
        self.gather("src_endpoint", &[("client", "ip"), ("source_port", "port")]);
        self.gather("dst_endpoint", &[("address", "ip"), ("port", "port"), ("hostname", "hostname")]);
        self.gather("traffic", &[("packets", "packets"), ("bytes", "bytes")]);
        let mut connection = Map::new();
        if let Some(Value::String(protocol)) = self.take("protocol") {
            let number = protocol_number(&protocol);
            number.map(|number| connection.insert("protocol_num".into(), number.into()));
            connection.insert("protocol_name".into(), protocol.into());
        }
        // Letters that we never write stay as they are.
        let flags = self.left.get("tcp_flags").and_then(Value::as_str).and_then(tcp_flags);
        if let Some(bits) = flags {
            connection.insert("tcp_flags".into(), bits.into());
            self.take("tcp_flags");
        }
        if !connection.is_empty() {
            connection.insert("direction_id".into(), 2.into());
            connection.insert("direction".into(), "Outbound".into());
            self.put("connection_info", connection);
        }
    }

    fn finish(mut self) -> Value {
        if !self.left.is_empty() {
            let left = std::mem::take(&mut self.left);
            self.put("unmapped", left);
        }
        Value::Object(self.event)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.shift_remove(name)
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.event.insert(name.into(), value.into());
    }

    fn move_to(&mut self, ours: &str, theirs: &str) {
        if let Some(value) = self.take(ours) {
            self.put(theirs, value);
        }
    }

    /// Moves `fields` into an object `name`, as far as they are there.
    fn gather(&mut self, name: &str, fields: &[(&str, &str)]) {
        let there = fields.iter().filter_map(|(ours, theirs)| Some(((*theirs).to_owned(), self.take(ours)?)));
        let object: Map<_, _> = there.collect();
        if !object.is_empty() {
            self.put(name, object);
        }
    }
}

fn product() -> Value {
    json!({"name": "Cedarwall", "vendor_name": "Cedarwall", "version": env!("CARGO_PKG_VERSION")})
}

/// A process and those it descends from, in OCSF's terms.
fn process_object(ours: Map<String, Value>) -> Value {
    let mut theirs = Map::new();
    let (mut user, mut unmapped) = (Map::new(), Map::new());
    for (name, value) in ours {
        match (name.as_str(), value) {
            ("pid" | "name" | "path" | "cmd_line", value) => _ = theirs.insert(name, value),
            ("uid", value) => _ = user.insert("uid".into(), Value::String(value.to_string())),
            ("user", value) => _ = user.insert("name".into(), value),
            ("container", value) => _ = theirs.insert(name, json!({"uid": value})),
            ("parent_process", Value::Object(parent)) => _ = theirs.insert(name, process_object(parent)),
            (_, value) => _ = unmapped.insert(name, value),
        }
    }
    if !user.is_empty() {
        theirs.insert("user".into(), user.into());
    }
    if !unmapped.is_empty() {
        theirs.insert("xattributes".into(), unmapped.into());
    }
    Value::Object(theirs)
}

/// IANA's number of a protocol that an event names, or writes as its number.
fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmpv6" => Some(58),
        "sctp" => Some(132),
        number => number.parse().ok(),
    }
}

/// The flags of a TCP header (RFC 9293 section 3.1) of their letters.
fn tcp_flags(letters: &str) -> Option<u16> {
    letters.chars().try_fold(0, |bits, letter| {
        let place = "FSRPAUEC".find(letter)?;
        Some(bits | 1 << place)
    })
}

#[cfg(test)]
mod tests;
