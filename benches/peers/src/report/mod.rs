//! What people read of the results: benches/results/README.md and its plots.

mod plot;
mod table;

use std::fs;
use std::io;
use std::path::Path;

use crate::results::Row;

/// The rows in the order they are told in.
const ORDER: [&str; 7] = ["cached", "denied", "unique", "latency", "packets", "cores", "scale"];

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
            let Some(more_is_better) = column.plot else { continue };
            let name = format!("{}-{}.svg", row.what, column.metric);
            if let Some(plot) = plot::bars(row, column, more_is_better) {
                fs::write(folder.join(&name), plot)?;
                page += &format!("\n![{}: {}]({name})\n", row.title, column.title);
            }
        }
    }
    fs::write(folder.join("README.md"), page)
}
