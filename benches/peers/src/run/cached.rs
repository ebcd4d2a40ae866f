//! The cost of a query that is answered from the cache.

use std::io;

use super::bench::{Bench, SERVERS_CORE};
use super::{Rows, Subject, metrics};
use crate::echo::to_digits;
use crate::load::{Arguments, IN_FLIGHT, Mode};
use crate::names::text;
use crate::peer::{Peer, Setting};
use crate::results::{Metrics, Plot, Row, Target};

const METHOD: &str = "
    The server's core is saturated by a closed loop with 192 questions in flight on the other core: from 8 sockets, as
    of resolvers that ask for many, and from 192, as of 192 programs that ask once. Cedarwall sends answers to one socket
    as one packet; the echo, as all others, each by itself.
    Cost: the busy time of the server's core in /proc/stat, interrupts included, for each answered query; the process'
    own share is its user and system time. Cedarwall
    checks policy and lease for each query; its peers have an allowlist where they know one. The echo sends back the
    octets of Cedarwall's answer to one name. On a virtual link the sender also receives: what a
    question takes on its way into the server's socket, rules included, is among the generator's time.";

/// Names in turn, in the second half of a measurement.
const MANY: u32 = 10_000;

pub(super) fn measure(rows: &mut Rows<'_>) -> io::Result<Row> {
    let mut row = rows.row("cached", "CPU per cached, permitted query", METHOD);
    row.column("one", "one name, us", 2, Some(Plot::ShorterIsBetter));
    row.column("many", "10,000 names, us", 2, None);
    row.column("apart", "one name, 192 sockets, us", 2, None);
    row.column("to_echo", "to the echo", 2, None);
    row.column("to_best", "to the best peer", 2, None);
    row.column("process", "of it the process, us (one name)", 2, None);
    row.column("asking", "the generator, us", 2, None);
    row.column("per_second", "queries/s (one name)", 0, None);
    row.column("share", "core busy, %", 0, None);

    let mut setting = rows.bench.setting.clone();
    if let Some(wall) = rows.subject(Peer::Cedarwall, "", 0) {
        let server = rows.bench.start(wall.peer, &setting, SERVERS_CORE)?;
        let answer = server.answer(0)?;
        row.notes.push(format!("An answer has {} octets, for Cedarwall and the echo ({}).", answer.len(), name()));
        setting.echo = Some(to_digits(&answer));
    }
    let subjects = rows.peers(|_| true);
    rows.rounds(&mut row, &subjects, |bench, subject| one_round(bench, subject, &setting));

    row.relate("one", "echo", "to_echo");
    let wall = ("cedarwall", "one");
    row.ratio("cedarwall / echo, one name", wall, ("echo", "one"), Some(Target::AtMost(1.10)));
    let rivals: Vec<&str> = Peer::ALL.into_iter().filter(|peer| peer.is_rival()).map(Peer::name).collect();
    let apart = ("cedarwall", "apart");
    row.ratio("cedarwall / echo, 192 sockets", apart, ("echo", "apart"), Some(Target::AtMost(1.10)));
    if let Some(best) = row.best(&rivals, "apart", false) {
        let title = format!("best peer ({best}) / cedarwall, 192 sockets");
        row.ratio(&title, (&best, "apart"), apart, Some(Target::AtLeast(1.25)));
    }
    if let Some(best) = row.best(&rivals, "one", false) {
        let title = format!("best peer ({best}) / cedarwall, one name");
        row.ratio(&title, (&best, "one"), wall, Some(Target::AtLeast(1.25)));
        row.relate("one", &best, "to_best");
    }
    row.ratio("dnsdist told to batch / cedarwall, one name", ("dnsdist-batched", "one"), wall, None);
    if let Some(best) = row.best(&rivals, "many", false) {
        row.ratio(
            &format!("best peer ({best}) / cedarwall, 10,000 names"),
            (&best, "many"),
            ("cedarwall", "many"),
            None,
        );
    }
    Ok(row)
}

fn name() -> String {
    text(crate::names::Domain::Permitted, 0)
}

fn one_round(bench: &Bench<'_>, subject: &Subject, setting: &Setting) -> io::Result<Metrics> {
    let server = bench.start(subject.peer, setting, SERVERS_CORE)?;
    let one = server.load(&Arguments::of(Mode::One, bench.seconds))?;
    let each = |time: Option<f64>| time.unwrap_or(f64::NAN) / one.answered as f64;
    let mut found = metrics([
        ("one", each(one.core)),
        ("process", each(one.process)),
        ("per_second", one.per_second),
        ("share", one.core_share.unwrap_or(f64::NAN) * 100.0),
        ("asking", one.own_share * one.seconds * 1e6 / one.answered as f64),
        ("generator", one.own_share * 100.0),
        ("lost", one.lost as f64),
        ("wrong", one.wrong as f64),
    ]);
    let apart = server.load(&Arguments { sockets: IN_FLIGHT, ..Arguments::of(Mode::One, bench.seconds) })?;
    found.insert("apart".into(), apart.core.unwrap_or(f64::NAN) / apart.answered as f64);
    found.insert("apart_lost".into(), apart.lost as f64);
    found.insert("apart_wrong".into(), apart.wrong as f64);
    // The echo has one answer only.
    if subject.peer != Peer::Echo {
        let many = server.load(&Arguments { names: MANY, ..Arguments::of(Mode::Many, bench.seconds) })?;
        found.insert("many".into(), many.core.unwrap_or(f64::NAN) / many.answered as f64);
        found.insert("many_lost".into(), many.lost as f64);
        found.insert("many_wrong".into(), many.wrong as f64);
    }
    Ok(found)
}
