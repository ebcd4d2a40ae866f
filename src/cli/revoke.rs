//! `cedarwall revoke`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::ask::Ask;
use super::output::json;
use crate::control::{RevokeReport, RevokeRequest};
use crate::core::name::Name;
use crate::core::query::Agent;

/// Arguments of `cedarwall revoke`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Close what is open for an agent now, and end its flows",
    long_about = "Close what is open for an agent now, under one name or all, and end its flows\n\n\
                  This is no ban: the agent may ask again, and what the policy permits is then\n\
                  open again. To forbid it, change the policy. Addresses that the policy names\n\
                  itself stay open, and are listed.",
    after_help = "Exit status: 0 when something was closed, 1 when nothing was open, or no daemon
answers.

Examples:
  cedarwall revoke --agent claude
  cedarwall revoke --agent claude api.example.com"
)]
pub(super) struct Arguments {
    /// Whose leases: the agent, `claude` of `Agent::"claude"`
    #[arg(long, value_name = "AGENT", value_parser = Agent::parse)]
    agent: Agent,
    /// Only those under this name
    #[arg(value_name = "NAME", value_parser = Name::parse)]
    name: Option<Name>,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn execute(arguments: Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let Arguments { agent, name, ask } = arguments;
    let request = RevokeRequest { agent, name };
    let report: RevokeReport = ask.post_with("/revoke", &request)?;
    if ask.json {
        json(out, &report)?;
    } else {
        show(out, &request, &report)?;
    }
    Ok(if report.found() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(out: &mut dyn Write, request: &RevokeRequest, report: &RevokeReport) -> Result<(), Error> {
    let RevokeRequest { agent, name } = request;
    let RevokeReport { agent_is_known, closed_elements, shared_elements, ended_flows, names, named_by_policy } = report;
    match (report.found(), agent_is_known, name) {
        (true, _, _) => writeln!(out, "closed: {closed_elements} elements, {ended_flows} flows")?,
        (false, false, _) => writeln!(out, "no client acts as {agent}; `cedarwall leases` shows the agents")?,
        (false, true, Some(name)) => writeln!(out, "nothing is open for {agent} under {name}")?,
        (false, true, None) => writeln!(out, "nothing is open for {agent}")?,
    }
    for name in names {
        writeln!(out, "  {name}")?;
    }
    if *shared_elements > 0 {
        writeln!(out, "{shared_elements} elements stay: another name leads there, too")?;
    }
    for address in named_by_policy {
        writeln!(out, "{address} stays: the policy names the address itself")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: Option<&str>, report: &RevokeReport) -> String {
        let name = name.map(|name| Name::parse(name).unwrap());
        let request = RevokeRequest { agent: Agent::parse("claude").unwrap(), name };
        let mut out = Vec::new();
        show(&mut out, &request, report).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_closed_and_what_stays_is_told() {
        let told = shown(
            None,
            &RevokeReport {
                agent_is_known: true,
                names: vec!["api.example.com".into()],
                closed_elements: 2,
                shared_elements: 1,
                ended_flows: 3,
                named_by_policy: vec!["192.0.2.7 5432/tcp".into()],
            },
        );
        for line in [
            "closed: 2 elements, 3 flows",
            "  api.example.com",
            "1 elements stay: another name",
            "192.0.2.7 5432/tcp stays: the policy names",
        ] {
            assert!(told.contains(line), "{line}: {told}");
        }
    }

    #[test]
    fn what_is_not_there_says_so() {
        let known = RevokeReport { agent_is_known: true, ..RevokeReport::default() };
        assert!(shown(Some("b.example.com"), &known).contains("nothing is open for claude under b.example.com"));
        assert!(shown(None, &RevokeReport::default()).contains("no client acts as claude"));
    }
}
