//! [`Actor`]: who did something, as far as a journal says.

use std::fmt;
use std::iter;

use serde::Serialize;

use super::plain::plain_within;
use super::record::Record;

/// So many processes of a chain are told: the first ones, and the last one.
const STEPS: usize = 8;
/// So much of a command line is told, in characters.
const STEP_LENGTH: usize = 160;

/// Who asked or connected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The command lines of a process and of those that it descends from, the
    /// one that did it first; plain text.
    Chain(Vec<String>),
    /// Why nobody can say which process it was, by its code.
    Missing(String),
}

impl Actor {
    /// Who is behind `record`, if the journal says anything about it.
    pub fn of(record: &Record) -> Option<Self> {
        let Some(process) = &record.process else {
            return record.process_missing.as_deref().map(|why| Self::Missing(plain_within(why, STEP_LENGTH)));
        };
        let mut steps: Vec<_> = iter::successors(Some(process), |process| process.parent_process.as_deref())
            .map(|process| if process.cmd_line.is_empty() { &process.name } else { &process.cmd_line })
            .map(|said| plain_within(said, STEP_LENGTH))
            .collect();
        if steps.len() > STEPS {
            let left_out = steps.len() - STEPS + 1;
            steps.splice(STEPS - 2..STEPS - 2 + left_out, [format!("… {left_out} more")]);
        }
        Some(Self::Chain(steps))
    }
}

impl fmt::Display for Actor {
    /// `node postinstall.js <- sh -c … <- npm install left-pad`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(steps) => formatter.write_str(&steps.join(" <- ")),
            Self::Missing(why) => write!(formatter, "a process that could not be named ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::process::Process;

    fn record(commands: &[&str]) -> Record {
        let process = commands.iter().rev().fold(None, |parent: Option<Process>, command| {
            Some(Process {
                cmd_line: (*command).to_owned(),
                parent_process: parent.map(Box::new),
                ..Process::default()
            })
        });
        Record { process, ..Record::default() }
    }

    #[test]
    fn a_chain_reads_from_who_did_it_to_who_began() {
        let actor = Actor::of(&record(&["node postinstall.js", "sh -c x\ny", "npm install left-pad"])).unwrap();
        assert_eq!(actor.to_string(), "node postinstall.js <- sh -c x\\u{a}y <- npm install left-pad");
        let named = Process { name: "curl".into(), ..Process::default() };
        let actor = Actor::of(&Record { process: Some(named), ..Record::default() }).unwrap();
        assert_eq!(actor.to_string(), "curl");
    }

    #[test]
    fn a_long_chain_keeps_both_its_ends() {
        let commands: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        let Some(Actor::Chain(steps)) = Actor::of(&record(&commands)) else { panic!("no chain") };
        assert_eq!(steps, ["0", "1", "2", "3", "4", "5", "… 23 more", "29"]);
    }

    #[test]
    fn who_could_not_be_found_is_not_made_up() {
        let gone = Record { process_missing: Some("gone".into()), ..Record::default() };
        assert_eq!(Actor::of(&gone).unwrap().to_string(), "a process that could not be named (gone)");
        assert_eq!(Actor::of(&Record::default()), None);
    }
}
