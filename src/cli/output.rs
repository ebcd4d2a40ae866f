//! Tables and JSON: how results look. Tables are never coloured; what is,
//! asks [`is_coloured`].

use std::env;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;
use textwrap::{Options, WordSplitter};

/// The widest a line may be.
pub(super) const COLUMNS: u16 = 80;

/// Whether `stream` may be written to in colour: only a terminal, and only
/// without `NO_COLOR`.
pub(super) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none()
}

/// Writes `value` as indented JSON, with a line end after it.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Writes `text` after `mark`, broken between words at 80 columns; the
/// following lines stand below the first one's text.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn paragraph(out: &mut dyn Write, mark: &str, text: &str) -> io::Result<()> {
    let hang = " ".repeat(mark.chars().count());
    let mut line = mark.to_owned();
    let mut has_word = false;
    for word in text.split(' ') {
        let width = line.chars().count() + usize::from(has_word) + word.chars().count();
        if has_word && width > usize::from(COLUMNS) {
            writeln!(out, "{}", line.trim_end())?;
            line.clone_from(&hang);
            has_word = false;
        }
        if has_word {
            line.push(' ');
        }
        line.push_str(word);
        has_word = true;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes `text` after `first`, broken at 80 columns, in the midst of a word
/// where it must be; the following lines stand after `others`.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn filled(out: &mut dyn Write, first: &str, others: &str, text: &str) -> io::Result<()> {
    let options = Options::new(usize::from(COLUMNS))
        .initial_indent(first)
        .subsequent_indent(others)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(true);
    writeln!(out, "{}", textwrap::fill(text, options))
}

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Text; long ones are wrapped.
    Text,
    /// Short text that is never wrapped.
    Word,
    /// A number, to the right.
    Number,
}

/// Writes a table without borders, at most 80 columns wide.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn table<const N: usize>(
    out: &mut dyn Write,
    columns: [(&str, Column); N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut table = borderless();
    table.set_header(columns.map(|(title, _)| Cell::new(title)));
    table.add_rows(rows);
    for (index, (title, kind)) in columns.into_iter().enumerate() {
        let Some(column) = table.column_mut(index) else { continue };
        column.set_padding((0, if index + 1 == N { 0 } else { 2 }));
        match kind {
            Column::Text => {
                let least = u16::try_from(title.len() + 2).unwrap_or(COLUMNS);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
            }
            Column::Word => {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            Column::Number => {
                column.set_constraint(ColumnConstraint::ContentWidth);
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// Writes names and their values, a pair a line, long values wrapped at 80
/// columns.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn pairs(out: &mut dyn Write, pairs: &[(&str, String)]) -> io::Result<()> {
    let mut table = borderless();
    table.add_rows(pairs.iter().map(|(name, value)| [*name, value.as_str()]));
    if let Some(names) = table.column_mut(0) {
        names.set_padding((0, 2)).set_constraint(ColumnConstraint::ContentWidth);
    }
    if let Some(values) = table.column_mut(1) {
        values.set_padding((0, 0));
    }
    writeln!(out, "{}", table.trim_fmt())
}

fn borderless() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(COLUMNS);
    table.force_no_tty();
    table
}

/// A length of time in two units at most: `42s`, `3m 10s`, `2h 5m`, `4d 1h`.
pub(super) fn spell_seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_is_wider_than_eighty_columns() {
        let long = |character: &str| character.repeat(253);
        let mut out = Vec::new();
        table(
            &mut out,
            [("AGENT", Column::Word), ("NAME", Column::Text), ("COUNT", Column::Number), ("POLICY", Column::Text)],
            [
                ["claude".to_owned(), long("n"), "12".to_owned(), long("p")],
                ["ci".to_owned(), "a.example.com".to_owned(), "7".to_owned(), "telemetry".to_owned()],
            ],
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with("AGENT"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_paragraph_is_broken_between_words() {
        let mut out = Vec::new();
        paragraph(&mut out, " -> ", &["word"; 40].join(" ")).unwrap();
        paragraph(&mut out, "", &"x".repeat(90)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines.len() == 4 && lines[0].starts_with(" -> word word") && lines[1].starts_with("    word"),
            "{text}"
        );
        assert!(lines[..3].iter().all(|line| line.len() <= 80), "{text}");
        assert_eq!(lines[3].len(), 90);
    }

    #[test]
    fn a_length_of_time_has_two_units_at_most() {
        for (seconds, spelled) in [(0, "0s"), (59, "59s"), (190, "3m 10s"), (7500, "2h 5m"), (349_200, "4d 1h")] {
            assert_eq!(spell_seconds(seconds), spelled);
        }
    }
}
