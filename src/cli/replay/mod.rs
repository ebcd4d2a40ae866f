//! `cedarwall replay`: what is asked. How the difference is told is in `text`.

mod text;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::journals::{Journals, Line};
use super::report::{self, Texts};
use super::{Error, catch_all_forbid, output};
use crate::core::config::CatchAllForbid;
use crate::core::evidence::replay::{Outcome, Replay};
use crate::core::policy::{Loaded, Policy};
use crate::policy_files;

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall replay --policy new events.jsonl
  cedarwall replay --policy new --against policies events.jsonl
  cedarwall replay --policy policies --policy suggested.cedar \\
      --against policies events.jsonl
  cedarwall replay --policy new --json events.jsonl | jq '.differences[]'

Without --against, answers are compared with those that the journal tells.

Exit status: 0 if no answer changes, 1 if one does, or the policy or the journal
cannot be used.";

/// Put a journal's questions to another policy, and show what changes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The new policy: a .cedar file or a folder of them; several are read as
    /// one
    #[arg(long, value_name = "PATH", required = true)]
    policy: Vec<PathBuf>,
    /// The old policy, to compare with [default: what the journal says]
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
    /// How to read a forbid over everything: `strict` as Cedar does, or as the
    /// default it was meant to be [default: the configuration's, or strict]
    #[arg(long, value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: Option<CatchAllForbid>,
    /// The configuration that names the journal
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    journals: Journals,
}

/// What came of it, with what could not even be read.
#[derive(Debug, Serialize)]
struct Replayed {
    #[serde(flatten)]
    outcome: Outcome,
    unreadable_lines: u64,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let reading = reading(arguments)?;
    let policy = policy(&arguments.policy, reading)?;
    let against = if arguments.against.is_empty() { None } else { Some(self::policy(&arguments.against, reading)?) };
    let mut replay = Replay::new(&policy, against.as_ref());
    let mut unreadable_lines = 0_u64;
    arguments.journals.read(arguments.config.as_deref(), |line| match line {
        Line::Event(record) => replay.add(&record),
        Line::Unreadable => unreadable_lines = unreadable_lines.saturating_add(1),
    })?;
    let replayed = Replayed { outcome: replay.outcome(), unreadable_lines };
    if arguments.json {
        output::json(out, &replayed)?;
    } else {
        text::write(out, &replayed)?;
    }
    let Outcome { newly_permitted, newly_denied, .. } = replayed.outcome;
    Ok(if newly_permitted + newly_denied == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn reading(arguments: &Arguments) -> Result<CatchAllForbid, Error> {
    match (arguments.catch_all_forbid, &arguments.config) {
        (Some(reading), _) => Ok(reading),
        (None, Some(config)) => Ok(report::configuration(config)?.policy.catch_all_forbid),
        (None, None) => Ok(CatchAllForbid::default()),
    }
}

fn policy(paths: &[PathBuf], reading: CatchAllForbid) -> Result<Policy, Error> {
    let sources =
        policy_files::read_all(paths.iter().map(PathBuf::as_path)).map_err(|error| Error::said(error.to_string()))?;
    match Policy::load(&sources, reading) {
        Ok(Loaded { policy, .. }) => Ok(policy),
        Err(problems) => Err(report::unusable("policy", &problems, &Texts::of_policy(&sources))),
    }
}

#[cfg(test)]
mod tests;
