//! How files of expectations went, for people: each mismatch as a diff.

use std::io::{self, Write};

use super::super::explain::write_nearest;
use super::super::output::paragraph;
use super::file::{Mismatch, Report, verdict};
use crate::core::decision::{Decision, PolicyId};
use crate::core::policy::Policy;
use crate::core::policy::cases::{Case, Verdict};
use crate::core::policy::explain::Explanation;
use crate::core::table::Line;

/// Below a line of the diff.
const INDENT: &str = "    ";

pub(super) fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for problem in &report.problems {
        writeln!(out, "{problem}")?;
    }
    writeln!(out, "{}: {}", report.file, summary(report.expected, report.mismatches.len(), report.problems.len()))?;
    let Some(loaded) = &report.policy else { return Ok(()) };
    for mismatch in &report.mismatches {
        writeln!(out)?;
        match mismatch {
            Mismatch::Line(tried) => line(out, &loaded.policy, &tried.0, &tried.1)?,
            Mismatch::Case(tried) => case(out, &loaded.policy, &tried.0, &tried.1)?,
        }
    }
    Ok(())
}

pub(super) fn total(out: &mut dyn Write, reports: &[Report]) -> io::Result<()> {
    let sum = |count: fn(&Report) -> usize| reports.iter().map(count).sum();
    let told = summary(
        sum(|report| report.expected),
        sum(|report| report.mismatches.len()),
        sum(|report| report.problems.len()),
    );
    writeln!(out, "{} files: {told}", reports.len())
}

fn summary(expected: usize, mismatches: usize, problems: usize) -> String {
    let mut told = format!("{expected} as expected");
    if mismatches > 0 {
        told.push_str(&format!(", {mismatches} not"));
    }
    match problems {
        0 => {}
        1 => told.push_str(", 1 error"),
        several => told.push_str(&format!(", {several} errors")),
    }
    told
}

fn line(out: &mut dyn Write, policy: &Policy, line: &Line, explanation: &Explanation) -> io::Result<()> {
    writeln!(out, "{}", line.place)?;
    writeln!(out, "- {:5} {}", line.expected.as_str(), line.text)?;
    writeln!(out, "+ {:5} {}", verdict(&explanation.decision).as_str(), line.text)?;
    match &explanation.decision {
        Decision::Permit(permit) => {
            let opened: Vec<_> = permit.openings.iter().map(ToString::to_string).collect();
            let opened = if opened.is_empty() { String::new() } else { format!(", which opens {}", opened.join(", ")) };
            let by = named(policy, permit.policies.iter());
            paragraph(out, INDENT, &format!("permitted by {by}{opened}"))?;
        }
        Decision::Deny(denial) if denial.policies.is_empty() => paragraph(out, INDENT, &denial.reason.to_string())?,
        Decision::Deny(denial) => {
            let by = named(policy, denial.policies.iter());
            paragraph(out, INDENT, &format!("{}: {by}", denial.reason))?;
        }
    }
    for failure in &explanation.failures {
        let stumble = &failure.stumble;
        let error = stumble.error.as_deref().unwrap_or_default();
        paragraph(out, INDENT, &format!("`{}` fails: {error} ({})", stumble.text, stumble.place))?;
    }
    match &explanation.nearest {
        Some(nearest) => write_nearest(out, policy, nearest, INDENT),
        None => Ok(()),
    }
}

fn case(out: &mut dyn Write, policy: &Policy, case: &Case, verdict: &Verdict) -> io::Result<()> {
    writeln!(out, "{}", case.place)?;
    writeln!(out, "- {:5} {}", case.expected.as_str(), case.name)?;
    writeln!(out, "+ {:5} {}", verdict.decision.as_str(), case.name)?;
    for difference in &verdict.differences {
        paragraph(out, INDENT, difference)?;
    }
    let reasons: Vec<_> = verdict.reasons.iter().map(|reason| PolicyId::new(reason)).collect();
    if !reasons.is_empty() {
        paragraph(out, INDENT, &format!("decided by {}", named(policy, reasons.iter())))?;
    }
    for told in verdict.errors.iter().chain(&verdict.doubt) {
        paragraph(out, INDENT, told)?;
    }
    Ok(())
}

fn named<'a>(policy: &Policy, ids: impl Iterator<Item = &'a PolicyId>) -> String {
    let named = ids.map(|id| match policy.statement(id) {
        Some(statement) => format!("{id} ({}:{})", statement.place.file, statement.place.line),
        None => id.to_string(),
    });
    named.collect::<Vec<_>>().join(", ")
}
