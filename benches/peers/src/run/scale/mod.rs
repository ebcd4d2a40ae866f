//! What costs do as something grows a thousandfold: one row for each such
//! thing, and a plot that should be flat.

pub mod clients;
pub mod leases;
pub mod names;
pub mod policies;

use std::io;

use super::bench::Server;
use super::{Rows, Subject};
use crate::load::{Arguments, Mode, Report};
use crate::peer::Peer;
use crate::results::Row;

/// Rounds there are at most: a million of something takes its time.
const ROUNDS: usize = 3;

/// A row in which sizes are measured, not servers.
fn row(rows: &Rows<'_>, what: &str, title: &str, method: &str) -> Row {
    let mut row = rows.row(what, title, method);
    row.rounds = row.rounds.min(ROUNDS);
    row
}

/// The wall at this size and at each tenth of it that is at least `least`.
fn sizes(rows: &Rows<'_>, most: u32, least: u32) -> Vec<Subject> {
    let all = std::iter::successors(Some(most), |size| Some(size / 10)).take_while(|size| *size >= least.max(1));
    let mut subjects: Vec<Subject> =
        all.filter_map(|size| rows.subject(Peer::Cedarwall, &grouped(size), size as usize)).collect();
    subjects.reverse();
    subjects
}

/// Tells each series how large it was.
fn name_sizes(row: &mut Row, subjects: &[Subject]) {
    for series in &mut row.series {
        let subject = subjects.iter().find(|subject| subject.name == series.name);
        series.size = subject.map(|subject| subject.variant as f64);
    }
}

/// Asks for so many new names, of which every one has to be answered.
fn fill(server: &Server<'_>, count: u32) -> io::Result<Report> {
    let usual = Arguments::of(Mode::Unique, 900.0);
    let in_flight = usual.in_flight.min(count as usize / 4);
    let report = server.load(&Arguments { answers: Some(count.into()), in_flight, warm: 0.0, ..usual })?;
    if report.wrong + report.lost > 0 || report.answered < count.into() {
        let Report { answered, wrong, lost, max, wrong_example, .. } = report;
        return Err(io::Error::other(format!(
            "of {count} names {answered} were answered, the slowest after {max:.0} us, {lost} not within a second, \
             {wrong} wrongly: {}",
            wrong_example.unwrap_or_default()
        )));
    }
    Ok(report)
}

/// Lets a minute pass with little to do, after which the wall counts no more
/// against the budget of names what filled it. Which name comes next.
fn settle(server: &Server<'_>, from: u32) -> io::Result<u32> {
    let little = Arguments { from, warm: 0.0, rate: Some(10.0), ..Arguments::of(Mode::Unique, 65.0) };
    Ok(server.load(&little)?.next)
}

/// A number in groups of three.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1000, 1_000_000].map(grouped), ["1", "999", "1,000", "1,000,000"]);
    }
}
