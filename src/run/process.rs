//! Starting programs, ourselves among them.

use std::env;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::Error;

/// This very executable, even if its file has been replaced meanwhile.
pub(super) fn ourselves() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cedarwall");
    command
}

/// Where programs are looked for: the caller's own `PATH`, and the folders that
/// an ordinary user's leaves out and Debian keeps `nft` in.
pub(super) fn search_path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&own).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(Into::into));
    env::join_paths(folders).unwrap_or(own)
}

/// Whether there is such a program in [`search_path`].
pub(super) fn is_installed(program: &str) -> bool {
    env::split_paths(&search_path()).any(|folder: std::path::PathBuf| Path::is_file(&folder.join(program)))
}

/// Runs `ip` (iproute2) and returns what it printed.
pub(super) fn ip(arguments: &[&str]) -> Result<String, Error> {
    finish("ip", "iproute2", arguments, "")
}

/// Gives `nft` a ruleset to apply in one transaction.
pub(super) fn nft(rules: &str) -> Result<String, Error> {
    finish("nft", "nftables", &["-f", "-"], rules)
}

fn finish(program: &'static str, package: &'static str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let said = |output: String| Error::Tool { command: format!("{program} {}", arguments.join(" ")), output };
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", search_path())
        // Own process group: Ctrl-C is for the command behind the wall only.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Missing { program, package },
            _ => said(error.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A closed pipe means it failed, and its status says so below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| said(error.to_string()))?;
    if !output.status.success() {
        return Err(said(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: i32,
    /// Clock ticks from boot to its start: field 22 of proc_pid_stat(5).
    start: u64,
}

impl Process {
    /// The process that has this number now, if any.
    pub(super) fn with_pid(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses and may hold anything.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let start = after_name.split(' ').nth(19)?.parse().ok()?;
        let ended = matches!(after_name.chars().next(), Some('Z' | 'X'));
        (!ended).then_some(Self { pid, start })
    }

    /// The processes that run this very executable and have this argument.
    pub(super) fn ours_with(argument: &str) -> Vec<Self> {
        let executable =
            |pid: &str| std::fs::metadata(format!("/proc/{pid}/exe")).ok().map(|file| (file.dev(), file.ino()));
        let own = executable("self");
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let has_it = |pid: &String| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            executable(pid) == own && arguments.split(|&octet| octet == 0).any(|word| word == argument.as_bytes())
        };
        let numbers = pids.filter(|pid| pid.parse::<i32>().is_ok()).filter(has_it);
        numbers.filter_map(|pid| Self::with_pid(pid.parse().ok()?)).collect()
    }

    pub(super) fn lives(self) -> bool {
        Self::with_pid(self.pid) == Some(self)
    }

    pub(super) fn signal(self, signal: Signal) {
        if self.lives() {
            // Only its end in between can make this fail.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    pub(super) fn pid(self) -> i32 {
        self.pid
    }
}
