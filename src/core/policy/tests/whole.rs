//! The slice against the whole: every decision is what Cedar's own Authorizer
//! says of all the policies, with every entity and the whole context at hand.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, EntityUid, PolicySet, Request, RestrictedExpression,
};
use proptest::prelude::*;
use serde_json::json;

use super::{NOW, name, query};
use crate::core::config::CatchAllForbid;
use crate::core::decision::{Decision, Reason};
use crate::core::policy::{Policy, Sources};
use crate::core::query::{Agent, Port, Protocol, Query, RecordKind};

const ENTITIES: &str = r#"[
    {"uid": {"type": "Agent", "id": "a"}, "attrs": {"level": 1, "zone": "lab"}, "parents": [{"type": "Team", "id": "inner"}]},
    {"uid": {"type": "Agent", "id": "b"}, "attrs": {"level": 9000000000000000000}, "parents": [{"type": "Team", "id": "outer"}]},
    {"uid": {"type": "Team", "id": "inner"}, "attrs": {}, "parents": [{"type": "Team", "id": "outer"}]},
    {"uid": {"type": "Team", "id": "outer"}, "attrs": {}, "parents": []}
]"#;

const PRINCIPALS: [&str; 6] = [
    "principal",
    "principal == Agent::\"a\"",
    "principal == Agent::\"c\"",
    "principal in Team::\"inner\"",
    "principal in Team::\"outer\"",
    "principal is Agent in Team::\"outer\"",
];
const RESOURCES: [&str; 7] = [
    "resource",
    "resource == Resource::\"api.example.com:443\"",
    "resource == Resource::\"example.com:22\"",
    "resource in Domain::\"example.com\"",
    "resource in Domain::\"api.example.com\"",
    "resource is Resource in Domain::\"com\"",
    "resource in Domain::\"example.org\"",
];
const CONDITIONS: [&str; 12] = [
    "true",
    "context.port < 443",
    "context.protocol == Protocol::\"udp\"",
    "context has ip && context.ip.isInRange(ip(\"192.0.2.0/24\"))",
    "context.now < datetime(\"2020-01-01\")",
    "context.client == ip(\"10.77.0.2\")",
    "context.host like \"*.example.com\"",
    "resource in Domain::\"example.com\" || resource == Resource::\"api.example.org:22\"",
    "principal has zone && principal.zone == \"lab\"",
    "principal has level && principal.level + 1000000000000000000 > 0",
    "principal in Team::\"inner\" && resource.port != 22",
    "[22, 443].contains(context.port)",
];
const NAMES: [&str; 4] = ["api.example.com", "example.com", "evilexample.com", "api.example.org"];

