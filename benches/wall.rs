//! What a wall costs: a cold permitted lookup against asking the upstream
//! directly, side by side and in turn; a cached and a denied one; the time to
//! start; the memory of an idle daemon. Needs root: it runs in namespaces of
//! its own.
//!
//! ```sh
//! cargo bench --bench wall
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

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use support::client::question;
use support::lab::{UPSTREAM, WALL, in_lab};
use support::nft::elements;
use support::upstream::{Upstream, address, answer, wire};
use support::wall::{ANY_NAMES, Setup, Wall, binary};

const ROUNDS: usize = 3000;

const POLICY: &str = r#"
permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
"#;

fn main() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let index: usize = asked.name.trim_start_matches('h').split('.').next()?.parse().ok()?;
            wire(&answer(
                query,
                vec![address(query, 300, &format!("100.70.{}.{}", index / 250 % 250, index % 250 + 1))],
            ))
        });
        let setup = Setup {
            policy: POLICY,
            lease: "per_client = 60000",
            dns: "queries_per_second = 100000",
            wall: "dns_packets_per_second = 1000000",
            names: ANY_NAMES,
            ..Setup::default()
        };
        let started = Instant::now();
        let mut wall = Wall::start(lab, &setup);
        println!("ready to answer, policy loaded and rules verified  {:>8.1} ms (polled)", millis(started.elapsed()));
        println!("memory of the idle daemon                          {:>8.1} MiB", resident(wall.process().id()));
        println!("cedarwall check of the story's policy              {:>8.1} ms", median_of_starts());

        // A socket belongs to the namespace it was made in.
        let upstream = connected(UPSTREAM);
        let through_the_wall = lab.within("agent", || connected(WALL));
        let (mut direct, mut cold, mut cached, mut denied) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for index in 0..ROUNDS {
            direct.push(exchange(&upstream, &format!("h{}.example.com", index + 20_000)));
            cold.push(exchange(&through_the_wall, &format!("h{index}.example.com")));
            cached.push(exchange(&through_the_wall, &format!("h{index}.example.com")));
            denied.push(exchange(&through_the_wall, &format!("h{index}.example.net")));
        }
        assert_eq!(elements("lease4").len(), ROUNDS, "every cold lookup opened its address");

        println!("\n{:<34}{:>12}{:>12}", "", "median", "p99");
        let direct = row("upstream asked directly", direct);
        let cold = row("cold lookup through the wall", cold);
        row("cached lookup", cached);
        row("denied lookup", denied);
        let added = cold.saturating_sub(direct);
        println!("{:<34}{:>9} us", "the wall adds to a cold lookup", added.as_micros());
        println!("\nmemory with {ROUNDS} leases                           {:>8.1} MiB", resident(wall.process().id()));
    });
}

fn connected(server: &str) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(server.parse::<SocketAddr>().unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn exchange(socket: &UdpSocket, name: &str) -> Duration {
    let query = question(name, RecordType::A);
    let octets = query.to_vec().unwrap();
    let mut buffer = [0; 4096];
    let start = Instant::now();
    socket.send(&octets).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    let took = start.elapsed();
    assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.id, query.metadata.id);
    took
}

/// Prints a row of the table and returns its median.
fn row(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let (median, high) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what:<34}{:>9} us{:>9} us", median.as_micros(), high.as_micros());
    median
}

/// The time of a whole process that loads the story's policy and ends.
fn median_of_starts() -> f64 {
    let story = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/story");
    let mut times: Vec<_> = (0..21)
        .map(|_| {
            let start = Instant::now();
            let output = Command::new(binary()).args(["check", "--catch-all-forbid", "default-deny", story]).output();
            assert!(output.unwrap().status.success());
            start.elapsed()
        })
        .collect();
    times.sort();
    millis(times[times.len() / 2])
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Resident memory in MiB.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
