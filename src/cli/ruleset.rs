//! `cedarwall ruleset`: the rules it would load, as text.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;
use crate::core::roster::Roster;
use crate::{config_file, host, nft};

/// Print the nftables ruleset that `serve` would load
///
/// It is the file nft/gateway.nft or nft/sidecar.nft, with the interfaces,
/// addresses and rules of your configuration added at the end. Nothing is
/// changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cedarwall ruleset --config cedarwall.toml
  cedarwall ruleset --config cedarwall.toml | nft -c -f -")]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = config_file::DEFAULT)]
    config: PathBuf,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let config = config_file::read(&arguments.config).map_err(|error| Error::said(error.to_string()))?;
    let config = host::complete(config);
    out.write_all(nft::ruleset::render(&config, &host::identity(), &Roster::default()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
