//! The command line: one file per subcommand, each with its arguments and its
//! work.

mod ask;
mod check;
mod chosen;
mod completions;
mod demo;
mod denials;
mod docker;
mod down;
mod explain;
mod exposure;
mod fmt;
mod import;
mod journals;
mod leases;
mod log;
mod man;
mod output;
mod reload;
mod replay;
mod report;
mod review;
mod revoke;
mod ruleset;
mod run;
mod serve;
mod status;
mod suggest;
mod test;
mod walled;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::core::config::CatchAllForbid;

/// Exit status: the policy denies (`explain`, a denied `check`).
pub const DENIED: u8 = 3;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "cedarwall",
    version,
    about,
    long_about = None,
    max_term_width = 80,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the policy denies.\n\
                  `cedarwall COMMAND --help` shows each command's options and examples."
)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Run(run::Arguments),
    Docker(docker::Arguments),
    Demo(demo::Arguments),
    Check(check::Arguments),
    Fmt(fmt::Arguments),
    Import(import::Arguments),
    Explain(explain::Arguments),
    Test(test::Arguments),
    Status(status::Arguments),
    Leases(leases::Arguments),
    Denials(denials::Arguments),
    Log(log::Arguments),
    Exposure(exposure::Arguments),
    Review(review::Arguments),
    Suggest(suggest::Arguments),
    Replay(replay::Arguments),
    Reload(reload::Arguments),
    Revoke(revoke::Arguments),
    Ruleset(ruleset::Arguments),
    Down(down::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    #[command(flatten)]
    RunPart(run::Part),
    #[command(flatten)]
    DockerPart(docker::Part),
    #[command(flatten)]
    DemoPart(demo::Part),
}

impl CommandLine {
    /// Does what the command line says; results go to `out`.
    ///
    /// # Errors
    /// Whatever kept it from being done, in words for the user.
    pub fn execute(self, out: &mut dyn Write) -> Result<ExitCode, Error> {
        match self.command {
            Command::Serve(arguments) => serve::execute(&arguments),
            Command::Run(arguments) => run::execute(arguments),
            Command::Docker(arguments) => docker::execute(arguments),
            Command::Demo(arguments) => demo::execute(&arguments),
            Command::Check(arguments) => check::execute(&arguments, out),
            Command::Fmt(arguments) => fmt::execute(&arguments, out),
            Command::Import(arguments) => import::execute(&arguments, out),
            Command::Explain(arguments) => explain::execute(&arguments, out),
            Command::Test(arguments) => test::execute(&arguments, out),
            Command::Status(arguments) => status::execute(&arguments, out),
            Command::Leases(arguments) => leases::execute(&arguments, out),
            Command::Denials(arguments) => denials::execute(&arguments, out),
            Command::Log(arguments) => log::execute(&arguments, out),
            Command::Exposure(arguments) => exposure::execute(&arguments, out),
            Command::Review(arguments) => review::execute(&arguments, out),
            Command::Suggest(arguments) => suggest::execute(&arguments, out),
            Command::Replay(arguments) => replay::execute(&arguments, out),
            Command::Reload(arguments) => reload::execute(&arguments, out),
            Command::Revoke(arguments) => revoke::execute(arguments, out),
            Command::Ruleset(arguments) => ruleset::execute(&arguments, out),
            Command::Down(arguments) => down::execute(&arguments, out),
            Command::Completions(arguments) => completions::execute(&arguments, out),
            Command::Man(arguments) => man::execute(&arguments, out),
            Command::RunPart(part) => run::execute_part(&part),
            Command::DockerPart(part) => docker::execute_part(&part),
            Command::DemoPart(part) => demo::execute_part(&part, out),
        }
    }
}

/// The values of `--catch-all-forbid`, as in the configuration.
fn catch_all_forbid() -> impl TypedValueParser<Value = CatchAllForbid> {
    PossibleValuesParser::new(["strict", "default-deny"]).map(|word| match word.as_str() {
        "default-deny" => CatchAllForbid::DefaultDeny,
        _ => CatchAllForbid::Strict,
    })
}

/// Why a command could not do its work.
#[derive(Debug, Error)]
pub enum Error {
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// What happened, where, and what to do, in words for the user.
    #[error("{0}")]
    Said(String),
}

impl Error {
    /// An error in words for the user.
    pub fn said(message: impl Into<String>) -> Self {
        Self::Said(message.into())
    }

    /// Whether the reader of our output has gone, which is no error.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
