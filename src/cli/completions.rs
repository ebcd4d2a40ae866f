//! `cedarwall completions`.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{CommandLine, Error};

/// Arguments of `cedarwall completions`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Print a shell's completions for this command",
    after_help = "Examples:
  cedarwall completions bash > /etc/bash_completion.d/cedarwall
  cedarwall completions zsh > /usr/local/share/zsh/site-functions/_cedarwall
  cedarwall completions fish > ~/.config/fish/completions/cedarwall.fish"
)]
pub(super) struct Arguments {
    /// Whose completions
    shell: Shell,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    // The generator panics where its output cannot be written: memory first.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "cedarwall", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
