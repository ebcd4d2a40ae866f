use super::super::line;
use super::super::sample::{Sample, answered, audited, denied, flow, process, session};
use super::*;
use crate::core::config::CatchAllForbid;
use crate::core::decision::{Denial, Reason};
use crate::core::event::Event;
use crate::core::policy::Sources;
use crate::core::query::{Port, PortRange};

const DEFAULT: (Reason, &[&str]) = (Reason::NotPermitted, &[]);

fn policy(text: &str) -> Policy {
    let policies = vec![("p.cedar".to_owned(), text.to_owned())];
    Policy::load(&Sources { policies, ..Sources::default() }, CatchAllForbid::DefaultDeny).unwrap().policy
}

fn permit(host: &str) -> String {
    format!(
        "@id(\"{host}\") permit(principal == Agent::\"claude\", action == Action::\"net.connect\", \
         resource == Resource::\"{host}\");\n"
    )
}

fn replayed(sample: &Sample, after: &str, before: Option<&str>) -> Outcome {
    let (after, before) = (policy(after), before.map(policy));
    let mut replay = Replay::new(&after, before.as_ref());
    for record in sample.lines().lines().filter_map(line::read) {
        replay.add(&record);
    }
    replay.outcome()
}

fn told(outcome: &Outcome) -> Vec<(Change, String, Vec<String>, u64)> {
    let told = |difference: &Difference| {
        let Difference { change, target, ports, questions, .. } = difference.clone();
        (change, target, ports, questions.count)
    };
    outcome.differences.iter().map(told).collect()
}

fn two_questions() -> Sample {
    let mut sample = Sample::default();
    sample.after(1, &answered("claude", "api.example.com", 443, None));
    sample.after(1, &denied("claude", "new.example.com", "A", DEFAULT, process(&["x"])));
    sample
}

#[test]
fn a_policy_that_decides_as_the_journal_says_changes_nothing() {
    let sample = two_questions();
    let mut tcp = permit("api.example.com:443");
    tcp = tcp.replace(");\n", ") when { context.protocol == Protocol::\"tcp\" };\n");
    let outcome = replayed(&sample, &tcp, None);
    assert_eq!((outcome.compared, told(&outcome)), (2, vec![]));
}

#[test]
fn what_changes_is_told_with_its_direction_ports_and_policies() {
    let sample = two_questions();
    let outcome = replayed(&sample, &permit("new.example.com:8443"), Some(&permit("api.example.com:443")));
    let ports = |number: u16| vec![format!("{number}/tcp"), format!("{number}/udp")];
    assert_eq!(
        told(&outcome),
        [
            (Change::NewlyPermitted, "new.example.com".to_owned(), ports(8443), 1),
            (Change::NewlyDenied, "api.example.com".to_owned(), ports(443), 1),
        ]
    );
    let [permitted, denied] = &outcome.differences[..] else { panic!("two") };
    assert!(permitted.before.is_empty() && permitted.after.contains("new.example.com:8443"));
    assert!(denied.after.is_empty() && denied.before.contains("api.example.com:443"));
}

#[test]
fn one_port_more_of_a_permitted_name_is_a_difference() {
    let sample = two_questions();
    let old = permit("api.example.com:443");
    let outcome = replayed(&sample, &format!("{old}{}", permit("api.example.com:22")), Some(&old));
    let ports = vec!["22/tcp".to_owned(), "22/udp".to_owned()];
    assert_eq!(told(&outcome), [(Change::NewlyPermitted, "api.example.com".to_owned(), ports, 1)]);
}

#[test]
fn what_audit_mode_let_pass_had_been_denied() {
    let mut sample = Sample::default();
    sample.after(1, &audited("claude", "api.example.com"));
    let outcome = replayed(&sample, &permit("api.example.com:443"), None);
    assert_eq!((outcome.newly_permitted, outcome.newly_denied), (1, 0));
    assert_eq!(told(&replayed(&sample, "", None)), []);
}

