//! `cedarwall docker run`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::run::said;
use super::walled::Walled;
use super::{Error, output, review};
use crate::run::docker::{self, Request};

/// Run a container behind a wall of its own
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(RunArguments),
}

/// `docker run`, behind a wall of its own
///
/// Makes a Docker network for this container alone, puts the wall on its
/// bridge, starts the container on it, and takes both away when it has ended.
/// The review of the session goes to standard error, and the exit code is the
/// container's. With `-d` among Docker's options the wall stays as long as the
/// container, and --journal keeps what happened.
///
/// What follows `--` is for `docker run`, but for options that would put the
/// container elsewhere than behind the wall: those are refused, with the
/// reason. Nothing remains of the container (`--rm`).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo cedarwall docker run -- -it debian
  sudo cedarwall docker run --policy policies/coding-agent --agent claude -- \\
      -it -v \"$PWD:/work\" -w /work node:22 bash
  sudo cedarwall docker run --journal events.jsonl -- -d --name agent IMAGE")]
struct RunArguments {
    #[command(flatten)]
    walled: Walled,
    /// Options of `docker run`, the image, the command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, Error> {
    let Command::Run(RunArguments { walled, arguments }) = arguments.command;
    let request = Request::parse(&arguments).map_err(|refusal| said(refusal.into()))?;
    let json = walled.json;
    let settings = walled.settings(Vec::new())?;
    let outcome = docker::run(&settings, &request).map_err(said)?;
    if let Some(journal) = &outcome.journal {
        // Nobody may be listening any more; the container has run all the same.
        let _ = review::of_text(&mut io::stderr(), journal, json, output::is_coloured(&io::stderr()));
    }
    Ok(outcome.code)
}

/// The hidden part of a container's run.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Part {
    /// Waits for a container that runs in the background.
    #[command(name = "docker-keeper", hide = true)]
    Keeper {
        /// The run.
        id: String,
        /// Where to keep the journal.
        journal: Option<PathBuf>,
    },
}

pub(super) fn execute_part(part: &Part) -> Result<ExitCode, Error> {
    let Part::Keeper { id, journal } = part;
    docker::keep(id, journal.as_deref()).map_err(said)?;
    Ok(ExitCode::SUCCESS)
}
