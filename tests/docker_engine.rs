//! The real Docker engine: its containers behind the wall, as they come and go,
//! also while the engine itself does.
//!
//! A part of two hundred containers is run by default. All of them:
//! `CEDARWALL_CONTAINERS=200 cargo test --test docker_engine -- --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::engine::{Engine, SOCKET, with_engine};
use support::lab::{Conversation, Lab, UPSTREAM, eventually, greeter, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{ANY_NAMES, Setup, Wall, configuration};

const ALL: usize = 200;
const USUAL: usize = 24;
/// Containers at once; the network has addresses for thirteen.
const AT_ONCE: usize = 6;
const API: &str = "203.0.113.7:443";
const WALL: &str = "10.99.0.1:53";
const SOON: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Asks, and reads the greeting: 0. Otherwise 1.
const ASKS: &str = "for try in 1 2 3 4 5; do nslookup api.example.com > /dev/null && \
    sleep 5 | nc -w 5 203.0.113.7 443 | grep -q hello && exit 0; sleep 1; done; exit 1";
/// Asks nothing, and tries to reach what others have open: 7 if it does.
const TRIES: &str = "for try in 1 2 3; do sleep 1 | nc -w 1 203.0.113.7 443 | grep -q hello && exit 7; done; exit 0";

/// An engine with one walled network, and a wall that asks it.
fn behind_the_wall(test: impl FnOnce(&Lab, &Engine, &mut Wall) + Send + 'static) {
    in_lab(move |lab| {
        with_engine(|engine| {
            engine.import_busybox();
            let network = ["network", "create", "--subnet", "10.99.0.0/28", "-o"];
            engine.docker(&[&network[..], &["com.docker.network.bridge.name=agents", "agents"]].concat());
            Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
            greeter(443);
            let setup = Setup {
                dns: "queries_per_second = 1000000",
                wall: "dns_packets_per_second = 10000000",
                names: ANY_NAMES,
                ..Setup::default()
            };
            let text = configuration(lab, &setup)
                .replace("\"10.77.0.1:53\", \"[fd77::1]:53\", \"10.77.1.1:53\"", &format!("{WALL:?}"))
                .replace("\"veth-agent\", \"veth-other\"", "\"agents\"");
            let (clients, names) = (text.find("[[client]]").unwrap(), text.find("[names]").unwrap());
            let docker = format!("[docker]\nenabled = true\nsocket = {SOCKET:?}\n");
            let text = format!("{}{docker}{}", &text[..clients], &text[names..]);
            test(lab, engine, &mut Wall::start_on(lab, &setup, &text));
        });
    });
}

/// `docker run` of a walled container.
fn run_walled(more: &[&str], script: &str) -> Vec<String> {
    let always = ["run", "--network", "agents", "--dns", "10.99.0.1"];
    let words = [&always[..], more, &["busybox", "sh", "-c", script]].concat();
    words.into_iter().map(ToOwned::to_owned).collect()
}

fn attempt(engine: &Engine, words: &[String]) -> Option<i32> {
    engine.attempt(&words.iter().map(String::as_str).collect::<Vec<_>>()).status.code()
}

#[test]
fn no_container_ever_has_what_another_one_asked_for() {
    let containers = std::env::var("CEDARWALL_CONTAINERS").ok().map_or(USUAL, |number| number.parse().unwrap());
    let which = if containers >= ALL { "all" } else { "NOT all: set CEDARWALL_CONTAINERS=200 for them" };
    eprintln!("\n*** {containers} containers, {which} ***\n");
    behind_the_wall(move |lab, engine, wall| {
        let begun = AtomicUsize::new(0);
        let (asked, tried) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while begun.fetch_add(1, Ordering::Relaxed) < containers {
                        let asks = fastrand::bool();
                        let words =
                            run_walled(&["--rm", "--label", "cedarwall.agent=claude"], if asks { ASKS } else { TRIES });
                        let code = attempt(engine, &words);
                        assert_eq!(
                            code,
                            Some(0),
                            "{}",
                            if asks { "its own lease did not open" } else { "it used another's" }
                        );
                        (if asks { &asked } else { &tried }).fetch_add(1, Ordering::Relaxed);
                        let told = asked.load(Ordering::Relaxed) + tried.load(Ordering::Relaxed);
                        if told.is_multiple_of(20) {
                            eprintln!("{told} containers");
                        }
                    }
                });
            }
        });
        let (asked, tried) = (asked.into_inner(), tried.into_inner());
        eprintln!("{asked} asked and were answered, {tried} asked nothing and reached nothing");
        assert!(asked > 0 && tried > 0);
        eventually("the ledger is empty", SOON, || {
            wall.operator(&["leases"]).is_some_and(|told| told.as_array().is_some_and(Vec::is_empty))
        });
        assert_eq!(elements("lease4").len(), 0);
        let bound = run("nft", &["list", "set", "bridge", "cedarwall", "bound4"]);
        assert!(!bound.contains("elements"), "{bound}");
        let known = wall.events("container.known", containers);
        let ids: BTreeSet<_> = known.iter().map(|event| event["container_id"].to_string()).collect();
        assert_eq!(ids.len(), containers, "each was known, and as itself");
        drop(lab.path(""));
    });
}

