//! `cedarwall reload`.

use std::io::Write;
use std::process::ExitCode;

use super::Error;
use super::ask::Ask;
use super::output::json;
use crate::control::ReloadReport;

/// Arguments of `cedarwall reload`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Have the running daemon read its policy and configuration again",
    long_about = "Have the running daemon read its policy and configuration again, as SIGHUP does,\n\
                  and as a change of their files does unless `[policy] watch = false`\n\n\
                  What cannot be used changes nothing: all that was in force stays. What is new\n\
                  is in force when this returns, and what it no longer permits is closed, flows\n\
                  that were under way included. Settings that take effect at the next start only\n\
                  are named.",
    after_help = "Exit status: 0 when all is in force, 1 when something is refused, or no daemon
answers.

Examples:
  cedarwall check policies && cedarwall reload
  cedarwall reload --json | jq -r '.problems[]'"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let report: ReloadReport = arguments.ask.post("/reload")?;
    if arguments.ask.json {
        json(out, &report)?;
    } else {
        show(out, &report)?;
    }
    let done = report.loaded && report.problems.is_empty();
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(out: &mut dyn Write, report: &ReloadReport) -> Result<(), Error> {
    let ReloadReport { loaded, policy, policies, warnings, problems, waiting, closed_elements, ended_flows } = report;
    if *loaded {
        writeln!(out, "{policy} is in force: {policies} policies")?;
        writeln!(out, "closed: {closed_elements} elements, {ended_flows} flows")?;
    } else {
        writeln!(out, "{policy} is refused, all that is in force stays:")?;
    }
    for setting in waiting {
        writeln!(out, "{setting}: takes effect at the next start")?;
    }
    for line in warnings.iter().chain(problems) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(report: &ReloadReport) -> String {
        let mut out = Vec::new();
        show(&mut out, report).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_refused_policy_is_told_with_every_problem() {
        let problems = vec!["wall.cedar:1:8: error: this is odd".to_owned()];
        let told = shown(&ReloadReport { policy: "policies".into(), problems, ..ReloadReport::default() });
        assert!(told.contains("refused, all that is in force stays") && told.contains("wall.cedar:1:8"), "{told}");
    }

    #[test]
    fn a_setting_that_has_to_wait_is_named() {
        let told = shown(&ReloadReport { loaded: true, waiting: vec!["dns.listen".into()], ..Default::default() });
        assert!(told.contains("dns.listen: takes effect at the next start"), "{told}");
    }

    #[test]
    fn a_new_policy_says_what_it_closed() {
        let report =
            ReloadReport { loaded: true, policies: 2, closed_elements: 3, ended_flows: 1, ..Default::default() };
        assert!(shown(&report).contains("closed: 3 elements, 1 flows"));
    }
}
