//! `cedarwall leases`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::ask::Ask;
use super::output::{Column, json, spell_seconds, table};
use crate::control::LeaseRow;

/// Arguments of `cedarwall leases`.
#[derive(Debug, clap::Args)]
#[command(
    about = "List what is open now: for whom, to where, for how long, and why",
    after_help = "Examples:
  cedarwall leases
  cedarwall leases --agent claude
  cedarwall leases --json | jq -r '.[].names[]' | sort -u

The same from the kernel itself; what the policy names by address is in static4:
  nft list set inet cedarwall lease4
  nft list set inet cedarwall static4"
)]
pub(super) struct Arguments {
    /// Only the leases of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut leases: Vec<LeaseRow> = arguments.ask.get("/leases")?;
    if let Some(agent) = &arguments.agent {
        leases.retain(|lease| lease.agent.as_ref() == Some(agent));
    }
    leases.sort_by(|left, right| order(left).cmp(&order(right)));
    if arguments.ask.json {
        json(out, &leases)?;
    } else {
        show(out, &leases)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn order(lease: &LeaseRow) -> impl Ord + '_ {
    (lease.client, &lease.names, &lease.address, lease.protocol, &lease.ports)
}

fn show(out: &mut dyn Write, leases: &[LeaseRow]) -> Result<(), Error> {
    if leases.is_empty() {
        return Ok(writeln!(out, "nothing is open")?);
    }
    let columns = [
        ("AGENT", Column::Text),
        ("CLIENT", Column::Text),
        ("NAME", Column::Text),
        ("ADDRESS", Column::Text),
        ("PORT", Column::Word),
        ("LEFT", Column::Number),
    ];
    let row = |lease: &LeaseRow| {
        [
            lease.agent.clone().unwrap_or_else(|| "-".to_owned()),
            lease.client.to_string(),
            if lease.names.is_empty() { "policy".to_owned() } else { lease.names.join(" ") },
            lease.address.clone(),
            format!("{}/{}", lease.ports, lease.protocol),
            lease.seconds_left.map_or_else(|| "-".to_owned(), spell_seconds),
        ]
    };
    Ok(table(out, columns, leases.iter().map(row))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::query::Protocol;

    #[test]
    fn a_lease_is_one_line_that_says_who_where_why_and_how_long() {
        let lease = LeaseRow {
            client: "10.77.0.2".parse().unwrap(),
            agent: Some("claude".into()),
            address: "192.0.2.7".parse().unwrap(),
            protocol: Protocol::Tcp,
            ports: "443".into(),
            seconds_left: Some(44),
            names: vec!["api.example.com".into()],
        };
        let named = LeaseRow { address: "10.20.0.0/16".into(), seconds_left: None, names: Vec::new(), ..lease.clone() };
        let mut out = Vec::new();
        show(&mut out, &[lease, named]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words = |row| text.lines().nth(row).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(1), ["claude", "10.77.0.2", "api.example.com", "192.0.2.7", "443/tcp", "44s"], "{text}");
        assert_eq!(words(2), ["claude", "10.77.0.2", "policy", "10.20.0.0/16", "443/tcp", "-"], "{text}");
    }
}
