//! A day, compressed: names without end through a wall of small caps, from two
//! clients, and what the daemon and the kernel hold at the end is what they
//! held when every bounded table had been filled once (G11).
//!
//! A twentieth of it is run by default. The whole, two million names:
//! `CEDARWALL_SOAK_NAMES=2000000 cargo test --test soak -- --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use support::client::question;
use support::flood::{Load, questions, upstream};
use support::lab::{UPSTREAM, WALL, eventually, in_lab};
use support::nft::elements;
use support::wall::{Setup, Wall};

const WHOLE: u64 = 2_000_000;
const USUAL: u64 = WHOLE / 20;
/// Names after which every bounded table of the daemon is full: the decisions
/// that are remembered (65,536), and the names of a minute, of which there are
/// two at least.
const WARM: u64 = 240_000;
/// No more are asked in a second of one client, so that no minute has more
/// names to remember than another, none more than `NAMES` allows, and none more
/// than fit into the table that the first minute has made: 57,344.
const MOST_A_SECOND: u32 = 900;
const NAMES: &str = "per_minute = 57000\noctets_per_minute = 1000000000\nbits_per_minute = 1000000000";
const OTHER_WALL: &str = "10.77.1.1:53";
/// Questions under way at once, of each client.
const AT_ONCE: usize = 64;

const POLICY: &str = r#"
permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
"#;

/// The octets of a question for `n` and eight digits, below example.com.
fn template(client: char) -> Vec<u8> {
    question(&format!("{client}00000000.example.com"), RecordType::A).to_vec().unwrap()
}

/// The same question with another number: made by hand, because the
/// generator shares the machine with what it loads.
fn numbered(template: &[u8], number: u64) -> Vec<u8> {
    let mut wire = template.to_vec();
    wire[14..22].copy_from_slice(format!("{number:08}").as_bytes());
    wire
}

/// One of 2,000 addresses.
fn address_of(label: &[u8]) -> [u8; 2] {
    // The daemon's own question at its start is for the root.
    let digits = std::str::from_utf8(label.get(1..).unwrap_or_default()).unwrap();
    let number: u64 = digits.parse().unwrap_or_default();
    [u8::try_from(number / 250 % 8).unwrap(), u8::try_from(number % 250 + 1).unwrap()]
}

/// Resident memory in MiB.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn held() -> usize {
    ["lease4", "lease6", "lease4_all_ports", "lease6_all_ports"].iter().map(|set| elements(set).len()).sum()
}

/// Has both clients ask for `names` names that nobody has asked for before,
/// and waits until every lease has ended.
fn ask(next: &Arc<AtomicU64>, names: u64, wall: &Wall, process: u32) {
    let last = next.load(Ordering::Relaxed) + names;
    let client = |namespace, server: &str, letter| {
        let (next, template) = (Arc::clone(next), template(letter));
        let due = Mutex::new(Instant::now());
        questions(namespace, server, AT_ONCE, move |_| {
            let mut due = due.lock().unwrap();
            // What was missed is not made up for.
            *due = (*due + Duration::from_secs(1) / MOST_A_SECOND).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            numbered(&template, next.fetch_add(1, Ordering::Relaxed))
        })
    };
    let loads = [client("agent", WALL, 'a'), client("other", OTHER_WALL, 'o')];
    let mut told = Instant::now();
    while next.load(Ordering::Relaxed) < last {
        std::thread::sleep(Duration::from_millis(200));
        // What a log rotation does: the file lies in memory here.
        wall.truncate_journal();
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            let outcomes = ["answered", "denied", "failed"];
            let outcomes = outcomes.map(|outcome| wall.metric(&format!("queries_total{{outcome=\"{outcome}\"}}")));
            let (asked, memory) = (next.load(Ordering::Relaxed), resident(process));
            eprintln!("{asked:>9} names; {outcomes:?} answered, denied, failed; {memory:.1} MiB");
        }
    }
    let rate: f64 = loads.into_iter().map(Load::end).sum();
    eprintln!("{names} names at {rate:.0} a second");
    eventually("every lease ends", Duration::from_secs(60), || held() == 0);
}

#[test]
fn what_a_day_of_names_takes_it_gives_back() {
    let names = std::env::var("CEDARWALL_SOAK_NAMES").ok().map_or(USUAL, |names| names.parse().expect("a number"));
    let which = if names >= WHOLE { "the whole" } else { "NOT the whole: set CEDARWALL_SOAK_NAMES=2000000 for it" };
    eprintln!("\n*** soak: {names} names, {which} ***\n");
    in_lab(move |lab| {
        let upstream = upstream(UPSTREAM, 1, address_of);
        let setup = Setup {
            policy: POLICY,
            dns: "cache_entries = 1000\nqueries_per_second = 1000000\nmax_in_flight = 4096\nin_flight_per_client = 4096",
            wall: "dns_packets_per_second = 10000000",
            lease: "min = \"1s\"\ngrace = \"1s\"\nper_client = 8192\nset_size = 8192",
            names: NAMES,
            ..Setup::default()
        };
        let program = [support::wall::binary().to_str().unwrap()];
        let arguments = [["RUST_LOG=error"].as_slice(), &program].concat();
        let mut wall = Wall::start_through(lab, &setup, "env".as_ref(), &arguments);
        let process = wall.process().id();
        let idle = resident(process);
        let next = Arc::new(AtomicU64::new(0));
        ask(&next, WARM, &wall, process);
        let (before, elements_before) = (resident(process), held());
        ask(&next, names, &wall, process);
        let (after, elements_after) = (resident(process), held());
        let answered = wall.metric("queries_total{outcome=\"answered\"}");
        upstream.end();

        for failure in ["upstream_silent", "kernel_silent", "kernel_refused", "client_overloaded", "overloaded"] {
            let count = wall.metric(&format!("failed_total{{failure=\"{failure}\"}}"));
            eprintln!("{failure}: {count}");
        }
        eprintln!("\n{answered} questions were answered");
        eprintln!(
            "resident memory: idle {idle:.1} MiB, every table filled once {before:.1} MiB, at the end {after:.1} MiB"
        );
        eprintln!("leases in the kernel: {elements_before} before, {elements_after} after");
        assert!(wall.process().is_running());
        assert!(answered >= (names + WARM) * 9 / 10, "most names were answered");
        assert_eq!((elements_before, elements_after), (0, 0));
        assert!(after <= before * 1.1, "{before:.1} MiB became {after:.1} MiB");
    });
}