fn policies() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        3 => Just("action == Action::\"net.connect\""),
        1 => Just("action in [Action::\"net.connect\"]"),
    ];
    let connecting = (
        prop::sample::select(&["permit", "permit", "forbid"][..]),
        prop::sample::select(&PRINCIPALS[..]),
        action,
        prop::sample::select(&RESOURCES[..]),
        prop::option::of(prop::sample::select(&CONDITIONS[..])),
        any::<bool>(),
    )
        .prop_map(|(effect, principal, action, resource, condition, negated)| {
            let word = if negated { "unless" } else { "when" };
            let condition = condition.map_or(String::new(), |condition| format!(" {word} {{ {condition} }}"));
            format!("{effect}({principal}, {action}, {resource}){condition};\n")
        });
    let querying = (
        prop::sample::select(&["permit", "forbid"][..]),
        prop::sample::select(&PRINCIPALS[..]),
        prop::sample::select(&["resource", "resource == Domain::\"example.com\"", "resource in Domain::\"com\""][..]),
    )
        .prop_map(|(effect, principal, resource)| {
            format!("{effect}({principal}, action == Action::\"dns.query\", {resource}) when {{ context.qtype == \"TXT\" }};\n")
        });
    let line = prop_oneof![5 => connecting, 1 => querying];
    proptest::collection::vec(line, 1..8).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn a_slice_decides_what_the_whole_set_decides(text in policies()) {
        // The validator refuses what can never hold.
        let loaded = load(&text);
        prop_assume!(loaded.is_some());
        let policy = loaded.unwrap();
        let whole = whole(&policy);

        for host in NAMES {
            for agent in ["a", "b", "c"] {
                let mut query = query(host, RecordKind::A);
                query.agent = Agent::parse(agent).unwrap();
                for port in [1, 22, 442, 443, 444].map(|port| Port::new(port).unwrap()) {
                    for protocol in Protocol::ALL {
                        for address in ["192.0.2.1", "198.51.100.1"].map(|address| address.parse().unwrap()) {
                            let decided = policy.decide_connection(&query, protocol, port, Some(address), NOW);
                            let expected = connection(&whole, &query, protocol, port, address);
                            prop_assert_eq!(told(decided), expected, "{} {}:{}/{} at {}\n{}", agent, host, port, protocol, address, text);
                        }
                    }
                }
                query.kind = RecordKind::from_number(16);
                prop_assert_eq!(told(policy.decide(&query, NOW)), records(&whole, &query), "{} TXT {}\n{}", agent, host, text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_other_names_were_told_before_changes_nothing(
        text in policies(),
        names in Just(NAMES.into_iter().chain(["deep.api.example.com", "example.org", "com"]).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let loaded = load(&text);
        prop_assume!(loaded.is_some());
        let policy = loaded.unwrap();
        for host in &names {
            let alone = load(&text).unwrap();
            for agent in ["a", "b", "c"] {
                let query = Query { agent: Agent::parse(agent).unwrap(), ..query(host, RecordKind::A) };
                prop_assert_eq!(policy.decide(&query, NOW), alone.decide(&query, NOW), "{} {}\n{}", agent, host, text);
            }
        }
    }
}

fn load(text: &str) -> Option<Policy> {
    let sources = Sources {
        policies: vec![("p".to_owned(), text.to_owned())],
        entities: Some(("entities.json".to_owned(), ENTITIES.to_owned())),
        ..Sources::default()
    };
    Policy::load(&sources, CatchAllForbid::Strict).ok().map(|loaded| loaded.policy)
}

/// Permitted or not, and who decided; or who failed.
type Told = Result<(bool, Vec<String>), Vec<String>>;

fn told(decision: Decision) -> Told {
    let ids = |policies: Arc<[_]>| policies.iter().map(ToString::to_string).collect();
    match decision {
        Decision::Permit(permit) => Ok((true, ids(permit.policies))),
        Decision::Deny(denial) if denial.reason == Reason::PolicyError => Err(ids(denial.policies)),
        Decision::Deny(denial) => Ok((false, ids(denial.policies))),
    }
}

fn whole(policy: &Policy) -> PolicySet {
    let policies = policy.statements.iter().map(|statement| cedar_policy::Policy::from(statement.ast().clone()));
    PolicySet::from_policies(policies).unwrap()
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_json(json!({"type": kind, "id": id})).unwrap()
}

fn judged(whole: &PolicySet, request: &Request, resource: serde_json::Value) -> Told {
    let mut entities: serde_json::Value = serde_json::from_str(ENTITIES).unwrap();
    entities.as_array_mut().unwrap().push(resource);
    let entities = Entities::from_json_value(entities, None).unwrap();
    let response = Authorizer::new().is_authorized(request, whole, &entities);
    let sorted = |ids: HashSet<String>| {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort();
        ids
    };
    let errors: HashSet<_> = response
        .diagnostics()
        .errors()
        .map(|cedar_policy::AuthorizationError::PolicyEvaluationError(error)| error.policy_id().to_string())
        .collect();
    if !errors.is_empty() {
        return Err(sorted(errors));
    }
    let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
    Ok((response.decision() == Verdict::Allow, sorted(reasons)))
}

fn ancestors(host: &str) -> Vec<serde_json::Value> {
    name(host).ancestors().map(|domain| json!({"type": "Domain", "id": domain})).collect()
}

fn connection(whole: &PolicySet, query: &Query, protocol: Protocol, port: Port, address: IpAddr) -> Told {
    let host = query.name.as_str();
    let id = format!("{host}:{port}");
    let context = Context::from_json_value(
        json!({
            "client": {"__extn": {"fn": "ip", "arg": query.client.to_string()}},
            "host": host,
            "port": port.number(),
            "protocol": {"__entity": {"type": "Protocol", "id": protocol.as_str()}},
            "ip": {"__extn": {"fn": "ip", "arg": address.to_string()}},
        }),
        None,
    )
    .unwrap();
    let agent = uid("Agent", query.agent.as_str());
    let request =
        Request::new(agent, uid("Action", "net.connect"), uid("Resource", &id), with_now(context), None).unwrap();
    let attributes = json!({"host": host, "port": port.number()});
    judged(
        whole,
        &request,
        json!({"uid": {"type": "Resource", "id": id}, "attrs": attributes, "parents": ancestors(host)}),
    )
}

fn records(whole: &PolicySet, query: &Query) -> Told {
    let host = query.name.as_str();
    let context = Context::from_json_value(
        json!({"client": {"__extn": {"fn": "ip", "arg": query.client.to_string()}}, "qtype": "TXT"}),
        None,
    )
    .unwrap();
    let agent = uid("Agent", query.agent.as_str());
    let request =
        Request::new(agent, uid("Action", "dns.query"), uid("Domain", host), with_now(context), None).unwrap();
    let parents: Vec<_> = ancestors(host).into_iter().skip(1).collect();
    judged(whole, &request, json!({"uid": {"type": "Domain", "id": host}, "attrs": {}, "parents": parents}))
}

fn with_now(context: Context) -> Context {
    let now = jiff::Timestamp::from_millisecond(NOW.0).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let now = Context::from_pairs([("now".to_owned(), RestrictedExpression::new_datetime(now))]).unwrap();
    context.merge(now).unwrap()
}
