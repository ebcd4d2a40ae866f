//! [`Problem`]: what is wrong with something a person wrote, where, and what
//! to do about it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::rule::Rule;

/// A place in a text file. Lines and columns count from 1; columns count
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters it covers, line ends included; 0 where only its
    /// start is known.
    pub length: usize,
}

impl Place {
    /// The place of the byte at `offset` of `text`; past its end, the end.
    pub fn of_offset(file: &str, text: &str, offset: usize) -> Self {
        let before = text.char_indices().take_while(|(index, _)| *index < offset).map(|(_, character)| character);
        let (mut line, mut column) = (1, 1);
        for character in before {
            if character == '\n' {
                line += 1;
                column = 1;
            } else {
                column += 1;
            }
        }
        Self { file: file.into(), line, column, length: 0 }
    }

    /// The same place, this many characters long.
    #[must_use]
    pub fn covering(self, length: usize) -> Self {
        Self { length, ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What was written is refused.
    Error,
    /// What was written is accepted, and probably not what was meant.
    Warning,
}

/// Something wrong with a text a person wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Refused, or merely doubtful.
    pub severity: Severity,
    /// Which of the documented rules it breaks, if it is one of them.
    pub rule: Option<Rule>,
    /// Where, if it is about one place.
    pub place: Option<Place>,
    /// What is wrong, in one sentence without a final full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// An error at `place`.
    pub fn error(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, rule: None, place: place.into(), message: message.into(), help: None }
    }

    /// A warning at `place`.
    pub fn warning(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same as a breach of `rule`.
    #[must_use]
    pub fn of(self, rule: Rule) -> Self {
        Self { rule: Some(rule), ..self }
    }

    /// The same on one line, for a log.
    pub fn on_one_line(&self) -> String {
        self.to_string().replace("\n  help: ", "; help: ")
    }

    /// Whether it refuses what was written.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(formatter, "{severity}: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(formatter, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Problems, one after the other.
pub struct Listed<'a>(pub &'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// The member of `known` that `text` was probably meant to be.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a\nbü = c\n";
        assert_eq!(Place::of_offset("f", text, 0).to_string(), "f:1:1");
        assert_eq!(Place::of_offset("f", text, text.find('=').unwrap_or(0)).to_string(), "f:2:4");
        assert_eq!(Place::of_offset("f", text, 999).to_string(), "f:3:1");
    }

    #[test]
    fn a_log_line_is_one_line() {
        let problem = Problem::warning(Place::of_offset("f", "", 0), "odd").with_help("mend it");
        assert_eq!(problem.on_one_line(), "f:1:1: warning: odd; help: mend it");
    }

    #[test]
    fn a_near_miss_is_named_and_a_far_one_is_not() {
        assert_eq!(nearest("lisen", ["listen", "upstream"]), Some("listen"));
        assert_eq!(nearest("colour", ["listen", "upstream"]), None);
    }
}
