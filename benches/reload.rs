//! What loading a large policy does to those who ask meanwhile: the latency of
//! answers before, and while the running daemon reads 100,000 policies anew.
//! Needs root: it runs in namespaces of its own.
//!
//! ```sh
//! cargo bench --bench reload
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

use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use support::client::question;
use support::lab::{UPSTREAM, WALL, in_lab};
use support::upstream::{Upstream, address, answer, wire};
use support::wall::{Setup, Wall};

const POLICIES: usize = 100_000;
/// How long answers are timed before each reload.
const BEFORE: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

fn main() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |_, query| wire(&answer(query, vec![address(query, 300, "100.70.0.1")])));
        let text = policies();
        let started = Instant::now();
        let mut wall = Wall::start(lab, &Setup { policy: &text, ..Setup::default() });
        println!("{POLICIES} policies: ready to answer after {:.2} s (polled)", started.elapsed().as_secs_f64());
        println!("memory of the daemon: {:.0} MiB", memory(wall.process().id(), "VmRSS:"));
        let socket = lab.within("agent", || connected(WALL));

        println!("\n{:<28}{:>10}{:>12}{:>12}{:>12}", "answers", "count", "median us", "p99 us", "longest us");
        for _ in 0..ROUNDS {
            let before = asked_while(&socket, |since| since < BEFORE);
            row("before the reload", &before);
            let reload = thread::scope(|scope| {
                let reload = scope.spawn(|| {
                    let started = Instant::now();
                    let report = wall.operator(&["reload"]).expect("the policy is loaded");
                    assert_eq!(report["policies"], POLICIES + 1);
                    started.elapsed()
                });
                let during = asked_while(&socket, |_| !reload.is_finished());
                row("while it loads", &during);
                println!("{:<28}{:>10.2}", "  p99, ratio", quantile(&during, 99) / quantile(&before, 99));
                reload.join().unwrap()
            });
            println!("{:<28}{:>10.2} s", "  reload", reload.as_secs_f64());
        }
        println!(
            "\nmemory of the daemon: {:.0} MiB, at most {:.0} MiB",
            memory(wall.process().id(), "VmRSS:"),
            memory(wall.process().id(), "VmHWM:")
        );
    });
}

fn policies() -> String {
    let mut text =
        "permit(principal, action == Action::\"net.connect\", resource == Resource::\"api.example.com:443\");\n"
            .to_owned();
    for index in 0..POLICIES {
        writeln!(
            text,
            "@id(\"p{index}\") permit(principal == Agent::\"agent{}\", action == Action::\"net.connect\", \
             resource == Resource::\"host{index}.example.org:443\");",
            index % 1000
        )
        .unwrap();
    }
    text
}

fn connected(server: &str) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(server.parse::<SocketAddr>().unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// How long each answer took, one question after the other.
fn asked_while(socket: &UdpSocket, go_on: impl Fn(Duration) -> bool) -> Vec<f64> {
    let octets = question("api.example.com", RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 4096];
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || go_on(begun.elapsed()) {
        let start = Instant::now();
        socket.send(&octets).unwrap();
        socket.recv(&mut buffer).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e6);
        thread::sleep(Duration::from_micros(500));
    }
    times.sort_by(f64::total_cmp);
    times
}

fn row(what: &str, times: &[f64]) {
    let longest = times.last().unwrap();
    println!("{what:<28}{:>10}{:>12.0}{:>12.0}{longest:>12.0}", times.len(), quantile(times, 50), quantile(times, 99));
}

fn quantile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// A field of the process's status, in MiB.
fn memory(process: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
