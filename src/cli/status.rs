//! `cedarwall status`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;

/// Arguments of `cedarwall status`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn execute(_arguments: &Arguments, _out: &mut dyn Write) -> Result<ExitCode, Error> {
    Err(Error::said("not built yet"))
}
