//! The cost of a query that is denied.

use std::io;

use super::bench::{Bench, SERVERS_CORE};
use super::{Rows, Subject, metrics};
use crate::load::{Arguments, Mode};
use crate::peer::{Journal, Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};

const METHOD: &str = "
    As for cached queries, one server at a time: first one cached name, then 1,000 names in turn that are not permitted
    and get NXDOMAIN. Cedarwall writes every event into its journal, a file in memory; `cedarwall, process named` also
    looks for the process behind each denial. Its peers keep no journal and are shown for comparison.";

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = rows.row("denied", "CPU per denied query, counted and journalled", METHOD);
    row.column("denied", "denied, us", 2, Some(Plot::ShorterIsBetter));
    row.column("cached", "cached, us", 2, None);
    row.column("ratio", "ratio", 2, None);
    row.column("per_second", "denied/s", 0, None);

    let mut subjects: Vec<Subject> = rows.peers(|peer| peer.denies() && peer != Peer::DnsmasqNftset);
    subjects.extend(rows.subject(Peer::Cedarwall, "cedarwall, process named", 1));
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, subject, &setting));
    let target = Some(Target::AtMost(1.5));
    row.ratio("cedarwall, denied / cached", ("cedarwall", "denied"), ("cedarwall", "cached"), target);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, subject: &Subject, setting: &Setting) -> io::Result<Metrics> {
    let journal = if subject.variant == 0 { Journal::On } else { Journal::WithProcesses };
    let server = bench.start(subject.peer, &Setting { journal, ..setting.clone() }, SERVERS_CORE)?;
    let cached = server.load(&Arguments::of(Mode::One, bench.seconds))?;
    let denied = server.load(&Arguments { names: 1000, ..Arguments::of(Mode::Denied, bench.seconds) })?;
    let cached_each = cached.core.unwrap_or(f64::NAN) / cached.answered as f64;
    let denied_each = denied.core.unwrap_or(f64::NAN) / denied.answered as f64;
    Ok(metrics([
        ("cached", cached_each),
        ("denied", denied_each),
        ("ratio", denied_each / cached_each),
        ("per_second", denied.per_second),
        ("share", denied.core_share.unwrap_or(f64::NAN) * 100.0),
        ("lost", denied.lost as f64),
        ("wrong", denied.wrong as f64),
    ]))
}
