//! Programs of the laboratory, each pinned to its core.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::Lab;

/// A program, and where it is to run.
pub struct Start<'a> {
    /// What its log is called.
    pub name: &'a str,
    /// A named namespace; without one, the servers' host.
    pub namespace: Option<&'a str>,
    /// Its cores, as taskset(1) lists them.
    pub cores: &'a str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
}

impl Start<'_> {
    fn command(&self) -> Command {
        // Each of these becomes the next, so the process keeps its id.
        let mut command = Command::new("taskset");
        command.args(["-c", self.cores]);
        if let Some(namespace) = self.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command.arg(self.program).args(self.arguments).stdin(Stdio::null()).env("RUST_LOG", "error");
        command
    }

    /// Starts it; it ends when the handle goes.
    pub fn start(&self, lab: &Lab) -> io::Result<Process> {
        let log = lab.path(&format!("{}.log", self.name));
        let file = fs::File::create(&log)?;
        let child = self.command().stdout(file.try_clone()?).stderr(file).current_dir(lab.path("")).spawn()?;
        Ok(Process { child, log })
    }

    /// Runs it to its end; returns what it printed.
    pub fn output(&self) -> io::Result<String> {
        let output = self.command().stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("{}: {said}", self.name)));
        }
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }
}

/// A program that runs.
pub struct Process {
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has ended with, if it has, and its last words.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("it ended with {status}: {}", self.last_words()))
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(600)..]).into_owned()
    }
}

impl Drop for Process {
    /// Asks it to end, and makes it so after a while.
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let patience = Instant::now() + Duration::from_secs(5);
        while Instant::now() < patience && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
