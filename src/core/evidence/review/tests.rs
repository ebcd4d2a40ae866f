use proptest::prelude::*;

use super::super::line;
use super::super::sample::{self, Sample, audited, denied, process, session, traffic};
use super::story::Story;
use super::*;
use crate::core::decision::Reason;
use crate::core::event::Event;
use crate::core::evidence::remedy::Remedy;

fn story(lines: &str) -> Story {
    let mut review = Review::default();
    for line in lines.lines() {
        match line::read(line) {
            Some(record) => review.add(&record),
            None => review.add_unreadable(),
        }
    }
    review.story()
}

#[test]
fn the_story_says_which_script_asked_for_the_telemetry_host() {
    let story = story(&session());
    let claude = story.agents.iter().find(|agent| agent.agent.as_deref() == Some("claude")).unwrap();
    let telemetry = claude.denied.iter().find(|denied| denied.hostname == "telemetry.example.com").unwrap();
    assert_eq!((telemetry.questions.count, telemetry.connections), (4, 1));
    assert_eq!(telemetry.types, ["A", "AAAA"]);
    assert_eq!(telemetry.ports, ["443/tcp"]);
    let (actor, count) = &telemetry.actors[0];
    assert_eq!(*count, 5);
    assert!(actor.to_string().starts_with("node postinstall.js <- sh -c node postinstall.js <- npm install left-pad"));
    let Remedy::Permit { cedar, port_assumed: false } = &telemetry.remedy else { panic!("{:?}", telemetry.remedy) };
    assert!(cedar[0].contains("resource == Resource::\"telemetry.example.com:443\""), "{cedar:?}");
    assert_eq!(claude.denied[0].hostname, "telemetry.example.com", "what is denied most comes first");
}

#[test]
fn the_story_counts_what_was_reached_and_what_befell_the_daemon() {
    let story = story(&session());
    let claude = story.agents.iter().find(|agent| agent.agent.as_deref() == Some("claude")).unwrap();
    let api = claude.reached.iter().find(|reached| reached.host == "api.example.com").unwrap();
    assert_eq!((api.answered, api.connections, api.bytes), (12, 7, 48_213_000));
    assert_eq!((api.ports.as_slice(), api.policies.as_slice()), (&["443/tcp".into()][..], &["claude-api".into()][..]));
    assert_eq!(claude.clients, ["10.77.0.2"]);
    assert_eq!(story.totals.unreadable_lines, 1);
    let told: Vec<_> = story.incidents.iter().map(|incident| incident.event.as_str()).collect();
    for event in ["policy.refused", "journal.lost", "cap.reached", "daemon.stopped", "wall.up", "policy.loaded"] {
        assert!(told.contains(&event), "{event}: {told:?}");
    }
    assert_eq!(told[0], "policy.refused", "the gravest first");
    let lost = story.incidents.iter().find(|incident| incident.event == "journal.lost").unwrap();
    assert!(lost.told.starts_with("3 lines of the journal were lost"), "{}", lost.told);
    let in_line: u64 = story.timeline.iter().map(|slot| slot.denied).sum();
    let of_clients = story.totals.denied + story.totals.connections_denied + story.totals.packets_dropped;
    assert_eq!(in_line, of_clients);
}

#[test]
fn what_a_search_list_made_is_one_number_and_nothing_else() {
    let default = (Reason::NotPermitted, &[][..]);
    let mut sample = Sample::default();
    let mut event = denied("claude", "api.example.com.corp.example.com", "A", default, process(&["x"]));
    sample.after(1, &event);
    if let Event::QueryDenied { subject, .. } = &mut event {
        subject.search = true;
    }
    for _ in 0..9 {
        sample.after(1, &event);
    }
    let story = story(sample.lines());
    assert_eq!((story.totals.denied, story.totals.denied_search), (1, 9));
    assert_eq!((story.agents[0].denied.len(), story.agents[0].denied[0].questions.count), (1, 1));
    assert_eq!(story.timeline.iter().map(|slot| slot.denied).sum::<u64>(), 1);
}

#[test]
fn what_audit_mode_let_pass_is_told_as_denied_and_as_reached() {
    let mut sample = Sample::default();
    sample.after(1, &audited("claude", "new.example.com"));
    sample.after(1, &traffic("claude", "new.example.com", 8443, 1, 10));
    let story = story(sample.lines());
    let claude = &story.agents[0];
    assert_eq!((story.totals.would_deny, story.totals.denied), (1, 0));
    assert!(claude.denied[0].would && claude.denied[0].ports == ["8443/tcp"], "{claude:?}");
    assert_eq!(claude.reached[0].bytes, 10);
}

