//! What many leases and many names cost.

use std::io;
use std::thread;
use std::time::Duration;

use super::bench::{Bench, OTHER_CORE, SERVERS_CORE, Server};
use super::{Rows, Subject, metrics};
use crate::lab::UPSTREAM;
use crate::load::{Arguments, Mode};
use crate::peer::{Leases, Peer, Setting};
use crate::results::{Metrics, Row, Target};
use crate::usage::{kernel_memory, resident};

const METHOD: &str = "
    The wall is filled by questions for new names. Leases: with no cache; then 20,000 more names, one question at a time,
    and in a closed loop; what a name takes over asking the upstream server directly is the lease's commit and the way
    through the wall. Names: with leases of a second or two, which have all ended when memory is read. Memory of the
    daemon is resident memory now less that of the start; of the kernel, the same of its slabs and vmalloc.";

const FEW: u32 = 1000;
/// Names asked for afterwards.
const MORE: u64 = 20_000;

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let many = rows.arguments.scale;
    let mut row = rows.row("scale", "Many leases, many names", METHOD);
    row.column("added", "added to a cold lookup, us", 1, Some(false));
    row.column("cpu", "CPU per name, us", 2, None);
    row.column("daemon", "octets each in the daemon", 0, None);
    row.column("kernel", "octets each in the kernel", 0, None);
    row.column("fill", "filled at names/s", 0, None);
    let names = [format!("{FEW} leases"), format!("{many} leases"), format!("{many} names in the cache")];
    let subjects: Vec<Subject> =
        names.iter().enumerate().filter_map(|(variant, name)| rows.subject(Peer::Cedarwall, name, variant)).collect();
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| match subject.variant {
        0 => leases(bench, &setting, FEW),
        1 => leases(bench, &setting, many),
        _ => cached_names(bench, &setting, many),
    });
    let [few, lots, cached] = names.each_ref().map(String::as_str);
    let target = Some(Target::AtMost(1.5));
    row.ratio("added to a cold lookup, many leases / few", (lots, "added"), (few, "added"), target);
    row.ratio("CPU per name, many leases / few", (lots, "cpu"), (few, "cpu"), None);
    let of = |name: &str, metric: &str| row.values(name, metric).to_vec();
    let figures = [
        ("octets a lease in the daemon", of(lots, "daemon"), Some(Target::AtMost(350.0))),
        ("octets a lease in the kernel", of(lots, "kernel"), None),
        ("octets a cached name in the daemon", of(cached, "daemon"), Some(Target::AtMost(600.0))),
    ];
    for (title, values, target) in figures {
        row.figure(title, values, target);
    }
    Ok(row)
}

fn leases(bench: &Bench<'_>, setting: &Setting, count: u32) -> io::Result<Metrics> {
    let more = Arguments { from: count, answers: Some(MORE), ..Arguments::of(Mode::Unique, bench.seconds) };
    let one_at_a_time = Arguments { in_flight: 1, sockets: 1, warm: 0.0, ..more.clone() };
    // Before the wall is up, which lets nobody ask there.
    let direct = Arguments { to: UPSTREAM, ..one_at_a_time.clone() };
    let direct = bench.load(Some("client"), &direct, OTHER_CORE)?;
    let server = bench.start(Peer::Cedarwall, &Setting { cache: 0, ..setting.clone() }, SERVERS_CORE)?;
    let (daemon, kernel) = (resident(server.id())?, kernel_memory()?);
    let rate = fill(&server, count)?;
    let each = |now: f64, then: f64| (now - then) / f64::from(count);
    let (daemon, kernel) = (each(resident(server.id())?, daemon), each(kernel_memory()?, kernel));
    let cold = server.load(&one_at_a_time)?;
    let busy = server.load(&Arguments { from: cold.next, warm: 0.0, answers: None, ..more })?;
    let mut found = metrics([
        ("added", cold.p50 - direct.p50),
        ("cold", cold.p50),
        ("cold_p99", cold.p99),
        ("direct", direct.p50),
        ("cpu", busy.core.unwrap_or(f64::NAN) / busy.answered as f64),
        ("fill", rate),
    ]);
    // Of a thousand leases memory says nothing: pages are larger.
    if count > FEW {
        found.insert("daemon".into(), daemon);
        found.insert("kernel".into(), kernel);
    }
    Ok(found)
}

fn cached_names(bench: &Bench<'_>, setting: &Setting, count: u32) -> io::Result<Metrics> {
    let setting = Setting { cache: count + count / 4, leases: Leases::Short, ..setting.clone() };
    let server = bench.start(Peer::Cedarwall, &setting, SERVERS_CORE)?;
    let before = resident(server.id())?;
    let rate = fill(&server, count)?;
    // Two seconds, one of grace, and the time to clear away.
    thread::sleep(Duration::from_secs(10));
    Ok(metrics([("daemon", (resident(server.id())? - before) / f64::from(count)), ("fill", rate)]))
}

/// Asks for so many new names; returns how many a second.
fn fill(server: &Server<'_>, count: u32) -> io::Result<f64> {
    let arguments = Arguments {
        answers: Some(count.into()),
        in_flight: 192.min(count as usize / 4),
        warm: 0.0,
        ..Arguments::of(Mode::Unique, 600.0)
    };
    let report = server.load(&arguments)?;
    if report.wrong + report.lost > 0 || report.answered < count.into() {
        let what = report.wrong_example.unwrap_or_default();
        return Err(io::Error::other(format!("only {} of {count} names were answered: {what}", report.answered)));
    }
    Ok(report.per_second)
}
