//! Parses the command line, runs it, and turns a failure into an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use cedarwall::cli::CommandLine;
use clap::Parser;
use mimalloc::MiMalloc;

/// A question takes some hundred allocations, many of which another thread
/// frees: this allocator is made for that, and it keeps small ones closer
/// together than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let mut out = io::stdout().lock();
    match command_line.execute(&mut out).and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if standard error is closed, too.
            let _ = writeln!(io::stderr(), "cedarwall: {error}");
            ExitCode::FAILURE
        }
    }
}
