//! `cedarwall run`.

use std::process::ExitCode;

use super::Error;

/// Arguments of `cedarwall run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn execute(_arguments: &Arguments) -> Result<ExitCode, Error> {
    Err(Error::said("not built yet"))
}
