//! What a decision costs as the policy grows, side by side with Cedar's own
//! Authorizer over the whole set, in one run; and what loading costs.
//!
//! ```sh
//! cargo bench --bench policy            # 10 to 100,000 policies
//! cargo bench --bench policy -- 10000   # these many
//! ```
//!
//! An uncached decision is of a name not asked for before; it says which ports
//! open, by as many evaluations as that takes. The Authorizer's time is of one
//! request: one port, one protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails where it cannot measure"
)]

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use cedar_policy::{Authorizer, Context, Entities, Entity, PolicySet, Request};
use cedarwall::core::config::CatchAllForbid;
use cedarwall::core::decision::Decision;
use cedarwall::core::name::Name;
use cedarwall::core::policy::{Policy, Sources};
use cedarwall::core::query::{Agent, Client, Query, RecordKind};
use cedarwall::core::time::WallTime;
use serde_json::json;

/// Decisions per size and kind.
const ROUNDS: usize = 4000;
const NOW: WallTime = WallTime(1_800_000_000_000);

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if let [size] = sizes[..] {
        return measure(size);
    }
    println!(
        "{:>9} | {:>8} {:>8} | {:>9} {:>9} {:>9} | {:>8} | {:>11} | {:>7}",
        "policies", "load", "memory", "permitted", "wildcard", "denied", "cached", "Authorizer", "ratio"
    );
    println!(
        "{:>9} | {:>8} {:>8} | {:>9} {:>9} {:>9} | {:>8} | {:>11} | {:>7}",
        "", "s", "peak MB", "us", "us", "us", "us", "us", ""
    );
    let sizes = if sizes.is_empty() { vec![10, 1_000, 10_000, 100_000] } else { sizes };
    for size in sizes {
        // Each in a process of its own: what one leaves in memory would be
        // another's for nothing.
        let status = Command::new(std::env::current_exe().unwrap()).arg(size.to_string()).status().unwrap();
        assert!(status.success());
    }
    println!("\nmedians; permitted, wildcard and denied are uncached decisions with their ports");
}

fn measure(size: usize) {
    let text = policies(size);
    let sources = Sources {
        policies: vec![("bench.cedar".to_owned(), text.clone())],
        entities: Some(("entities.json".to_owned(), entities())),
        ..Sources::default()
    };
    let before = memory_now();
    let started = Instant::now();
    let loaded = Policy::load(&sources, CatchAllForbid::Strict)
        .unwrap_or_else(|problems| panic!("{}", problems.iter().map(ToString::to_string).collect::<String>()));
    let load = started.elapsed();
    let memory = memory_peak().saturating_sub(before) / 1024;
    let policy = loaded.policy;

    let named = |index: usize| query(&format!("host{}.example.com", index % size));
    let permitted = median(
        (0..ROUNDS.min(size)).map(|index| {
            let index = index * (size / ROUNDS.min(size));
            let mut query = named(index / 5 * 5);
            query.agent = agent(index / 5 * 5);
            query
        }),
        &policy,
        true,
    );
    let wildcard = median(
        (0..ROUNDS).map(|index| {
            let domain = (index * 5 + 3) % size / 5 * 5 + 3;
            query(&format!("n{index}.zone{}.example.org", if domain < size { domain } else { 3 }))
        }),
        &policy,
        true,
    );
    let denied = median((0..ROUNDS).map(|index| query(&format!("n{index}.telemetry.example.net"))), &policy, false);
    let cached = cached(&named(0), &policy);
    let authorizer = plain(&text, size);
    let uncached = permitted.max(wildcard).max(denied);
    println!(
        "{size:>9} | {:>8.2} {memory:>8} | {:>9.2} {:>9.2} {:>9.2} | {:>8.3} | {:>11.1} | {:>6.0}x",
        load.as_secs_f64(),
        micros(permitted),
        micros(wildcard),
        micros(denied),
        micros(cached),
        micros(authorizer),
        authorizer.as_secs_f64() / uncached.as_secs_f64(),
    );
}

