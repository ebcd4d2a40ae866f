//! Tables in Markdown.

use crate::results::{Column, Row, Series, Target};
use crate::summary::{Summary, summary};

/// All ratios and figures that have a target, and the others behind them.
pub fn targets(rows: &[Row]) -> String {
    let mut text = String::from("\n## What it comes to\n\n| row | what | median | least to most | target | |\n");
    text += "|---|---|---:|---:|---:|---|\n";
    for row in rows {
        for ratio in &row.ratios {
            let Some(figures) = summary(&ratio.values) else { continue };
            let (target, verdict) = match ratio.target {
                Some(target) if target.is_met(figures.median) => (bound(target), "reached"),
                Some(target) => (bound(target), "**missed**"),
                None => (String::new(), ""),
            };
            let decimals = if figures.median.abs() >= 20.0 { 0 } else { 2 };
            text += &format!(
                "| {} | {} | {:.decimals$} | {:.decimals$} to {:.decimals$} | {target} | {verdict} |\n",
                row.what, ratio.title, figures.median, figures.min, figures.max,
            );
        }
    }
    text
}

fn bound(target: Target) -> String {
    match target {
        Target::AtMost(bound) => format!("at most {bound}"),
        Target::AtLeast(bound) => format!("at least {bound}"),
    }
}

/// One row's own section.
pub fn row(row: &Row) -> String {
    let mut text = format!("\n## {}\n\n", row.title);
    text += &wrapped(&format!("{} {} rounds of {} s; {}.", row.method, row.rounds, row.seconds, row.taken));
    let titles: Vec<&str> = row.columns.iter().map(|column| column.title.as_str()).collect();
    let whose = row.series.first().filter(|series| series.size.is_some());
    let whose = whose.map(|series| format!("cedarwall {}", series.version)).unwrap_or_default();
    text += &format!("\n| {whose} | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
    for series in &row.series {
        let cells: Vec<String> = row.columns.iter().map(|column| cell(series, column)).collect();
        let name = match series.size {
            Some(_) => series.name.clone(),
            None => format!("{} {}", series.name, series.version),
        };
        text += &format!("| {} | {} |\n", name.trim(), cells.join(" | "));
    }
    for note in &row.notes {
        text += &format!("\n{}", wrapped(note));
    }
    text
}

fn cell(series: &Series, column: &Column) -> String {
    let decimals = column.decimals;
    match series.metrics.get(&column.metric).and_then(|values| summary(values)) {
        Some(Summary { median, min, max, .. }) if min < max => {
            format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
        }
        Some(Summary { median, .. }) => format!("{median:.decimals$}"),
        None => String::new(),
    }
}

/// Lines of 120 at most.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > 120 {
            lines.push('\n');
            length = 0;
        } else if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines += word;
        length += word.len();
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn a_row_has_its_median_and_its_spread() {
        let text = row(&example());
        assert!(text.contains("| cedarwall 1.0 | 3.00 (2.00 to 4.00) |"), "{text}");
        assert!(text.contains("| dnsdist 1.0 | 5.00 |"), "{text}");
        assert!(text.contains("\nA note.\n"), "{text}");
    }

    #[test]
    fn a_missed_target_is_told() {
        let mut row = example();
        row.ratio("of both", ("unbound", "cpu"), ("cedarwall", "cpu"), Some(Target::AtMost(2.0)));
        row.ratio("the other way", ("cedarwall", "cpu"), ("unbound", "cpu"), Some(Target::AtMost(2.0)));
        let text = targets(&[row]);
        assert!(text.contains("| cached | of both | 2.50 | 2.00 to 3.00 | at most 2 | **missed** |"), "{text}");
        assert!(text.contains("| at most 2 | reached |"), "{text}");
    }

    #[test]
    fn long_lines_are_broken() {
        let text = wrapped(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= 120 && !line.starts_with(' ')));
        assert_eq!(text.split_whitespace().count(), 60);
    }
}
