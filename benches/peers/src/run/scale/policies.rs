//! Policies.

use std::io;
use std::time::Instant;

use super::super::bench::{Bench, SERVERS_CORE};
use super::super::{Rows, metrics};
use super::{name_sizes, row, sizes};
use crate::load::{Arguments, Mode};
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row};

const METHOD: &str = "
    Beside the one policy that permits what is asked for there are so many others, each for a host of its own. A closed
    loop of new names, each decided on anew; then one of cached ones. The start is until the first answer.";

pub(in super::super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = row(rows, "policies", "The cost of a name, by policies", METHOD);
    row.column("cpu", "CPU per new name, us", 2, Some(Plot::BySize));
    row.column("cached", "CPU per cached query, us", 2, Some(Plot::BySize));
    row.column("start", "start, s", 2, None);
    let subjects = sizes(rows, rows.arguments.scale / 10, 100);
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, &setting, subject.variant as u32));
    name_sizes(&mut row, &subjects);
    let (Some(least), Some(most)) = (subjects.first(), subjects.last()) else { return Ok(row) };
    let title = format!("CPU per new name, {} policies / {}", most.name, least.name);
    row.ratio(&title, (&most.name, "cpu"), (&least.name, "cpu"), None);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, setting: &Setting, count: u32) -> io::Result<Metrics> {
    let begun = Instant::now();
    let server = bench.start(Peer::Cedarwall, &Setting { policies: count, ..setting.clone() }, SERVERS_CORE)?;
    let start = begun.elapsed().as_secs_f64();
    let unique = server.load(&Arguments::of(Mode::Unique, bench.seconds))?;
    let cached = server.load(&Arguments { from: unique.next, ..Arguments::of(Mode::One, bench.seconds) })?;
    Ok(metrics([
        ("cpu", unique.core.unwrap_or(f64::NAN) / unique.answered as f64),
        ("cached", cached.core.unwrap_or(f64::NAN) / cached.answered as f64),
        ("start", start),
        ("wrong", (unique.wrong + cached.wrong) as f64),
    ]))
}