/// Of each five: three permits of a host and port for one agent, of which one
/// with a condition; one of a domain for a team, on one port; one forbid.
fn policies(size: usize) -> String {
    let mut text = String::new();
    for index in 0..size {
        let scope = match index % 5 {
            3 => format!(
                "principal in Team::\"team{}\", action == Action::\"net.connect\", resource in Domain::\"zone{index}.example.org\"",
                index % 10
            ),
            4 => {
                format!("principal, action == Action::\"net.connect\", resource in Domain::\"bad{index}.example.org\"")
            }
            _ => format!(
                "principal == Agent::\"agent{}\", action == Action::\"net.connect\", resource == Resource::\"host{index}.example.com:443\"",
                index % 1000
            ),
        };
        let effect = if index % 5 == 4 { "forbid" } else { "permit" };
        let condition = match index % 5 {
            2 => " when { context.protocol == Protocol::\"tcp\" }",
            3 => " when { context.port == 443 && context.protocol == Protocol::\"tcp\" }",
            _ => "",
        };
        writeln!(text, "@id(\"p{index}\")\n{effect}({scope}){condition};").unwrap();
    }
    text
}

/// A thousand agents in ten teams.
fn entities() -> String {
    let teams =
        (0..10).map(|team| json!({"uid": {"type": "Team", "id": format!("team{team}")}, "attrs": {}, "parents": []}));
    let agents = (0..1000).map(|agent| {
        let parents: Vec<_> = (0..10).map(|team| json!({"type": "Team", "id": format!("team{team}")})).collect();
        json!({"uid": {"type": "Agent", "id": format!("agent{agent}")}, "attrs": {}, "parents": parents})
    });
    serde_json::Value::Array(teams.chain(agents).collect()).to_string()
}

fn agent(index: usize) -> Agent {
    Agent::parse(&format!("agent{}", index % 1000)).unwrap()
}

fn query(name: &str) -> Query {
    let client = Client::new([10, 77, 0, 2].into());
    Query {
        client,
        addresses: [client].into(),
        agent: agent(0),
        name: Name::parse(name).unwrap(),
        kind: RecordKind::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// The median time of deciding each of `queries`, each of which comes out as
/// `permitted` says.
fn median(queries: impl Iterator<Item = Query>, policy: &Policy, permitted: bool) -> Duration {
    let queries: Vec<_> = queries.collect();
    let mut times = Vec::with_capacity(queries.len());
    let mut seen = std::collections::HashSet::new();
    for query in &queries {
        if !seen.insert((query.agent.clone(), query.name.clone())) {
            continue;
        }
        let started = Instant::now();
        let decision = black_box(policy.decide(black_box(query), NOW));
        times.push(started.elapsed());
        assert_eq!(matches!(decision, Decision::Permit(_)), permitted, "{:?}", query);
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn cached(query: &Query, policy: &Policy) -> Duration {
    let _ = policy.decide(query, NOW);
    let rounds = 200_000;
    let started = Instant::now();
    for _ in 0..rounds {
        let _ = black_box(policy.decide(black_box(query), NOW));
    }
    started.elapsed() / rounds
}

/// Cedar's own Authorizer over the whole set.
fn plain(text: &str, size: usize) -> Duration {
    let policies = PolicySet::from_str(text).unwrap();
    let agent = r#"Agent::"agent0""#.parse().unwrap();
    let resource: cedar_policy::EntityUid = r#"Resource::"host0.example.com:443""#.parse().unwrap();
    let attributes = [
        ("host".to_owned(), cedar_policy::RestrictedExpression::new_string("host0.example.com".to_owned())),
        ("port".to_owned(), cedar_policy::RestrictedExpression::new_long(443)),
    ];
    let parents =
        ["host0.example.com", "example.com", "com"].map(|domain| format!("Domain::\"{domain}\"").parse().unwrap());
    let entity = Entity::new(resource.clone(), attributes.into(), parents.into()).unwrap();
    let entities = Entities::from_entities([entity], None).unwrap();
    let context = json!({"client": {"__extn": {"fn": "ip", "arg": "10.77.0.2"}}, "host": "host0.example.com", "port": 443,
        "protocol": {"__entity": {"type": "Protocol", "id": "tcp"}}});
    let context = Context::from_json_value(context, None).unwrap();
    let action = r#"Action::"net.connect""#.parse().unwrap();
    let request = Request::new(agent, action, resource, context, None).unwrap();
    let authorizer = Authorizer::new();
    let mut times: Vec<_> = (0..(100_000 / size).clamp(5, 500))
        .map(|_| {
            let started = Instant::now();
            assert_eq!(
                black_box(authorizer.is_authorized(&request, &policies, &entities)).decision(),
                cedar_policy::Decision::Allow
            );
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Resident memory in KiB; the peak starts anew from here.
fn memory_now() -> u64 {
    // Linux: writing 5 resets the peak (proc(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS:")
}

/// The peak of resident memory in KiB.
fn memory_peak() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
