//! `cedarwall denials`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use super::Error;
use super::ask::Ask;
use super::output::{Column, json, spell_seconds, table};
use crate::control::{DenialReport, KernelCounter, RefusedRow};
use crate::journal::{DenialRow, DenialTotal};

/// How often `--watch` asks.
const RHYTHM: Duration = Duration::from_secs(1);
/// To the first line, and away with what is below (ECMA-48: CUP, ED). No
/// colours, so `NO_COLOR` changes nothing.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// Arguments of `cedarwall denials`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Show what was denied: by the policy, and by the kernel",
    after_help = "Examples:
  cedarwall denials
  cedarwall denials --agent claude --top 5
  cedarwall denials --watch
  cedarwall denials --json | jq -r '.names[].name'

Questions are what the daemon denied, packets what the kernel refused: a denied
question leaves no packet, and each further packet of a refused connection is
one more. The same questions, of one client, as that client asks:
  dig CH TXT denied.cedarwall @WALL

The same packets from the kernel itself:
  nft list counters table inet cedarwall
  nft list set inet cedarwall denied4"
)]
pub(super) struct Arguments {
    /// Only what was denied to this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// How many names, and how many refused addresses, at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Show it anew each second, until interrupted; with --json, a line each
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    if arguments.watch {
        return watch(arguments, out);
    }
    let (report, more) = ask(arguments)?;
    if arguments.ask.json {
        json(out, &report)?;
    } else {
        show(out, &report, more, Timestamp::now())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends with the daemon, with whoever reads, or by a signal.
fn watch(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    loop {
        let (report, more) = ask(arguments)?;
        let mut screen = Vec::new();
        if arguments.ask.json {
            serde_json::to_writer(&mut screen, &report).map_err(io::Error::from)?;
        } else {
            if io::stdout().is_terminal() {
                screen.extend_from_slice(CLEAR);
            }
            show(&mut screen, &report, more, Timestamp::now())?;
        }
        screen.push(b'\n');
        out.write_all(&screen)?;
        out.flush()?;
        thread::sleep(RHYTHM);
    }
}

/// What is to be shown, and how many names are not.
fn ask(arguments: &Arguments) -> Result<(DenialReport, usize), Error> {
    let mut report: DenialReport = arguments.ask.get("/denials")?;
    if let Some(agent) = &arguments.agent {
        keep_agent(&mut report, agent);
    }
    let more = report.denials.names.len().saturating_sub(arguments.top);
    report.denials.names.truncate(arguments.top);
    report.refused.sort_by_key(|row| std::cmp::Reverse(row.packets));
    report.refused.truncate(arguments.top);
    Ok((report, more))
}

/// Leaves what is about `agent`. The kernel's totals, the count of names not
/// remembered and that of search lists are about everybody, and go.
fn keep_agent(report: &mut DenialReport, agent: &str) {
    let denials = &mut report.denials;
    denials.totals.retain(|total| total.agent.as_deref() == Some(agent));
    denials.names.retain(|row| row.agent.as_deref() == Some(agent));
    denials.count = denials.totals.iter().map(|total| total.count).sum();
    denials.other = denials.count.saturating_sub(denials.names.iter().map(|row| row.count).sum());
    denials.search = 0;
    report.refused.retain(|row| row.agent.as_deref() == Some(agent));
    report.kernel.clear();
}

fn show(out: &mut dyn Write, report: &DenialReport, more: usize, now: Timestamp) -> Result<(), Error> {
    let DenialReport { denials, kernel, refused, kernel_error } = report;
    if denials.count == 0 {
        writeln!(out, "no question was denied")?;
    } else {
        show_totals(out, &denials.totals)?;
        show_names(out, &denials.names, now)?;
        if more > 0 {
            writeln!(out, "and {more} more: see --top")?;
        }
        if denials.other > 0 {
            writeln!(out, "and {} denials of names beyond those remembered", denials.other)?;
        }
    }
    if denials.search > 0 {
        writeln!(out, "and {} at or below a search suffix, which nobody meant", denials.search)?;
    }
    show_kernel(out, kernel)?;
    show_refused(out, refused)?;
    if let Some(error) = kernel_error {
        writeln!(out, "\nthe kernel's counters could not be read: {error}")?;
    }
    Ok(())
}

fn show_totals(out: &mut dyn Write, totals: &[DenialTotal]) -> io::Result<()> {
    let columns = [("AGENT", Column::Text), ("REASON", Column::Word), ("QUESTIONS", Column::Number)];
    let row = |total: &DenialTotal| [or_dash(total.agent.as_ref()), total.reason.clone(), total.count.to_string()];
    table(out, columns, totals.iter().map(row))
}

fn show_names(out: &mut dyn Write, names: &[DenialRow], now: Timestamp) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let columns = [
        ("NAME", Column::Text),
        ("AGENT", Column::Text),
        ("REASON", Column::Text),
        ("POLICY", Column::Text),
        ("COUNT", Column::Number),
        ("LAST", Column::Word),
    ];
    let row = |row: &DenialRow| {
        [
            row.name.clone(),
            or_dash(row.agent.as_ref()),
            row.reason.clone(),
            if row.policies.is_empty() { "-".to_owned() } else { row.policies.join(" ") },
            row.count.to_string(),
            ago(&row.last, now),
        ]
    };
    writeln!(out)?;
    table(out, columns, names.iter().map(row))
}

fn show_kernel(out: &mut dyn Write, counters: &[KernelCounter]) -> io::Result<()> {
    if counters.is_empty() {
        return Ok(());
    }
    let columns = [("KERNEL COUNTER", Column::Word), ("PACKETS", Column::Number), ("BYTES", Column::Number)];
    let row = |counter: &KernelCounter| [counter.name.clone(), counter.packets.to_string(), counter.bytes.to_string()];
    writeln!(out)?;
    table(out, columns, counters.iter().map(row))
}

fn show_refused(out: &mut dyn Write, refused: &[RefusedRow]) -> io::Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let columns = [
        ("REFUSED ADDRESS", Column::Text),
        ("PORT", Column::Word),
        ("AGENT", Column::Text),
        ("CLIENT", Column::Text),
        ("PACKETS", Column::Number),
    ];
    let row = |row: &RefusedRow| {
        let port = if row.port == 0 { row.protocol.clone() } else { format!("{}/{}", row.port, row.protocol) };
        [row.address.to_string(), port, or_dash(row.agent.as_ref()), row.client.to_string(), row.packets.to_string()]
    };
    writeln!(out)?;
    table(out, columns, refused.iter().map(row))
}

