//! Names in the cache.

use std::io;

use super::super::bench::{Bench, SERVERS_CORE};
use super::super::{Rows, metrics};
use super::{fill, name_sizes, row, settle, sizes};
use crate::load::{Arguments, Mode};
use crate::peer::{Leases, Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};
use crate::usage::resident;

const METHOD: &str = "
    So many names are asked for once, and then in turn, so that every answer comes from the cache and every address is
    open. Memory: the same names with leases of a second or two, which have all ended when resident memory is read, a
    minute later, less that of the start. Of leases that have ended the wall remembers as many as by default, 65,536.";

/// Fewer than these are smaller than what else memory is needed for.
const WEIGHABLE: u32 = 100_000;

pub(in super::super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = row(rows, "names", "The cost of a cached query, by names in the cache", METHOD);
    row.column("cpu", "CPU per query, us", 2, Some(Plot::BySize));
    row.column("per_second", "queries/s", 0, None);
    row.column("daemon", "octets each in the daemon", 0, None);
    let subjects = sizes(rows, rows.arguments.scale, 1000);
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, &setting, subject.variant as u32));
    name_sizes(&mut row, &subjects);
    let (Some(least), Some(most)) = (subjects.first(), subjects.last()) else { return Ok(row) };
    let title = format!("CPU per query, {} names / {}", most.name, least.name);
    row.ratio(&title, (&most.name, "cpu"), (&least.name, "cpu"), None);
    let daemon = row.values(&most.name, "daemon").to_vec();
    row.figure("octets a cached name in the daemon", daemon, Some(Target::AtMost(600.0)));
    Ok(row)
}

fn one_round(bench: &Bench<'_>, setting: &Setting, count: u32) -> io::Result<Metrics> {
    let setting = Setting { cache: count + count / 4, ..setting.clone() };
    let mut found = {
        let server = bench.start(Peer::Cedarwall, &setting, SERVERS_CORE)?;
        let report = server.load(&Arguments { names: count, ..Arguments::of(Mode::Many, bench.seconds) })?;
        metrics([
            ("cpu", report.core.unwrap_or(f64::NAN) / report.answered as f64),
            ("per_second", report.per_second),
            ("wrong", report.wrong as f64),
        ])
    };
    if count >= WEIGHABLE {
        let server = bench.start(Peer::Cedarwall, &Setting { leases: Leases::Short, ..setting }, SERVERS_CORE)?;
        let before = resident(server.id())?;
        fill(&server, count)?;
        settle(&server, count)?;
        found.insert("daemon".into(), (resident(server.id())? - before) / f64::from(count));
    }
    Ok(found)
}
