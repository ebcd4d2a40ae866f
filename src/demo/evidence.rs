//! What is left of the story for whoever reviews it: counters, the journal, and
//! what the commands make of it.

use std::fs;
use std::process::Output;

use super::report::Report;
use super::stage::{Place, outcome, path, write};
use super::story::catch_all_word;
use super::{Error, kernel, package};
use crate::core::config::CatchAllForbid;
use crate::core::evidence::chain::Actor;
use crate::core::evidence::record::Record;

/// The name that must not resolve.
const DENIED: &str = "telemetry.example.com";
/// The lines of a terminal's first screen.
const SCREEN: usize = 24;

/// What the kernel counted, on both sides of the wall.
pub(super) fn counted(report: &mut Report<'_>, before: u64) -> Result<(), Error> {
    let written = || Error::io("cannot write the output");
    let count = |name| kernel::counter(Place::Wall, "cedarwall", name);
    let (permitted, captured) = (count("permitted")?, count("captured_dns")?);
    let (syn, other) = (count("denied_syn")?, count("denied_other")?);
    let told = "nft list counters table inet cedarwall: the kernel counted it all";
    let seen = format!("permitted {permitted}, denied_syn {syn}, denied_other {other}, captured_dns {captured}");
    report.check(told, &seen, permitted > 0 && syn >= 3 && other >= 5 && captured >= 3).map_err(written())?;
    report.show(&seen).map_err(written())?;

    let arrived = kernel::arrivals()?.saturating_sub(before);
    let told = "the telemetry host and the other DNS server saw 0 packets of any kind";
    report.check(told, &format!("{arrived} packets"), arrived == 0).map_err(written())
}

/// Who asked for the denied name, down to the line of the script.
pub(super) fn traced(report: &mut Report<'_>) -> Result<(), Error> {
    let written = || Error::io("cannot write the output");
    let journal = fs::read_to_string(path("events.jsonl")).unwrap_or_default();
    let denials: Vec<_> = journal.lines().filter_map(Record::parse).filter(is_denial).collect();
    let told = "the journal has the denied name, the agent and the policy";
    let all_named = denials.iter().all(|denial| {
        denial.agent.as_deref() == Some("claude") && denial.policies.iter().any(|policy| policy == "nothing-else")
    });
    report.check(told, &format!("{} lines", denials.len()), !denials.is_empty() && all_named).map_err(written())?;

    let actors: Vec<_> = denials.iter().map(|denial| Actor::of(denial).map(|actor| actor.to_string())).collect();
    let is_the_script = |actor: &Option<String>| actor.as_deref().is_some_and(names_the_script);
    let told = "and the process: node postinstall.js, its shell, and npm install";
    let named = !actors.is_empty() && actors.iter().all(is_the_script);
    report.check(told, &format!("{actors:?}"), named).map_err(written())?;
    if let Some(Some(actor)) = actors.first() {
        report.show(actor).map_err(written())?;
    }
    if let Some((number, text)) = package::line_about(DENIED) {
        let file = package::POST_INSTALL_FILE;
        report.show(&format!("the package says that name in {file}, line {number}:")).map_err(written())?;
        report.show(text).map_err(written())?;
    }

    let review = ourselves(&["review"])?;
    let first: Vec<_> = text(&review).lines().take(SCREEN).map(str::to_owned).collect();
    let told = "cedarwall review: both are on its first screen";
    let page = first.join("\n");
    let both = page.contains(DENIED) && page.contains("node postinstall.js");
    report.check(told, &page, review.status.success() && both).map_err(written())?;
    for line in first.iter().skip_while(|line| !line.contains(DENIED)).take_while(|line| !line.is_empty()) {
        report.show(line).map_err(written())?;
    }
    Ok(())
}

/// Of the policy that `suggest` writes, `replay` shows just the difference
/// that was asked for, and `check` has nothing to say.
pub(super) fn suggested(report: &mut Report<'_>, reading: CatchAllForbid) -> Result<(), Error> {
    let written = || Error::io("cannot write the output");
    let suggestion = ourselves(&["suggest", "--name", DENIED])?;
    let file = path("suggested.cedar");
    write(&file, &suggestion.stdout)?;
    let permit = text(&suggestion);
    let told = "cedarwall suggest --name telemetry.example.com: one permit";
    let one = permit.matches("permit").count() == 1 && permit.contains(&format!("\"{DENIED}:443\""));
    report.check(told, &permit, suggestion.status.success() && one).map_err(written())?;
    for line in permit.lines().filter(|line| !line.starts_with("//")) {
        report.show(line).map_err(written())?;
    }

    let (new, old) = (file.display().to_string(), path("policy").display().to_string());
    let check = outcome(Place::Agent.ourselves()?.args(["check", "--deny-warnings", &new]))?;
    report.check("cedarwall check: nothing to say", &text(&check), check.status.success()).map_err(written())?;
    let word = catch_all_word(reading);
    let arguments =
        ["replay", "--json", "--policy", &old, "--policy", &new, "--against", &old, "--catch-all-forbid", word];
    let replay = ourselves(&arguments)?;
    let told = "cedarwall replay: that name would be permitted, and nothing else changes";
    report.check(told, &text(&replay), permits_that_name_alone(&replay)).map_err(written())
}

fn is_denial(record: &Record) -> bool {
    record.event == "query.denied" && record.hostname.as_deref() == Some(DENIED)
}

fn names_the_script(chain: &str) -> bool {
    let steps: Vec<_> = chain.split(" <- ").collect();
    let step = |start: &str| steps.iter().position(|step| step.starts_with(start));
    matches!(
        (step("node postinstall.js"), step("sh -c 'node postinstall.js'"), step("npm install ")),
        (Some(0), Some(shell), Some(npm)) if shell < npm
    )
}

fn permits_that_name_alone(replay: &Output) -> bool {
    let Ok(told) = serde_json::from_slice::<serde_json::Value>(&replay.stdout) else { return false };
    let differences = told.get("differences").and_then(serde_json::Value::as_array);
    let is_it = |difference: &serde_json::Value| {
        let text = difference.to_string();
        text.contains(DENIED) && text.contains("newly_permitted")
    };
    replay.status.code() == Some(1) && differences.is_some_and(|found| !found.is_empty() && found.iter().all(is_it))
}

/// One of our commands on the journal.
fn ourselves(arguments: &[&str]) -> Result<Output, Error> {
    outcome(Place::Agent.ourselves()?.args(arguments).arg(path("events.jsonl")))
}

fn text(output: &Output) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout })
}
