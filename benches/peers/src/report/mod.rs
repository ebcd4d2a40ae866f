//! What people read of the results: benches/results/README.md and its plots.

mod bars;
mod curve;
mod svg;
mod table;

use std::fs;
use std::io;
use std::path::Path;

use crate::results::{Plot, Row};

/// The rows in the order they are told in.
const ORDER: [&str; 10] =
    ["cached", "denied", "unique", "latency", "packets", "cores", "leases", "names", "policies", "clients"];

const INTRODUCTION: &str = "\
# Cedarwall beside its peers

Written by `make bench`, which measures all of it anew: every server is pinned to the same core, in front of the same
upstream server, with the generator on the other core, each in turn in every round. Figures are medians over the rounds,
with the least and the most in brackets. A ratio is that of each round; its median is what a target counts for. Ratios
hold elsewhere, microseconds do not. `benches/peers/src/load/mod.rs` says how the generator measures,
`benches/peers/src/peer/` how each server is set up, and the JSON files have every round.
";

/// Writes the page and the plots of all rows that there are.
pub fn write(folder: &Path) -> io::Result<()> {
    let mut page = INTRODUCTION.to_owned();
    let rows = ORDER.iter().map(|what| Row::read(folder, what)).collect::<io::Result<Vec<_>>>()?;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    page += &table::targets(&rows);
    for row in &rows {
        page += &table::row(row);
        for column in &row.columns {
            let Some(plot) = column.plot else { continue };
            let name = format!("{}-{}.svg", row.what, column.metric);
            let drawn = match plot {
                Plot::LongerIsBetter => bars::draw(row, column, true),
                Plot::ShorterIsBetter => bars::draw(row, column, false),
                Plot::BySize => curve::draw(row, column),
            };
            if let Some(svg) = drawn {
                fs::write(folder.join(&name), svg)?;
                page += &format!("\n![{}: {}]({name})\n", row.title, column.title);
            }
        }
    }
    fs::write(folder.join("README.md"), page)
}
