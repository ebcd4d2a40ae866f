//! What was answered and what was denied, from the journal. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Names listed at most; a flood of made-up names must not bury the rest.
const LISTED: usize = 20;

/// The widest line printed.
const WIDTH: usize = 80;

/// A line of the journal, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    #[serde(default, rename = "hostname")]
    name: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    search: bool,
    /// How many questions it tells of.
    #[serde(default = "once")]
    times: u64,
}

const fn once() -> u64 {
    1
}

/// The summary of one run.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    answered: BTreeMap<String, u64>,
    denied: BTreeMap<String, Denied>,
    failed: BTreeMap<String, u64>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Denied {
    times: u64,
    reason: String,
    policies: Vec<String>,
}

impl Summary {
    /// Reads a journal of JSON lines; what is not one is skipped.
    pub fn of(journal: &str) -> Self {
        let mut summary = Self::default();
        for line in journal.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            summary.count(line);
        }
        summary
    }

    fn count(&mut self, line: Line) {
        let add = |counts: &mut BTreeMap<String, u64>, name| {
            let times: &mut u64 = counts.entry(name).or_default();
            *times = times.saturating_add(line.times);
        };
        match line.event.as_str() {
            "query.answered" | "query.empty" => add(&mut self.answered, line.name),
            "query.failed" => add(&mut self.failed, line.name),
            "query.denied" if !line.search => {
                let denied = self.denied.entry(line.name).or_default();
                denied.times = denied.times.saturating_add(line.times);
                denied.reason = line.reason.unwrap_or_default();
                denied.policies = line.policies;
            }
            _ => {}
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |count: usize| format!("{count} {}", if count == 1 { "name" } else { "names" });
        write!(formatter, "cedarwall: {} answered, {} denied", names(self.answered.len()), self.denied.len())?;
        if !self.failed.is_empty() {
            write!(formatter, ", {} failed", self.failed.len())?;
        }
        writeln!(formatter)?;
        let denied = self.denied.iter().map(|(name, denied)| ("denied", name, denied.times, denied.why()));
        let failed = self.failed.iter().map(|(name, times)| ("failed", name, *times, String::new()));
        let answered = self.answered.iter().map(|(name, times)| ("answered", name, *times, String::new()));
        let all: Vec<_> = denied.chain(failed).chain(answered).collect();
        for (verdict, name, times, why) in all.iter().take(LISTED) {
            let times = if *times == 1 { String::new() } else { format!(" ({times} times)") };
            let line = format!("  {verdict:<8}  {name}{times}{why}");
            writeln!(formatter, "{}", cut(&line))?;
        }
        match all.len().checked_sub(LISTED) {
            Some(more) if more > 0 => writeln!(formatter, "  and {more} more; keep them with --journal FILE"),
            _ => Ok(()),
        }
    }
}

impl Denied {
    fn why(&self) -> String {
        let reason = self.reason.replace('_', " ");
        if self.policies.is_empty() {
            format!(": {reason}")
        } else {
            format!(": {reason} by {}", self.policies.join(", "))
        }
    }
}

/// One line, of printable characters: a journal may have been written to by
/// others, and must not steer the terminal.
fn cut(line: &str) -> String {
    let line: String =
        line.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
    if line.chars().count() <= WIDTH {
        return line;
    }
    let kept: String = line.chars().take(WIDTH.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: &str = r#"
{"time":"2026-01-01T00:00:00Z","event":"wall.up","table":"cedarwall"}
{"event":"query.answered","hostname":"registry.example.com","policies":["claude-registry"]}
{"event":"query.answered","hostname":"registry.example.com","policies":["claude-registry"]}
{"event":"query.denied","hostname":"telemetry.example.com","reason":"not_permitted","policies":[]}
{"event":"query.denied","hostname":"api.example.com.corp.example.com","search":true,"reason":"not_permitted","policies":[]}
{"event":"query.denied","hostname":"evil.example.net","reason":"forbidden","policies":["no-evil"]}
half a li"#;

    #[test]
    fn the_summary_tells_who_was_denied_and_why() {
        let text = Summary::of(JOURNAL).to_string();
        assert_eq!(
            text,
            "cedarwall: 1 name answered, 2 denied\n  \
             denied    evil.example.net: forbidden by no-evil\n  \
             denied    telemetry.example.com: not permitted\n  \
             answered  registry.example.com (2 times)\n"
        );
    }

    #[test]
    fn a_flood_of_long_names_stays_short_and_narrow() {
        let line = |number: u32| {
            format!(
                "{{\"event\":\"query.denied\",\"hostname\":\"{number:0>200}.example.net\",\"reason\":\"not_permitted\"}}\n"
            )
        };
        let text = Summary::of(&(0..1000).map(line).collect::<String>()).to_string();
        assert_eq!(text.lines().count(), LISTED + 2);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
