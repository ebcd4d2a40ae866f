//! What an event's line promises.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::samples;
use super::*;
use crate::core::cap::Cap;
use crate::core::decision::Reason;
use crate::core::process::Untraced;

const REFERENCE: &str = include_str!("../../../docs/EVENTS.md");

/// The place of each kind in [`samples::all`]. A kind that is added has to be
/// given one here, and then a sample.
fn place(event: &Event) -> usize {
    match event {
        Event::QueryAnswered { .. } => 0,
        Event::QueryEmpty { .. } => 1,
        Event::QueryDenied { denial: Denial { reason: Reason::UnknownClient, .. }, .. } => 3,
        Event::QueryDenied { .. } => 2,
        Event::QueryFailed { .. } => 4,
        Event::LeaseOpened(_) => 5,
        Event::LeaseRefreshed(_) => 6,
        Event::LeaseExpired(_) => 7,
        Event::LeaseRevoked(_) => 8,
        Event::ConnectDenied { .. } => 9,
        Event::PacketDropped { .. } => 10,
        Event::PacketsSummarised { .. } => 11,
        Event::PacketsLost { .. } => 12,
        Event::TrafficCounted { .. } => 13,
        Event::AuditMode { .. } => 14,
        Event::PolicyLoaded { .. } => 15,
        Event::PolicyRefused { .. } => 16,
        Event::PolicyRevoked { .. } => 17,
        Event::ConfigLoaded { .. } => 18,
        Event::ConfigRefused { .. } => 19,
        Event::OperatorRevoked { .. } => 20,
        Event::WallUp { .. } => 21,
        Event::TableAdopted { .. } => 22,
        Event::TableRestored { .. } => 23,
        Event::TableRepaired { .. } => 24,
        Event::JournalLost { .. } => 25,
        Event::StreamLost { .. } => 26,
        Event::CapReached(_) => 27,
        Event::Stopped { .. } => 28,
        Event::ContainerKnown(_) => 29,
        Event::ContainerGone(_) => 30,
        Event::ContainerUnknown { .. } => 31,
        Event::EngineLost { .. } => 32,
        Event::EngineFound { .. } => 33,
    }
}

fn parsed(event: &Event) -> serde_json::Map<String, Value> {
    serde_json::from_str(&samples::line(event)).unwrap()
}

#[test]
fn every_kind_of_event_has_a_code_and_a_sample() {
    let samples = samples::all();
    assert_eq!(samples.iter().map(place).collect::<Vec<_>>(), (0..samples.len()).collect::<Vec<_>>());
    assert_eq!(samples.iter().map(Event::code).collect::<Vec<_>>(), Event::CODES);
}

#[test]
fn a_line_begins_with_time_id_and_version_and_is_flat_but_for_the_process() {
    for event in samples::all() {
        let fields = parsed(&event);
        let first: Vec<_> = fields.keys().take(4).map(String::as_str).collect();
        if event.code() == "stream.lost" {
            assert_eq!(first, ["time", "version", "event", "count"], "it is told to one reader alone");
        } else {
            assert_eq!(first, ["time", "id", "version", "event"]);
        }
        assert_eq!(fields["time"].as_str().unwrap().len(), "2026-01-01T00:00:00.123456Z".len());
        assert_eq!(fields["version"], VERSION);
        let objects: Vec<_> = fields.iter().filter(|(_, value)| value.is_object()).map(|(name, _)| name).collect();
        assert!(objects.iter().all(|name| ["process", "would_deny"].contains(&name.as_str())), "{objects:?}");
    }
}

#[test]
fn ids_are_ordered_as_texts_over_events_and_starts() {
    let (first, second) = (Run::new(0x6955_0000, u32::MAX), Run::new(0x6955_0001, 0));
    let ids = [first.event(1), first.event(9), first.event(10), first.event(16), second.event(1), second.event(2)];
    let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
    assert!(texts.is_sorted() && texts.iter().collect::<BTreeSet<_>>().len() == ids.len(), "{texts:?}");
    assert_eq!(texts[0], "69550000ffffffff-0000000001");
    assert_ne!(first.event(1), Run::new(0x6955_0000, 7).event(1), "two that began in one second");
}

/// The reference: for each event of [`Event::CODES`], the names of its fields
/// and its example.
fn reference() -> BTreeMap<String, (BTreeSet<String>, String)> {
    let sections = REFERENCE.split("\n### `").skip(1).map(|section| {
        let (code, body) = section.split("\n## ").next().unwrap().split_once('`').unwrap();
        let rows = body.lines().filter_map(|line| line.strip_prefix("| `"));
        let names: BTreeSet<_> = rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect();
        let example = body.split("```json\n").nth(1).unwrap_or_else(|| panic!("{code} has no example"));
        (code.to_owned(), (names, example.split_once("\n```").unwrap().0.to_owned()))
    });
    sections.collect()
}

#[test]
fn the_reference_has_every_event_and_every_field_and_no_other() {
    let reference = reference();
    let codes: BTreeSet<_> = Event::CODES.iter().map(ToString::to_string).collect();
    assert_eq!(reference.keys().cloned().collect::<BTreeSet<_>>(), codes);
    for event in samples::all() {
        let (documented, example) = &reference[event.code()];
        let common = ["time", "id", "version", "event"];
        let others = samples::more().into_iter().filter(|other| other.code() == event.code());
        let lines = std::iter::once(event.clone()).chain(others).map(|event| parsed(&event));
        let names = lines.flat_map(|fields| fields.keys().cloned().collect::<Vec<_>>());
        let written: BTreeSet<_> = names.filter(|name| !common.contains(&name.as_str())).collect();
        assert_eq!(*documented, written, "fields of {}", event.code());
        assert_eq!(*example, samples::line(&event), "the example of {}", event.code());
    }
}

/// What the table below this heading of the reference explains.
fn explained(heading: &str) -> BTreeSet<String> {
    let section = REFERENCE.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect()
}

#[test]
fn the_reference_explains_every_word_and_every_part_of_a_process_and_no_other() {
    let words = |codes: &[&str]| codes.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let forked = samples::more().into_iter().find_map(|event| match event {
        Event::QueryDenied { process: Traced::Found(process), .. } => Some(process),
        _ => None,
    });
    let process = serde_json::to_value(&*forked.unwrap()).unwrap();
    assert_eq!(explained("A process"), process.as_object().unwrap().keys().cloned().collect());
    assert_eq!(explained("Missing processes"), words(&Untraced::ALL.map(Untraced::code)));
    assert_eq!(explained("Reasons"), words(&Reason::ALL.map(Reason::code)));
    assert_eq!(explained("Failures"), words(&Failure::ALL.map(Failure::code)));
    assert_eq!(explained("Caps"), words(&Cap::ALL.map(Cap::code)));
}
