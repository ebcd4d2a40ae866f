//! `cedarwall serve`: the daemon.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use super::{Error, output, report};
use crate::{config_file, daemon};

/// Put the wall up and answer DNS behind it
///
/// Loads the rules first and answers afterwards; whatever fails in between
/// leaves the rules standing. SIGTERM and Ctrl-C end the daemon and leave the
/// wall closed: leases run out, nothing new opens. `cedarwall down` takes the
/// wall away. SIGHUP, like `cedarwall reload`, has
/// the configuration and the policy read again; so has a change of their files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cedarwall check --config cedarwall.toml && cedarwall serve --config cedarwall.toml
  RUST_LOG=cedarwall=debug cedarwall serve --config cedarwall.toml")]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = config_file::DEFAULT)]
    config: PathBuf,
}

pub(super) fn execute(arguments: &Arguments) -> Result<ExitCode, Error> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = output::is_coloured(&io::stderr());
    // A reader of standard error that goes away must not end the threads that
    // write there: told to report such a failure, the layer would panic.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .init();
    let config = report::configuration(&arguments.config)?;
    daemon::serve(config, &arguments.config).map_err(|error| Error::said(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
