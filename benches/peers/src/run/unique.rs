//! Names that nobody has asked for before.

use std::io;
use std::process::Command;

use super::bench::{Bench, SERVERS_CORE};
use super::{Rows, Subject, metrics};
use crate::load::{Arguments, Mode};
use crate::names::{self, Domain};
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};

const METHOD: &str = "
    A closed loop with 192 questions in flight, a new name each time, every answer compared with what the upstream server
    says of that name. Cedarwall and dnsmasq --nftset put each address into the kernel before they answer; afterwards
    200 of those that were answered, spread over all, are read back one by one. The others only forward.";

/// Elements that are read back.
const SAMPLE: usize = 200;

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = rows.row("unique", "Unique, permitted names a second", METHOD);
    row.column("per_second", "names/s", 0, Some(Plot::LongerIsBetter));
    row.column("to_best", "to the best peer", 2, None);
    row.column("cpu", "CPU per name, us", 2, None);
    row.column("share", "core busy, %", 0, None);
    row.column("held", "of the sample in the set, %", 1, None);
    row.column("lost", "lost", 0, None);
    row.column("wrong", "wrong", 0, None);

    let subjects = rows.peers(|peer| peer != Peer::Echo);
    let setting = rows.bench.setting.clone();
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, subject, &setting));
    let wall = ("cedarwall", "per_second");
    row.ratio("cedarwall / dnsdist", wall, ("dnsdist", "per_second"), Some(Target::AtLeast(1.0)));
    row.ratio("cedarwall / dnsdist told to batch", wall, ("dnsdist-batched", "per_second"), None);
    row.ratio("cedarwall / dnsmasq --nftset", wall, ("dnsmasq-nftset", "per_second"), Some(Target::AtLeast(3.0)));
    let rivals: Vec<&str> = Peer::ALL.into_iter().filter(|peer| peer.is_rival()).map(Peer::name).collect();
    if let Some(best) = row.best(&rivals, "per_second", true) {
        row.relate("per_second", &best, "to_best");
    }
    let missing = |name: &str| row.summary(name, "held").is_some_and(|held| held.min < 100.0);
    let notes: Vec<String> = ["cedarwall", "dnsmasq-nftset"]
        .into_iter()
        .filter(|name| missing(name))
        .map(|name| format!("{name}: NOT every address that was answered is in its set."))
        .collect();
    row.notes.extend(notes);
    Ok(row)
}

fn one_round(bench: &Bench<'_>, subject: &Subject, setting: &Setting) -> io::Result<Metrics> {
    let server = bench.start(subject.peer, setting, SERVERS_CORE)?;
    let report = server.load(&Arguments::of(Mode::Unique, bench.seconds))?;
    let mut found = metrics([
        ("per_second", report.per_second),
        ("cpu", report.core.unwrap_or(f64::NAN) / report.answered as f64),
        ("process", report.process.unwrap_or(f64::NAN) / report.answered as f64),
        ("share", report.core_share.unwrap_or(f64::NAN) * 100.0),
        ("generator", report.own_share * 100.0),
        ("lost", report.lost as f64),
        ("wrong", report.wrong as f64),
    ]);
    if let Some(held) = held(subject.peer, &report.sample)? {
        found.insert("held".into(), held);
    }
    Ok(found)
}

/// How many in a hundred of these names' addresses the kernel holds, if this
/// server opens any.
fn held(peer: Peer, names: &[u32]) -> io::Result<Option<f64>> {
    let step = names.len().div_ceil(SAMPLE).max(1);
    let (mut asked, mut there) = (0, 0);
    for number in names.iter().step_by(step) {
        let address = names::address(&names::wire(Domain::Permitted, *number));
        let Some((set, element)) = peer.opens(address) else { return Ok(None) };
        let command = format!("get element inet {set} {{ {element} }}");
        asked += 1;
        there += u32::from(Command::new("nft").arg(command).output()?.status.success());
    }
    Ok(Some(f64::from(there) / f64::from(asked.max(1)) * 100.0))
}
