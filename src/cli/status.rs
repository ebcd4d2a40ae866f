//! `cedarwall status`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::ask::Ask;
use super::output::{json, pairs, spell_seconds};
use crate::control::Status;

/// Arguments of `cedarwall status`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Show whether the wall stands, how it is set up, and what it has answered",
    after_help = "Exit status: 0 when the wall is ready, 1 when it is not, or no daemon answers.

Examples:
  cedarwall status
  cedarwall status --json | jq .queries"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let status: Status = arguments.ask.get("/status")?;
    if arguments.ask.json {
        json(out, &status)?;
    } else {
        show(out, &status)?;
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(out: &mut dyn Write, status: &Status) -> Result<(), Error> {
    let Status { version, ready, house, queries, journal_lost } = status;
    let state = if *ready { "the wall stands" } else { "not ready" };
    let mut wall = house.mode.clone();
    if !house.interfaces.is_empty() {
        wall = format!("{wall} on {}", house.interfaces.join(", "));
    }
    let mut lines = vec![
        ("state", format!("{state}; up for {}", spell_seconds(house.uptime_seconds))),
        ("wall", format!("{wall}; nftables table {}, verdict {}", house.table, house.verdict)),
        ("listen", house.listen.join(", ")),
        ("upstream", house.upstream.join(", ")),
        ("policy", format!("{} ({} policies)", house.policy, house.policies)),
        ("clients", house.clients.to_string()),
        ("leases", house.leases.to_string()),
        (
            "queries",
            format!(
                "{} answered, {} empty, {} denied, {} failed",
                queries.answered, queries.empty, queries.denied, queries.failed
            ),
        ),
        ("release", version.clone()),
    ];
    if *journal_lost > 0 {
        lines.push(("journal", format!("{journal_lost} lines were lost")));
    }
    Ok(pairs(out, &lines)?)
}
