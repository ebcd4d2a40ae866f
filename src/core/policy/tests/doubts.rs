//! What is doubted about a policy that is valid, and what is not.

use super::*;
use crate::core::rule::Rule;

const ENTITIES: &str = r#"[
  {"uid": {"type": "Team", "id": "all"}, "attrs": {}, "parents": []},
  {"uid": {"type": "Team", "id": "builders"}, "attrs": {}, "parents": [{"type": "Team", "id": "all"}]},
  {"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": [{"type": "Team", "id": "builders"}]}
]"#;

/// The rules that `text` is doubted by, with the line.
fn doubts(text: &str, entities: Option<&str>) -> Vec<(Rule, usize)> {
    let sources = Sources {
        policies: vec![("p.cedar".to_owned(), text.to_owned())],
        entities: entities.map(|text| ("entities.json".to_owned(), text.to_owned())),
        ..Sources::default()
    };
    let loaded =
        Policy::load(&sources, CatchAllForbid::Strict).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    loaded.warnings.into_iter().map(|problem| (problem.rule.unwrap(), problem.place.unwrap().line)).collect()
}

fn connect(effect: &str, principal: &str, resource: &str, rest: &str) -> String {
    format!("{effect}({principal}, action == Action::\"net.connect\", {resource}){rest};\n")
}

#[test]
fn a_permit_that_a_forbid_covers_is_dead() {
    let permit = connect("permit", "principal == Agent::\"claude\"", "resource == Resource::\"a.example.com:443\"", "");
    for forbid in [
        connect("forbid", "principal", "resource == Resource::\"a.example.com:443\"", ""),
        connect("forbid", "principal is Agent", "resource in Domain::\"a.example.com\"", ""),
        connect("forbid", "principal in Agent::\"claude\"", "resource in Domain::\"example.com\"", " when { true }"),
        connect("forbid", "principal in Team::\"builders\"", "resource", ""),
        connect("forbid", "principal in Team::\"all\"", "resource is Resource in Domain::\"com\"", ""),
        "forbid(principal == Agent::\"claude\", action, resource);\n".to_owned(),
    ] {
        assert_eq!(doubts(&format!("{permit}{forbid}"), Some(ENTITIES)), [(Rule::DeadPermit, 1)], "{forbid}");
    }
    for forbid in [
        connect("forbid", "principal == Agent::\"other\"", "resource", ""),
        connect("forbid", "principal", "resource == Resource::\"a.example.com:444\"", ""),
        connect("forbid", "principal", "resource in Domain::\"b.example.com\"", ""),
        connect("forbid", "principal", "resource in Domain::\"a.example.com\"", " when { context.port == 25 }"),
        "forbid(principal, action == Action::\"dns.query\", resource in Domain::\"example.com\");\n".to_owned(),
    ] {
        assert_eq!(doubts(&format!("{permit}{forbid}"), Some(ENTITIES)), [], "{forbid}");
    }
}

#[test]
fn a_forbid_on_fewer_conditions_covers_a_permit_on_more() {
    let permit = |rest: &str| connect("permit", "principal", "resource in Domain::\"example.com\"", rest);
    let forbid = |rest: &str| connect("forbid", "principal", "resource in Domain::\"example.com\"", rest);
    let (a, b) = ("context.port == 443", "context.protocol == Protocol::\"tcp\"");
    for (more, fewer) in [
        (format!(" when {{ {a} }}"), format!(" when {{ {a} }}")),
        (format!(" when {{ {a} && {b} }}"), format!(" when {{ {b} }}")),
        (format!(" when {{ {a} }} when {{ {b} }}"), format!(" when {{ {b} && {a} }}")),
        (format!(" unless {{ {a} }}"), format!(" unless {{ {a} }}")),
    ] {
        let text = permit(&more) + &forbid(&fewer);
        assert_eq!(doubts(&text, None), [(Rule::DeadPermit, 1)], "{text}");
        let other = permit(&fewer.replace("443", "80")) + &forbid(&more);
        assert_eq!(doubts(&other, None), [], "{other}");
    }
}

