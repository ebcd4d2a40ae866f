//! `cedarwall test`: what is asked. One file is tried in `file`; how it went
//! is told in `text` and `json`.

mod file;
mod json;
mod text;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;
use super::chosen::Options;
use super::explain::now;

/// What follows the options in the help.
const EXAMPLES: &str = "\
A table has one line for each thing that is expected:
  policy .                                   # relative to the table
  ALLOW claude registry.example.org:443/tcp  # packages
  ALLOW claude api.example.org               # is answered at all
  DENY  claude registry.example.org:80
  DENY  claude db.example.com:5432           ip=198.51.100.7
  ALLOW claude example.org                   type=TXT
  DENY  ci     api.example.com:443           at=2026-11-22T09:00[Europe/Berlin]
A file that begins with [ holds test cases of Cedar's own `run-tests`.

Examples:
  cedarwall test policies/*/tests.txt
  cedarwall test --policy policies/team cases.json
  cedarwall test --config /etc/cedarwall/cedarwall.toml expected.txt

Exit status: 0 if all is as expected, 1 if something is not, or a file or its
policy cannot be used.";

/// Try tables of what a policy is expected to permit and to deny
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Tables, or JSON test cases
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let chosen = arguments.options.chosen()?;
    let now = now();
    let mut reports = Vec::with_capacity(arguments.files.len());
    for path in &arguments.files {
        let report = file::tried(path, &arguments.options, chosen.clone(), now);
        if !arguments.json {
            text::write(out, &report)?;
        }
        reports.push(report);
    }
    if arguments.json {
        json::write(out, &reports)?;
    } else if reports.len() > 1 {
        text::total(out, &reports)?;
    }
    Ok(if reports.iter().all(file::Report::is_as_expected) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests;
