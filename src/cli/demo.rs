//! `cedarwall demo`.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use super::{Error, catch_all_forbid};
use crate::core::config::CatchAllForbid;
use crate::demo;

/// Tell the story: an agent, a package that phones home, and a wall
///
/// Builds three network namespaces on this kernel, in namespaces of the demo's
/// own, and checks every step. Nothing remains. Needs root or unprivileged
/// user namespaces, and ip, nft, curl and tar.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo cedarwall demo
  cedarwall demo --json | jq .as_told
  cedarwall demo --catch-all-forbid strict    what the forbid means to Cedar")]
pub(super) struct Arguments {
    /// How the policy's last line, a forbid over everything, is read
    #[arg(long, default_value = "default-deny", value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: CatchAllForbid,
    /// The steps as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn settings(&self) -> demo::Settings {
        demo::Settings { catch_all_forbid: self.catch_all_forbid, json: self.json }
    }
}

pub(super) fn execute(arguments: &Arguments) -> Result<ExitCode, Error> {
    demo::demo(&arguments.settings()).map_err(said)
}

/// The hidden parts of the demo, started by the demo itself.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Part {
    /// Tells the story in the namespaces it is in.
    #[command(name = "demo-stage", hide = true)]
    Stage(Arguments),
    /// Serves the internet.
    #[command(name = "demo-internet", hide = true)]
    Internet {
        /// What the registry gives out.
        package: OsString,
    },
    /// Tries a way out: exit status 0 when something came back, 3 when not.
    #[command(name = "demo-probe", hide = true)]
    Probe {
        /// How.
        probe: demo::Probe,
        /// Where to; the port of an echo request is 0.
        target: SocketAddr,
    },
}

pub(super) fn execute_part(part: &Part, out: &mut dyn Write) -> Result<ExitCode, Error> {
    match part {
        Part::Stage(arguments) => {
            let as_told = demo::tell(&arguments.settings(), out).map_err(said)?;
            Ok(if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Part::Internet { package } => {
            demo::internet(Path::new(package)).map_err(said)?;
            Ok(ExitCode::SUCCESS)
        }
        Part::Probe { probe, target } => {
            let came_back = demo::probe(*probe, *target)?;
            Ok(if came_back { ExitCode::SUCCESS } else { ExitCode::from(super::DENIED) })
        }
    }
}

fn said(error: demo::Error) -> Error {
    Error::said(error.to_string())
}