#[test]
fn when_the_engine_is_killed_under_load_nothing_opens_and_what_is_permitted_goes_on() {
    behind_the_wall(|lab, engine, wall| {
        // Containers outlive an engine that is told so.
        std::fs::write(engine.path("daemon.json"), r#"{"live-restore": true}"#).unwrap();
        engine.kill();
        engine.restart();
        wall.event("engine.found", |_| true);

        let start = |name: &str, label: &[&str]| {
            let words = run_walled(&[&["-d", "--name", name][..], label].concat(), "sleep 600");
            assert_eq!(attempt(engine, &words), Some(0));
            let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", name]);
            run(
                "sh",
                &[
                    "-c",
                    &format!(
                        "mkdir -p /run/netns; touch /run/netns/{name}; mount --bind /proc/{pid}/ns/net /run/netns/{name}"
                    ),
                ],
            );
        };
        start("works", &["--label", "cedarwall.agent=claude"]);
        wall.event("container.known", |event| event["container"] == "works");
        start("nobody", &[]);
        wall.event("container.unknown", |event| event["container"] == "nobody");
        let resolves = |name: &str| {
            let reply = lab.within(name, || ask(WALL, "api.example.com", RecordType::A));
            reply.is_some_and(|reply| addresses(&reply) == ["203.0.113.7"])
        };
        eventually("it is answered", SOON, || resolves("works"));
        let mut talk = Conversation::begin(lab, "works", API);

        let (ended, answered, opened) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    assert!(resolves("works"), "a permitted question was not answered");
                    assert!(lab.connects("works", API.parse().unwrap(), 5 * SECOND), "a permitted connection failed");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let is_open = resolves("nobody") || lab.connects("nobody", API.parse().unwrap(), SECOND / 4);
                    opened.fetch_add(usize::from(is_open), Ordering::Relaxed);
                }
            });
            for _ in 0..2 {
                let before = answered.load(Ordering::Relaxed);
                engine.kill();
                eventually("work goes on without an engine", SOON, || answered.load(Ordering::Relaxed) > before + 3);
                engine.restart();
                let before = answered.load(Ordering::Relaxed);
                eventually("and with it again", SOON, || answered.load(Ordering::Relaxed) > before + 3);
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert_eq!(opened.into_inner(), 0, "somebody unknown got through");
        assert!(talk.goes_on(5 * SECOND), "a flow was cut");
        assert!(!wall.events("engine.lost", 2).is_empty());
        assert!(wall.events("container.gone", 0).is_empty(), "a running container was forgotten");
        assert!(lab.path("events.jsonl").exists());
    });
}
