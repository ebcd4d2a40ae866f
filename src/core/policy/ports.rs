//! Openings side by side.

use super::super::decision::Opening;
use super::super::query::PortRange;

/// `openings` sorted, with those merged that touch or overlap.
pub(super) fn merged(mut openings: Vec<Opening>) -> Vec<Opening> {
    openings.sort_unstable();
    let mut merged: Vec<Opening> = Vec::with_capacity(openings.len());
    for opening in openings {
        if let Some(last) = merged.last_mut()
            && last.protocol == opening.protocol
            && u32::from(opening.ports.first().number()) <= u32::from(last.ports.last().number()) + 1
        {
            let end = last.ports.last().max(opening.ports.last());
            last.ports = PortRange::new(last.ports.first(), end).unwrap_or(last.ports);
            continue;
        }
        merged.push(opening);
    }
    merged
}
