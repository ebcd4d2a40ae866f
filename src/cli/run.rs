//! `cedarwall run`.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use super::Error;
use super::walled::Walled;
use crate::run;

/// Run a command behind a wall of its own
///
/// The command gets a network namespace whose only way out is the wall, a
/// resolv.conf that names it, and no capability to change either. Its files
/// are the host's own: the wall is around the network, not around the disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo cedarwall run --policy policies/story -- npm install
  cedarwall run --policy agent.cedar --agent claude -- claude

Without root it takes user namespaces and pasta (passt) or slirp4netns.")]
pub(super) struct Arguments {
    #[command(flatten)]
    walled: Walled,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, Error> {
    let settings = arguments.walled.settings(arguments.command)?;
    run::run(&settings, &mut io::stderr()).map_err(said)
}

/// The hidden parts of a run, started by the run itself.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Part {
    /// Undoes everything at the end.
    #[command(name = "run-janitor", hide = true)]
    Janitor,
    /// The run without root, in its user namespace.
    #[command(name = "run-walled", hide = true)]
    Walled {
        /// Where the run waits for it.
        socket: OsString,
    },
    /// Makes the namespaces.
    #[command(name = "run-inside", hide = true)]
    Inside {
        /// Where the run waits for init.
        socket: OsString,
    },
    /// PID 1 in them.
    #[command(name = "run-init", hide = true)]
    Init {
        /// Where the run waits for us.
        socket: OsString,
    },
}

pub(super) fn execute_part(part: &Part) -> Result<ExitCode, Error> {
    match part {
        Part::Walled { socket } => run::walled(socket, &mut io::stderr()).map_err(said),
        Part::Inside { socket } => run::inside(socket).map_err(said),
        Part::Init { socket } => run::init(socket).map_err(said),
        Part::Janitor => {
            let left = run::janitor().map_err(said)?;
            if left.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            Err(Error::said(format!("could not clean up:\n  {}", left.join("\n  "))))
        }
    }
}

pub(super) fn said(error: run::Error) -> Error {
    Error::said(error.to_string())
}
