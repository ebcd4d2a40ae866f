//! Domains that end in nothing that exists, or are nearly another one that the
//! same policies mention more often.

use std::collections::HashSet;

use psl::{Psl, Type};
use rustc_hash::FxHashMap;

use super::super::super::name::Name;
use super::super::super::problem::Problem;
use super::super::super::rule::Rule;
use super::mentions::{Mention, Mentions};
use super::spelling::probably_meant;

/// Last labels that are on no public list and stand for something all the
/// same: RFC 2606, 6761, 6762 appendix G, 7686, 9476, what ICANN has set aside
/// for private use, and what widespread software makes up.
const PRIVATE: [&str; 18] = [
    "alt",
    "consul",
    "corp",
    "docker",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "private",
    "svc",
    "test",
];

/// The last labels that a misspelt one was meant to be most often.
const FREQUENT: [&str; 8] = ["com", "org", "net", "dev", "info", "cloud", "local", "internal"];

/// A last label shorter than this is near too many others.
const MIN_LABEL: usize = 4;

/// Warnings about the domains among `mentions`.
pub(super) fn doubts(mentions: &Mentions) -> Vec<Problem> {
    let mut problems = unknown_endings(mentions);
    problems.extend(near_misses(mentions));
    problems
}

fn unknown_endings(mentions: &Mentions) -> Vec<Problem> {
    let mut known: FxHashMap<&str, bool> = FxHashMap::default();
    let mut told = HashSet::new();
    let mut problems = Vec::new();
    for mention in &mentions.names {
        let Some((stem, ending)) = mention.what.as_str().rsplit_once('.') else { continue };
        if *known.entry(ending).or_insert_with(|| is_known(ending)) {
            continue;
        }
        let meant = nearest_ending(ending);
        // A network's own ending is told once, a misspelt name each time.
        let subject = if meant.is_some() { mention.what.as_str() } else { ending };
        if !told.insert(subject) {
            continue;
        }
        let help = match meant {
            Some(meant) => format!("did you mean `{stem}.{meant}`?"),
            None => "check its spelling; for names of a network of your own, `internal` is set aside".to_owned(),
        };
        let message = format!("`{}` ends in `.{ending}`, and there is no such top-level domain", mention.what);
        problems.push(Problem::warning(mention.place(), message).with_help(help).of(Rule::UnknownDomain));
    }
    problems
}

fn is_known(ending: &str) -> bool {
    PRIVATE.contains(&ending) || is_public(ending)
}

fn is_public(ending: &str) -> bool {
    // Of some countries only the domains below are on the list.
    let below = psl::List.find([ending.as_bytes(), b"example"].into_iter());
    below.typ == Some(Type::Icann)
}

fn nearest_ending(ending: &str) -> Option<String> {
    if let Some(frequent) = FREQUENT.into_iter().find(|frequent| strsim::osa_distance(ending, frequent) == 1) {
        return Some(frequent.to_owned());
    }
    if ending.len() < MIN_LABEL || ending.starts_with("xn--") {
        return None;
    }
    one_edit_away(ending).into_iter().find(|candidate| is_known(candidate))
}

/// Every text that is one edit away, the likeliest kinds of slip first.
fn one_edit_away(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let joined = |parts: [&[char]; 3]| parts.concat().into_iter().collect::<String>();
    let cut = |at: usize| letters.split_at_checked(at).unwrap_or((&letters, &[]));
    let mut edits = Vec::new();
    for at in 0..letters.len() {
        let (before, after) = cut(at);
        if let [first, second, rest @ ..] = after {
            edits.push(joined([before, &[*second, *first], rest]));
        }
    }
    for at in 0..=letters.len() {
        let (before, after) = cut(at);
        edits.extend(('a'..='z').map(|letter| joined([before, &[letter], after])));
    }
    for at in 0..letters.len() {
        let (before, after) = cut(at);
        let rest = after.get(1..).unwrap_or_default();
        edits.push(joined([before, &[], rest]));
        edits.extend(('a'..='z').map(|letter| joined([before, &[letter], rest])));
    }
    edits
}

fn near_misses(mentions: &Mentions) -> Vec<Problem> {
    let mut counts: FxHashMap<&str, usize> = FxHashMap::default();
    for mention in &mentions.names {
        if let Some(registrable) = registrable(&mention.what) {
            *counts.entry(registrable).or_default() += 1;
        }
    }
    let meant = probably_meant(&counts, |more, less| more > less);
    mentions.names.iter().filter_map(|mention| near_miss(mention, &meant)).collect()
}

fn near_miss(mention: &Mention<Name>, meant: &FxHashMap<&str, &str>) -> Option<Problem> {
    let registrable = registrable(&mention.what)?;
    let other = meant.get(registrable)?;
    let below = mention.what.as_str().strip_suffix(registrable).unwrap_or_default();
    let message = format!("`{registrable}` is nearly `{other}`, which these policies name more often");
    Some(
        Problem::warning(mention.place(), message)
            .with_help(format!("did you mean `{below}{other}`?"))
            .of(Rule::UnknownDomain),
    )
}

/// The domain that one owner has, as far as the public suffix list knows.
fn registrable(name: &Name) -> Option<&str> {
    let registrable = psl::domain_str(name.as_str())?;
    let (_, ending) = registrable.rsplit_once('.')?;
    // What ends in nothing is told of already.
    is_known(ending).then_some(registrable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_or_set_aside_is_known() {
        for ending in ["com", "dev", "uk", "ck", "arpa", "xn--p1ai", "example", "internal", "local"] {
            assert!(is_known(ending), "{ending}");
        }
        for ending in ["cmo", "con", "exmaple", "xn--abc"] {
            assert!(!is_known(ending), "{ending}");
        }
    }

    #[test]
    fn a_misspelt_ending_is_mended() {
        for (typo, meant) in [("cmo", "com"), ("ogr", "org"), ("nett", "net"), ("technolgy", "technology")] {
            assert_eq!(nearest_ending(typo).as_deref(), Some(meant), "{typo}");
        }
        assert_eq!(nearest_ending("zzq"), None);
    }
}
