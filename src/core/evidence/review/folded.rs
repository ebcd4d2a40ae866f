//! Many names below one domain, denied alike: told as one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::chain::Actor;
use super::super::remedy::Remedy;
use super::super::wanted::registrable;
use super::story::Denied;
use crate::core::name::Name;

/// So many names below one domain are told name by name.
const APART: usize = 5;
/// Names that are given as examples.
const EXAMPLES: usize = 3;

/// What rows have in common that are told as one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Common {
    domain: Name,
    reason: String,
    policies: Vec<String>,
    would: bool,
    actors: BTreeSet<Actor>,
}

/// The same with one row in the place of many.
pub(super) fn folded(rows: Vec<Denied>) -> Vec<Denied> {
    let mut apart = Vec::new();
    let mut groups: BTreeMap<Common, Vec<Denied>> = BTreeMap::new();
    for row in rows {
        let Some(domain) = Name::parse(&row.hostname).ok().and_then(|name| registrable(&name)) else {
            apart.push(row);
            continue;
        };
        let actors = row.actors.iter().map(|(actor, _)| actor.clone()).collect();
        let (reason, policies, would) = (row.reason.clone(), row.policies.clone(), row.would);
        groups.entry(Common { domain, reason, policies, would, actors }).or_default().push(row);
    }
    for (common, rows) in groups {
        if rows.len() <= APART {
            apart.extend(rows);
        } else {
            apart.extend(one(&common.domain, rows));
        }
    }
    apart
}

fn one(domain: &Name, rows: Vec<Denied>) -> Option<Denied> {
    let names = rows.len() as u64;
    let examples = rows.iter().take(EXAMPLES).map(|row| row.hostname.clone()).collect();
    let mut rows = rows.into_iter();
    let mut all = rows.next()?;
    if matches!(all.remedy, Remedy::Permit { .. }) {
        all.remedy = Remedy::Other { what: "a permit for each name, or for the domain: see cedarwall suggest".into() };
    }
    for row in rows {
        all.questions.add_many(row.questions.first, row.questions.count);
        all.questions.add_many(row.questions.last, 0);
        all.connections = all.connections.saturating_add(row.connections);
        all.more_actors = all.more_actors.saturating_add(row.more_actors);
        for (actor, count) in row.actors {
            if let Some((_, sum)) = all.actors.iter_mut().find(|(known, _)| *known == actor) {
                *sum = sum.saturating_add(count);
            }
        }
        for (list, more) in [(&mut all.types, row.types), (&mut all.ports, row.ports)] {
            list.extend(more);
            list.sort();
            list.dedup();
        }
    }
    Some(Denied { hostname: domain.to_string(), names, examples, ..all })
}
