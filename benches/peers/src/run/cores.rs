//! Two cores against one.

use std::io;

use super::bench::{Bench, OTHER_CORE, SERVERS_CORE};
use super::{Rows, Subject, metrics};
use crate::load::{Arguments, Mode};
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};

const METHOD: &str = "
    One cached name, first with the wall on one core and the generator on the other; then with the wall and the
    generator both on both. Where a machine has only two cores the generator takes a share of what the wall could have
    used, so the rates are no measure; the CPU time that the wall's process takes for a query is. What two cores would
    reach of their own is therefore told as twice the ratio of the two costs.";

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = rows.row("cores", "Two cores against one", METHOD);
    row.column("process", "the process' CPU per query, us", 2, Some(Plot::ShorterIsBetter));
    row.column("per_second", "queries/s", 0, None);
    row.column("generator", "the generator's share of a core, %", 0, None);
    let on = |name, variant| rows.subject(Peer::Cedarwall, name, variant);
    let subjects: Vec<_> = on("one core", 1).into_iter().chain(on("two cores", 2)).collect();
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, subject, &setting));
    let costs = crate::summary::ratios(row.values("one core", "process"), row.values("two cores", "process"));
    let doubled = costs.iter().map(|ratio| 2.0 * ratio).collect();
    row.figure("two cores of their own against one, by CPU per query", doubled, Some(Target::AtLeast(1.7)));
    row.ratio("queries/s, two against one (shared)", ("two cores", "per_second"), ("one core", "per_second"), None);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, subject: &Subject, setting: &Setting) -> io::Result<Metrics> {
    let (cores, generator) = if subject.variant == 1 { (SERVERS_CORE, OTHER_CORE) } else { ("0,1", "0,1") };
    let setting = Setting { threads: subject.variant as u32, ..setting.clone() };
    let server = bench.start(subject.peer, &setting, cores)?;
    let arguments = Arguments { sockets: 32, ..Arguments::of(Mode::One, bench.seconds) };
    let report = server.load_from(&arguments, generator)?;
    Ok(metrics([
        ("process", report.process.unwrap_or(f64::NAN) / report.answered as f64),
        ("per_second", report.per_second),
        ("generator", report.own_share * 100.0),
        ("lost", report.lost as f64),
        ("wrong", report.wrong as f64),
    ]))
}
