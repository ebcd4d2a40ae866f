//! Agents that are probably another one misspelt, or that no client has.

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::super::problem::Problem;
use super::super::super::rule::Rule;
use super::mentions::Mentions;
use super::spelling::{Known, probably_meant};

/// One agent counts as the misspelling of another that is mentioned at least
/// so many times as often.
const TIMES: usize = 3;

/// Warnings about agents that are nearly another one of the same policies.
pub(super) fn doubts(mentions: &Mentions) -> Vec<Problem> {
    let mut counts: FxHashMap<&str, usize> = FxHashMap::default();
    for mention in &mentions.agents {
        *counts.entry(mention.what).or_default() += 1;
    }
    let meant = probably_meant(&counts, |more, less| more >= less * TIMES);
    mentions
        .agents
        .iter()
        .filter_map(|mention| {
            let other = meant.get(mention.what)?;
            let message = format!("Agent `{}` is nearly `{other}`, which other policies name", mention.what);
            Some(
                Problem::warning(mention.place(), message)
                    .with_help(format!("did you mean `{other}`?"))
                    .of(Rule::UnknownAgent),
            )
        })
        .collect()
}

/// Warnings about agents of `mentions` that are none of `clients`, each at its
/// first mention.
pub(in crate::core::policy) fn without_a_client<'a>(
    statements: impl IntoIterator<Item = &'a super::Statement>,
    clients: &FxHashSet<&str>,
) -> Vec<Problem> {
    let statements: Vec<_> = statements.into_iter().collect();
    let known = Known::of(clients.iter().copied());
    let mut told = FxHashSet::default();
    Mentions::in_all(&statements)
        .agents
        .iter()
        .filter(|mention| !clients.contains(mention.what) && told.insert(mention.what))
        .map(|mention| {
            let help = match known.near(mention.what) {
                Some(other) => format!("did you mean `{other}`?"),
                None => format!("give the client that acts as it a [[client]] with agent = \"{}\"", mention.what),
            };
            Problem::warning(mention.place(), format!("no client acts as Agent `{}`", mention.what))
                .with_help(help)
                .of(Rule::UnknownAgent)
        })
        .collect()
}
