use super::*;
use crate::core::config::CatchAllForbid;
use crate::core::policy::Sources;
use crate::core::query::Agent;
use crate::core::question::Particulars;
use crate::core::time::WallTime;

const ENTITIES: &str = r#"[{"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": [{"type": "Team", "id": "bots"}]},
    {"uid": {"type": "Team", "id": "bots"}, "attrs": {}, "parents": []}]"#;

fn policy(text: &str) -> Policy {
    let sources = Sources {
        policies: vec![("p.cedar".to_owned(), text.to_owned())],
        entities: Some(("entities.json".to_owned(), ENTITIES.to_owned())),
        ..Sources::default()
    };
    Policy::load(&sources, CatchAllForbid::Strict).unwrap_or_else(|problems| panic!("{problems:?}")).policy
}

fn asked(target: &str, particulars: Particulars) -> Question {
    let agent = Agent::parse("claude").unwrap();
    Question::new(agent, target.parse().unwrap(), WallTime(1_700_000_000_000), particulars).unwrap()
}

fn explained(text: &str, target: &str) -> Explanation {
    policy(text).explain(&asked(target, Particulars::default()))
}

/// The nearest permit and what stood in its way.
fn told(text: &str, target: &str) -> String {
    match explained(text, target).nearest {
        None => "none".to_owned(),
        Some(nearest) => {
            let obstacles: Vec<_> = nearest.obstacles.iter().map(ToString::to_string).collect();
            format!("{}: {}", nearest.policy, obstacles.join("; "))
        }
    }
}

fn permit(id: &str, principal: &str, resource: &str, condition: &str) -> String {
    format!(
        "@id(\"{id}\") permit(principal{principal}, action == Action::\"net.connect\", resource{resource}){condition};\n"
    )
}

const API: &str = " == Resource::\"api.example.com:443\"";

#[test]
fn each_obstacle_is_named() {
    let claude = " == Agent::\"claude\"";
    for (text, target, expected) in [
        (permit("a", claude, API, ""), "api.example.com:8443", "a: its port is 443, not 8443"),
        (
            permit("a", " == Agent::\"coder\"", API, ""),
            "api.example.com",
            "a: it is for Agent::\"coder\", not Agent::\"claude\"",
        ),
        (
            permit("a", " in Team::\"people\"", API, ""),
            "api.example.com",
            "a: it is for members of Team::\"people\", not Agent::\"claude\"",
        ),
        (
            permit("a", claude, API, ""),
            "api.exmaple.com",
            "a: it is for api.example.com, not api.exmaple.com: a slip of the pen?",
        ),
        (permit("a", claude, API, ""), "www.example.com", "a: it is for api.example.com, not www.example.com"),
        (
            permit("a", claude, " in Domain::\"a.example.com\"", ""),
            "b.example.com",
            "a: it is for a.example.com and the names below it, not b.example.com: a slip of the pen?",
        ),
        (
            permit("a", claude, API, " when { context.protocol == Protocol::\"udp\" }"),
            "api.example.com:443/tcp",
            "a: its condition is false here: `context.protocol == Protocol::\"udp\"`",
        ),
        (
            permit("a", claude, "", " when { context.host == \"git.example.com\" && context.port == 22 }"),
            "git.example.com:443",
            "a: its condition is false here: `context.port == 22`",
        ),
        (
            permit("a", claude, "", " when { context.host == \"git.example.com\" && context.port == 22 }"),
            "gti.example.com:22",
            "a: its condition is false here: `context.host == \"git.example.com\"`",
        ),
        (
            permit("a", claude, API, " unless { context.client.isLoopback() }"),
            "api.example.com",
            "a: its condition is false here: `unless { context.client.isLoopback() }`",
        ),
        (permit("a", claude, API, ""), "other.example", "none"),
        (String::new(), "api.example.com", "none"),
    ] {
        assert_eq!(told(&text, target), expected, "{text}");
    }
}

