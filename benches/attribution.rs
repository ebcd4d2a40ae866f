//! What evidence costs: denied queries a second with the journal and the
//! process of each, and without, in turn; the same for permitted ones from the
//! cache, which nothing waits for. Needs root: it runs in namespaces of its
//! own.
//!
//! ```sh
//! cargo bench --bench attribution
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails where it cannot measure"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::env;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use serde_json::Value;
use support::client::question;
use support::lab::{Lab, Process, UPSTREAM, WALL, eventually, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::{ANY_NAMES, STORY, Setup, binary, configuration};

const ROUNDS: usize = 3;
const LONG: Duration = Duration::from_secs(3);
/// Questions under way at once.
const AT_ONCE: usize = 32;

/// What is asked: the name, and whether from a new socket each time.
const KINDS: [(&str, &str, bool); 3] = [
    ("denied, one socket", "blocked.example.net", false),
    ("denied, a socket for each question", "blocked.example.net", true),
    ("permitted, from the cache", "api.example.com", false),
];

fn main() {
    // The client is this very program, started anew in the client's namespace.
    if let (Ok(name), Ok(way)) = (env::var("ASK_NAME"), env::var("ASK_WAY")) {
        return println!("{}", ask(&name, way == "anew"));
    }
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut rates = BTreeMap::new();
        for _ in 0..ROUNDS {
            for is_on in [false, true] {
                let daemon = start(lab, is_on);
                for (index, (_, name, anew)) in KINDS.iter().enumerate() {
                    rates.entry((index, is_on)).or_insert_with(Vec::new).push(asked(lab, name, *anew));
                }
                drop(daemon);
                std::fs::remove_file(lab.path("control.sock")).unwrap();
            }
        }
        println!("{:<38}{:>12}{:>12}{:>8}", "questions answered a second", "without", "with", "ratio");
        for (index, (what, ..)) in KINDS.iter().enumerate() {
            let (off, on) = (median(&rates[&(index, false)]), median(&rates[&(index, true)]));
            println!("{what:<38}{off:>12.0}{on:>12.0}{:>8.2}", on / off);
        }
        told(&lab.path("events.jsonl"));
    });
}

/// Has the client ask; questions answered a second.
fn asked(lab: &Lab, name: &str, anew: bool) -> f64 {
    let mut command = Command::new(env::current_exe().unwrap());
    command.envs([("ASK_NAME", name), ("ASK_WAY", if anew { "anew" } else { "again" })]);
    let output = lab.within("agent", || command.output().unwrap());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The client's part.
fn ask(name: &str, anew: bool) -> f64 {
    let wire = question(name, RecordType::A).to_vec().unwrap();
    let (begun, mut answered) = (Instant::now(), 0u32);
    let mut socket = connected();
    let at_once = if anew { 1 } else { AT_ONCE };
    (0..at_once).for_each(|_| drop(socket.send(&wire)));
    while begun.elapsed() < LONG {
        match socket.recv(&mut [0; 4096]) {
            Ok(_) => {
                answered += 1;
                if anew {
                    socket = connected();
                }
                let _ = socket.send(&wire);
            }
            Err(_) => (0..at_once).for_each(|_| drop(socket.send(&wire))),
        }
    }
    f64::from(answered) / begun.elapsed().as_secs_f64()
}

fn connected() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.connect(WALL).unwrap();
    socket
}

/// Starts a daemon with all evidence, or with none.
fn start(lab: &Lab, is_on: bool) -> Process {
    let setup = Setup {
        dns: "queries_per_second = 1000000\nburst = 1000000",
        wall: "dns_packets_per_second = 10000000",
        names: ANY_NAMES,
        evidence: if is_on { "" } else { "processes = false" },
        ..Setup::default()
    };
    let text = configuration(lab, &setup);
    let text = if is_on {
        text
    } else {
        text.lines().filter(|line| !line.contains("events.jsonl")).collect::<Vec<_>>().join("\n")
    };
    let file = lab.write("cedarwall.toml", &text);
    lab.write("policies/wall.cedar", STORY);
    let arguments = ["RUST_LOG=error", binary().to_str().unwrap(), "serve", "--config", file.to_str().unwrap()];
    let daemon = lab.start(None, Path::new("/usr/bin/env"), &arguments);
    let socket = lab.path("control.sock");
    eventually("it is ready", Duration::from_secs(20), || cedarwall::control::is_ready(&socket));
    daemon
}

fn median(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What the journal says of the processes.
fn told(journal: &Path) {
    let mut told = BTreeMap::<String, u64>::new();
    for line in std::fs::read_to_string(journal).unwrap_or_default().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let what = match (&event["event"], &event["process"]["pid"]) {
            (event, _) if event == "journal.lost" => "lines lost, told of in events".to_owned(),
            (event, _) if event != "query.denied" => continue,
            (_, pid) if pid.is_null() => format!("said {}", event["process_missing"]),
            _ if event["process"]["path"].as_str().map(Path::new) == env::current_exe().ok().as_deref() => {
                "named the client's process".to_owned()
            }
            _ => "named another".to_owned(),
        };
        *told.entry(what).or_default() += 1;
    }
    println!("\nof the denials in the journal");
    for (what, count) in told {
        println!("{count:>10} {what}");
    }
}
