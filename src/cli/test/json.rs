//! How files of expectations went, for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::explain::nearest_json;
use super::super::output;
use super::file::{Mismatch, Report, verdict};
use crate::core::decision::{Decision, PolicyId};
use crate::core::policy::Policy;
use crate::core::policy::cases::{Case, Verdict};
use crate::core::policy::explain::Explanation;
use crate::core::table::Line;

pub(super) fn write(out: &mut dyn Write, reports: &[Report]) -> io::Result<()> {
    let files: Vec<_> = reports.iter().map(file).collect();
    output::json(out, &json!({ "ok": reports.iter().all(Report::is_as_expected), "files": files }))
}

fn file(report: &Report) -> Value {
    let mismatches: Vec<_> = match &report.policy {
        Some(loaded) => report.mismatches.iter().map(|mismatch| mismatched(&loaded.policy, mismatch)).collect(),
        None => Vec::new(),
    };
    json!({
        "file": report.file,
        "as_expected": report.expected,
        "mismatches": mismatches,
        "problems": report.problems,
    })
}

fn mismatched(policy: &Policy, mismatch: &Mismatch) -> Value {
    match mismatch {
        Mismatch::Line(tried) => line(policy, &tried.0, &tried.1),
        Mismatch::Case(tried) => case(policy, &tried.0, &tried.1),
    }
}

fn line(policy: &Policy, line: &Line, explanation: &Explanation) -> Value {
    let (reason, policies) = match &explanation.decision {
        Decision::Permit(permit) => (None, &permit.policies),
        Decision::Deny(denial) => (Some(denial.reason), &denial.policies),
    };
    json!({
        "place": line.place,
        "asked": line.text,
        "expected": line.expected.as_str(),
        "got": verdict(&explanation.decision).as_str(),
        "reason": reason,
        "policies": policies.iter().map(|id| named(policy, id)).collect::<Vec<_>>(),
        "nearest": explanation.nearest.as_ref().map(|nearest| nearest_json(policy, nearest)),
    })
}

fn case(policy: &Policy, case: &Case, verdict: &Verdict) -> Value {
    json!({
        "place": case.place,
        "asked": case.name,
        "expected": case.expected.as_str(),
        "got": verdict.decision.as_str(),
        "differences": verdict.differences,
        "policies": verdict.reasons.iter().map(|id| named(policy, &PolicyId::new(id))).collect::<Vec<_>>(),
        "errors": verdict.errors,
        "doubt": verdict.doubt,
    })
}

fn named(policy: &Policy, id: &PolicyId) -> Value {
    json!({ "id": id, "place": policy.statement(id).map(|statement| &statement.place) })
}
