//! What a whole policy promises.

mod alike;
mod document;
mod doubts;
mod every_port;
mod folder;
mod hostile;
mod mistakes;
mod names;
mod statics;
mod whole;

use std::fmt::Write;

use proptest::prelude::*;

use super::slice::runs;
use super::*;
use crate::core::decision::Permit;
use crate::core::query::{Agent, Client, RecordKind};

const NOW: WallTime = WallTime(1_700_000_000_123);
const STORY: &str = include_str!("../../../../policies/story/story.cedar");

fn loaded(text: &str, reading: CatchAllForbid) -> Result<Loaded, Vec<Problem>> {
    let sources = Sources { policies: vec![("p.cedar".to_owned(), text.to_owned())], ..Sources::default() };
    Policy::load(&sources, reading)
}

fn policy(text: &str) -> Policy {
    loaded(text, CatchAllForbid::Strict).unwrap_or_else(|problems| panic!("{problems:?}")).policy
}

fn problems(text: &str) -> String {
    let mut all = String::new();
    for problem in loaded(text, CatchAllForbid::Strict).err().unwrap_or_default() {
        writeln!(all, "{problem}").unwrap();
    }
    all
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn query(host: &str, kind: RecordKind) -> Query {
    Query {
        client: Client::new("192.0.2.9".parse().unwrap()),
        addresses: [Client::new("192.0.2.9".parse().unwrap())].into(),
        agent: Agent::parse("claude").unwrap(),
        name: name(host),
        kind,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn permit(policy: &Policy, host: &str) -> Permit {
    match policy.decide(&query(host, RecordKind::A), NOW) {
        Decision::Permit(permit) => permit,
        Decision::Deny(denial) => panic!("{host}: {denial}"),
    }
}

fn denial(policy: &Policy, host: &str) -> Denial {
    match policy.decide(&query(host, RecordKind::A), NOW) {
        Decision::Permit(permit) => panic!("{host}: {permit:?}"),
        Decision::Deny(denial) => denial,
    }
}

fn opened(openings: &[Opening]) -> String {
    openings.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn ids(policies: &[PolicyId]) -> Vec<&str> {
    policies.iter().map(PolicyId::as_str).collect()
}

#[test]
fn the_story_permits_two_hosts_where_the_catch_all_is_read_as_the_default() {
    let loaded = loaded(STORY, CatchAllForbid::DefaultDeny).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    let policy = loaded.policy;
    let permit = permit(&policy, "api.example.com");
    assert_eq!(opened(&permit.openings), "443/tcp 443/udp");
    assert_eq!(ids(&permit.policies), ["claude-api"]);
    assert!(!permit.judges_addresses && permit.valid_for.is_none());
    for host in ["telemetry.example.com", "example.com", "a.api.example.com", "xapi.example.com"] {
        let denial = denial(&policy, host);
        assert_eq!((denial.reason, ids(&denial.policies)), (Reason::NotPermitted, vec!["nothing-else"]));
    }
    assert_eq!(policy.forbids_alias(&query("api.example.com", RecordKind::A), &name("cdn.example.net"), NOW), None);
}

#[test]
fn the_story_denies_everything_where_cedar_is_taken_at_its_word() {
    let loaded = loaded(STORY, CatchAllForbid::Strict).unwrap();
    let warning = loaded.warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(warning.starts_with("p.cedar:25:1: warning: `nothing-else` denies everything"), "{warning}");
    let denial = denial(&loaded.policy, "api.example.com");
    assert_eq!((denial.reason, ids(&denial.policies)), (Reason::Forbidden, vec!["nothing-else"]));
}

#[test]
fn an_empty_policy_permits_nothing() {
    let policy = policy("");
    assert!(policy.is_empty());
    assert_eq!(denial(&policy, "example.com"), Denial::by_default(Reason::NotPermitted));
}

#[test]
fn an_agent_profits_from_no_other_agents_permit() {
    let policy = policy("permit(principal == Agent::\"other\", action, resource);");
    assert_eq!(denial(&policy, "example.com").reason, Reason::NotPermitted);
}

#[test]
fn a_domain_covers_its_apex_and_all_below_on_label_boundaries() {
    let policy = policy("permit(principal, action, resource in Domain::\"example.com\");");
    assert_eq!(opened(&permit(&policy, "example.com").openings), "every port/tcp every port/udp");
    permit(&policy, "a.b.example.com");
    for host in ["evilexample.com", "com", "example.com.evil.org", "example.org"] {
        assert_eq!(denial(&policy, host).reason, Reason::NotPermitted, "{host}");
    }
    let txt = |host| policy.decide(&query(host, RecordKind::Other(16)), NOW);
    assert!(matches!(txt("a.example.com"), Decision::Permit(permit) if permit.openings.is_empty()));
    assert!(matches!(txt("evilexample.com"), Decision::Deny(_)));
}

#[test]
fn a_team_of_entities_json_counts() {
    let sources = Sources {
        policies: vec![(
            "p".to_owned(),
            "permit(principal in Team::\"bots\", action, resource in Domain::\"example.com\");".to_owned(),
        )],
        entities: Some((
            "entities.json".to_owned(),
            r#"[{"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": [{"type": "Team", "id": "bots"}]},
                {"uid": {"type": "Team", "id": "bots"}, "attrs": {}, "parents": []}]"#
                .to_owned(),
        )),
        ..Sources::default()
    };
    let loaded = Policy::load(&sources, CatchAllForbid::Strict).unwrap();
    assert_eq!(loaded.warnings, []);
    permit(&loaded.policy, "example.com");
    let mut stranger = query("example.com", RecordKind::A);
    stranger.agent = Agent::parse("stranger").unwrap();
    assert!(matches!(loaded.policy.decide(&stranger, NOW), Decision::Deny(_)));
}

#[test]
fn a_team_that_nobody_is_in_is_doubted() {
    let sources = Sources {
        policies: vec![(
            "p".to_owned(),
            "permit(principal in Team::\"bot\", action, resource in Domain::\"example.com\");".to_owned(),
        )],
        entities: Some((
            "entities.json".to_owned(),
            r#"[{"uid": {"type": "Team", "id": "bots"}, "attrs": {}, "parents": []}]"#.to_owned(),
        )),
        ..Sources::default()
    };
    let warnings = Policy::load(&sources, CatchAllForbid::Strict).unwrap().warnings;
    assert_eq!(
        warnings[0].to_string(),
        "p:1:21: warning: entities.json has no Team `bot`\n  help: did you mean `bots`?"
    );
}

#[test]
fn a_permit_opens_exactly_its_ports_and_names_who_decided() {
    let policy = policy(
        "@id(\"range\") permit(principal, action == Action::\"net.connect\", resource)
           when { context.protocol == Protocol::\"tcp\" && context.port > 8000 && context.port <= 8010 };
         @id(\"set\") permit(principal, action == Action::\"net.connect\", resource)
           when { [53, 8011].contains(context.port) };
         @id(\"not\") forbid(principal, action == Action::\"net.connect\", resource) when { resource.port == 8005 } unless { context.host like \"*.example.org\" };",
    );
    let permit = permit(&policy, "example.com");
    assert_eq!(opened(&permit.openings), "53/tcp 8001-8004/tcp 8006-8011/tcp 53/udp 8011/udp");
    assert_eq!(ids(&permit.policies), ["range", "set"]);
    assert_eq!(opened(&self::permit(&policy, "a.example.org").openings), "53/tcp 8001-8011/tcp 53/udp 8011/udp");
}

#[test]
fn a_forbid_that_overrides_a_permit_is_the_reason() {
    let policy = policy(
        "permit(principal, action, resource == Resource::\"a.example.com:443\");
         @id(\"no\") forbid(principal, action == Action::\"net.connect\", resource) when { context.port == 443 };",
    );
    let overridden = denial(&policy, "a.example.com");
    assert_eq!((overridden.reason, ids(&overridden.policies)), (Reason::Forbidden, vec!["no"]));
    assert_eq!(denial(&policy, "b.example.com"), Denial::by_default(Reason::NotPermitted));
}

#[test]
fn an_error_in_one_policy_denies_the_whole_question() {
    let policy = policy(
        "@id(\"yes\") permit(principal, action, resource);
         @id(\"broken\") forbid(principal, action, resource)
           when { context.now.toTime() > duration(\"0ms\") && 9223372036854775807 + 1 > 0 };",
    );
    let denial = denial(&policy, "example.com");
    assert_eq!((denial.reason, ids(&denial.policies)), (Reason::PolicyError, vec!["broken"]));
    let aliased = policy.forbids_alias(&query("example.com", RecordKind::A), &name("b.example.com"), NOW);
    assert_eq!(aliased.map(|denial| denial.reason), Some(Reason::PolicyError));
    assert!(policy.openings_of(&query("example.com", RecordKind::A), "192.0.2.1".parse().unwrap(), NOW).is_empty());
}

#[test]
fn a_moment_that_cedar_cannot_hold_denies() {
    let policy = policy("permit(principal, action, resource) when { context.now != datetime(\"2026-01-01\") };");
    for now in [WallTime(i64::MAX), WallTime(i64::MIN)] {
        assert!(matches!(policy.decide(&query("example.com", RecordKind::A), now), Decision::Deny(_)));
    }
}

#[test]
fn a_decision_that_looks_at_the_time_holds_a_minute() {
    let policy = policy(
        "permit(principal, action, resource) when { context.now >= datetime(\"2023-11-14T22:13:20.123Z\")
           && context.now < datetime(\"2023-11-14T22:13:20.124Z\") };",
    );
    assert_eq!(permit(&policy, "example.com").valid_for, Some(std::time::Duration::from_secs(60)));
    let later = policy.decide(&query("example.com", RecordKind::A), WallTime(NOW.0 + 1));
    assert!(matches!(later, Decision::Deny(_)));
}

#[test]
fn the_client_address_counts() {
    let policy = policy("permit(principal, action, resource) when { context.client == ip(\"192.0.2.9\") };");
    permit(&policy, "example.com");
}

#[test]
fn an_address_rule_judges_each_address_and_no_other_name_is_asked_for() {
    let policy = policy(
        "permit(principal, action == Action::\"net.connect\", resource)
           when { context.host == \"db.example.com\" && context.port == 5432 && context has ip
                  && context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
    );
    let permit = permit(&policy, "db.example.com");
    assert!(permit.judges_addresses);
    assert_eq!(opened(&permit.openings), "5432/tcp 5432/udp");
    assert_eq!(denial(&policy, "exfil.example.net").reason, Reason::NotPermitted);

    let openings =
        |address: &str| policy.openings_of(&query("db.example.com", RecordKind::A), address.parse().unwrap(), NOW);
    assert_eq!(opened(&openings("10.1.2.3")), "5432/tcp 5432/udp");
    assert_eq!(opened(&openings("::ffff:10.1.2.3")), "5432/tcp 5432/udp");
    assert_eq!(opened(&openings("192.0.2.1")), "");
}

#[test]
fn an_address_forbid_closes_addresses_and_not_the_name() {
    let policy = policy(
        "permit(principal, action, resource == Resource::\"a.example.com:443\");
         forbid(principal, action == Action::\"net.connect\", resource)
           when { context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
    );
    assert!(permit(&policy, "a.example.com").judges_addresses);
    let query = query("a.example.com", RecordKind::A);
    assert!(policy.openings_of(&query, "10.1.2.3".parse().unwrap(), NOW).is_empty());
    assert_eq!(opened(&policy.openings_of(&query, "192.0.2.1".parse().unwrap(), NOW)), "443/tcp 443/udp");
    assert_eq!(policy.forbids_alias(&query, &name("cdn.example.net"), NOW), None);
}

#[test]
fn an_address_permit_opens_no_question_of_another_type() {
    let policy = policy("permit(principal, action, resource) when { context has ip && context.ip.isIpv4() };");
    permit(&policy, "example.com");
    assert!(matches!(policy.decide(&query("example.com", RecordKind::Other(16)), NOW), Decision::Deny(_)));
}

#[test]
fn an_alias_that_a_forbid_covers_on_an_opened_port_is_refused() {
    let policy = policy(
        "permit(principal, action, resource == Resource::\"www.example.com:443\");
         @id(\"tracker\") forbid(principal, action, resource in Domain::\"tracker.example.net\");
         @id(\"mail\") forbid(principal, action == Action::\"net.connect\", resource in Domain::\"mail.example.net\") when { context.port == 25 };
         @id(\"inner\") forbid(principal, action == Action::\"net.connect\", resource in Domain::\"cdn.example.net\")
           when { context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
    );
    let forbids = |alias: &str| {
        let denial = policy.forbids_alias(&query("www.example.com", RecordKind::A), &name(alias), NOW)?;
        assert_eq!(denial.reason, Reason::ForbiddenAlias);
        Some(ids(&denial.policies).join(" "))
    };
    assert_eq!(forbids("a.tracker.example.net").as_deref(), Some("tracker"));
    assert_eq!(forbids("a.cdn.example.net").as_deref(), Some("inner"));
    assert_eq!(forbids("mail.example.net"), None);
    assert_eq!(forbids("eviltracker.example.net"), None);
}

#[test]
fn one_port_is_decided_as_the_whole_is() {
    let policy = policy(
        "@id(\"a\") permit(principal, action == Action::\"net.connect\", resource) when { context.port == 443 };",
    );
    let query = query("example.com", RecordKind::A);
    let decide = |port| policy.decide_connection(&query, Protocol::Udp, Port::new(port).unwrap(), None, NOW);
    assert!(matches!(decide(443), Decision::Permit(permit) if opened(&permit.openings) == "443/udp"));
    assert_eq!(decide(444), Decision::Deny(Denial::by_default(Reason::NotPermitted)));
}

#[test]
fn what_would_silently_mean_something_else_is_refused_with_its_place() {
    let when = |condition: &str| {
        format!("permit(principal, action == Action::\"net.connect\", resource)\nwhen {{ {condition} }};")
    };
    let scope = |resource: &str| format!("permit(principal, action, resource {resource});");
    for (text, place, word) in [
        (when("context.port + 1 == 444"), "p.cedar:2:8", "may only be compared"),
        (when("context.port * 2 < 888"), "p.cedar:2:8", "may only be compared"),
        (when("context.port == resource.port"), "p.cedar:2:8", "may only be compared"),
        (when("(if context.port == 1 then context.port else 2) == 2"), "p.cedar:2:35", "may only be compared"),
        (when("[context.port].contains(443)"), "p.cedar:2:9", "may only be compared"),
        (when("[443].containsAll([context.port])"), "p.cedar:2:27", "may only be compared"),
        (when("{p: context.port}.p == 443"), "p.cedar:2:12", "may only be compared"),
        (when("[resource].contains(Resource::\"a.example:1\")"), "p.cedar:2:9", "as a whole"),
        (when("Resource::\"a.example:1\" in Domain::\"a.example\""), "p.cedar:2:8", "on the left of `in`"),
        (when("Resource::\"a.example:1\".port == 1"), "p.cedar:2:8", "written out"),
        (when("context.host like \"*example.com\""), "p.cedar:2:8", "evilexample.com"),
        (when("context.host like \"*.Example.com\""), "p.cedar:2:8", "matches no name"),
        (when("resource.host == \"Example.com\""), "p.cedar:2:25", "would never match"),
        (when("[\"example.com.\"].contains(context.host)"), "p.cedar:2:9", "would never match"),
        (when("context.ip.isIpv4()"), "p.cedar:2:8", "ip"),
        (when("context.prot == 3"), "p.cedar:2:8", "prot"),
        (when("context.protocol == Protocol::\"sctp\""), "p.cedar:2:", "sctp"),
        (when("context.port == 1 && false"), "p.cedar:1:1", ""),
        (scope("== Resource::\"10.0.0.1/8:443\""), "p.cedar:1:39", "would never match"),
        (scope("in Domain::\"10.0.0.0/8\""), "p.cedar:1:39", "an address, and no domain"),
        (scope("== Resource::\"a.example.com\""), "p.cedar:1:39", "no port"),
        (scope("in Domain::\"*.example.com\""), "p.cedar:1:39", "no host name"),
        (scope("in Domian::\"example.com\""), "p.cedar:1:", "Domian"),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(place) && problems.contains(word), "{text}\n-> {problems}");
    }
}

#[test]
fn a_decision_may_look_at_everything_that_a_name_is() {
    let text = "permit(principal, action == Action::\"net.connect\", resource)
        when { context.host like \"*.example.com\" || [\"a.example.org\"].contains(resource.host)
            || resource in [Domain::\"example.net\"] || resource in Resource::\"b.example.org:22\"
            || [Resource::\"c.example.org:22\"].contains(resource) || resource == Resource::\"d.example.org:22\"
            || 443 == context.port && resource is Resource }
        unless { -1 >= context.port };";
    let policy = policy(text);
    for (host, ports) in [
        ("a.example.com", "every port/tcp every port/udp"),
        ("a.example.org", "every port/tcp every port/udp"),
        ("example.net", "every port/tcp every port/udp"),
        ("b.example.org", "22/tcp 443/tcp 22/udp 443/udp"),
        ("c.example.org", "22/tcp 443/tcp 22/udp 443/udp"),
        ("d.example.org", "22/tcp 443/tcp 22/udp 443/udp"),
        ("e.example.org", "443/tcp 443/udp"),
    ] {
        assert_eq!(opened(&permit(&policy, host).openings), ports, "{host}");
    }
}

#[test]
fn a_condition_too_deep_for_the_evaluators_stack_is_refused() {
    let nested =
        |opening: &str, closing: &str, times| format!("{}true{}", opening.repeat(times), closing.repeat(times));
    for times in [100, 1_000, 10_000, 100_000] {
        for condition in [
            vec!["context.port == 7"; times].join(" || "),
            vec!["context has ip && context.ip.isIpv4()"; times].join(" || "),
            vec!["1"; times].join(" + ") + " == 1",
            nested("(", " == true)", times),
            nested("[", "]", times),
            nested("if true then ", " else false", times),
            nested("!(", ")", times),
            format!("context{}", ".a".repeat(times)),
        ] {
            let text =
                format!("permit(principal, action == Action::\"net.connect\", resource) when {{ {condition} }};");
            assert!(loaded(&text, CatchAllForbid::Strict).is_err(), "{times} of {}", &condition[..40]);
        }
    }
}

proptest! {
    #[test]
    fn a_domain_covers_what_is_within_it_and_nothing_else(
        host in "([ab]{1,2}\\.){0,3}[ab]", domain in "([ab]{1,2}\\.){0,2}[ab]"
    ) {
        let policy = policy(&format!("permit(principal, action, resource in Domain::\"{domain}\");"));
        let permitted = matches!(policy.decide(&query(&host, RecordKind::A), NOW), Decision::Permit(_));
        prop_assert_eq!(permitted, name(&host).is_within(&name(&domain)));
    }
}

#[test]
fn the_ports_of_other_hosts_divide_nothing() {
    let others: Vec<_> = (1..=40).map(|port| format!("Resource::\"other.example:{port}\"")).collect();
    let policy = policy(&format!(
        "permit(principal, action == Action::\"net.connect\", resource in Domain::\"example\")
           unless {{ [{}].contains(resource) }};",
        others.join(", ")
    ));
    let runs = |host: &str| runs(&[&policy.inquiry(&query(host, RecordKind::A), NOW).slice(&name(host))]).len();
    assert_eq!((runs("host.example"), runs("other.example")), (1, 41));
    assert_eq!(opened(&permit(&policy, "other.example").openings), "41-65535/tcp 41-65535/udp");
}

#[test]
fn a_permit_says_how_many_labels_it_does_not_name() {
    let policy = policy(
        r#"permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
        permit(principal, action == Action::"net.connect", resource in Domain::"example.org");
        permit(principal, action == Action::"net.connect", resource in Domain::"deep.example.org");
        permit(principal, action == Action::"net.connect", resource)
            when { context.host like "*.example.net" || resource == Resource::"one.example.net:443" };
        permit(principal, action == Action::"dns.query", resource in Domain::"example.com");"#,
    );
    let unnamed = |name: &str| permit(&policy, name).unnamed;
    assert_eq!(unnamed("api.example.com"), 0, "named as a host");
    assert_eq!(unnamed("example.org"), 0, "named as a domain");
    assert_eq!(unnamed("a.b.example.org"), 2);
    assert_eq!(unnamed("a.deep.example.org"), 1, "the permit that names most counts");
    assert_eq!(unnamed("a.b.example.net"), 4, "a pattern names nothing");
    assert_eq!(unnamed("one.example.net"), 0, "named in a condition");
    let records = policy.decide(&query("a.b.example.com", RecordKind::Other(16)), NOW);
    assert!(matches!(records, Decision::Permit(permit) if permit.unnamed == 2));
}
