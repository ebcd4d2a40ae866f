//! Problems as people and programs read them: one file per format.

mod human;
mod json;
mod sarif;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;

use super::{Error, output};
use crate::core::config::{CatchAllForbid, Config};
use crate::core::policy::{Loaded, Policy, Sources};
use crate::core::problem::{Place, Problem};
use crate::core::rule::Rule;
use crate::{config_file, policy_files};

pub(super) use human::write as write_human;
pub(super) use json::value as json;
pub(super) use sarif::value as sarif;

/// Loads the policy at `path`, for a command that needs it whole.
///
/// # Errors
/// What keeps it from being used, with the lines that are wrong.
pub(super) fn policy(path: &Path, reading: CatchAllForbid) -> Result<(Loaded, Sources), Error> {
    let sources = policy_files::read(path).map_err(|error| Error::said(error.to_string()))?;
    match Policy::load(&sources, reading) {
        Ok(loaded) => Ok((loaded, sources)),
        Err(problems) => Err(unusable("policy", &problems, &Texts::of_policy(&sources))),
    }
}

/// Reads the configuration at `path`, likewise.
///
/// # Errors
/// As [`policy`].
pub(super) fn configuration(path: &Path) -> Result<Config, Error> {
    let said = |error: config_file::Error| Error::said(error.to_string());
    match config_file::read(path) {
        Ok(config) => Ok(config),
        Err(config_file::Error::Wrong(problems)) => {
            let text = config_file::text(path).map_err(said)?;
            Err(unusable("configuration", &problems, &Texts::of_file(&path.display().to_string(), &text)))
        }
        Err(error) => Err(said(error)),
    }
}

pub(super) fn unusable(what: &str, problems: &[Problem], texts: &Texts<'_>) -> Error {
    let mut rendered = Vec::new();
    match human::write(&mut rendered, problems, texts, output::is_coloured(&io::stderr())) {
        Ok(()) => {
            let rendered = String::from_utf8_lossy(&rendered);
            Error::said(format!("the {what} is not usable\n\n{}", rendered.trim_end()))
        }
        Err(error) => error.into(),
    }
}

/// The texts that problems point into, by the names of their files.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>(HashMap<&'a str, Vec<&'a str>>);

impl<'a> Texts<'a> {
    /// The text of one file.
    pub(super) fn of_file(file: &'a str, text: &'a str) -> Self {
        Self([(file, text.split('\n').collect())].into())
    }

    /// The texts of a policy.
    pub(super) fn of_policy(sources: &'a Sources) -> Self {
        let others = sources.entities.iter().chain(&sources.links);
        let files = sources.policies.iter().chain(others);
        Self(files.map(|(file, text)| (file.as_str(), text.split('\n').collect())).collect())
    }

    /// The line that `place` is on, without its end.
    fn line(&self, place: &Place) -> Option<&'a str> {
        let line = self.0.get(&*place.file)?.get(place.line.checked_sub(1)?)?;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// Line and column of the first character behind what `place` covers,
    /// at least one character.
    fn end(&self, place: &Place) -> (usize, usize) {
        let (mut line, mut column) = (place.line, place.column);
        let mut left = place.length.max(1);
        let lines = self.0.get(&*place.file).map(Vec::as_slice).unwrap_or_default();
        for text in lines.iter().skip(place.line.saturating_sub(1)) {
            // The line's end counts as a character.
            let rest = (text.chars().count() + 2).saturating_sub(column);
            if left < rest || line == lines.len() {
                break;
            }
            left -= rest;
            (line, column) = (line + 1, 1);
        }
        (line, column + left)
    }
}

/// How many problems there are, of which kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// What is refused.
    pub(super) errors: usize,
    /// What is doubtful.
    pub(super) warnings: usize,
    /// How often each rule is broken.
    pub(super) rules: BTreeMap<Rule, usize>,
}

impl Counts {
    /// Counts `problems`.
    pub(super) fn of(problems: &[Problem]) -> Self {
        let mut counts = Self::default();
        for problem in problems {
            *(if problem.is_error() { &mut counts.errors } else { &mut counts.warnings }) += 1;
            if let Some(rule) = problem.rule {
                *counts.rules.entry(rule).or_default() += 1;
            }
        }
        counts
    }

    /// Writes the rules and their counts, the most frequent first, where there
    /// are too many problems to see at a glance.
    pub(super) fn write_rules(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.errors + self.warnings <= AT_A_GLANCE {
            return Ok(());
        }
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let widest = rules.iter().map(|(rule, _)| rule.code().len()).max().unwrap_or_default();
        for (rule, count) in rules {
            writeln!(out, "  {:widest$}  {count}", rule.code())?;
        }
        Ok(())
    }
}

/// So many problems need no summary.
const AT_A_GLANCE: usize = 10;

/// `no errors`, `1 error`, `2 errors`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

/// What a terminal may be shown of a name from outside.
fn printable(text: &str) -> Cow<'_, str> {
    annotate_snippets::normalize_untrusted_str(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, column: usize, length: usize) -> Place {
        Place { file: "f".into(), line, column, length }
    }

    #[test]
    fn a_place_ends_behind_its_last_character() {
        let texts = Texts::of_file("f", "ab\ncü\n");
        for (place, end) in [
            (place(1, 1, 0), (1, 2)),
            (place(1, 1, 2), (1, 3)),
            (place(1, 2, 2), (2, 1)),
            (place(1, 1, 5), (2, 3)),
            (place(2, 1, 99), (3, 97)),
            (place(3, 1, 0), (3, 2)),
            (place(9, 4, 2), (9, 6)),
        ] {
            assert_eq!(texts.end(&place), end, "{place:?}");
        }
    }

    #[test]
    fn many_problems_end_with_the_most_frequent_rules() {
        let problem = |rule| Problem::error(None, "x").of(rule);
        let mut problems = vec![problem(Rule::NameForm); 20];
        problems.push(problem(Rule::ResourceForm));
        let mut out = Vec::new();
        Counts::of(&problems).write_rules(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  name-form      20\n  resource-form  1\n");
    }
}
