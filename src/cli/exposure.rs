//! `cedarwall exposure`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::ask::Ask;
use super::output::{Column, json, table};
use crate::control::{ExposedName, ExposureRow};

/// Arguments of `cedarwall exposure`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Show which other names share an open address",
    after_help = "An address is open under the names a client was answered with. Whoever serves
other names from it can be reached under all of them: the wall sees addresses,
not what is said to them. Known are the names that an answer has given to that
address, to this client or another, while this daemon ran. A denied name is
never asked upstream, so one that nobody was ever permitted is not known.

Examples:
  cedarwall exposure
  cedarwall exposure --agent claude
  cedarwall exposure --json | jq -r '.[].others[] | select(.denied).name'"
)]
pub(super) struct Arguments {
    /// Only what is open to this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let mut rows: Vec<ExposureRow> = arguments.ask.get("/exposure")?;
    if let Some(agent) = &arguments.agent {
        rows.retain(|row| row.agent.as_ref() == Some(agent));
    }
    if arguments.ask.json {
        json(out, &rows)?;
    } else {
        show(out, &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut dyn Write, rows: &[ExposureRow]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(writeln!(out, "no open address is known to have another name")?);
    }
    let columns = [
        ("AGENT", Column::Text),
        ("ADDRESS", Column::Text),
        ("OPEN UNDER", Column::Text),
        ("ON", Column::Text),
        ("ALSO", Column::Text),
        ("POLICY SAYS", Column::Text),
    ];
    let row = |row: &ExposureRow, other: &ExposedName| {
        [
            row.agent.clone().unwrap_or_else(|| "-".to_owned()),
            row.address.to_string(),
            row.names.join(" "),
            row.ports.join(" "),
            other.name.clone(),
            verdict(other),
        ]
    };
    let lines = rows.iter().flat_map(|exposed| exposed.others.iter().map(move |other| row(exposed, other)));
    Ok(table(out, columns, lines)?)
}

fn verdict(other: &ExposedName) -> String {
    match &other.reason {
        None => "permitted".to_owned(),
        Some(reason) if other.policies.is_empty() => reason.clone(),
        Some(reason) => format!("{reason} ({})", other.policies.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_other_name_is_a_line_that_says_what_the_policy_says_of_it() {
        let other = |name: &str, reason: Option<&str>| ExposedName {
            name: name.into(),
            denied: reason.is_some(),
            reason: reason.map(Into::into),
            policies: Vec::new(),
            told_to_client: true,
            last: "2026-01-01T00:00:00Z".into(),
        };
        let row = ExposureRow {
            client: "10.77.0.2".parse().unwrap(),
            agent: Some("claude".into()),
            address: "192.0.2.7".parse().unwrap(),
            ports: vec!["443/tcp".into()],
            names: vec!["api.example.com".into()],
            others: vec![other("ads.example.net", Some("forbidden")), other("www.example.com", None)],
        };
        let mut out = Vec::new();
        show(&mut out, &[row]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words = |row| text.lines().nth(row).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(
            words(1),
            ["claude", "192.0.2.7", "api.example.com", "443/tcp", "ads.example.net", "forbidden"],
            "{text}"
        );
        assert_eq!(words(2)[4..], ["www.example.com", "permitted"], "{text}");
    }
}
