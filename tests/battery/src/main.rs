//! Tries every way out of a container, and says of each what it did. What
//! counts is not what it says, but what arrives elsewhere: `battery sink`
//! listens there. docs/BATTERY.md explains both.

mod aim;
mod attempt;
mod dns;
mod json;
mod kernel;
mod packet;
mod send;
mod sink;
mod ways;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aim::Aim;
use attempt::{Attempt, Needs, Try};

const HELP: &str = "\
battery run WORDS…     tries every way out, from inside a container
battery list WORDS…    lists what `run` with these words would try
battery sink WORDS…    tells what arrives, on the internet, on the host, at another client
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let outcome = match words.next().as_deref() {
        Some("run") => Aim::parse(words).and_then(|aim| run(&aim).map_err(|error| error.to_string())),
        Some("list") => Aim::parse(words).and_then(|aim| list(&aim).map_err(|error| error.to_string())),
        Some("sink") => {
            sink::Place::parse(words).and_then(|place| sink::listen(&place).map_err(|error| error.to_string()))
        }
        // What `run` starts as other users and in other namespaces.
        Some("send") => ways::send_as_told(&words.collect::<Vec<_>>()).map_err(|error| error.to_string()),
        _ => Err(format!("{HELP}\nWords of run and list:\n{}\n\nWords of sink:\n{}", aim::WORDS, sink::WORDS)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(aim: &Aim) -> std::io::Result<()> {
    let is_root = nix::unistd::geteuid().is_root();
    for (number, attempt) in chosen(aim) {
        let this = Try { aim, token: attempt::token(&aim.run, number), port: port(aim, number) };
        let start = Instant::now();
        let outcome = if attempt.needs == Needs::Root && !is_root {
            Err(std::io::Error::other("needs root"))
        } else {
            (attempt.work)(&this)
        };
        let (could, did) = match outcome {
            Ok(did) => (true, did),
            Err(error) => (false, error.to_string()),
        };
        tell(aim, number, &attempt, Some((could, &did, start.elapsed())))?;
    }
    Ok(())
}

fn list(aim: &Aim) -> std::io::Result<()> {
    chosen(aim).try_for_each(|(number, attempt)| tell(aim, number, &attempt, None))
}

/// The attempts with their numbers, which do not depend on which are chosen.
fn chosen(aim: &Aim) -> impl Iterator<Item = (usize, Attempt)> {
    let is_chosen = |id: &String| aim.only.is_empty() || aim.only.contains(id);
    ways::all(aim).into_iter().enumerate().filter(move |(_, attempt)| is_chosen(&attempt.id))
}

fn port(aim: &Aim, number: usize) -> u16 {
    aim.ports_from.saturating_add(u16::try_from(number).unwrap_or(0))
}

fn tell(aim: &Aim, number: usize, attempt: &Attempt, outcome: Option<(bool, &str, Duration)>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if aim.json {
        let mut line = json::Line::new();
        line.number("number", number);
        line.text("id", &attempt.id);
        line.text("what", &attempt.what);
        line.text("token", &attempt::token(&aim.run, number));
        line.number("port", port(aim, number).into());
        line.flag("root", attempt.needs == Needs::Root);
        line.flag("control", attempt.note.control);
        line.maybe("without", attempt.note.without);
        line.maybe("sidecar", attempt.note.sidecar);
        if let Some((could, did, took)) = outcome {
            line.number("milliseconds", usize::try_from(took.as_millis()).unwrap_or(usize::MAX));
            line.flag("could", could);
            line.text("did", did);
        }
        writeln!(out, "{}", line.end())?;
    } else if let Some((could, did, _)) = outcome {
        let could = if could { "did" } else { "could not" };
        writeln!(out, "{:>3} {:30} {could}: {did}", number, attempt.id)?;
    } else {
        writeln!(out, "{:>3} {:30} {}", number, attempt.id, attempt.what)?;
    }
    out.flush()
}
