//! `cedarwall check`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::report::{self, Counts, Texts, counted};
use super::{Error, catch_all_forbid, output};
use crate::core::config::{CatchAllForbid, ClientEntry};
use crate::core::policy::{Loaded, Policy, Sources};
use crate::core::problem::Problem;
use crate::{config_file, policy_files};

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall check policies/team
  cedarwall check --catch-all-forbid default-deny policies/story
  cedarwall check --config /etc/cedarwall/cedarwall.toml
  cedarwall check --deny-warnings --format sarif policies > check.sarif

Exit status: 0 if there is no error (warnings are told), 1 if there is one, or a
warning with --deny-warnings.";

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
    /// How to tell what was found: to people, to programs, or to a code host
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Fail for warnings, too
    #[arg(long)]
    deny_warnings: bool,
    /// A .cedar file, or a folder of them with optional entities.json and
    /// links.json
    #[arg(required_unless_present = "config")]
    policy: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
    Sarif,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let found = checked(arguments)?;
    let tolerable = found.problems.is_empty() || !arguments.deny_warnings;
    let passed = found.policies.is_some() && tolerable;
    let format = if arguments.json { Format::Json } else { arguments.format };
    match format {
        Format::Human => print(&found, out)?,
        Format::Json => output::json(out, &report::json(passed, found.policies, &found.problems))?,
        Format::Sarif => {
            let folder = std::env::current_dir().unwrap_or_default();
            output::json(out, &report::sarif(&found.problems, &found.texts(), &folder))?;
        }
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was checked, and what was found.
struct Found {
    /// How many policies there are; `None` if there are errors.
    policies: Option<usize>,
    problems: Vec<Problem>,
    read: Read,
}

/// What the problems are about.
enum Read {
    Configuration { file: String, text: String },
    Policy(Sources),
}

impl Found {
    fn texts(&self) -> Texts<'_> {
        match &self.read {
            Read::Configuration { file, text } => Texts::of_file(file, text),
            Read::Policy(sources) => Texts::of_policy(sources),
        }
    }
}

fn checked(arguments: &Arguments) -> Result<Found, Error> {
    let mut reading = arguments.catch_all_forbid.unwrap_or_default();
    let mut paths = arguments.policy.clone();
    let mut clients = None;
    if let Some(file) = &arguments.config {
        let config = match config_file::read(file) {
            Ok(config) => config,
            Err(config_file::Error::Wrong(problems)) => return unusable(file, problems),
            Err(error) => return Err(Error::said(error.to_string())),
        };
        reading = arguments.catch_all_forbid.unwrap_or(config.policy.catch_all_forbid);
        if paths.is_empty() {
            paths.push(config.policy.path);
        }
        clients = Some(config.clients);
    }
    let sources =
        policy_files::read_all(paths.iter().map(PathBuf::as_path)).map_err(|error| Error::said(error.to_string()))?;
    Ok(loaded(sources, reading, clients.as_deref()))
}

fn unusable(file: &Path, problems: Vec<Problem>) -> Result<Found, Error> {
    let text = config_file::text(file).map_err(|error| Error::said(error.to_string()))?;
    Ok(Found { policies: None, problems, read: Read::Configuration { file: file.display().to_string(), text } })
}

fn loaded(sources: Sources, reading: CatchAllForbid, clients: Option<&[ClientEntry]>) -> Found {
    let (policies, problems) = match Policy::load(&sources, reading) {
        Ok(Loaded { policy, warnings }) => {
            let agents = clients.map(|clients| clients.iter().map(|client| &client.agent));
            let strangers = agents.map(|agents| policy.agents_without_a_client(agents)).unwrap_or_default();
            (Some(policy.len()), warnings.into_iter().chain(strangers).collect())
        }
        Err(problems) => (None, problems),
    };
    Found { policies, problems, read: Read::Policy(sources) }
}

fn print(found: &Found, out: &mut dyn Write) -> Result<(), Error> {
    report::write_human(out, &found.problems, &found.texts(), output::is_coloured(&io::stdout()))?;
    let counts = Counts::of(&found.problems);
    let first = match found.policies {
        Some(policies) => counted(policies, "policy", "policies"),
        None => counted(counts.errors, "error", "errors"),
    };
    writeln!(out, "{first}, {}", counted(counts.warnings, "warning", "warnings"))?;
    Ok(counts.write_rules(out)?)
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
        assert!(out.contains(" --> policies/story/story.cedar:25:1\n"), "{out}");
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
        assert!(out.contains("a.cedar:1:39\n") && out.ends_with("1 error, no warnings\n"), "{out}");
        for json in [&["--json"][..], &["--format", "json"]] {
            let (code, json) = run(&[json, &[file.to_str().unwrap()]].concat());
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((code, &json["problems"][0]["place"]["column"]), (ExitCode::FAILURE, &39.into()));
            assert_eq!(json["ok"], false);
        }
        let (code, log) = run(&["--format", "sarif", file.to_str().unwrap()]);
        let log: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!((code, &log["runs"][0]["results"][0]["level"]), (ExitCode::FAILURE, &"error".into()));
    }

    #[test]
    fn a_warning_fails_where_warnings_are_denied() {
        let story = ["--catch-all-forbid", "default-deny", "policies/story"];
        let (code, out) = run(&[&["--deny-warnings"], &story[..]].concat());
        assert_eq!(code, ExitCode::FAILURE);
        assert!(out.ends_with("3 policies, 1 warning\n"), "{out}");
        let (_, json) = run(&[&["--deny-warnings", "--json"], &story[..]].concat());
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["ok"], &json["warnings"]), (&false.into(), &1.into()));
        assert_eq!(run(&["--deny-warnings", "policies/team"]).0, ExitCode::SUCCESS);
    }

    #[test]
    fn an_agent_that_no_client_acts_as_is_told_with_the_one_that_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let shipped = std::fs::read_to_string("cedarwall.toml").unwrap();
        let config = folder.path().join("cedarwall.toml");
        std::fs::write(&config, shipped.replace("policies/story", "policies")).unwrap();
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        let permit = |agent: &str| {
            let permit = format!(
                "permit(principal == Agent::\"{agent}\", action == Action::\"net.connect\", \
                 resource == Resource::\"api.example.com:443\");"
            );
            std::fs::write(folder.path().join("policies/a.cedar"), permit).unwrap();
            run(&["--config", config.to_str().unwrap()]).1
        };
        assert!(permit("claude").ends_with("1 policy, no warnings\n"));
        let out = permit("cluade");
        assert!(out.contains("warning[unknown-agent]") && out.contains("did you mean `claude`?"), "{out}");
    }

    #[test]
    fn a_mistake_in_the_configuration_is_shown_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cedarwall.toml");
        std::fs::write(&file, "[dns]\nlisen = [\"10.77.0.1:53\"]\n").unwrap();
        let (code, out) = run(&["--config", file.to_str().unwrap()]);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(out.contains("2 | lisen = ") && out.contains("  | ^"), "{out}");
    }
}
