//! What the rules cost the packets that pass.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::bench::{Bench, OTHER_CORE, SERVERS_CORE, Server};
use super::{Rows, Subject, metrics};
use crate::connect::Connected;
use crate::names::{self, Domain};
use crate::peer::{PORT, Peer, Setting};
use crate::process::{Process, Start};
use crate::results::{Metrics, Plot, Row, Target};
use crate::usage::core_seconds;

const METHOD: &str = "
    Through the host that forwards: with no rules, and behind the wall, to an address that it has opened by a question.
    One TCP stream of iperf3; then new connections, accepted, closed and reset, one at a time on each of 8 threads. Each
    end has a core, and whoever sends also forwards; the CPU of both cores for each gigabyte is told, too.";

const NO_RULES: &str = "no rules";
/// The name whose address the connections go to.
const NUMBER: u32 = 7;

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = rows.row("packets", "Packets through the wall", METHOD);
    row.column("gigabits", "TCP, Gbit/s", 2, Some(Plot::LongerIsBetter));
    row.column("cpu", "CPU, ms per gigabyte", 1, None);
    row.column("connections", "new connections/s", 0, Some(Plot::LongerIsBetter));
    row.column("failed", "that failed", 0, None);
    let bare = Subject { name: NO_RULES.into(), version: String::new(), peer: Peer::Echo, variant: 1 };
    let subjects: Vec<_> = std::iter::once(bare).chain(rows.peers(|peer| peer == Peer::Cedarwall)).collect();
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, subject, &setting));
    let of = |metric| (("cedarwall", metric), (NO_RULES, metric));
    let (wall, bare) = of("gigabits");
    row.ratio("throughput, cedarwall / no rules", wall, bare, Some(Target::AtLeast(0.95)));
    let (wall, bare) = of("connections");
    row.ratio("connections, cedarwall / no rules", wall, bare, Some(Target::AtLeast(0.9)));
    let (wall, bare) = of("cpu");
    row.ratio("CPU per gigabyte, cedarwall / no rules", wall, bare, None);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, subject: &Subject, setting: &Setting) -> io::Result<Metrics> {
    let server: Option<Server<'_>> = match subject.variant {
        1 => None,
        _ => Some(bench.start(subject.peer, setting, SERVERS_CORE)?),
    };
    if let Some(server) = &server {
        server.answer(NUMBER)?;
    }
    let (gigabits, cpu) = stream(bench)?;
    let accept = ["accept".to_owned(), "--listen".to_owned(), format!("0.0.0.0:{PORT}")];
    let _accepts = there(bench, &bench.setting.own, &accept)?;
    let to = names::address(&names::wire(Domain::Permitted, NUMBER));
    let connect = ["connect", "--to", &format!("{to}:{PORT}"), "--seconds", &bench.seconds.to_string()];
    let connected: Connected = serde_json::from_str(&here(&bench.setting.own, &connect)?)?;
    Ok(metrics([
        ("gigabits", gigabits),
        ("cpu", cpu),
        ("connections", connected.per_second),
        ("failed", connected.failed as f64),
    ]))
}

/// One stream: gigabits a second, and milliseconds of both cores for each
/// gigabyte.
fn stream(bench: &Bench<'_>) -> io::Result<(f64, f64)> {
    let iperf = Path::new("/usr/bin/iperf3");
    let port = PORT.to_string();
    let _listens = there(bench, iperf, &["-s", "-p", &port].map(ToOwned::to_owned))?;
    let to = names::address(&names::wire(Domain::Permitted, NUMBER)).to_string();
    let busy = || Ok::<f64, io::Error>(core_seconds(0)?.busy + core_seconds(1)?.busy);
    let before = busy()?;
    let seconds = bench.seconds.ceil().to_string();
    let printed = here(iperf, &["-c", &to, "-p", &port, "-t", &seconds, "-J"])?;
    let used = busy()? - before;
    let told: Value = serde_json::from_str(&printed)?;
    let received = &told["end"]["sum_received"];
    let number = |key: &str| received[key].as_f64().ok_or_else(|| io::Error::other(format!("iperf3 told no {key}")));
    Ok((number("bits_per_second")? / 1e9, used * 1e3 / (number("bytes")? / 1e9)))
}

/// A server on the internet, once it listens.
fn there(bench: &Bench<'_>, program: &Path, arguments: &[String]) -> io::Result<Process> {
    let start = Start { name: "the other side", namespace: Some("internet"), cores: SERVERS_CORE, program, arguments };
    let mut process = start.start(bench.lab)?;
    for _ in 0..200 {
        let listening = format!(":{PORT:04X} 00000000:0000 0A");
        let listening6 = format!(":{PORT:04X} 00000000000000000000000000000000:0000 0A");
        let table = bench.lab.within("internet", || {
            let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
            tables.into_iter().map(std::fs::read_to_string).collect::<io::Result<String>>()
        })?;
        if table.contains(&listening) || table.contains(&listening6) {
            return Ok(process);
        }
        if let Some(end) = process.ended() {
            return Err(io::Error::other(end));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other(format!("it does not listen: {}", process.last_words())))
}

/// Runs a program at the client's; returns what it printed.
fn here(program: &Path, arguments: &[&str]) -> io::Result<String> {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let start =
        Start { name: "the client", namespace: Some("client"), cores: OTHER_CORE, program, arguments: &arguments };
    start.output()
}
