//! [`Table`]: what a policy is expected to decide, a line each.
//!
//! ```text
//! policy team.cedar
//! ALLOW  claude  registry.example.org:443  # packages
//! DENY   claude  registry.example.org:80
//! ALLOW  claude  db.example.com:5432/tcp   ip=192.0.2.7 at=2026-11-23T09:00Z
//! ```

use std::net::IpAddr;

use super::config::CatchAllForbid;
use super::problem::{Place, Problem, nearest};
use super::query::{Agent, Client};
use super::question::{Particulars, Question};
use super::target::Target;
use super::time::WallTime;

/// The columns of a line, for messages.
const FORM: &str = "ALLOW|DENY AGENT HOST[:PORT[/tcp|udp]] [at=TIME] [ip=ADDR] [client=ADDR] [type=QTYPE]";

/// What a policy is expected to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The policy it is for, relative to the table itself, and where it says
    /// so.
    pub policy: Option<(String, Place)>,
    /// How that policy's forbid over everything is to be read.
    pub catch_all_forbid: Option<CatchAllForbid>,
    /// The lines, in their order; at least one.
    pub lines: Vec<Line>,
}

/// One line: a question, and the answer that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub place: Place,
    /// Its words without the verdict and the comment, as they were written.
    pub text: String,
    /// The answer.
    pub expected: Expected,
    agent: Agent,
    target: Target,
    at: Option<WallTime>,
    particulars: Particulars,
}

/// What a decision is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Permitted.
    Allow,
    /// Denied.
    Deny,
}

impl Expected {
    /// The word for it in a table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        }
    }
}

impl Line {
    /// What it is about.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The agent it is about.
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The question it puts; `now` and `client` where it does not say.
    pub fn question(&self, now: WallTime, client: Option<Client>) -> Option<Question> {
        let particulars = Particulars { client: self.particulars.client.or(client), ..self.particulars };
        Question::new(self.agent.clone(), self.target.clone(), self.at.unwrap_or(now), particulars).ok()
    }
}

/// Reads a table.
///
/// # Errors
/// Every line that cannot be understood, and a table without any line.
pub fn parse(file: &str, text: &str) -> Result<Table, Vec<Problem>> {
    let mut table = Table::default();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let read = words(file, index + 1, line).and_then(|words| match words.as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => table.add(first, rest),
        });
        problems.extend(read.err());
    }
    if problems.is_empty() && table.lines.is_empty() {
        let place = Place::of_offset(file, text, 0);
        problems.push(Problem::error(place, "this table expects nothing").with_help(format!("write lines: {FORM}")));
    }
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

impl Table {
    fn add(&mut self, first: &Word, rest: &[Word]) -> Result<(), Problem> {
        match first.text.as_str() {
            "ALLOW" => self.lines.push(expectation(Expected::Allow, first, rest)?),
            "DENY" => self.lines.push(expectation(Expected::Deny, first, rest)?),
            "policy" => {
                let path = only(first, rest, "policy PATH")?;
                if self.policy.is_some() {
                    return Err(twice(first));
                }
                self.policy = Some((path.text.clone(), path.place.clone()));
            }
            "catch-all-forbid" => {
                let how = only(first, rest, "catch-all-forbid strict|default-deny")?;
                if self.catch_all_forbid.is_some() {
                    return Err(twice(first));
                }
                self.catch_all_forbid = Some(match how.text.as_str() {
                    "strict" => CatchAllForbid::Strict,
                    "default-deny" => CatchAllForbid::DefaultDeny,
                    _ => return Err(how.wrong("is neither `strict` nor `default-deny`")),
                });
            }
            other => {
                let known = ["ALLOW", "DENY", "policy", "catch-all-forbid"];
                let help = match nearest(&other.to_ascii_uppercase(), known).or_else(|| nearest(other, known)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("a line is {FORM}"),
                };
                return Err(first.wrong("begins no line of a table").with_help(help));
            }
        }
        Ok(())
    }
}

