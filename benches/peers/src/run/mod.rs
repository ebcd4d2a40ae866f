//! All rows, one after another: in each, everybody is measured in turn, in
//! every round beginning with the next, so that what changes on the machine
//! changes for all.

mod bench;
mod cached;
mod cores;
mod denied;
mod latency;
mod packets;
mod progress;
mod scale;
mod unique;

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::lab::Lab;
use crate::peer::Peer;
use crate::report;
use crate::results::{Metrics, Row};
use crate::usage::{Core, core_seconds};
use bench::Bench;
use progress::Progress;

/// What is measured, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only these servers, with commas: echo, cedarwall, dnsmasq, dnsmasq-nftset, unbound, dnsdist,
    /// dnsdist-batched, knot-resolver, smartdns
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these rows, with commas: cached, denied, unique, latency, packets, cores, leases, names, policies, clients
    #[arg(long, value_delimiter = ',')]
    what: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each time
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The wall's program
    #[arg(long, default_value = "target/release/cedarwall")]
    cedarwall: PathBuf,
    /// Where results go
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// The most leases, and names in the cache, of the rows on scale; a tenth of it for policies and a hundredth for
    /// clients
    #[arg(long, default_value_t = 1_000_000)]
    scale: u32,
}

/// One of those who are measured in a row.
struct Subject {
    name: String,
    version: String,
    peer: Peer,
    /// What tells it from another subject with the same server.
    variant: usize,
}

type Measure = fn(&mut Rows<'_>) -> io::Result<Row>;

const ROWS: [(&str, Measure); 10] = [
    ("cached", cached::measure),
    ("denied", denied::measure),
    ("unique", unique::measure),
    ("latency", latency::measure),
    ("packets", packets::measure),
    ("cores", cores::measure),
    ("leases", scale::leases::measure),
    ("names", scale::names::measure),
    ("policies", scale::policies::measure),
    ("clients", scale::clients::measure),
];

/// What every row is measured with.
struct Rows<'a> {
    bench: Bench<'a>,
    arguments: &'a Arguments,
    progress: Progress,
    /// Who can be measured here, with the release.
    present: Vec<(Peer, String)>,
    /// Who cannot, and why.
    absent: Vec<String>,
    taken: String,
}

/// Measures what it is told to, and writes it down row by row.
pub fn run(arguments: &Arguments, lab: &Lab) -> io::Result<()> {
    let names = Peer::ALL.map(Peer::name);
    refuse_unknown(&arguments.only, &names)?;
    refuse_unknown(&arguments.what, &ROWS.map(|(name, _)| name))?;
    let cedarwall = std::path::absolute(&arguments.cedarwall)?;
    let is_chosen = |peer: &Peer| arguments.only.is_empty() || arguments.only.iter().any(|name| name == peer.name());
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for peer in Peer::ALL.into_iter().filter(is_chosen) {
        match peer.version(&cedarwall) {
            Ok(version) => present.push((peer, version)),
            Err(error) => absent.push(format!("{} was not measured: {error}.", peer.name())),
        }
    }
    let chosen = |name: &str| arguments.what.is_empty() || arguments.what.iter().any(|what| what == name);
    let chosen: Vec<_> = ROWS.into_iter().filter(|(name, _)| chosen(name)).collect();
    let bench = Bench::begin(lab, cedarwall, arguments.seconds)?;
    let mut rows = Rows { bench, arguments, progress: Progress::begin(), present, absent, taken: taken() };
    for (place, (name, measure)) in chosen.iter().enumerate() {
        rows.progress.row(name, place, chosen.len());
        let row = measure(&mut rows)?;
        row.write(&arguments.results)?;
        report::write(&arguments.results)?;
    }
    print!("{}", std::fs::read_to_string(arguments.results.join("README.md"))?);
    Ok(())
}

/// The share of a core that other programs take while nothing is measured.
fn disturbance() -> io::Result<f64> {
    let read = || [0, 1].map(core_seconds).into_iter().collect::<io::Result<Vec<_>>>();
    let before = read()?;
    std::thread::sleep(Duration::from_millis(300));
    let share = |(now, then): (Core, &Core)| (now.busy - then.busy) / (now.all - then.all).max(f64::EPSILON);
    Ok(read()?.into_iter().zip(&before).map(share).fold(0.0, f64::max))
}

