//! Clients.

use std::io;

use super::super::bench::{Bench, SERVERS_CORE};
use super::super::{Rows, metrics};
use super::{name_sizes, row, sizes};
use crate::load::{Arguments, Mode};
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row};

const METHOD: &str = "
    So many clients, each with an address and an agent of its own, ask in turn: for one name, which each has a lease of
    its own for; then for new names.";

pub(in super::super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = row(rows, "clients", "The cost of a query, by clients", METHOD);
    row.column("cached", "CPU per cached query, us", 2, Some(Plot::BySize));
    row.column("cpu", "CPU per new name, us", 2, Some(Plot::BySize));
    let subjects = sizes(rows, rows.arguments.scale / 100, 10);
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, &setting, subject.variant as u32));
    name_sizes(&mut row, &subjects);
    let (Some(least), Some(most)) = (subjects.first(), subjects.last()) else { return Ok(row) };
    let title = format!("CPU per cached query, {} clients / {}", most.name, least.name);
    row.ratio(&title, (&most.name, "cached"), (&least.name, "cached"), None);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, setting: &Setting, count: u32) -> io::Result<Metrics> {
    let server = bench.start(Peer::Cedarwall, &Setting { clients: count, ..setting.clone() }, SERVERS_CORE)?;
    let usual = Arguments { clients: count, ..Arguments::of(Mode::One, bench.seconds) };
    // Everybody's first question is not answered from the cache alone.
    server.load(&Arguments { answers: Some(4 * u64::from(count)), warm: 0.0, seconds: 60.0, ..usual.clone() })?;
    let cached = server.load(&usual)?;
    let unique = server.load(&Arguments { mode: Mode::Unique, from: 1, ..usual })?;
    Ok(metrics([
        ("cached", cached.core.unwrap_or(f64::NAN) / cached.answered as f64),
        ("cpu", unique.core.unwrap_or(f64::NAN) / unique.answered as f64),
        ("wrong", (cached.wrong + unique.wrong) as f64),
        ("lost", (cached.lost + unique.lost) as f64),
    ]))
}
