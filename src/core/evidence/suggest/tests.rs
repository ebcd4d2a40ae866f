use proptest::prelude::*;

use super::super::line;
use super::super::replay::{Change, Outcome, Replay};
use super::super::review::tests::any_line;
use super::super::sample::{self, KINDS, Sample, answered, audited, denied, process, session, traffic};
use super::*;
use crate::core::decision::Reason;
use crate::core::event::Event;

const DEFAULT: (Reason, &[&str]) = (Reason::NotPermitted, &[]);

fn suggested(lines: &str, choice: Choice) -> Suggested {
    let mut suggestions = Suggestions::new(choice);
    for record in lines.lines().filter_map(line::read) {
        suggestions.add(&record);
    }
    suggestions.suggested(None).unwrap_or_else(|(text, problems)| panic!("{problems:?}\n{text}"))
}

fn named(name: &str) -> Choice {
    Choice { names: [Name::parse(name).unwrap()].into(), ..Choice::default() }
}

fn policy(files: &[&str]) -> Policy {
    let policies = files.iter().enumerate().map(|(index, text)| (format!("{index}.cedar"), (*text).to_owned()));
    let sources = Sources { policies: policies.collect(), ..Sources::default() };
    Policy::load(&sources, CatchAllForbid::DefaultDeny).unwrap().policy
}

fn replayed(lines: &str, after: &Policy, before: &Policy) -> Outcome {
    let mut replay = Replay::new(after, Some(before));
    for record in lines.lines().filter_map(line::read) {
        replay.add(&record);
    }
    replay.outcome()
}

#[test]
fn a_denied_name_is_suggested_with_its_port_and_who_asked() {
    let Suggested { text, policies, warnings } = suggested(&session(), named("telemetry.example.com"));
    assert_eq!((policies, warnings.as_slice()), (1, &[][..]), "{text}");
    assert!(text.contains("@id(\"suggested-claude-telemetry.example.com-443\")"), "{text}");
    assert!(text.contains("resource == Resource::\"telemetry.example.com:443\""), "{text}");
    let flowing = text.replace("\n// ", " ").replace("  ", " ");
    assert!(flowing.contains("asked by node postinstall.js <- sh -c node postinstall.js <- npm install"), "{text}");
    assert!(flowing.contains("denied 5 times, 2026-11-23T02:0"), "{text}");
    assert!(!text.contains("assumed") && !text.contains("example.net"), "{text}");
    assert_eq!(format::formatted("f", &text).unwrap(), text, "it is laid out");
}

#[test]
fn a_port_that_nobody_tried_is_assumed_and_said_to_be() {
    let mut sample = Sample::default();
    sample.after(1, &denied("claude", "a.example.com", "A", DEFAULT, process(&["x"])));
    let text = suggested(sample.lines(), Choice::default()).text;
    assert!(text.contains("a.example.com:443") && text.contains("port 443 is assumed"), "{text}");
}

#[test]
fn what_a_search_list_made_is_not_suggested_and_can_be_replayed() {
    let name = "api.example.com.corp.example.com";
    let mut sample = Sample::default();
    for mut event in [denied("claude", name, "A", DEFAULT, process(&["x"])), audited("claude", name)] {
        if let Event::QueryDenied { subject, .. } | Event::QueryAnswered { subject, .. } = &mut event {
            subject.search = true;
        }
        sample.after(1, &event);
    }
    sample.after(1, &denied("claude", "a.example.net", "A", DEFAULT, process(&["x"])));
    let text = suggested(sample.lines(), Choice::default()).text;
    assert!(text.contains("a.example.net:443") && !text.contains("corp"), "{text}");
    let nothing = policy(&[]);
    let mut replay = Replay::new(&nothing, None);
    sample.lines().lines().filter_map(line::read).for_each(|record| replay.add(&record));
    let outcome = replay.outcome();
    assert_eq!((outcome.compared, outcome.skipped.len(), outcome.newly_permitted), (3, 0, 0), "{outcome:?}");
}

#[test]
fn what_audit_mode_saw_is_suggested_with_the_ports_that_were_used() {
    let mut sample = Sample::default();
    sample.after(1, &audited("claude", "a.example.com"));
    sample.after(1, &traffic("claude", "a.example.com", 8443, 2, 10));
    sample.after(1, &traffic("claude", "a.example.com", 22, 2, 10));
    let Suggested { text, policies, .. } = suggested(sample.lines(), Choice::default());
    assert_eq!(policies, 2, "{text}");
    assert!(text.contains("a.example.com:22\"") && text.contains("a.example.com:8443\""), "{text}");
    assert!(text.contains("would have been denied (audit mode)") && !text.contains(":443\""), "{text}");
}

#[test]
fn no_wildcard_is_suggested_unless_it_is_asked_for() {
    let exact = suggested(&session(), Choice::default()).text;
    assert!(!exact.contains("resource in") && !exact.contains("like"), "{exact}");
    let whole = suggested(&session(), Choice { by_domain: true, ..named("telemetry.example.com") }).text;
    assert!(whole.contains("resource in Domain::\"example.com\""), "{whole}");
    assert!(whole.contains("context.port == 443") && whole.contains("for telemetry.example.com"), "{whole}");
}

