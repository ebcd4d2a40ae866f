//! What kernel tests share: namespaces of their own, made on the spot.
//!
//! A test that needs root or a kernel feature it does not have fails under
//! `CI=true`; elsewhere it says so and is not run.
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod battery;
pub mod change;
pub mod client;
pub mod engine;
pub mod flood;
pub mod lab;
pub mod nft;
pub mod released;
pub mod room;
pub mod trouble;
pub mod upstream;
pub mod wall;
pub mod ways;
pub mod yard;

use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread whose network namespace is new and empty; it is
/// gone with the thread. Programs that the thread starts share it.
pub fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let outcome = thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return cannot(&format!("make a network namespace: {error}"));
        }
        run("ip", &["link", "set", "lo", "up"]);
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Says that a test could not be run; under `CI=true` that is a failure.
pub fn cannot(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "this test has to run, and cannot {what}");
    eprintln!("\n*** NOT RUN: this test cannot {what} (kernel tests need root) ***\n");
}

/// Runs a program to its end and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
