//! How events are shown.

use std::io::{self, Write};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use textwrap::{Options, WordSplitter};

use super::super::output::COLUMNS;
use crate::core::evidence::record::Record;
use crate::core::evidence::{ocsf, told};
use crate::core::printable::{json_line, steers};

/// How each event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// In words, 80 columns wide; times are UTC
    Text,
    /// Its line in the journal
    Json,
    /// As the Open Cybersecurity Schema Framework has it
    Ocsf,
}

/// Prints one event after the other.
#[derive(Debug)]
pub(super) struct Printer {
    format: Format,
    /// The day that was said last.
    day: Option<Date>,
}

impl Printer {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, day: None }
    }

    /// Prints the event that `record` was read from `line`. Nothing of it
    /// steers a terminal.
    pub(super) fn print(&mut self, out: &mut dyn Write, line: &str, record: &Record) -> io::Result<()> {
        match self.format {
            Format::Text => self.print_text(out, record),
            Format::Json => writeln!(out, "{}", printable(line.trim_ascii())),
            // What is a record is an event.
            Format::Ocsf => {
                ocsf::event(line).map_or(Ok(()), |event| writeln!(out, "{}", json_line(&event.to_string())))
            }
        }
    }

    fn print_text(&mut self, out: &mut dyn Write, record: &Record) -> io::Result<()> {
        let time = TimeZone::UTC.to_datetime(record.time);
        if self.day != Some(time.date()) {
            writeln!(out, "{} UTC", time.date())?;
            self.day = Some(time.date());
        }
        let mark = format!("{} ", time.strftime("%H:%M:%S%.3f"));
        let hang = " ".repeat(mark.len());
        let options = Options::new(usize::from(COLUMNS)).initial_indent(&mark).subsequent_indent(&hang);
        let options = options.word_splitter(WordSplitter::NoHyphenation);
        writeln!(out, "{}", textwrap::fill(&told::sentence(record), options))
    }
}

/// `line` itself, unless something in it steers a terminal.
fn printable(line: &str) -> std::borrow::Cow<'_, str> {
    if line.contains(steers) { json_line(line).into() } else { line.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::samples;

    fn printed(format: Format, lines: &[String]) -> String {
        let (mut printer, mut out) = (Printer::new(format), Vec::new());
        for line in lines {
            printer.print(&mut out, line, &Record::parse(line).unwrap()).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn samples() -> Vec<String> {
        samples::all().iter().map(samples::line).collect()
    }

    #[test]
    fn words_are_at_most_eighty_columns_wide_under_their_day() {
        let long =
            format!(r#"{{"time":"2026-01-02T00:00:00Z","event":"query.denied","hostname":"{}"}}"#, "a".repeat(253));
        let text = printed(Format::Text, &[samples(), vec![long]].concat());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(
            text.starts_with("2026-01-01 UTC\n09:00:01.204 answered claude (10.77.0.2) api.example.com A"),
            "{text}"
        );
        assert_eq!(text.lines().filter(|line| line.ends_with(" UTC")).count(), 2, "{text}");
    }

    #[test]
    fn json_is_the_line_itself() {
        let lines = samples();
        assert_eq!(printed(Format::Json, &lines), lines.join("\n") + "\n");
    }

    #[test]
    fn nothing_steers_a_terminal_in_any_form() {
        let hostile =
            "{\"event\":\"query.denied\",\"hostname\":\"\u{9b}2J\u{202e}\\u001b[1A\",\"\u{7f}\":\"\u{85}\"}".to_owned();
        for format in [Format::Text, Format::Json, Format::Ocsf] {
            let text = printed(format, std::slice::from_ref(&hostile));
            assert!(!text.chars().any(|character| character != '\n' && steers(character)), "{text:?}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&printed(Format::Json, std::slice::from_ref(&hostile))).unwrap();
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(&hostile).unwrap());
    }
}