#[test]
fn a_public_suffix_is_never_suggested_whole() {
    let mut sample = Sample::default();
    for name in ["me.github.io", "github.io", "co.uk", "localhost"] {
        sample.after(1, &denied("claude", name, "A", DEFAULT, process(&["x"])));
    }
    let Suggested { text, warnings, .. } = suggested(sample.lines(), Choice { by_domain: true, ..Choice::default() });
    assert!(text.contains("in Domain::\"me.github.io\""), "{text}");
    for exact in ["github.io:443", "co.uk:443", "localhost:443"] {
        assert!(text.contains(&format!("== Resource::\"{exact}\"")), "{text}");
    }
    assert_eq!(warnings, []);
}

#[test]
fn what_a_forbid_denied_is_told_and_not_suggested() {
    let mut sample = Sample::default();
    let forbidden = (Reason::Forbidden, &["no-ads"][..]);
    sample.after(1, &denied("claude", "ads.example.org", "A", forbidden, process(&["x"])));
    let Suggested { text, policies, .. } = suggested(sample.lines(), Choice::default());
    assert_eq!(policies, 0, "{text}");
    assert!(text.contains("ads.example.org for claude, once") && text.contains("no-ads"), "{text}");
}

#[test]
fn what_only_a_catch_all_denied_is_suggested_once_it_is_known_to_be_one() {
    let mut sample = Sample::default();
    for policies in [&["nothing-else"][..], &["nothing-else", "no-ads"]] {
        let name = if policies.len() == 1 { "a.example.com" } else { "ads.example.com" };
        sample.after(1, &denied("claude", name, "A", (Reason::Forbidden, policies), process(&["x"])));
    }
    assert_eq!(suggested(sample.lines(), Choice::default()).policies, 0);
    let story = include_str!("../../../../policies/story/story.cedar");
    let catch_alls = policy(&[story]).catch_all_forbids().map(|id| id.as_str().to_owned()).collect();
    let Suggested { text, policies, .. } = suggested(sample.lines(), Choice { catch_alls, ..Choice::default() });
    assert_eq!(policies, 1, "{text}");
    assert!(text.contains("\"a.example.com:443\"") && text.contains("catch_all_forbid = \"default-deny\""), "{text}");
}

#[test]
fn nothing_that_a_journal_says_gets_out_of_a_comment() {
    let Suggested { text, policies, .. } = suggested(&session(), Choice::default());
    let names = ["telemetry.example.com", "example.net"];
    assert_eq!(policies, names.len() + 40, "{text}");
    let code = text.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n");
    for word in ["forbid", "  principal,", "script", "reboot", "//"] {
        assert!(!code.contains(word), "{word}: {code}");
    }
    let unprintable = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
    assert!(!text.contains(unprintable), "{text}");
    // A name of numbers is an address to a policy, and open to all without a question.
    assert!(!text.contains("Resource::\"192.0.2.7"), "{text}");
}

#[test]
fn a_suggestion_changes_just_what_was_chosen() {
    let story = include_str!("../../../../policies/story/story.cedar");
    let mut sample = Sample::default();
    sample.after(1, &answered("claude", "api.example.com", 443, None));
    let lines = format!("{}{}", sample.lines(), session());
    let text = suggested(&lines, named("telemetry.example.com")).text;
    let outcome = replayed(&lines, &policy(&[story, &text]), &policy(&[story]));
    let changed: Vec<_> =
        outcome.differences.iter().map(|difference| (difference.change, difference.target.as_str())).collect();
    assert_eq!(
        changed,
        [
            (Change::NewlyPermitted, "telemetry.example.com"),
            (Change::NewlyPermitted, "telemetry.example.com"),
            (Change::NewlyPermitted, "telemetry.example.com:443/tcp"),
        ]
    );
    assert_eq!((outcome.newly_permitted, outcome.newly_denied), (5, 0));
}

proptest! {
    // Cedar's parser is slow without optimization.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_a_journal_says_what_is_suggested_is_valid(
        lines in proptest::collection::vec(any_line(), 0..12), by_domain in any::<bool>(),
    ) {
        let choice = Choice { by_domain, catch_alls: [sample::HOSTILE[0].to_owned()].into(), ..Choice::default() };
        let Suggested { text, policies, .. } = suggested(&lines.concat(), choice);
        prop_assert!(text.matches("@id(").count() >= policies);
    }

    #[test]
    fn with_all_that_is_suggested_all_that_was_denied_is_permitted_and_nothing_else_changes(
        asked in proptest::collection::vec(("[a-z]{1,2}\\.example\\.(com|co\\.uk)", 0..3usize, any::<bool>()), 1..8),
    ) {
        let mut sample = Sample::default();
        for (name, kind, is_claude) in &asked {
            let agent = if *is_claude { "claude" } else { "ci" };
            sample.after(1, &denied(agent, name, &KINDS[*kind].to_string(), DEFAULT, process(&["x"])));
        }
        let text = suggested(sample.lines(), Choice::default()).text;
        let outcome = replayed(sample.lines(), &policy(&[&text]), &policy(&[""]));
        prop_assert_eq!((outcome.newly_permitted, outcome.newly_denied), (asked.len() as u64, 0));
    }
}
