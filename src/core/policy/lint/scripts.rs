//! International names that pass for others.
//!
//! Cedar itself refuses a text that mixes scripts; a name in a policy is ASCII
//! and hides them behind `xn--`.

use std::collections::HashSet;

use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection, skeleton};

use super::super::super::problem::Problem;
use super::super::super::rule::Rule;
use super::mentions::Mentions;

/// Warnings about the names among `mentions`.
pub(super) fn doubts(mentions: &Mentions) -> Vec<Problem> {
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    for mention in &mentions.names {
        let name = mention.what.as_str();
        if !name.contains("xn--") || !seen.insert(name) {
            continue;
        }
        let Some((shown, fault)) = fault(name) else { continue };
        let what = match fault {
            Fault::Mixed => "mixes scripts".to_owned(),
            Fault::LooksLike(other) => format!("looks like `{other}` and is another name"),
        };
        problems.push(
            Problem::warning(mention.place(), format!("`{name}` is `{shown}`, which {what}"))
                .with_help("make sure that it is the name you mean")
                .of(Rule::MixedScripts),
        );
    }
    problems
}

enum Fault {
    /// It is written in scripts that no language uses together.
    Mixed,
    /// It cannot be told from this ASCII name.
    LooksLike(String),
}

/// The name as people see it, and what is wrong with it.
fn fault(name: &str) -> Option<(String, Fault)> {
    let (shown, valid) = idna::domain_to_unicode(name);
    valid.ok()?;
    let looks = shown.split('.').map(ascii_look).collect::<Option<Vec<_>>>();
    if let Some(looks) = looks {
        return Some((shown, Fault::LooksLike(looks.join("."))));
    }
    let mixed = shown.split('.').any(is_mixed);
    mixed.then_some((shown, Fault::Mixed))
}

/// `label` in the ASCII letters it looks like, if it looks like that.
fn ascii_look(label: &str) -> Option<String> {
    let mut look = String::with_capacity(label.len());
    for character in label.chars() {
        if character.is_ascii() {
            look.push(character);
            continue;
        }
        let seen: String = skeleton(character.encode_utf8(&mut [0; 4])).collect();
        // The skeleton of `m` itself is `rn`.
        let seen = if seen == "rn" { "m" } else { &seen };
        if !seen.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return None;
        }
        look.push_str(&seen.to_ascii_lowercase());
    }
    Some(look)
}

/// Latin beside the scripts of Japanese, Chinese or Korean is no mixture.
fn is_mixed(label: &str) -> bool {
    !label.is_single_script() && !label.check_restriction_level(RestrictionLevel::HighlyRestrictive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(unicode: &str) -> Option<String> {
        let ascii = idna::domain_to_ascii(unicode).unwrap();
        fault(&ascii).map(|(shown, fault)| {
            assert_eq!(shown, unicode);
            match fault {
                Fault::Mixed => "mixed".to_owned(),
                Fault::LooksLike(other) => other,
            }
        })
    }

    #[test]
    fn a_name_that_passes_for_another_is_told() {
        assert_eq!(told("ex\u{430}mple.com").as_deref(), Some("example.com"));
        assert_eq!(told("\u{440}\u{430}\u{443}.example").as_deref(), Some("pay.example"));
        assert_eq!(told("\u{436}abc.example").as_deref(), Some("mixed"));
    }

    #[test]
    fn an_honest_international_name_is_not() {
        for name in
            ["b\u{fc}cher.example", "\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.example", "\u{4f8b}\u{3048}a.example"]
        {
            assert_eq!(told(name), None, "{name}");
        }
    }
}
