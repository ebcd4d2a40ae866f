//! Trouble for a running daemon: system calls that fail, limits that bite; and
//! what it costs meanwhile.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::lab::{Lab, Process, eventually};
use super::run;

/// A thread of the daemon whose system calls are tampered with, until this is
/// dropped.
pub struct Injection {
    tracer: Process,
    status: String,
}

impl Injection {
    /// Has `strace` do to the thread of this name what `fault` says, in the
    /// words of its `-e inject=`: `sendto:error=ENOBUFS`.
    pub fn begin(lab: &Lab, daemon: u32, thread: &str, fault: &str) -> Self {
        let task = task(daemon, thread).to_string();
        let arguments = ["-qq", "-o", "/dev/null", "-e", &format!("inject={fault}"), "-p", &task];
        let tracer = lab.start(None, Path::new("strace"), &arguments);
        let injection = Self { tracer, status: format!("/proc/{daemon}/task/{task}/status") };
        eventually("strace has the thread", Duration::from_secs(5), || injection.is_traced());
        injection
    }

    fn is_traced(&self) -> bool {
        fs::read_to_string(&self.status).is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    }

    /// Ends it, and comes back when the thread is left alone.
    pub fn end(mut self) {
        self.tracer.terminate();
        eventually("strace lets go", Duration::from_secs(5), || !self.is_traced());
    }
}

/// The id of the daemon's thread of this name.
fn task(daemon: u32, thread: &str) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{daemon}/task")).expect("the daemon's threads");
    let mut ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    let is_it = |id: &u32| {
        fs::read_to_string(format!("/proc/{daemon}/task/{id}/comm")).is_ok_and(|name| name.trim_end() == thread)
    };
    ids.find(is_it).unwrap_or_else(|| panic!("the daemon has no thread named {thread}"))
}

/// Sets a limit of the running daemon: `nofile=64`, as prlimit(1) has it. Only
/// the soft one, so that it can be lifted again.
pub fn limit(daemon: u32, what: &str) {
    run("prlimit", &["--pid", &daemon.to_string(), &format!("--{what}:")]);
}

/// The file descriptors it has open.
pub fn open_files(daemon: u32) -> usize {
    fs::read_dir(format!("/proc/{daemon}/fd")).expect("its descriptors").count()
}

/// A line of its status, in KiB: `VmRSS`, `VmSize`.
pub fn memory(daemon: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).expect("its status");
    let line = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).expect("the line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The processor time it has taken so far.
pub fn processor(daemon: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).expect("its statistics");
    let fields: Vec<_> = stat.rsplit_once(')').expect("its name").1.split_whitespace().collect();
    // utime and stime (proc(5)), in hundredths of a second.
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The processor time it takes while nothing happens for a `while`.
pub fn processor_during(daemon: u32, time: Duration) -> Duration {
    let before = processor(daemon);
    std::thread::sleep(time);
    processor(daemon) - before
}
