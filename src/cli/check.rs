//! `cedarwall check`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Error, catch_all_forbid};
use crate::core::config::CatchAllForbid;
use crate::core::policy::{Policy, Sources};
use crate::core::problem::Problem;
use crate::{config_file, policy_files};

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall check policies/team
  cedarwall check --catch-all-forbid default-deny policies/story
  cedarwall check --config /etc/cedarwall/cedarwall.toml

Exit status: 0 if there is no error (warnings are told), 1 if there is one.";

/// Check policies and the configuration, without starting anything
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Check this configuration too, and the policy it names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to read a forbid over everything: `strict` as Cedar does, or as the
    /// default it was meant to be [default: the configuration's, or strict]
    #[arg(long, value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: Option<CatchAllForbid>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A .cedar file, or a folder of them with an optional entities.json
    #[arg(required_unless_present = "config")]
    policy: Vec<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let report = checked(arguments)?;
    if arguments.json {
        let json = json!({
            "ok": report.policies.is_some(),
            "policies": report.policies,
            "problems": report.problems,
        });
        writeln!(out, "{json:#}")?;
    } else {
        print(&report, out)?;
    }
    Ok(if report.policies.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Report {
    /// How many policies there are; `None` if there are errors.
    policies: Option<usize>,
    problems: Vec<Problem>,
}

fn checked(arguments: &Arguments) -> Result<Report, Error> {
    let mut reading = arguments.catch_all_forbid.unwrap_or_default();
    let mut paths = arguments.policy.clone();
    if let Some(file) = &arguments.config {
        let config = match config_file::read(file) {
            Ok(config) => config,
            Err(config_file::Error::Wrong(problems)) => return Ok(Report { policies: None, problems }),
            Err(error) => return Err(Error::said(error.to_string())),
        };
        reading = arguments.catch_all_forbid.unwrap_or(config.policy.catch_all_forbid);
        if paths.is_empty() {
            paths.push(config.policy.path);
        }
    }
    let sources =
        policy_files::read_all(paths.iter().map(PathBuf::as_path)).map_err(|error| Error::said(error.to_string()))?;
    Ok(loaded(&sources, reading))
}

fn loaded(sources: &Sources, reading: CatchAllForbid) -> Report {
    match Policy::load(sources, reading) {
        Ok(loaded) => Report { policies: Some(loaded.policy.len()), problems: loaded.warnings },
        Err(problems) => Report { policies: None, problems },
    }
}

fn print(report: &Report, out: &mut dyn Write) -> Result<(), Error> {
    for problem in &report.problems {
        writeln!(out, "{problem}")?;
    }
    let errors = report.problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = report.problems.len() - errors;
    match report.policies {
        Some(policies) => {
            writeln!(out, "{}, {}", counted(policies, "policy", "policies"), counted(warnings, "warning", "warnings"))?
        }
        None => writeln!(out, "{}, {}", counted(errors, "error", "errors"), counted(warnings, "warning", "warnings"))?,
    }
    Ok(())
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn run(line: &[&str]) -> (ExitCode, String) {
        let line = Line::parse_from([&["check"], line].concat());
        let mut out = Vec::new();
        let code = execute(&line.arguments, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_shipped_policies_pass_and_are_counted() {
        let (code, out) = run(&["--catch-all-forbid", "default-deny", "policies/story"]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(out.ends_with("3 policies, 1 warning\n"), "{out}");
        assert!(out.starts_with("policies/story/story.cedar:25:1: warning: "), "{out}");
        let (code, out) = run(&["policies/team"]);
        assert_eq!((code, out.as_str()), (ExitCode::SUCCESS, "5 policies, no warnings\n"));
    }

    #[test]
    fn an_error_fails_and_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.cedar");
        std::fs::write(&file, "permit(principal, action, resource == Resource::\"Example.com:443\");").unwrap();
        let (code, out) = run(&[file.to_str().unwrap()]);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(out.contains("a.cedar:1:39: error: ") && out.ends_with("1 error, no warnings\n"), "{out}");
        let (_, json) = run(&["--json", file.to_str().unwrap()]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["problems"][0]["place"]["column"], 39);
    }
}
