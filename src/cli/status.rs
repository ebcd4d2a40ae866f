//! `cedarwall status`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::ask::Ask;
use super::output::{json, pairs, spell_seconds};
use crate::control::{Status, Watching};
use crate::core::config::PolicyMode;

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
    let Status { version, ready, house, queries, undone, journal_lost } = status;
    let state = if *ready { "the wall stands" } else { "not ready" };
    let mut wall = house.mode.clone();
    if !house.interfaces.is_empty() {
        wall = format!("{wall} on {}", house.interfaces.join(", "));
    }
    let mut lines = Vec::new();
    if house.policy_mode == PolicyMode::Audit.as_str() {
        let told = "NOTHING IS DENIED, and all but special-purpose addresses are open";
        lines.push(("AUDIT MODE", told.to_owned()));
        lines.push(("", format!("{} questions would have been denied", queries.would_deny)));
    }
    lines.extend([
        ("state", format!("{state}; up for {}", spell_seconds(house.uptime_seconds))),
        ("wall", format!("{wall}; nftables table {}, verdict {}", house.table, house.verdict)),
        ("listen", house.listen.join(", ")),
        ("upstream", house.upstream.join(", ")),
        ("policy", format!("{} ({} policies)", house.policy, house.policies)),
        ("loaded", format!("{}; {}", house.loaded_at, watched(&house.watch))),
        ("clients", house.clients.to_string()),
        ("leases", format!("{}, and {} addresses named by the policy", house.leases, house.statics)),
        (
            "queries",
            format!(
                "{} answered, {} empty, {} denied, {} failed{}",
                queries.answered,
                queries.empty,
                queries.denied,
                queries.failed,
                search_lists(queries.denied_search)
            ),
        ),
        ("processes", processes(&house.processes)),
        ("release", version.clone()),
    ]);
    if !house.waiting.is_empty() {
        lines.push(("waiting", format!("{}: takes effect at the next start", house.waiting.join(", "))));
    }
    if let Some(refused) = &house.refused {
        lines.push(("refused", format!("what is newer, at {}; what was before is in force", refused.at)));
        lines.extend(refused.problems.iter().map(|problem| ("", problem.clone())));
    }
    if undone.restored + undone.repaired > 0 {
        let told = format!("put back {} times, its elements repaired {} times", undone.restored, undone.repaired);
        lines.push(("table", told));
    }
    if *journal_lost > 0 {
        lines.push(("journal", format!("{journal_lost} lines were lost")));
    }
    Ok(pairs(out, &lines)?)
}

/// What is no alarm, if there was any.
fn search_lists(count: u64) -> String {
    if count > 0 { format!("; {count} of search lists") } else { String::new() }
}

fn processes(standing: &str) -> String {
    match standing {
        "on" => "named in denials".to_owned(),
        "off" | "" => "not named in denials".to_owned(),
        why => format!("not named in denials: {why}"),
    }
}

fn watched(watch: &Watching) -> String {
    match watch {
        Watching::On => "a change is taken up at once".to_owned(),
        Watching::Off => "a change waits for a reload".to_owned(),
        Watching::Failed(reason) => format!("a change may wait for a reload: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{HouseStatus, RefusedPolicy};
    use crate::journal::{QueryTotals, TableTotals};

    #[test]
    fn a_status_fits_eighty_columns_and_tells_of_lost_lines() {
        let listen = |number| format!("[2001:db8:ffff:ffff:ffff:ffff:ffff:{number}]:53");
        let status = Status {
            version: "0.1.0".into(),
            ready: true,
            house: HouseStatus {
                uptime_seconds: 7500,
                mode: "gateway".into(),
                table: "inet cedarwall".into(),
                verdict: "drop".into(),
                interfaces: vec!["veth-agent".into()],
                listen: (0..5).map(listen).collect(),
                policies: 3,
                policy_mode: "audit".into(),
                loaded_at: "2026-01-02T03:04:05.123456789Z".into(),
                watch: Watching::On,
                waiting: vec!["dns.listen".into(), "wall.verdict".into()],
                refused: Some(RefusedPolicy {
                    at: "2026-01-02T03:04:05Z".into(),
                    problems: vec!["policies/wall.cedar:1:8: error: this is odd".into()],
                }),
                ..HouseStatus::default()
            },
            queries: QueryTotals { answered: 12, empty: 0, denied: 7, failed: 0, denied_search: 31, would_deny: 5 },
            undone: TableTotals { restored: 2, repaired: 3 },
            journal_lost: 4,
        };
        let mut out = Vec::new();
        show(&mut out, &status).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for shown in [
            "AUDIT MODE",
            "5 questions would have been denied",
            "the wall stands; up for 2h 5m",
            "gateway on veth-agent",
            "7 denied, 0 failed; 31 of search lists",
            "a change is taken up at once",
            "dns.listen, wall.verdict: takes effect at the next start",
            "4 lines were lost",
            "put back 2 times, its elements repaired 3 times",
            "wall.cedar:1:8: error",
        ] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }
}