fn expectation(expected: Expected, first: &Word, rest: &[Word]) -> Result<Line, Problem> {
    let [agent, target, options @ ..] = rest else {
        return Err(first.wrong("needs an agent and a target after it").with_help(format!("a line is {FORM}")));
    };
    let mut line = Line {
        place: first.place.clone(),
        text: rest.iter().map(|word| word.written.as_str()).collect::<Vec<_>>().join(" "),
        expected,
        agent: Agent::parse(&agent.text).map_err(|error| agent.wrong("is no agent").with_help(error.to_string()))?,
        target: target.text.parse().map_err(|error| target.unparsable("target", &error))?,
        at: None,
        particulars: Particulars::default(),
    };
    for option in options {
        line.option(option)?;
    }
    match Question::new(line.agent.clone(), line.target.clone(), WallTime::default(), line.particulars) {
        Ok(_) => Ok(line),
        Err(error) => Err(Problem::error(line.place, error.to_string())),
    }
}

impl Line {
    fn option(&mut self, word: &Word) -> Result<(), Problem> {
        let Some((name, value)) = word.text.split_once('=') else {
            return Err(word.wrong("is none of at=, ip=, client=, type=").with_help(format!("a line is {FORM}")));
        };
        let address = || value.parse::<IpAddr>().map_err(|_| word.wrong("names no address").with_help("ip=192.0.2.7"));
        let is_repeated = match name {
            "at" => {
                let at = value.parse().map_err(|error| word.unparsable("time", &error))?;
                self.at.replace(at).is_some()
            }
            "ip" => self.particulars.address.replace(address()?).is_some(),
            "client" => self.particulars.client.replace(Client::new(address()?)).is_some(),
            "type" => {
                let kind = value.parse().map_err(|error| word.unparsable("type", &error))?;
                self.particulars.kind.replace(kind).is_some()
            }
            _ => return Err(word.wrong("is none of at=, ip=, client=, type=").with_help(format!("a line is {FORM}"))),
        };
        if is_repeated { Err(twice(word)) } else { Ok(()) }
    }
}

fn only<'a>(first: &Word, rest: &'a [Word], form: &str) -> Result<&'a Word, Problem> {
    match rest {
        [word] => Ok(word),
        _ => Err(first.wrong("takes exactly one word").with_help(format!("write `{form}`"))),
    }
}

fn twice(word: &Word) -> Problem {
    word.wrong("is said a second time").with_help("say it once")
}

/// A word of a line.
struct Word {
    /// Without the quotation marks.
    text: String,
    written: String,
    place: Place,
}

impl Word {
    fn wrong(&self, what: &str) -> Problem {
        Problem::error(self.place.clone(), format!("`{}` {what}", self.text))
    }

    fn unparsable(&self, what: &str, error: &dyn std::fmt::Display) -> Problem {
        self.wrong(&format!("is no {what}")).with_help(error.to_string())
    }
}

