//! What the mapping to OCSF promises.

use super::*;
use crate::core::event::samples;

/// Every value at the ends of `value`, as text.
fn ends(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| ends(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| ends(field, found)),
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

fn mapped(code: &str) -> Value {
    let sample = samples::all().into_iter().find(|event| event.code() == code).unwrap();
    event(&samples::line(&sample)).unwrap()
}

#[test]
fn every_value_of_every_field_of_every_event_appears() {
    for sample in samples::all().into_iter().chain(samples::more()) {
        let line = samples::line(&sample);
        let (mut told, mut mapped) = (Vec::new(), Vec::new());
        let mut fields: Map<String, Value> = serde_json::from_str(&line).unwrap();
        // These two become a number of OCSF's.
        if fields.remove("tcp_flags").is_some() {
            told.push("2".into());
        }
        if fields.remove("no_such_name").is_some() {
            told.push("NXDomain".into());
        }
        ends(&Value::Object(fields), &mut told);
        ends(&event(&line).unwrap(), &mut mapped);
        for value in told {
            let place = mapped.iter().position(|known| *known == value);
            mapped.swap_remove(place.unwrap_or_else(|| panic!("{value} of {line} is dropped: {mapped:?}")));
        }
    }
}

#[test]
fn what_a_newer_release_adds_is_kept_as_unmapped() {
    let event = event(r#"{"event":"moon.risen","phase":"full","hostname":"a.example.com"}"#).unwrap();
    assert_eq!((&event["class_uid"], &event["type_uid"]), (&0.into(), &99.into()), "{event}");
    assert_eq!(event["unmapped"], json!({"phase": "full", "hostname": "a.example.com"}));
}

#[test]
fn a_denied_question_is_dns_activity_with_its_process_and_policy() {
    let event = mapped("query.denied");
    for (path, expected) in [
        ("/class_uid", json!(4003)),
        ("/category_uid", json!(4)),
        ("/type_uid", json!(400_306)),
        ("/time", json!(1_767_258_003_614_u64)),
        ("/action_id", json!(2)),
        ("/disposition_id", json!(2)),
        ("/query/hostname", json!("telemetry.example.com")),
        ("/query/type", json!("A")),
        ("/answers/0/rdata", json!("198.18.0.7")),
        ("/src_endpoint/ip", json!("10.77.0.2")),
        ("/actor/user/name", json!("claude")),
        ("/actor/process/cmd_line", json!("node postinstall.js")),
        ("/actor/process/parent_process/cmd_line", json!("npm install left-pad")),
        ("/actor/process/user/name", json!("agent")),
        ("/policy/uid", json!("no-telemetry")),
        ("/status_detail", json!("forbidden")),
        ("/metadata/event_code", json!("query.denied")),
    ] {
        assert_eq!(event.pointer(path), Some(&expected), "{path}: {event}");
    }
    assert_eq!(event.get("unmapped"), None, "OCSF has a term for all of it: {event}");
}

#[test]
fn a_dropped_packet_is_network_activity_with_both_ends() {
    let event = mapped("packet.dropped");
    for (path, expected) in [
        ("/type_uid", json!(400_105)),
        ("/disposition_id", json!(6)),
        ("/src_endpoint/port", json!(40514)),
        ("/dst_endpoint/ip", json!("203.0.113.66")),
        ("/dst_endpoint/port", json!(443)),
        ("/connection_info/protocol_num", json!(6)),
        ("/connection_info/tcp_flags", json!(2)),
    ] {
        assert_eq!(event.pointer(path), Some(&expected), "{path}: {event}");
    }
    assert_eq!(tcp_flags("SA"), Some(0x12));
    assert_eq!(tcp_flags("S?"), None);
}