fn refuse_unknown(words: &[String], known: &[&str]) -> io::Result<()> {
    match words.iter().find(|word| !known.contains(&word.as_str())) {
        Some(word) => Err(io::Error::other(format!("there is no {word}, but {}", known.join(", ")))),
        None => Ok(()),
    }
}

/// The day, the kernel and the machine.
fn taken() -> String {
    let day = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
    let day = day.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = kernel.trim().split('-').next().unwrap_or_default();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let models: Vec<&str> = models.map(|(_, model)| model).collect();
    let virtual_one = if processors.contains("hypervisor") { ", virtual" } else { "" };
    let model = models.first().copied().unwrap_or("unknown");
    format!("{day}, Linux {version}, {} cores of {model}{virtual_one}", models.len())
}

impl<'a> Rows<'a> {
    /// A row without figures yet.
    fn row(&self, what: &str, title: &str, method: &str) -> Row {
        Row {
            what: what.into(),
            title: title.into(),
            method: method.split_whitespace().collect::<Vec<_>>().join(" "),
            taken: self.taken.clone(),
            rounds: self.arguments.rounds,
            seconds: self.arguments.seconds,
            columns: Vec::new(),
            series: Vec::new(),
            ratios: Vec::new(),
            notes: self.absent.clone(),
        }
    }

    /// Those present of whom `is_meant` is true, each by its own name.
    fn peers(&self, is_meant: impl Fn(Peer) -> bool) -> Vec<Subject> {
        let meant = self.present.iter().filter(|(peer, _)| is_meant(*peer));
        meant.filter_map(|(peer, _)| self.subject(*peer, peer.name(), 0)).collect()
    }

    /// A server under a name of its own, if it is present.
    fn subject(&self, peer: Peer, name: &str, variant: usize) -> Option<Subject> {
        let (_, version) = self.present.iter().find(|(present, _)| *present == peer)?;
        Some(Subject { name: name.into(), version: version.clone(), peer, variant })
    }

    /// Measures every subject in every round. Who fails is told of, and left
    /// out from then on.
    fn rounds(
        &mut self,
        row: &mut Row,
        subjects: &[Subject],
        work: impl Fn(&Bench<'a>, &Subject) -> io::Result<Metrics>,
    ) {
        /// Of a core, before a measurement begins.
        const BEARABLE: f64 = 0.1;
        let (mut failed, mut disturbed) = (Vec::new(), 0);
        for round in 0..row.rounds {
            for place in 0..subjects.len() {
                let subject = &subjects[(place + round) % subjects.len()];
                if failed.contains(&subject.name) {
                    continue;
                }
                let of = (round * subjects.len() + place, row.rounds * subjects.len());
                self.progress.step(&row.what, &subject.name, of);
                disturbed += usize::from(disturbance().is_ok_and(|share| share > BEARABLE));
                match work(&self.bench, subject) {
                    Ok(metrics) => {
                        row.notes.extend(wrong(&subject.name, round, &metrics));
                        row.add(&subject.name, &subject.version, metrics);
                    }
                    Err(error) => {
                        let note = format!("{}, round {}: {error}", subject.name, round + 1);
                        self.progress.say(&note);
                        row.notes.push(note);
                        failed.push(subject.name.clone());
                    }
                }
            }
        }
        if disturbed > 0 {
            let all = row.rounds * subjects.len();
            let note =
                format!("NOT on an idle machine: other programs were busy before {disturbed} of {all} measurements.");
            self.progress.say(&note);
            row.notes.push(note);
        }
        // In the order of the first round, whoever came first in it.
        let order = |name: &str| subjects.iter().position(|subject| subject.name == name);
        row.series.sort_by_key(|series| order(&series.name));
    }
}

/// What has to be said of answers that were not what the upstream server says.
fn wrong(name: &str, round: usize, metrics: &Metrics) -> Option<String> {
    let count: f64 = metrics.iter().filter(|(metric, _)| metric.ends_with("wrong")).map(|(_, count)| count).sum();
    (count > 0.0).then(|| format!("{name}, round {}: {count} answers were WRONG.", round + 1))
}

/// Puts figures together.
fn metrics<const N: usize>(figures: [(&str, f64); N]) -> Metrics {
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
