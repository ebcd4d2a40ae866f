//! An explanation for people.

use std::io::{self, Write};

use super::super::Error;
use super::super::output::paragraph;
use crate::core::decision::{Decision, Denial, Permit};
use crate::core::policy::Policy;
use crate::core::policy::explain::{Explanation, Kept, Nearest, Obstacle, Placement};
use crate::core::query::RecordKind;
use crate::core::question::Question;
use crate::core::target::Target;
use crate::nft::element::set_of;

pub(super) fn write(
    out: &mut dyn Write,
    policy: &Policy,
    question: &Question,
    explanation: &Explanation,
) -> Result<(), Error> {
    match &explanation.decision {
        Decision::Permit(permit) => permitted(out, policy, question, permit, explanation)?,
        Decision::Deny(denial) => denied(out, policy, question, denial, explanation)?,
    }
    Ok(())
}

fn permitted(
    out: &mut dyn Write,
    policy: &Policy,
    question: &Question,
    permit: &Permit,
    explanation: &Explanation,
) -> io::Result<()> {
    let agent = question.agent();
    if permit.openings.is_empty() {
        paragraph(out, "", &format!("permitted: Agent::\"{agent}\" may ask for {}", asked(question)))?;
    } else {
        paragraph(out, "", &format!("permitted: Agent::\"{agent}\" may connect to {} on", destination(question)))?;
        for opening in permit.openings.iter() {
            writeln!(out, "  {opening}")?;
        }
    }
    if permit.judges_addresses && question.address().is_none() {
        let told = "A policy looks at the address: only some of the host's may be open. Name one with --ip.";
        paragraph(out, "", told)?;
    }
    if let Some(valid_for) = permit.valid_for {
        let told = format!(
            "A policy looks at the time: this was decided for {}, and is decided anew after {} s.",
            question.at(),
            valid_for.as_secs()
        );
        paragraph(out, "", &told)?;
    }
    for share in &explanation.shares {
        let Some(statement) = policy.statement(&share.policy) else { continue };
        writeln!(out, "\n{} ({}:{})", statement.id, statement.place.file, statement.place.line)?;
        for line in statement.text.lines() {
            writeln!(out, "  {line}")?;
        }
        for placement in &share.placements {
            paragraph(out, "  -> ", &placed(placement))?;
        }
    }
    Ok(())
}

fn denied(
    out: &mut dyn Write,
    policy: &Policy,
    question: &Question,
    denial: &Denial,
    explanation: &Explanation,
) -> io::Result<()> {
    let (agent, reason) = (question.agent(), denial.reason);
    paragraph(out, "", &format!("denied: Agent::\"{agent}\" to {}: {reason}", asked(question)))?;
    if denial.policies.is_empty() {
        writeln!(out, "No policy decided: what none permits is denied.")?;
    }
    for statement in denial.policies.iter().filter_map(|id| policy.statement(id)) {
        writeln!(out, "\n{} ({}:{})", statement.id, statement.place.file, statement.place.line)?;
        for line in statement.text.lines() {
            writeln!(out, "  {line}")?;
        }
        let failures = explanation.failures.iter().filter(|failure| failure.policy == statement.id);
        for failure in failures {
            let told = Obstacle::Condition(failure.stumble.clone()).to_string();
            paragraph(out, "  -> ", &format!("{told} ({})", failure.stumble.place))?;
        }
    }
    if let Some(found) = &explanation.nearest {
        writeln!(out)?;
        nearest(out, policy, found, "")?;
    }
    if !explanation.otherwise.is_empty() {
        let open: Vec<_> = explanation.otherwise.iter().map(ToString::to_string).collect();
        writeln!(out)?;
        paragraph(out, "", &format!("The name itself may be asked for; it opens {}.", open.join(", ")))?;
    }
    Ok(())
}

/// Tells of the permit that came nearest, each line after `indent`.
pub(in super::super) fn nearest(
    out: &mut dyn Write,
    policy: &Policy,
    nearest: &Nearest,
    indent: &str,
) -> io::Result<()> {
    let Some(statement) = policy.statement(&nearest.policy) else { return Ok(()) };
    let place = &statement.place;
    paragraph(out, indent, &format!("nearest permit: {} ({}:{})", statement.id, place.file, place.line))?;
    for obstacle in &nearest.obstacles {
        let told = match obstacle {
            Obstacle::Condition(stumble) => format!("{obstacle} ({})", stumble.place),
            Obstacle::Overridden(forbids) => {
                let places =
                    forbids.iter().filter_map(|id| policy.statement(id)).map(|forbid| forbid.place.to_string());
                format!("{obstacle} ({})", places.collect::<Vec<_>>().join(", "))
            }
            _ => obstacle.to_string(),
        };
        paragraph(out, &format!("{indent}  "), &told)?;
    }
    Ok(())
}

fn placed(placement: &Placement) -> String {
    let opening = placement.opening;
    match &placement.kept {
        Kept::Static(network) => {
            let set = if network.addr().is_ipv6() { "static6" } else { "static4" };
            format!("{opening}: one element of {set} for as long as the wall stands")
        }
        Kept::Leases(keys) => {
            let set = keys.first().map(set_of).unwrap_or_default();
            let count = match keys.len() {
                1 => "one element".to_owned(),
                several => format!("{several} elements"),
            };
            format!("{opening}: {count} of {set} for each address of the answer")
        }
    }
}

fn destination(question: &Question) -> String {
    match question.target() {
        Target::Host { name, .. } => name.to_string(),
        Target::Addresses { network, .. } => network.to_string(),
    }
}

fn asked(question: &Question) -> String {
    match question.kind() {
        RecordKind::A | RecordKind::Aaaa => question.target().to_string(),
        kind => format!("{} (type {kind})", question.target()),
    }
}
