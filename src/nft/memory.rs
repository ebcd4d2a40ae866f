//! The memory: a file in which the firewall writes down what the kernel does
//! not know of its leases, for the daemon that comes after a kill -9.
//!
//! It is written ahead of each commit. It never opens anything: what is open,
//! the kernel says. It lies beside the control socket, on a file system that
//! is gone at a reboot, as the flows are. Where it cannot be written, work
//! goes on; what is then lost is written in SECURITY.md.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;
use serde_json::json;

use crate::core::ledger::Ledger;
use crate::core::ledger::adopted::Remembered;

/// For the daemon's user alone: who is believed to have asked is in it.
const MODE: u32 = 0o600;
/// Lines that are never too many.
const FEW: usize = 1024;
/// How many lines there may be for each that is needed.
const MULTIPLE: usize = 4;
/// What is longer than this, no daemon of ours has written.
const LONGEST: u64 = 1 << 30;
/// How soon writing is tried again after it failed.
const REST: Duration = Duration::from_secs(10);

/// Where the memory of the daemon with this control socket is.
pub fn beside(socket: &Path) -> PathBuf {
    socket.with_extension("leases")
}

/// Removes the memory of the daemon with this control socket: what it explains
/// is gone.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn forget(socket: &Path) -> io::Result<()> {
    match fs::remove_file(beside(socket)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The memory, as its one writer has it.
#[derive(Debug, Default)]
pub struct Memory {
    path: Option<PathBuf>,
    /// `None`: what is in the file is not all there is to know.
    file: Option<File>,
    lines: usize,
    failed: Option<Instant>,
}

impl Memory {
    /// Reads what the daemon before this one has left at `path`. Whatever is
    /// wrong with it, it is no reason not to start.
    pub fn recall(path: &Path) -> (Self, Remembered) {
        let remembered = read(path).unwrap_or_else(|error| {
            tracing::warn!("{} is not what a daemon here has left, and is not believed: {error}", path.display());
            Remembered::default()
        });
        (Self { path: Some(path.to_owned()), ..Self::default() }, remembered)
    }

    /// Writes `lines` down. Where that fails it says so once, and nothing more
    /// is written until [`tidy`](Self::tidy) has succeeded.
    pub fn append(&mut self, lines: impl Iterator<Item = String>) {
        let Some(file) = &mut self.file else { return };
        let mut text = String::new();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
            self.lines += 1;
        }
        if !text.is_empty()
            && let Err(error) = file.write_all(text.as_bytes())
        {
            self.fail(&error);
        }
    }

    /// Writes all that `ledger` knows anew, where the file holds much more
    /// than that, or less.
    pub fn tidy(&mut self, ledger: &Ledger) {
        let Some(path) = &self.path else { return };
        let is_long = self.lines > FEW.max(MULTIPLE * ledger.known());
        let is_due = self.failed.is_none_or(|failed| failed.elapsed() >= REST);
        if !is_due || (self.file.is_some() && !is_long) {
            return;
        }
        match rewrite(path, ledger) {
            Ok(file) => {
                if self.failed.take().is_some() {
                    tracing::info!("{} is written again", path.display());
                }
                (self.file, self.lines) = (Some(file), ledger.known());
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if let (None, Some(path)) = (self.failed, &self.path) {
            tracing::error!(
                "{} cannot be written: {error}; a daemon that starts before it can will end flows whose lease has run \
                 out; make room, or let the daemon write there",
                path.display()
            );
        }
        (self.file, self.failed) = (None, Some(Instant::now()));
    }
}

fn rewrite(path: &Path, ledger: &Ledger) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let file = OpenOptions::new().append(true).create_new(true).mode(MODE).custom_flags(O_NOFOLLOW).open(&new)?;
    let written = write(file, ledger).and_then(|file| fs::rename(&new, path).map(|()| file));
    if written.is_err() {
        // The room it takes is needed.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write(file: File, ledger: &Ledger) -> io::Result<File> {
    let mut writer = BufWriter::new(file);
    writeln!(writer, "{}", header())?;
    for line in ledger.lines() {
        writeln!(writer, "{line}")?;
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)
}

fn read(path: &Path) -> io::Result<Remembered> {
    let mut remembered = Remembered::default();
    // Whatever else may lie there must not make the daemon wait.
    let file = match OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(remembered),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 || found.len() > LONGEST {
        return Err(io::Error::other("it is no file that only the daemon's user can write"));
    }
    let mut lines = BufReader::new(file.take(LONGEST)).split(b'\n');
    match lines.next().transpose()? {
        Some(line) if line == header().into_bytes() => {}
        _ => {
            return Err(io::Error::other("it is of another start of the system, another network namespace or version"));
        }
    }
    let (mut wrong, mut last_is_wrong) = (0_usize, false);
    for line in lines {
        let line = line?;
        last_is_wrong = !std::str::from_utf8(&line).is_ok_and(|line| remembered.read(line));
        wrong += usize::from(last_is_wrong);
    }
    // The daemon that wrote the last line may have been killed over it.
    if wrong > usize::from(last_is_wrong) {
        tracing::warn!("{wrong} lines of {} cannot be read and are left out", path.display());
    }
    Ok(remembered)
}

/// The first line: of what use the others are.
fn header() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let network = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    json!({ "leases": 1, "boot": boot.trim(), "network": network.to_string_lossy() }).to_string()
}

#[cfg(test)]
mod tests;
