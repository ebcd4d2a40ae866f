//! A line over sizes, each ten times the last: whether a cost stays flat.

use super::svg::{drawing, line, text};
use crate::results::{Column, Row};
use crate::summary::{Summary, summary};

const LEFT: f64 = 70.0;
const WIDTH: f64 = 620.0;
const RIGHT: f64 = 50.0;
const TOP: f64 = 50.0;
const HEIGHT: f64 = 180.0;
const BOTTOM: f64 = 40.0;

/// A plot of one column from zero up, smallest size first; `None` where fewer
/// than two sizes were measured.
pub fn draw(row: &Row, column: &Column) -> Option<String> {
    let figures = row.series.iter().filter_map(|series| {
        let summary = summary(series.metrics.get(&column.metric)?)?;
        Some((series.size?, series.name.as_str(), summary))
    });
    let mut figures: Vec<(f64, &str, Summary)> = figures.collect();
    figures.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let (first, last) = (figures.first()?.0.log10(), figures.last()?.0.log10());
    let most = figures.iter().map(|(.., summary)| summary.max).fold(0.0, f64::max) * 1.1;
    if last <= first || most <= 0.0 {
        return None;
    }
    let x = |size: f64| LEFT + (size.log10() - first) / (last - first) * WIDTH;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value.max(0.0) / most);

    let floor = TOP + HEIGHT;
    let mut inside = line(&format!("M{LEFT} {TOP}V{floor}H{}", LEFT + WIDTH), "#7d8a97", 1.0);
    inside += &text(LEFT - 8.0, floor + 4.5, "end", "0");
    let mut path = String::new();
    for (size, name, figure) in &figures {
        let (x, middle) = (x(*size), y(figure.median));
        path += &format!("{}{x:.1} {middle:.1}", if path.is_empty() { 'M' } else { 'L' });
        inside += &line(&format!("M{x:.1} {:.1}V{:.1}", y(figure.min), y(figure.max)), "#1c1c1c", 1.0);
        inside += &format!("<circle cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"3.5\" fill=\"#a4442c\"/>\n");
        let decimals = column.decimals;
        inside += &text(x, y(figure.max) - 8.0, "middle", &format!("{:.decimals$}", figure.median));
        inside += &text(x, floor + 20.0, "middle", name);
    }
    inside += &line(&path, "#a4442c", 2.0);
    let title = format!("{}: {}", row.title, column.title);
    Some(drawing(LEFT + WIDTH + RIGHT, floor + BOTTOM, &title, &inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::example;

    #[test]
    fn the_smallest_is_on_the_left_and_the_largest_on_the_right() {
        let mut row = example();
        for (series, size) in row.series.iter_mut().zip([100.0, 1.0, 10.0]) {
            series.size = Some(size);
        }
        let svg = draw(&row, &row.columns[0]).unwrap();
        let circles: Vec<&str> = svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(circles, ["70.0", "380.0", "690.0"]);
    }

    #[test]
    fn one_size_has_no_plot() {
        let mut row = example();
        assert!(draw(&row, &row.columns[0]).is_none());
        row.series[0].size = Some(10.0);
        assert!(draw(&row, &row.columns[0]).is_none());
    }
}
