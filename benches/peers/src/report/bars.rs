//! A bar for each series' median, and a line from its least to its most.

use super::svg::{drawing, line, text};
use crate::results::{Column, Row};
use crate::summary::{Summary, summary};

const LEFT: f64 = 230.0;
const WIDTH: f64 = 520.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const STEP: f64 = 28.0;

/// A plot of one column, best first; `None` where nothing was measured.
pub fn draw(row: &Row, column: &Column, more_is_better: bool) -> Option<String> {
    let figures = row.series.iter().filter_map(|series| {
        let summary = summary(series.metrics.get(&column.metric)?)?;
        Some((series.name.as_str(), summary))
    });
    let mut figures: Vec<(&str, Summary)> = figures.collect();
    figures.sort_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
    if more_is_better {
        figures.reverse();
    }
    let most = figures.iter().map(|(_, summary)| summary.max).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let better = if more_is_better { "longer is better" } else { "shorter is better" };
    let title = format!("{}: {} ({better})", row.title, column.title);
    let height = TOP + STEP * figures.len() as f64 + 12.0;
    let bars = figures
        .iter()
        .enumerate()
        .map(|(place, (name, figure))| bar(TOP + STEP * place as f64, name, figure, WIDTH / most, column.decimals));
    Some(drawing(LEFT + WIDTH + RIGHT, height, &title, &bars.collect::<String>()))
}

fn bar(y: f64, name: &str, figure: &Summary, scale: f64, decimals: usize) -> String {
    let colour = if name.starts_with("cedarwall") { "#a4442c" } else { "#7d8a97" };
    let x = |value: f64| LEFT + value.max(0.0) * scale;
    let (middle, baseline) = (y + STEP / 2.0, y + STEP / 2.0 + 4.5);
    let spread = format!(
        "M{:.1} {middle:.1}H{:.1}M{:.1} {:.1}v8M{:.1} {:.1}v8",
        x(figure.min),
        x(figure.max),
        x(figure.min),
        middle - 4.0,
        x(figure.max),
        middle - 4.0,
    );
    [
        text(LEFT - 8.0, baseline, "end", name),
        format!(
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\n",
            y + 5.0,
            x(figure.median) - LEFT
        ),
        line(&spread, "#1c1c1c", 1.0),
        text(x(figure.max) + 8.0, baseline, "start", &format!("{:.decimals$}", figure.median)),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn the_best_comes_first_and_the_longest_bar_fits() {
        let row = example();
        let svg = draw(&row, &row.columns[0], false).unwrap();
        let place = |name: &str| svg.find(name).unwrap();
        assert!(place(">cedarwall<") < place(">dnsdist<") && place(">dnsdist<") < place(">unbound<"));
        assert!(svg.contains(&format!("H{:.1}", LEFT + WIDTH)), "{svg}");
        let svg = draw(&row, &row.columns[0], true).unwrap();
        assert!(svg.find(">unbound<") < svg.find(">cedarwall<"));
        assert_eq!(svg.matches("<rect").count(), 4);
    }

    #[test]
    fn what_was_not_measured_has_no_plot() {
        let row = example();
        let column = Column { metric: "missing".into(), ..row.columns[0].clone() };
        assert!(draw(&row, &column, false).is_none());
    }
}
