//! What a wall adds to the time of a lookup.

use std::io;

use super::bench::{Bench, OTHER_CORE, SERVERS_CORE};
use super::{Rows, Subject, metrics};
use crate::lab::UPSTREAM;
use crate::load::{Arguments, Mode};
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};
use crate::summary::summary;

const METHOD: &str = "
    Cold: one question at a time for a new name, from the client through the server. Direct: the client asks the upstream
    server itself, through the same host, which only forwards and has no rules. Added: the difference of the medians in
    the same round. All of them, the upstream server too, share one core here, so that it is the way of a question that
    is timed, and not how long a virtual machine takes to wake a core that sleeps; the last column has the same with the
    server on a core of its own. At half load: server and generator on a core each, new names at half of the rate that a
    closed loop reached a moment before, each latency counted from the moment the question was due.";

const DIRECT: &str = "upstream, asked directly";
/// The least a half load is, whatever the closed loop said.
const LEAST: f64 = 100.0;

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = rows.row("latency", "Latency of a cold lookup", METHOD);
    row.column("cold", "median, us", 0, Some(Plot::ShorterIsBetter));
    row.column("cold_p99", "p99, us", 0, None);
    row.column("rate", "half load, names/s", 0, None);
    row.column("half_p50", "median at half load, us", 0, None);
    row.column("half_p99", "p99 at half load, us", 0, None);
    row.column("half_missing", "not answered", 0, None);
    row.column("apart", "median with a core of its own, us", 0, None);

    let direct = Subject { name: DIRECT.into(), version: String::new(), peer: Peer::Echo, variant: 1 };
    let mut subjects = vec![direct];
    subjects.extend(rows.peers(|peer| peer != Peer::Echo));
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, subject, &setting));

    let direct = row.values(DIRECT, "cold").to_vec();
    let added = |row: &Row, name: &str| -> Vec<f64> {
        row.values(name, "cold").iter().zip(&direct).map(|(through, direct)| through - direct).collect()
    };
    let wall = added(&row, "cedarwall");
    row.figure("added by cedarwall, median, us", wall, Some(Target::AtMost(60.0)));
    let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_rival());
    let others =
        rivals.filter_map(|peer| Some((peer.name(), added(&row, peer.name()), summary(&added(&row, peer.name()))?)));
    if let Some((name, values, _)) = others.min_by(|one, other| one.2.median.total_cmp(&other.2.median)) {
        row.figure(&format!("added by the best peer ({name}), median, us"), values, None);
    }
    let p99 = row.values("cedarwall", "half_p99").to_vec();
    row.figure("cedarwall, p99 at half load, us", p99, Some(Target::AtMost(500.0)));
    Ok(row)
}

fn one_round(bench: &Bench<'_>, subject: &Subject, setting: &Setting) -> io::Result<Metrics> {
    let one_at_a_time = Arguments { in_flight: 1, sockets: 1, ..Arguments::of(Mode::Unique, bench.seconds) };
    if subject.variant == 1 {
        let arguments = Arguments { to: UPSTREAM, ..one_at_a_time };
        let direct = bench.load(Some("client"), &arguments, OTHER_CORE)?;
        return Ok(metrics([("cold", direct.p50), ("cold_p99", direct.p99)]));
    }
    let server = bench.start(subject.peer, setting, SERVERS_CORE)?;
    let full = server.load(&Arguments::of(Mode::Unique, 1.0))?;
    let rate = (full.per_second / 2.0).max(LEAST);
    let half =
        Arguments { from: full.next, in_flight: 4096, rate: Some(rate), ..Arguments::of(Mode::Unique, bench.seconds) };
    let half = server.load(&half)?;
    let apart = server.load(&Arguments { from: half.next, ..one_at_a_time.clone() })?;
    server.move_to(OTHER_CORE)?;
    let cold = server.load(&Arguments { from: apart.next, ..one_at_a_time })?;
    Ok(metrics([
        ("cold", cold.p50),
        ("cold_p99", cold.p99),
        ("apart", apart.p50),
        ("rate", rate),
        ("half_p50", half.p50),
        ("half_p99", half.p99),
        ("half_p999", half.p999),
        ("half_missing", (half.lost + half.unsent) as f64),
        ("wrong", (cold.wrong + half.wrong + apart.wrong) as f64),
    ]))
}
