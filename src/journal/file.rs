//! The journal's file: appended to, and turned over when it is large or old.
//!
//! `events.jsonl` becomes `events.jsonl.1`, that becomes `.2`, and so on. Where
//! that cannot be done, writing goes on where it was: a line is worth more than
//! an order of files. A file that somebody removed or moved away is made anew.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::core::config::Rotation;
use crate::core::evidence::record::Record;

/// Before what failed is tried again: a full table of files, a folder without
/// permission.
const PAUSE: Duration = Duration::from_secs(10);
/// A first line that is longer is not looked at for the file's age.
const LONGEST: u64 = 64 * 1024;

/// Where lines of a journal go.
pub(super) trait Lines: Send {
    /// Appends whole `lines`, of which the first happened at `now`.
    fn append(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()>;
}

/// A journal's file.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    /// When its first line happened; `None` while it has none.
    began: Option<Timestamp>,
    /// The file ends in the middle of a line.
    torn: bool,
    /// When something failed last that is tried again.
    failed: Option<Instant>,
}

impl JournalFile {
    /// Opens the file at `path`, created with mode 0640, its folder with 0750.
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        let file = append_to(path)?;
        // A link is followed once: it is the file that is turned over.
        let path = fs::canonicalize(path)?;
        let (began, torn) = (first_time(&path), is_torn(&file));
        Ok(Self { path, rotation, file, began, torn, failed: None })
    }

    /// Makes sure that what is written now goes into a file of that name that
    /// is neither too large nor too old with `octets` more.
    fn make_ready(&mut self, octets: usize, now: Timestamp) {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return;
        }
        let Ok(ours) = self.file.metadata() else { return };
        // A pipe or a device is written to and nothing else.
        if !ours.is_file() {
            return;
        }
        let done = match fs::metadata(&self.path) {
            Ok(found) if is_same(&found, &ours) => {
                if self.is_full(&ours, octets, now) {
                    self.turn_over()
                } else {
                    Ok(())
                }
            }
            Ok(_) => self.begin_anew(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.begin_anew(),
            Err(error) => Err(error),
        };
        let was_failing = self.failed.is_some();
        self.failed = done.as_ref().is_err().then(Instant::now);
        if let Err(error) = done
            && !was_failing
        {
            tracing::error!("the journal stays in the file it is in: {}: {error}", self.path.display());
        }
    }

    fn is_full(&self, ours: &Metadata, octets: usize, now: Timestamp) -> bool {
        let Rotation { max_size, max_age, .. } = self.rotation;
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let max_age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
        let is_old = self.began.is_some_and(|began| now.duration_since(began) > max_age);
        ours.len() > 0 && (is_old || ours.len().saturating_add(octets) > max_size)
    }

    /// Gives the file and those before it their next number, and begins a new
    /// one.
    fn turn_over(&mut self) -> io::Result<()> {
        let keep = self.rotation.keep;
        // What an older configuration kept.
        let mut beyond = keep.saturating_add(1);
        while fs::remove_file(numbered(&self.path, beyond)).is_ok() {
            beyond = beyond.saturating_add(1);
        }
        if keep == 0 {
            fs::remove_file(&self.path)?;
            return self.begin_anew();
        }
        for number in (1..keep).rev() {
            match fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))?;
        self.begin_anew()
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        self.began = first_time(&self.path);
        self.torn = is_torn(&file);
        self.file = file;
        Ok(())
    }
}

impl Lines for JournalFile {
    fn append(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        self.make_ready(lines.len(), now);
        if self.torn {
            // What stands there spoils no other line.
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        self.file.write_all(lines).inspect_err(|_| self.torn = true)?;
        self.began.get_or_insert(now);
        Ok(())
    }
}

/// The file beside `path` with this number: the larger, the older.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

fn is_same(found: &Metadata, ours: &Metadata) -> bool {
    (found.dev(), found.ino()) == (ours.dev(), ours.ino())
}

/// When the first event of the file at `path` happened.
fn first_time(path: &Path) -> Option<Timestamp> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
    let mut line = String::new();
    BufReader::new(file.take(LONGEST)).read_line(&mut line).ok()?;
    Record::parse(&line).map(|record| record.time)
}

fn is_torn(file: &File) -> bool {
    let mut last = [b'\n'];
    match file.metadata() {
        Ok(found) if found.is_file() && found.len() > 0 => {
            file.read_exact_at(&mut last, found.len() - 1).is_ok() && last != [b'\n']
        }
        _ => false,
    }
}
