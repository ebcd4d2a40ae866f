//! Measures Cedarwall beside the resolvers that could stand in its place, each
//! on the same core, against the same upstream server, in the same run.
//! benches/results/README.md has what it found.

mod batch;
mod connect;
mod echo;
mod lab;
mod load;
mod message;
mod names;
mod peer;
mod process;
mod report;
mod results;
mod run;
mod summary;
mod upstream;
mod usage;

use std::io;
use std::path::PathBuf;
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
    /// Accept connections, and close them
    Accept(connect::Accept),
    /// Connect as often as it goes
    Connect(connect::Arguments),
    /// Measure all servers in turn, and write down what comes of it (as root)
    Run(run::Arguments),
    /// Write the page and the plots anew, from what was measured
    Report {
        /// Where results are
        #[arg(default_value = "benches/results")]
        results: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Upstream(arguments) => upstream::serve(&arguments).map(done),
        Command::Echo(arguments) => echo::serve(&arguments).map(done),
        Command::Load(arguments) => load::run(&arguments).and_then(|report| print(&report)).map(done),
        Command::Accept(arguments) => connect::accept(&arguments).map(done),
        Command::Connect(arguments) => connect::connect(&arguments).and_then(|found| print(&found)).map(done),
        Command::Run(arguments) => lab::inside(|lab| run::run(&arguments, lab)),
        Command::Report { results } => report::write(&results).map(done),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn print(report: &impl serde::Serialize) -> io::Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}