#[test]
fn what_the_policy_did_not_decide_is_counted_and_not_compared() {
    let mut sample = Sample::default();
    sample.after(1, &denied("claude", "a.example.com", "A", (Reason::TooManyQueries, &[]), process(&["x"])));
    sample.after(1, &denied("", "a.example.com", "A", (Reason::UnknownClient, &[]), process(&["x"])));
    sample.after(1, &denied("claude", "192.0.2.7", "A", DEFAULT, process(&["x"])));
    let outcome = replayed(&sample, &permit("a.example.com:443"), None);
    assert_eq!((outcome.compared, outcome.newly_permitted), (0, 0));
    assert_eq!(outcome.skipped.iter().map(|(_, count)| count).sum::<u64>(), 3);
}

#[test]
fn connections_to_denied_names_and_dropped_packets_are_questions_too() {
    let mut sample = Sample::default();
    sample.after(
        1,
        &Event::ConnectDenied {
            flow: flow("claude", "198.18.0.7", 8443),
            hostname: "new.example.com".into(),
            denial: Denial::by_default(Reason::NotPermitted),
            process: process(&["x"]),
        },
    );
    let dropped = |hostnames: &[&str], port| Event::PacketDropped {
        flow: flow("claude", "203.0.113.66", port),
        flags: "S".into(),
        hostnames: hostnames.iter().map(|name| (*name).to_owned()).collect(),
        hostnames_of_others: Vec::new(),
        process: process(&["x"]),
    };
    sample.after(1, &dropped(&["api.example.com"], 22));
    sample.after(1, &dropped(&[], 5432));
    let new = ["new.example.com:8443", "api.example.com:22", "203.0.113.66:5432"].map(permit).concat();
    let outcome = replayed(&sample, &new, Some(""));
    let mut targets: Vec<_> = told(&outcome).into_iter().map(|(_, target, ..)| target).collect();
    targets.sort();
    assert_eq!(targets, ["203.0.113.66:5432/tcp", "api.example.com:22/tcp", "new.example.com:8443/tcp"]);
    // Whether a lease had run out, the journal alone does not tell.
    assert_eq!(replayed(&sample, &new, None).compared, 1);
}

#[test]
fn the_recorded_addresses_and_times_decide() {
    let mut sample = Sample::default();
    sample.after(1, &answered("claude", "api.example.com", 443, None));
    let near = permit("api.example.com:443")
        .replace(");\n", ") when { context has ip && context.ip.isInRange(ip(\"203.0.113.0/24\")) };\n");
    let far = near.replace("203.0.113.0/24", "198.51.100.0/24");
    assert_eq!(told(&replayed(&sample, &near, Some(&permit("api.example.com:443")))), []);
    assert_eq!(replayed(&sample, &far, Some(&near)).newly_denied, 1);
    let night =
        permit("api.example.com:443").replace(");\n", ") when { context.now < datetime(\"2026-11-23T03:00:00Z\") };\n");
    let day = night.replace("<", ">");
    assert_eq!(replayed(&sample, &day, Some(&night)).newly_denied, 1);
}

#[test]
fn a_whole_session_is_put_to_a_policy_without_a_stumble() {
    let policy = policy(include_str!("../../../../policies/story/story.cedar"));
    let mut replay = Replay::new(&policy, Some(&policy));
    for record in session().lines().filter_map(line::read) {
        replay.add(&record);
    }
    let outcome = replay.outcome();
    assert!(outcome.compared > 70, "{outcome:?}");
    assert_eq!((outcome.newly_permitted, outcome.newly_denied), (0, 0));
}

#[test]
fn ports_are_taken_away_from_ports() {
    let run = |first, last| Opening {
        protocol: Protocol::Tcp,
        ports: PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap(),
    };
    let told = |more: &[Opening], less: &[Opening]| {
        beyond(more, less).iter().map(|opening| opening.ports.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(&[run(1, 65535)], &[run(443, 443), run(80, 90)]), "1-79 91-442 444-65535");
    assert_eq!(told(&[run(80, 90)], &[run(85, 65535), run(1, 79)]), "80-84");
    assert_eq!(told(&[run(80, 90)], &[run(1, 65535)]), "");
    assert_eq!(told(&[run(80, 90), run(99, 99)], &[]), "80-90 99");
    assert_eq!(told(&[run(65535, 65535)], &[run(1, 65534)]), "65535");
    let udp = Opening { protocol: Protocol::Udp, ..run(80, 90) };
    assert_eq!(told(&[run(80, 90)], &[udp]), "80-90");
}
