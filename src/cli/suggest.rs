//! `cedarwall suggest`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::chosen::Chosen;
use super::journals::{Journals, Line};
use super::report::{self, Texts, counted};
use super::{Error, output};
use crate::core::config::CatchAllForbid;
use crate::core::evidence::suggest::{Choice, FILE, Suggested, Suggestions};
use crate::core::name::Name;
use crate::core::policy::Sources;
use crate::core::query::Agent;

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall suggest events.jsonl
  cedarwall suggest --agent claude --name api.example.com events.jsonl \\
      > policies/suggested.cedar
  cedarwall suggest --policy policies/team events.jsonl
  cedarwall replay --policy policies --policy suggested.cedar \\
      --against policies events.jsonl

What was tried is not what is right: read each policy before you keep it.";

/// Write the policies that would permit what was denied
///
/// One for each name and port, never more, with a comment on who asked and how
/// often. Names that no policy can name, and what a forbid denied, are left out
/// with a comment. In audit mode, what would have been denied counts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Only what was denied to this agent
    #[arg(long, value_name = "NAME", value_parser = Agent::parse)]
    agent: Option<Agent>,
    /// Only this name; may be given several times
    #[arg(long, value_name = "HOST", value_parser = Name::parse)]
    name: Vec<Name>,
    /// Permit whole registrable domains, with every name below them, instead
    /// of names
    #[arg(long)]
    by_domain: bool,
    /// The policy that was in force: what only its forbid over everything
    /// denied is suggested, too
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    policy: Option<PathBuf>,
    /// The configuration that names the journal and the policy
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    journals: Journals,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    suggest(arguments, out, &mut io::stderr(), output::is_coloured(&io::stderr()))
}

fn suggest(
    arguments: &Arguments,
    out: &mut dyn Write,
    errors: &mut dyn Write,
    coloured: bool,
) -> Result<ExitCode, Error> {
    let (catch_alls, entities) = in_force(arguments)?;
    let mut suggestions = Suggestions::new(Choice {
        agent: arguments.agent.clone(),
        names: arguments.name.iter().cloned().collect(),
        by_domain: arguments.by_domain,
        catch_alls,
    });
    let mut unreadable = 0;
    arguments.journals.read(arguments.config.as_deref(), |line| match line {
        Line::Event(record) => suggestions.add(&record),
        Line::Unreadable => unreadable += 1,
    })?;
    if unreadable > 0 {
        writeln!(errors, "{} of the journal cannot be read", counted(unreadable, "line", "lines"))?;
    }
    match suggestions.suggested(entities) {
        Ok(Suggested { text, policies, warnings }) => {
            out.write_all(text.as_bytes())?;
            report::write_human(errors, &warnings, &Texts::of_file(FILE, &text), coloured)?;
            writeln!(errors, "{} suggested", counted(policies, "policy", "policies"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err((text, problems)) => {
            report::write_human(errors, &problems, &Texts::of_file(FILE, &text), coloured)?;
            writeln!(errors, "what would be suggested is not usable; nothing was written")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The ids of the forbids over everything of the policy that was in force,
/// and its `entities.json`.
type InForce = (BTreeSet<String>, Option<(String, String)>);

fn in_force(arguments: &Arguments) -> Result<InForce, Error> {
    let path = match (&arguments.policy, &arguments.config) {
        (Some(path), _) => path.clone(),
        (None, Some(config)) => report::configuration(config)?.policy.path,
        (None, None) => return Ok(InForce::default()),
    };
    let (loaded, Sources { entities, .. }) = Chosen::at(path, CatchAllForbid::Strict).shown()?;
    Ok((loaded.policy.catch_all_forbids().map(|id| id.as_str().to_owned()).collect(), entities))
}

#[cfg(test)]
mod tests;