/// How long before `now` that was; the time itself if it is none we know.
fn ago(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = u64::try_from(now.as_second().saturating_sub(then.as_second())).unwrap_or_default();
    format!("{} ago", spell_seconds(seconds))
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Denials;

    fn report() -> DenialReport {
        let total = |agent: &str, count| DenialTotal { agent: Some(agent.into()), reason: "forbidden".into(), count };
        let row = |agent: &str, name: &str, count| DenialRow {
            name: name.into(),
            agent: Some(agent.into()),
            reason: "forbidden".into(),
            policies: vec!["no-telemetry".into()],
            count,
            last: "2026-01-01T00:00:00Z".into(),
        };
        let address = "192.0.2.66".parse().unwrap();
        DenialReport {
            denials: Denials {
                count: 10,
                totals: vec![total("claude", 7), total("ci", 3)],
                names: vec![row("claude", "telemetry.example.com", 5), row("ci", "ads.example.net", 3)],
                other: 2,
                search: 31,
            },
            kernel: vec![KernelCounter { name: "denied_syn".into(), packets: 7, bytes: 420 }],
            refused: vec![RefusedRow {
                client: "10.77.0.2".parse().unwrap(),
                agent: Some("claude".into()),
                address,
                protocol: "tcp".into(),
                port: 443,
                packets: 7,
            }],
            kernel_error: None,
        }
    }

    #[test]
    fn a_denial_shows_its_name_policy_and_kernel_count_within_eighty_columns() {
        let mut out = Vec::new();
        show(&mut out, &report(), 4, "2026-01-01T00:03:10Z".parse().unwrap()).unwrap();
        let text = String::from_utf8(out).unwrap();
        for shown in [
            "telemetry.example.com",
            "no-telemetry",
            "denied_syn",
            "443/tcp",
            "3m 10s ago",
            "4 more",
            "2 denials of names",
            "31 at or below a search suffix",
        ] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn one_agents_report_counts_nobody_else() {
        let mut report = report();
        keep_agent(&mut report, "claude");
        assert_eq!((report.denials.count, report.denials.other, report.denials.names.len()), (7, 2, 1));
        assert_eq!(report.denials.search, 0);
        assert!(report.kernel.is_empty(), "the kernel's totals are about everybody");
        assert_eq!(report.refused.len(), 1);
    }
}