#[test]
fn the_narrower_of_two_is_shadowed_and_the_later_of_two_equal_ones_a_duplicate() {
    for effect in ["permit", "forbid"] {
        let wide = connect(effect, "principal in Team::\"all\"", "resource in Domain::\"example.com\"", "");
        let narrow = connect(effect, "principal == Agent::\"claude\"", "resource == Resource::\"a.example.com:1\"", "");
        let apart = connect(effect, "principal == Agent::\"claude\"", "resource in Domain::\"example.org\"", "");
        assert_eq!(doubts(&format!("{narrow}{wide}{apart}"), Some(ENTITIES)), [(Rule::Shadowed, 1)]);
        assert_eq!(doubts(&format!("{apart}{wide}{apart}"), Some(ENTITIES)), [(Rule::Duplicate, 3)]);
    }
}

#[test]
fn everything_is_told_once_and_not_for_each_policy_below_it() {
    let permit = connect("permit", "principal", "resource in Domain::\"example.com\"", "");
    let other = connect("permit", "principal", "resource in Domain::\"example.org\"", "");
    let forbid = connect("forbid", "principal", "resource in Domain::\"example.net\"", "");
    let everything = "permit(principal, action, resource) when { true };\n";
    let text = format!("{permit}{other}{everything}");
    assert_eq!(doubts(&text, None), [(Rule::PermitsEverything, 3)]);
    let text = format!("{permit}{other}{forbid}forbid(principal, action, resource);\n");
    assert_eq!(doubts(&text, None), [(Rule::CatchAllForbid, 4)]);
}

#[test]
fn only_a_permit_of_every_connection_permits_everything() {
    for text in [
        connect("permit", "principal == Agent::\"claude\"", "resource", ""),
        "permit(principal in Agent::\"claude\", action, resource is Resource) unless { false };\n".to_owned(),
    ] {
        assert_eq!(doubts(&text, None), [(Rule::PermitsEverything, 1)], "{text}");
    }
    for text in [
        connect("permit", "principal", "resource", " when { context.port == 443 }"),
        connect("forbid", "principal == Agent::\"claude\"", "resource", ""),
        "permit(principal, action == Action::\"dns.query\", resource);\n".to_owned(),
        "permit(principal, action, resource is Domain);\n".to_owned(),
    ] {
        assert_eq!(doubts(&text, None), [], "{text}");
    }
}

#[test]
fn a_permit_below_a_public_suffix_is_told_unless_something_narrower_limits_it() {
    for (resource, rest) in [
        ("resource in Domain::\"com\"", ""),
        ("resource in Domain::\"github.io\"", " when { context.port == 443 }"),
        ("resource", " when { resource in Domain::\"co.uk\" }"),
        ("resource", " when { context.port == 443 && context.host like \"*.com\" }"),
        ("resource", " when { resource in [Domain::\"example.com\", Domain::\"net\"] }"),
        ("resource", " when { context.host like \"*.example.com\" || context.host like \"*.org\" }"),
    ] {
        let text = connect("permit", "principal", resource, rest);
        assert_eq!(doubts(&text, None), [(Rule::PublicSuffix, 1)], "{text}");
    }
    for (effect, resource, rest) in [
        ("forbid", "resource in Domain::\"com\"", ""),
        ("permit", "resource in Domain::\"example\"", ""),
        ("permit", "resource in Domain::\"internal\"", ""),
        ("permit", "resource in Domain::\"example.com\"", " when { context.host like \"*.com\" }"),
        ("permit", "resource", " when { context.host like \"*.com\" && resource in Domain::\"example.com\" }"),
        ("permit", "resource", " when { context.port == 443 } unless { context.host like \"*.com\" }"),
    ] {
        let text = connect(effect, "principal", resource, rest);
        assert_eq!(doubts(&text, None), [], "{text}");
    }
}