#[test]
fn a_flood_of_made_up_names_is_told_by_domain_and_none_is_lost() {
    let mut sample = Sample::default();
    for number in 0..3000 {
        let name = format!("{number}.exfil.example.net");
        sample.after(1, &denied("ci", &name, "A", (Reason::NotPermitted, &[]), process(&["x"])));
    }
    let story = story(sample.lines());
    let ci = &story.agents[0];
    assert_eq!((ci.denied_questions, ci.denied.len()), (3000, 1));
    let folded = &ci.denied[0];
    assert_eq!((folded.hostname.as_str(), folded.names, folded.questions.count), ("example.net", 1000, 1000));
    assert_eq!((ci.denied_below[0].domain.as_str(), ci.denied_below[0].questions.count), ("example.net", 2000));
}

#[test]
fn agents_beyond_the_limit_are_counted() {
    let mut sample = Sample::default();
    for number in 0..50 {
        let agent = format!("agent-{number}");
        sample.after(1, &denied(&agent, "a.example.net", "A", (Reason::NotPermitted, &[]), process(&["x"])));
    }
    let story = story(sample.lines());
    assert_eq!((story.agents.len(), story.more_agents), (AGENTS, 50 - AGENTS as u64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_journal_is_the_end_of_it(fields in proptest::collection::vec(any_line(), 0..20)) {
        let story = story(&fields.concat());
        prop_assert_eq!(story.totals.events + story.totals.unreadable_lines, fields.len() as u64);
        prop_assert!(serde_json::to_string(&story).is_ok());
    }
}

/// A line with fields of any event and of none, with texts of anybody.
pub(in super::super) fn any_line() -> impl Strategy<Value = String> {
    let text = || {
        prop_oneof![
            proptest::sample::select(&sample::HOSTILE[..]).prop_map(str::to_owned),
            any::<String>(),
            "[a-z]{1,3}\\.example\\.(com|net|co\\.uk)",
            Just("not_permitted".to_owned()),
            Just("forbidden".to_owned()),
        ]
    };
    let event = proptest::sample::select(vec![
        "query.answered",
        "query.empty",
        "query.denied",
        "query.failed",
        "client.unknown",
        "lease.opened",
        "lease.expired",
        "connect.denied",
        "packet.dropped",
        "packets.summarised",
        "packets.lost",
        "traffic.counted",
        "audit.mode",
        "policy.refused",
        "cap.reached",
        "journal.lost",
        "daemon.stopped",
        "something.new",
    ]);
    let kind = proptest::sample::select(vec!["A", "AAAA", "TXT", "HTTPS", "TYPE65280", "?"]);
    let agent = prop_oneof![Just(None), text().prop_map(Some), Just(Some("claude".to_owned()))];
    let port = proptest::option::of(any::<u16>());
    let numbers = (any::<u32>(), any::<bool>(), port);
    (event, kind, agent, (text(), text(), text()), numbers).prop_map(
        |(event, kind, agent, (hostname, reason, other), (number, flag, port))| {
            let mut line = serde_json::json!({
                "time": jiff::Timestamp::from_second(i64::from(number)).unwrap_or_default().to_string(),
                "event": event, "client": "10.77.0.2", "hostname": hostname, "type": kind, "reason": reason,
                "policies": [other], "ports": [other, "443/tcp"], "protocol": if flag { "tcp" } else { "udp" },
                "address": "203.0.113.9", "hostnames": [hostname, other], "count": number, "bytes": u64::MAX,
                "connections": u64::MAX, "packets": u64::MAX, "path": other, "cap": other, "opened": ["203.0.113.9"],
                "process": { "pid": 1, "name": other, "uid": 0, "cmd_line": hostname,
                             "parent_process": { "pid": 2, "name": other, "uid": 0 } },
            });
            if let Some(agent) = agent {
                line["agent"] = agent.into();
            }
            if let Some(port) = port {
                line["port"] = port.into();
            }
            if flag {
                line["would_deny"] = serde_json::json!({ "reason": reason, "policies": [other] });
            }
            format!("{line}\n")
        },
    )
}