/// The words of a line up to its comment: a `#` where a word would begin.
/// Quotation marks keep blanks together.
fn words(file: &str, number: usize, line: &str) -> Result<Vec<Word>, Problem> {
    let mut words = Vec::new();
    let mut characters = line.chars().zip(1..).peekable();
    while let Some((first, column)) = characters.next_if(|(character, _)| *character != '#') {
        if first.is_whitespace() {
            continue;
        }
        let mut written = String::from(first);
        let mut is_quoted = first == '"';
        while let Some((character, _)) = characters.next_if(|(character, _)| is_quoted || !character.is_whitespace()) {
            is_quoted ^= character == '"';
            written.push(character);
        }
        let place = Place { file: file.into(), line: number, column, length: written.chars().count() };
        if is_quoted {
            return Err(
                Problem::error(place, "this quotation mark is never closed").with_help("close it: \"my agent\"")
            );
        }
        words.push(Word { text: written.replace('"', ""), written, place });
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::query::RecordKind;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        parse("t.txt", text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_line_says_who_what_and_perhaps_when() {
        let table = parse(
            "t.txt",
            "# a comment\npolicy .\ncatch-all-forbid default-deny\n\n\
             ALLOW claude api.example.com:443/tcp  at=2026-11-23T09:00Z ip=192.0.2.7 # why\n\
             \tDENY \"my agent\" [2001:db8::1]:443 client=198.51.100.9\n\
             DENY claude example.com type=TXT",
        )
        .unwrap();
        assert_eq!(table.policy.as_ref().map(|(path, _)| path.as_str()), Some("."));
        assert_eq!(table.catch_all_forbid, Some(CatchAllForbid::DefaultDeny));
        let [first, second, third] = table.lines.as_slice() else { panic!("{table:?}") };
        assert_eq!(first.text, "claude api.example.com:443/tcp at=2026-11-23T09:00Z ip=192.0.2.7");
        let asked = first.question(WallTime(0), None).unwrap();
        assert_eq!(
            (asked.at().to_string(), asked.address()),
            ("2026-11-23T09:00:00Z".into(), "192.0.2.7".parse().ok())
        );
        assert_eq!((second.place.to_string(), second.agent().as_str()), ("t.txt:6:2".into(), "my agent"));
        let asked = second.question(WallTime(7), Some(Client::new("192.0.2.1".parse().unwrap()))).unwrap();
        assert_eq!((asked.at(), asked.client().to_string()), (WallTime(7), "198.51.100.9".into()));
        assert_eq!(third.question(WallTime(7), None).unwrap().kind(), RecordKind::Other(16));
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_its_place_and_its_form() {
        for (text, told) in [
            ("", "t.txt:1:1: error: this table expects nothing\n  help: write lines: ALLOW|DENY AGENT "),
            ("# only words\n", "t.txt:1:1: error: this table expects nothing"),
            ("policy .\n", "t.txt:1:1: error: this table expects nothing"),
            ("ALOW a b.example", "t.txt:1:1: error: `ALOW` begins no line of a table\n  help: did you mean `ALLOW`?"),
            ("allow a b.example", "t.txt:1:1: error: `allow` begins no line of a table\n  help: did you mean `ALLOW`?"),
            // A `#` begins a comment where a word would begin.
            ("DENY #3 b.example", "t.txt:1:1: error: `DENY` needs an agent and a target after it"),
            ("DENY a", "t.txt:1:1: error: `DENY` needs an agent and a target after it"),
            ("DENY a b.example:0", "t.txt:1:8: error: `b.example:0` is no target\n  help: a port is a number from 1"),
            ("DENY a 192.0.2.7", "t.txt:1:8: error: `192.0.2.7` is no target\n  help: this needs a port"),
            ("DENY a b.example noon", "t.txt:1:18: error: `noon` is none of at=, ip=, client=, type="),
            ("DENY a b.example at=noon", "t.txt:1:18: error: `at=noon` is no time\n  help: a time is written "),
            ("DENY a b.example ip=b", "t.txt:1:18: error: `ip=b` names no address"),
            ("DENY a b.example type=TXT ip=192.0.2.1", "t.txt:1:1: error: a record of this type opens no port"),
            ("DENY a b.example type=A type=AAAA", "t.txt:1:25: error: `type=AAAA` is said a second time"),
            ("policy a\npolicy b", "t.txt:2:1: error: `policy` is said a second time"),
            ("policy a b", "t.txt:1:1: error: `policy` takes exactly one word"),
            ("catch-all-forbid maybe", "t.txt:1:18: error: `maybe` is neither `strict` nor `default-deny`"),
            ("DENY \"a b.example", "t.txt:1:6: error: this quotation mark is never closed"),
        ] {
            assert!(problem(text).starts_with(told), "{text:?}: {}", problem(text));
        }
        assert_eq!(problem("x\ny").lines().filter(|line| line.starts_with("t.txt")).count(), 2);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Z a-z0-9.:/=#\"\\[\\]\n]{0,120}") {
            let _ = parse("t.txt", &text);
        }
    }
}
