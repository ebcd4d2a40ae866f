//! What the demo prints: scenes, steps with a verdict, and what was seen; 80
//! columns, or JSON.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The widest line printed.
const WIDTH: usize = 80;

/// One thing that was to happen.
#[derive(Debug, Serialize)]
struct Step {
    scene: &'static str,
    told: String,
    seen: String,
    as_told: bool,
}

/// The story as it went.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    json: bool,
    scene: &'static str,
    steps: Vec<Step>,
    began: Instant,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, scene: "", steps: Vec::new(), began: Instant::now() }
    }

    pub(super) fn scene(&mut self, title: &'static str) -> io::Result<()> {
        self.scene = title;
        self.line(&format!("\n{title}"))
    }

    /// A line that explains or shows something.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        for line in wrapped(text, WIDTH.saturating_sub(7)) {
            self.line(&format!("       {line}"))?;
        }
        Ok(())
    }

    /// A step: what was to happen, what was seen, and whether they agree.
    pub(super) fn check(&mut self, told: &str, seen: &str, as_told: bool) -> io::Result<()> {
        let verdict = if as_told { " ok  " } else { "WRONG" };
        let text = if as_told { told.to_owned() } else { format!("{told}; seen: {seen}") };
        for (index, line) in wrapped(&text, WIDTH.saturating_sub(7)).iter().enumerate() {
            let mark = if index == 0 { verdict } else { "     " };
            self.line(&format!("{mark}  {line}"))?;
        }
        self.steps.push(Step { scene: self.scene, told: told.to_owned(), seen: seen.to_owned(), as_told });
        Ok(())
    }

    /// The last words. True when all went as told.
    pub(super) fn end(mut self, last_words: &str) -> io::Result<bool> {
        let wrong = self.steps.iter().filter(|step| !step.as_told).count();
        let took = self.began.elapsed();
        if self.json {
            let document = Document { as_told: wrong == 0, seconds: seconds(took), steps: &self.steps };
            let text = serde_json::to_string_pretty(&document)?;
            writeln!(self.out, "{text}")?;
            return Ok(wrong == 0);
        }
        let count = self.steps.len();
        let verdict = if wrong == 0 { "all as told".to_owned() } else { format!("{wrong} NOT as told") };
        self.line(&format!("\n{count} steps, {verdict}, in {:.1} s", seconds(took)))?;
        if wrong == 0 {
            self.line(last_words)?;
        }
        Ok(wrong == 0)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        writeln!(self.out, "{text}")?;
        // Each line as it happens: the reader watches.
        self.out.flush()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    as_told: bool,
    seconds: f64,
    steps: &'a [Step],
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// Breaks at spaces; a word longer than a line stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let needed = line.chars().count().saturating_add(word.chars().count()).saturating_add(1);
        if line.is_empty() {
            line.push_str(word);
        } else if needed <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_eighty_columns() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        report.check(&"word ".repeat(60), "something else", false).unwrap();
        report.show(&"another ".repeat(40)).unwrap();
        assert!(!report.end("").unwrap());
        assert!(String::from_utf8(out).unwrap().lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn one_wrong_step_spoils_the_whole() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, true);
        report.check("a", "a", true).unwrap();
        report.check("b", "c", false).unwrap();
        assert!(!report.end("").unwrap());
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["steps"][1]["seen"], "c");
    }
}