#[test]
fn a_false_part_stands_where_it_is_written() {
    let text = "permit(principal, action == Action::\"net.connect\", resource in Domain::\"example.com\")\n\
                when {\n  context.port < 1000 &&\n  context.port\n    == 443\n};";
    let nearest = explained(text, "api.example.com:80").nearest.unwrap();
    let [Obstacle::Condition(stumble)] = nearest.obstacles.as_slice() else { panic!("{nearest:?}") };
    assert_eq!((stumble.text.as_str(), stumble.place.to_string().as_str()), ("context.port == 443", "p.cedar:4:3"));
}

#[test]
fn the_nearest_permit_is_the_one_with_the_least_in_its_way() {
    let other_agent = permit("other-agent", " == Agent::\"coder\"", " == Resource::\"api.example.com:8443\"", "");
    let other_port = permit("other-port", " in Team::\"bots\"", API, "");
    let other_host = permit("other-host", " == Agent::\"claude\"", " == Resource::\"www.example.com:8443\"", "");
    let misspelt = permit("misspelt", " == Agent::\"claude\"", " == Resource::\"apis.example.com:8443\"", "");
    let record =
        "@id(\"record\") permit(principal, action == Action::\"dns.query\", resource in Domain::\"example.com\");";
    let all = [&other_host, &other_agent, &misspelt, &other_port];
    for (count, nearest) in [(1, "other-host"), (2, "other-agent"), (3, "misspelt"), (4, "other-port")] {
        let text = all.iter().take(count).map(|text| text.as_str()).collect::<String>() + record;
        assert!(told(&text, "api.example.com:8443").starts_with(nearest), "{}", told(&text, "api.example.com:8443"));
    }
    assert_eq!(told(record, "api.example.com:8443"), "record: it is about dns.query, not net.connect");
}

#[test]
fn a_permit_that_a_forbid_overrides_says_by_which() {
    let text =
        permit("api", "", API, "") + "@id(\"no\") forbid(principal, action, resource in Domain::\"example.com\");";
    assert_eq!(told(&text, "api.example.com:443"), "api: it matches, and is overridden by `no`");
    assert_eq!(told(&text, "api.example.com"), "api: it matches, and is overridden by `no`");
}

#[test]
fn a_policy_that_fails_says_where() {
    // Nothing but an overflow gets past the validator.
    let text = permit("sum", "", API, " when { context.now.toTime().toMilliseconds() * 9223372036854775807 == 7 }");
    let explanation = explained(&text, "api.example.com:443");
    assert!(matches!(&explanation.decision, Decision::Deny(denial) if denial.reason == Reason::PolicyError));
    let [failure] = explanation.failures.as_slice() else { panic!("{explanation:?}") };
    assert_eq!(failure.policy.as_str(), "sum");
    assert!(failure.stumble.error.as_ref().is_some_and(|error| error.contains("overflow")), "{failure:?}");
    assert_eq!(explanation.nearest, None);
}

#[test]
fn an_address_that_is_not_named_stands_in_nobodys_way() {
    let text = permit(
        "db",
        "",
        " == Resource::\"db.example.com:5432\"",
        " when { context has ip && context.ip.isInRange(ip(\"192.0.2.0/24\")) }",
    );
    assert_eq!(told(&text, "db.example.com:80"), "db: its port is 5432, not 80");
    let elsewhere = Particulars { address: "198.51.100.7".parse().ok(), ..Particulars::default() };
    let nearest = policy(&text).explain(&asked("db.example.com:5432", elsewhere)).nearest.unwrap();
    assert_eq!(
        nearest.obstacles[0].to_string(),
        "its condition is false here: `context.ip.isInRange(ip(\"192.0.2.0/24\"))`"
    );
}

