//! Leases.

use std::io;

use super::super::bench::{Bench, OTHER_CORE, SERVERS_CORE};
use super::super::{Rows, metrics};
use super::{fill, grouped, name_sizes, row, settle, sizes};
use crate::lab::UPSTREAM;
use crate::load::{Arguments, Mode};
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};
use crate::usage::{kernel_memory, resident};

const METHOD: &str = "
    The wall, without a cache, is filled by questions for new names; then it is asked for more, first in a closed loop,
    then, with everybody on one core, one at a time. What such a name takes over asking the upstream server directly is
    the lease's commit and the way through the wall. Memory is read a minute after the last name, when none of them
    counts against the budget of names any more: of the daemon, resident memory less that of the start; of the kernel,
    the same of all its slabs and of vmalloc.";

/// Fewer than these are smaller than what else memory is needed for.
const WEIGHABLE: u32 = 100_000;

pub(in super::super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = row(rows, "leases", "The cost of a name, by leases that are held", METHOD);
    row.column("added", "added to a cold lookup, us", 1, Some(Plot::BySize));
    row.column("cpu", "CPU per name, us", 2, Some(Plot::BySize));
    row.column("daemon", "octets each in the daemon", 0, None);
    row.column("kernel", "octets each in the kernel", 0, None);
    row.column("fill", "filled at names/s", 0, None);
    let subjects = sizes(rows, rows.arguments.scale, 1000);
    let setting = Setting { cache: 0, ..rows.bench.setting.clone() };
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, &setting, subject.variant as u32));
    name_sizes(&mut row, &subjects);

    let (Some(least), Some(most)) = (subjects.first(), subjects.last()) else { return Ok(row) };
    let title = format!("added to a cold lookup, {} leases / {}", most.name, grouped(least.variant as u32));
    row.ratio(&title, (&most.name, "added"), (&least.name, "added"), Some(Target::AtMost(1.5)));
    row.ratio("CPU per name, the same", (&most.name, "cpu"), (&least.name, "cpu"), None);
    let of = |metric: &str| row.values(&most.name, metric).to_vec();
    let (daemon, kernel) = (of("daemon"), of("kernel"));
    row.figure("octets a lease in the daemon", daemon, Some(Target::AtMost(350.0)));
    row.figure("octets a lease in the kernel", kernel, None);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, setting: &Setting, count: u32) -> io::Result<Metrics> {
    let more = Arguments { from: count, warm: 0.0, ..Arguments::of(Mode::Unique, bench.seconds) };
    let one_at_a_time = Arguments { in_flight: 1, sockets: 1, ..more.clone() };
    // Before the wall is up, which lets nobody ask there.
    let direct = Arguments { to: UPSTREAM, ..one_at_a_time.clone() };
    let direct = bench.load(Some("client"), &direct, OTHER_CORE)?;

    let server = bench.start(Peer::Cedarwall, setting, SERVERS_CORE)?;
    let (daemon, kernel) = (resident(server.id())?, kernel_memory()?);
    let rate = fill(&server, count)?.per_second;
    let next = if count >= WEIGHABLE { settle(&server, count)? } else { count };
    let each = |now: f64, then: f64| (now - then) / f64::from(count);
    let (daemon, kernel) = (each(resident(server.id())?, daemon), each(kernel_memory()?, kernel));
    // Not more in all than the set has room for.
    let busy = server.load(&Arguments { from: next, answers: Some(30_000), ..more })?;
    server.move_to(OTHER_CORE)?;
    let cold = server.load(&Arguments { from: busy.next, answers: Some(10_000), ..one_at_a_time })?;
    let mut found = metrics([
        ("added", cold.p50 - direct.p50),
        ("cold", cold.p50),
        ("cold_p99", cold.p99),
        ("direct", direct.p50),
        ("cpu", busy.core.unwrap_or(f64::NAN) / busy.answered as f64),
        ("fill", rate),
        ("wrong", (cold.wrong + busy.wrong) as f64),
    ]);
    if count >= WEIGHABLE {
        found.insert("daemon".into(), daemon);
        found.insert("kernel".into(), kernel);
    }
    Ok(found)
}