#[test]
fn a_domain_is_misspelt_if_it_ends_in_nothing_or_another_is_named_more_often() {
    let named = |hosts: &[&str]| -> String {
        let permit = |host| connect("permit", "principal", &format!("resource == Resource::\"{host}:443\""), "");
        hosts.iter().map(permit).collect()
    };
    let text = named(&["api.example.com", "registry.exmaple.com", "git.example.com"]);
    assert_eq!(doubts(&text, None), [(Rule::UnknownDomain, 2)]);
    assert_eq!(doubts(&named(&["api.example.ogr", "b.example.org"]), None), [(Rule::UnknownDomain, 1)]);
    let own = named(&["a.prod.mynet", "b.prod.mynet"]);
    assert_eq!(doubts(&own, None), [(Rule::UnknownDomain, 1)]);
    for known in [
        &["localhost", "db", "db.internal", "nas.home.arpa", "printer.local", "a.b.example"][..],
        &["api1.example.com", "api2.example.com", "api2.example2.com", "api1.example1.com", "b.example1.com"],
        &["a.example.com", "a.exmaple.com"],
        &["shop.example.co.uk", "xn--bcher-kva.example"],
    ] {
        assert_eq!(doubts(&named(known), None), [], "{known:?}");
    }
}

#[test]
fn an_agent_that_is_nearly_a_frequent_one_is_told_where_nothing_lists_agents() {
    let named = |agents: &[&str]| -> String {
        let permit = |(at, agent): (usize, &&str)| {
            let resource = format!("resource == Resource::\"a.example.com:{}\"", at + 1);
            connect("permit", &format!("principal == Agent::\"{agent}\""), &resource, "")
        };
        agents.iter().enumerate().map(permit).collect()
    };
    let text = named(&["claude", "claude", "cluade", "claude"]);
    assert_eq!(doubts(&text, None), [(Rule::UnknownAgent, 3)]);
    assert_eq!(doubts(&named(&["claude", "claude", "cluade"]), None), []);
    assert_eq!(doubts(&named(&["worker1", "worker1", "worker1", "worker2"]), None), []);
}

#[test]
fn an_agent_that_no_client_acts_as_is_told_once() {
    let policy = policy(
        "permit(principal == Agent::\"cluade\", action, resource in Domain::\"example.com\");
         forbid(principal == Agent::\"cluade\", action, resource in Domain::\"example.org\");
         permit(principal == Agent::\"release\", action, resource in Domain::\"example.net\");
         permit(principal == Agent::\"scout\", action, resource in Domain::\"example.com\");",
    );
    let clients = ["claude", "release"].map(|agent| Agent::parse(agent).unwrap());
    let told: Vec<_> = policy.agents_without_a_client(&clients).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "p.cedar:1:21: warning: no client acts as Agent `cluade`\n  help: did you mean `claude`?",
            "p.cedar:4:30: warning: no client acts as Agent `scout`\n  \
             help: give the client that acts as it a [[client]] with agent = \"scout\"",
        ]
    );
}

#[test]
fn what_no_question_meets_is_told_for_permits_and_forbids_alike() {
    for effect in ["permit", "forbid"] {
        for (resource, rest) in [
            ("resource == Resource::\"a.example.com:443\"", " when { context.port == 80 }"),
            ("resource", " when { context.port > 65535 }"),
            ("resource", " when { context.port < 80 && context.port > 443 }"),
            ("resource in Domain::\"example.com\"", " when { context.host == \"a.example.org\" }"),
            ("resource in Domain::\"example.com\"", " unless { false } when { context.host like \"*.example.org\" }"),
        ] {
            let text = connect(effect, "principal", resource, rest);
            assert_eq!(doubts(&text, None), [(Rule::Unreachable, 1)], "{text}");
        }
    }
    let records = "permit(principal, action == Action::\"dns.query\", resource in Domain::\"example.com\")
        when { [\"MX\", \"txt\"].contains(context.qtype) };";
    assert_eq!(doubts(records, None), [(Rule::Unreachable, 2)]);
}
