//! `cedarwall run`.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use ipnet::IpNet;

use super::report::{self, Texts};
use super::{Error, catch_all_forbid, output};
use crate::core::config::{CatchAllForbid, DenyAnswer, PacketVerdict};
use crate::core::query::Agent;
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
    /// A .cedar file, or a folder of them
    #[arg(long, default_value = "policies", value_name = "PATH")]
    policy: PathBuf,
    /// Whom the policy knows the command as
    #[arg(long, default_value = "claude", value_name = "NAME", value_parser = Agent::parse)]
    agent: Agent,
    /// How an unconditional forbid over everything is read
    #[arg(long, default_value = "strict", value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: CatchAllForbid,
    /// A special-purpose range that answers may carry; may be repeated
    #[arg(long, value_name = "CIDR")]
    allow_range: Vec<IpNet>,
    /// An upstream DNS server [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESS", value_parser = upstream)]
    upstream: Vec<SocketAddr>,
    /// What a denied name gets
    #[arg(long, default_value = "nxdomain", value_name = "ANSWER")]
    deny: Deny,
    /// What happens to a packet that no lease admits
    #[arg(long, default_value = "drop", value_name = "VERDICT")]
    verdict: Verdict,
    /// Keep the journal of the run in this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// The summary on standard error as one line of JSON
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deny {
    Nxdomain,
    Refused,
    Sinkhole,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Verdict {
    Drop,
    Reject,
}

/// `192.0.2.53` or `192.0.2.53:5353`.
fn upstream(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    text.parse().or_else(|_| bare()).map_err(|_| "an upstream is an address such as 192.0.2.53 or 192.0.2.53:53".into())
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, Error> {
    // Before anything is built: what is wrong with the policy, and what is
    // doubtful, is told where the user looks.
    let (loaded, sources) = report::policy(&arguments.policy, arguments.catch_all_forbid)?;
    let coloured = output::is_coloured(&io::stderr());
    report::write_human(&mut io::stderr(), &loaded.warnings, &Texts::of_policy(&sources), coloured)?;
    let settings = run::Settings {
        policy: arguments.policy,
        agent: arguments.agent,
        catch_all_forbid: arguments.catch_all_forbid,
        allow_ranges: arguments.allow_range,
        upstream: arguments.upstream,
        deny: match arguments.deny {
            Deny::Nxdomain => DenyAnswer::Nxdomain,
            Deny::Refused => DenyAnswer::Refused,
            Deny::Sinkhole => DenyAnswer::Sinkhole,
        },
        verdict: match arguments.verdict {
            Verdict::Drop => PacketVerdict::Drop,
            Verdict::Reject => PacketVerdict::Reject,
        },
        journal: arguments.journal,
        json: arguments.json,
        command: arguments.command,
    };
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

fn said(error: run::Error) -> Error {
    Error::said(error.to_string())
}
