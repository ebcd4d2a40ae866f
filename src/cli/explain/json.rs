//! An explanation for programs.

use std::io::Write;

use serde_json::{Value, json};

use super::super::Error;
use super::super::output;
use crate::core::decision::{Decision, Opening, PolicyId};
use crate::core::policy::explain::{Explanation, Kept, Nearest, Obstacle, Placement};
use crate::core::policy::{Loaded, Policy};
use crate::core::question::Question;
use crate::core::target::Target;
use crate::nft::element::set_of;

pub(super) fn write(
    out: &mut dyn Write,
    loaded: &Loaded,
    question: &Question,
    explanation: &Explanation,
) -> Result<(), Error> {
    let policy = &loaded.policy;
    let (openings, policies, reason, depends_on_address, valid_for) = match &explanation.decision {
        Decision::Permit(permit) => {
            let depends_on_address = permit.judges_addresses && question.address().is_none();
            (permit.openings.to_vec(), &permit.policies, None, depends_on_address, permit.valid_for)
        }
        Decision::Deny(denial) => (Vec::new(), &denial.policies, Some(denial.reason), false, None),
    };
    let host = match question.target() {
        Target::Host { name, .. } => Some(name),
        Target::Addresses { .. } => None,
    };
    let json = json!({
        "permitted": reason.is_none(),
        "agent": question.agent(),
        "client": question.client().address(),
        "target": question.target().to_string(),
        "host": host,
        "address": question.address(),
        "type": question.kind().to_string(),
        "at": question.at().to_string(),
        "reason": reason.map(|reason| reason.to_string()),
        "reason_code": reason,
        "openings": openings.into_iter().map(opened).collect::<Vec<_>>(),
        "depends_on_address": depends_on_address,
        "valid_for_seconds": valid_for.map(|duration| duration.as_secs()),
        "policies": policies.iter().filter_map(|id| deciding(policy, explanation, id)).collect::<Vec<_>>(),
        "nearest": explanation.nearest.as_ref().map(|found| nearest(policy, found)),
        "otherwise": explanation.otherwise.iter().copied().map(opened).collect::<Vec<_>>(),
        "warnings": loaded.warnings,
    });
    Ok(output::json(out, &json)?)
}

/// The permit that came nearest.
pub(in super::super) fn nearest(policy: &Policy, nearest: &Nearest) -> Value {
    let obstacles: Vec<_> = nearest.obstacles.iter().map(obstacle).collect();
    json!({
        "id": nearest.policy,
        "place": policy.statement(&nearest.policy).map(|statement| &statement.place),
        "obstacles": obstacles,
    })
}

fn obstacle(obstacle: &Obstacle) -> Value {
    let (part, forbids) = match obstacle {
        Obstacle::Condition(stumble) => (Some(stumble), &[][..]),
        Obstacle::Overridden(forbids) => (None, &**forbids),
        _ => (None, &[][..]),
    };
    json!({ "kind": obstacle.code(), "message": obstacle.to_string(), "part": part, "forbids": forbids })
}

fn deciding(policy: &Policy, explanation: &Explanation, id: &PolicyId) -> Option<Value> {
    let statement = policy.statement(id)?;
    let shares = explanation.shares.iter().filter(|share| share.policy == *id);
    let leads_to: Vec<_> = shares.flat_map(|share| &share.placements).map(placed).collect();
    let failure = explanation.failures.iter().find(|failure| failure.policy == *id).map(|failure| &failure.stumble);
    Some(json!({
        "id": statement.id,
        "place": statement.place,
        "text": &*statement.text,
        "leads_to": leads_to,
        "failure": failure,
    }))
}

fn placed(placement: &Placement) -> Value {
    let (set, elements) = match &placement.kept {
        Kept::Leases(keys) => (keys.first().map(set_of).unwrap_or_default(), keys.len()),
        Kept::Static(network) => (if network.addr().is_ipv6() { "static6" } else { "static4" }, 1),
    };
    json!({ "opening": opened(placement.opening), "set": set, "elements": elements })
}

fn opened(opening: Opening) -> Value {
    json!({ "protocol": opening.protocol, "first": opening.ports.first(), "last": opening.ports.last() })
}