#[test]
fn each_policy_has_its_own_part_in_the_openings() {
    let text = permit("web", "", " in Domain::\"example.com\"", " when { [80, 443].contains(context.port) }")
        + &permit("api", "", API, "")
        + &permit("many", "", API.replace("443", "9000").as_str(), "")
        + &permit(
            "high",
            "",
            " in Domain::\"example.com\"",
            " when { context.port >= 10000 && context.protocol == Protocol::\"udp\" }",
        )
        + "forbid(principal, action, resource) when { context.port == 80 };"
            .replace("action,", "action == Action::\"net.connect\",")
            .as_str();
    let explanation = explained(&text, "api.example.com");
    let shares: Vec<_> = explanation
        .shares
        .iter()
        .map(|share| {
            let placements = share.placements.iter().map(|placement| match &placement.kept {
                Kept::Leases(keys) => format!("{} in {}", placement.opening, keys.len()),
                Kept::Static(_) => "static".to_owned(),
            });
            format!("{}: {}", share.policy, placements.collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert_eq!(
        shares,
        [
            "api: 443/tcp in 1, 443/udp in 1",
            "high: 10000-65535/udp in 1",
            "many: 9000/tcp in 1, 9000/udp in 1",
            "web: 443/tcp in 1, 443/udp in 1",
        ]
    );
}

#[test]
fn a_port_is_open_if_it_is_by_either_protocol() {
    let text = permit("tcp", "", API, " when { context.protocol == Protocol::\"tcp\" }");
    let verdict = |target: &str| explained(&text, target).decision;
    assert!(matches!(verdict("api.example.com:443"), Decision::Permit(permit) if permit.openings.len() == 1));
    assert!(matches!(verdict("api.example.com:443/tcp"), Decision::Permit(_)));
    assert!(matches!(verdict("api.example.com:443/udp"), Decision::Deny(_)));
    let explanation = explained(&text, "api.example.com:443/udp");
    assert_eq!(explanation.otherwise.iter().map(ToString::to_string).collect::<Vec<_>>(), ["443/tcp"]);
}

#[test]
fn addresses_are_permitted_by_the_literals_that_cover_them() {
    let text = permit("one", "", " == Resource::\"192.0.2.7:5432\"", "")
        + &permit(
            "network",
            "",
            " == Resource::\"10.20.0.0/16:5432\"",
            " when { context.protocol == Protocol::\"tcp\" }",
        )
        + &permit("six", "", " == Resource::\"[2001:db8::7]:5432\"", "");
    for (target, by) in [
        ("192.0.2.7:5432", Some("one")),
        ("10.20.3.4:5432", Some("network")),
        ("10.20.0.0/16:5432/tcp", Some("network")),
        ("10.20.8.0/24:5432", Some("network")),
        ("[2001:db8::7]:5432", Some("six")),
        ("10.0.0.0/8:5432", None),
        ("10.20.0.0/16:5432/udp", None),
        ("192.0.2.8:5432", None),
        ("192.0.2.7:80", None),
    ] {
        let explanation = explained(&text, target);
        let permitting = match &explanation.decision {
            Decision::Permit(permit) => permit.policies.first().map(PolicyId::as_str),
            Decision::Deny(_) => None,
        };
        assert_eq!(permitting, by, "{target}");
        let is_static =
            |share: &Share| matches!(share.placements.as_slice(), [Placement { kept: Kept::Static(_), .. }, ..]);
        assert!(explanation.shares.iter().all(is_static), "{explanation:?}");
    }
    assert_eq!(told(&text, "192.0.2.7:80"), "one: its port is 5432, not 80");
    assert_eq!(told(&text, "192.0.2.8:5432"), "one: it is for 192.0.2.7, not 192.0.2.8");
    assert_eq!(
        told(&text, "10.20.0.1:5432/udp"),
        "network: its condition is false here: `context.protocol == Protocol::\"tcp\"`"
    );
    let stranger = Particulars {
        client: Some(crate::core::query::Client::new("2001:db8::9".parse().unwrap())),
        ..Particulars::default()
    };
    assert!(matches!(policy(&text).judge(&asked("192.0.2.7:5432", stranger)), Decision::Deny(_)));
}

#[test]
fn a_network_with_a_hole_in_it_is_not_permitted_as_a_whole() {
    let text = permit("network", "", " == Resource::\"10.20.0.0/16:5432\"", "")
        + "@id(\"hole\") forbid(principal, action == Action::\"net.connect\", resource == Resource::\"10.20.7.0/24:5432\");";
    assert!(matches!(explained(&text, "10.20.0.0/16:5432").decision, Decision::Deny(_)));
    assert!(matches!(explained(&text, "10.20.8.0/24:5432").decision, Decision::Permit(_)));
    assert_eq!(told(&text, "10.20.7.1:5432"), "network: it matches, and is overridden by `hole`");
}
