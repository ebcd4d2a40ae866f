//! Measures Cedarwall beside the resolvers that could stand in its place, each
//! on the same core, against the same upstream server, in the same run.
//! benches/results/README.md has what it found.

mod batch;
mod echo;
mod load;
mod message;
mod names;
mod upstream;
mod usage;

use std::io;
use std::process::ExitCode;

use clap::Parser;

/// Measures Cedarwall beside the resolvers that could stand in its place
#[derive(Parser)]
enum Command {
    /// Answer every name, as the upstream server of all
    Upstream(upstream::Arguments),
    /// Send one answer back to whatever comes: the yardstick
    Echo(echo::Arguments),
    /// Ask, check what comes back, and print what it took
    Load(load::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Upstream(arguments) => upstream::serve(&arguments),
        Command::Echo(arguments) => echo::serve(&arguments),
        Command::Load(arguments) => load::run(&arguments).and_then(|report| print(&report)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print(report: &impl serde::Serialize) -> io::Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}
