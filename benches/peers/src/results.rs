//! What was measured: one row to a file, benches/results/WHAT.json.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::summary::{Summary, ratios, summary};

/// The figures of one round, by their names.
pub type Metrics = BTreeMap<String, f64>;

/// One thing that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The file's name.
    pub what: String,
    /// For people.
    pub title: String,
    /// How.
    pub method: String,
    /// When, on what.
    pub taken: String,
    /// How often each was measured.
    pub rounds: usize,
    /// How long, each time.
    pub seconds: f64,
    /// What is shown of it.
    pub columns: Vec<Column>,
    /// Who was measured.
    pub series: Vec<Series>,
    /// What it comes to.
    pub ratios: Vec<Ratio>,
    /// What else has to be known.
    pub notes: Vec<String>,
}

/// How a column is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plot {
    /// A bar for each series, the longest first.
    LongerIsBetter,
    /// A bar for each series, the shortest first.
    ShorterIsBetter,
    /// A line over the series' sizes.
    BySize,
}

/// A figure of each series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its name among the metrics.
    pub metric: String,
    /// For people.
    pub title: String,
    /// Digits behind the point.
    pub decimals: usize,
    /// Its plot, if it has one.
    pub plot: Option<Plot>,
}

/// One of those who were measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// Who.
    pub name: String,
    /// Its release.
    pub version: String,
    /// How many of what is counted it has, where that is what tells series apart.
    pub size: Option<f64>,
    /// Each figure of each round.
    pub metrics: BTreeMap<String, Vec<f64>>,
}

/// A ratio that there may be a target for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// Of what to what.
    pub title: String,
    /// Of each round.
    pub values: Vec<f64>,
    /// What is aimed at.
    pub target: Option<Target>,
}

/// A bound for a median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// No more.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
}

impl Target {
    /// Whether it is reached.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Row {
    /// Adds a column.
    pub fn column(&mut self, metric: &str, title: &str, decimals: usize, plot: Option<Plot>) {
        self.columns.push(Column { metric: metric.into(), title: title.into(), decimals, plot });
    }

    /// Adds one round of one series.
    pub fn add(&mut self, name: &str, version: &str, metrics: Metrics) {
        let place = self.series.iter().position(|series| series.name == name).unwrap_or_else(|| {
            self.series.push(Series { name: name.into(), version: version.into(), ..Series::default() });
            self.series.len() - 1
        });
        for (metric, value) in metrics {
            self.series[place].metrics.entry(metric).or_default().push(value);
        }
    }

    /// Every round's figure of a series.
    pub fn values(&self, name: &str, metric: &str) -> &[f64] {
        let series = self.series.iter().find(|series| series.name == name);
        series.and_then(|series| series.metrics.get(metric)).map_or(&[], Vec::as_slice)
    }

    /// A series' figure, summed up.
    pub fn summary(&self, name: &str, metric: &str) -> Option<Summary> {
        summary(self.values(name, metric))
    }

    /// Adds a ratio, if both sides were measured.
    pub fn ratio(&mut self, title: &str, of: (&str, &str), to: (&str, &str), target: Option<Target>) {
        let values = ratios(self.values(of.0, of.1), self.values(to.0, to.1));
        self.figure(title, values, target);
    }

    /// Adds to every series what a figure of it is to that of another one.
    pub fn relate(&mut self, metric: &str, to: &str, related: &str) {
        let to = self.values(to, metric).to_vec();
        for series in &mut self.series {
            let values = series.metrics.get(metric).map(|values| ratios(values, &to)).unwrap_or_default();
            if !values.is_empty() {
                series.metrics.insert(related.into(), values);
            }
        }
    }

    /// Adds a figure that a target is set for, if there is any.
    pub fn figure(&mut self, title: &str, values: Vec<f64>, target: Option<Target>) {
        if !values.is_empty() {
            self.ratios.push(Ratio { title: title.into(), values, target });
        }
    }

    /// The best of some series by the median of a figure.
    pub fn best(&self, names: &[&str], metric: &str, more_is_better: bool) -> Option<String> {
        let measured = names.iter().filter_map(|name| Some((*name, self.summary(name, metric)?.median)));
        let best = measured.min_by(
            |(_, one), (_, other)| {
                if more_is_better { other.total_cmp(one) } else { one.total_cmp(other) }
            },
        );
        best.map(|(name, _)| name.to_owned())
    }

    /// Writes it into a folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{}.json", self.what)), serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads it from a folder, if it is there.
    pub fn read(folder: &Path, what: &str) -> io::Result<Option<Self>> {
        match fs::read_to_string(folder.join(format!("{what}.json"))) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row of two.
    pub fn example() -> Row {
        let mut row = Row {
            what: "cached".into(),
            title: "Cached names".into(),
            method: "As told.".into(),
            taken: "2026-01-01".into(),
            rounds: 2,
            seconds: 1.0,
            columns: Vec::new(),
            series: Vec::new(),
            ratios: Vec::new(),
            notes: vec!["A note.".into()],
        };
        row.column("cpu", "CPU, us", 2, Some(Plot::ShorterIsBetter));
        for (name, values) in [("cedarwall", [2.0, 4.0]), ("unbound", [6.0, 8.0]), ("dnsdist", [5.0, 5.0])] {
            for value in values {
                row.add(name, "1.0", Metrics::from([("cpu".to_owned(), value)]));
            }
        }
        row
    }

    #[test]
    fn the_best_is_the_one_with_the_best_median() {
        let row = example();
        let names = ["cedarwall", "unbound", "dnsdist", "missing"];
        assert_eq!(row.best(&names, "cpu", false).as_deref(), Some("cedarwall"));
        assert_eq!(row.best(&names[1..], "cpu", false).as_deref(), Some("dnsdist"));
        assert_eq!(row.best(&names, "cpu", true).as_deref(), Some("unbound"));
        assert_eq!(row.best(&["missing"], "cpu", true), None);
    }

    #[test]
    fn a_ratio_is_of_each_round_and_missed_targets_are_seen() {
        let mut row = example();
        row.ratio("a", ("unbound", "cpu"), ("cedarwall", "cpu"), Some(Target::AtMost(2.4)));
        row.ratio("b", ("missing", "cpu"), ("cedarwall", "cpu"), None);
        assert_eq!(row.ratios.len(), 1);
        assert_eq!(row.ratios[0].values, [3.0, 2.0]);
        assert!(!row.ratios[0].target.unwrap().is_met(2.5));
        assert!(Target::AtLeast(2.5).is_met(2.5));
    }

    #[test]
    fn every_series_is_put_beside_another() {
        let mut row = example();
        row.relate("cpu", "dnsdist", "to_dnsdist");
        assert_eq!(row.values("unbound", "to_dnsdist"), [1.2, 1.6]);
        assert_eq!(row.values("dnsdist", "to_dnsdist"), [1.0, 1.0]);
        row.relate("cpu", "missing", "to_missing");
        assert!(row.values("unbound", "to_missing").is_empty());
    }

    #[test]
    fn a_row_comes_through_its_file() {
        let folder = std::env::temp_dir().join(format!("bench-row-{}", std::process::id()));
        example().write(&folder).unwrap();
        let read = Row::read(&folder, "cached").unwrap().unwrap();
        assert_eq!(read.values("unbound", "cpu"), [6.0, 8.0]);
        assert!(Row::read(&folder, "missing").unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }
}
