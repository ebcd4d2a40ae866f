//! The journals that a command reads: which files, in which order, line by
//! line.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Error, report};
use crate::config_file;
use crate::core::evidence::line;
use crate::core::evidence::record::Record;

/// A longer line is no event, octets.
const LONGEST: u64 = 256 * 1024;

/// The options that choose journals.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Journals {
    /// A journal; the older ones beside it (FILE.1, FILE.2 …) are read first.
    /// - is standard input [default: the journal that the configuration names]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What a journal's next line is.
pub(super) enum Line {
    /// An event.
    Event(Box<Record>),
    /// Something else, or an event that is cut.
    Unreadable,
}

impl Journals {
    /// Hands each line to `take`, the oldest first. They are read as a stream,
    /// so a journal may be larger than memory.
    ///
    /// # Errors
    /// A journal that cannot be found or read, and what to do.
    pub(super) fn read(&self, config: Option<&Path>, mut take: impl FnMut(Line)) -> Result<(), Error> {
        let given = if self.files.is_empty() { vec![configured(config)?] } else { self.files.clone() };
        let mut seen = HashSet::new();
        // All are opened before any is read: should one be rotated meanwhile, nothing is read twice.
        let mut opened: Vec<(PathBuf, Box<dyn Read>)> = Vec::new();
        for path in given {
            if path == Path::new("-") {
                opened.push((path, Box::new(io::stdin())));
                continue;
            }
            for path in with_rotated(&path) {
                if seen.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                    let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
                    opened.push((path, Box::new(file)));
                }
            }
        }
        for (path, file) in opened {
            read_lines(BufReader::with_capacity(1 << 16, file), &mut take)
                .map_err(|error| unreadable(&path, &error))?;
        }
        Ok(())
    }
}

/// The journal that the configuration at `config` names, or the one in its
/// usual place.
fn configured(config: Option<&Path>) -> Result<PathBuf, Error> {
    let usual = Path::new(config_file::DEFAULT);
    let path = match config {
        Some(path) => path,
        None if usual.exists() => usual,
        None => {
            return Err(Error::said(format!(
                "name a journal, or the configuration that names it with --config: there is no {}",
                usual.display()
            )));
        }
    };
    report::configuration(path)?.journal.path.ok_or_else(|| {
        Error::said(format!("{}: [journal] names no path, so no journal is kept; name a file", path.display()))
    })
}

/// The journal at `path` with the older ones beside it, the oldest first.
fn with_rotated(path: &Path) -> Vec<PathBuf> {
    let numbered = |name: &str| {
        name.rsplit_once('.').and_then(|(base, number)| Some((base.to_owned(), number.parse::<u32>().ok()?)))
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return vec![path.to_owned()] };
    if numbered(name).is_some() {
        return vec![path.to_owned()];
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut older: Vec<_> = entries
        .filter_map(|entry| {
            let (base, number) = numbered(entry.file_name().to_str()?)?;
            (base == name).then(|| (number, folder.join(entry.file_name())))
        })
        .collect();
    older.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    older.into_iter().map(|(_, path)| path).chain([path.to_owned()]).collect()
}

fn read_lines(mut file: impl BufRead, take: &mut impl FnMut(Line)) -> io::Result<()> {
    let mut octets = Vec::new();
    loop {
        octets.clear();
        let read = file.by_ref().take(LONGEST).read_until(b'\n', &mut octets)?;
        if read == 0 {
            return Ok(());
        }
        let is_whole = octets.ends_with(b"\n");
        if !is_whole && read as u64 == LONGEST {
            file.skip_until(b'\n')?;
            take(Line::Unreadable);
            continue;
        }
        let text = octets.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let record = std::str::from_utf8(text).ok().and_then(line::read);
        take(record.map_or(Line::Unreadable, |record| Line::Event(Box::new(record))));
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "name a journal that is there",
        io::ErrorKind::PermissionDenied => "the daemon's user and its group may read it",
        _ => "name another",
    };
    Error::said(format!("{}: this journal cannot be read: {error}; {hint}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: u32) -> String {
        format!("{{\"time\":\"2026-01-01T00:00:{second:02}Z\",\"event\":\"query.denied\"}}\n")
    }

    /// The seconds of the events, and the number of unreadable lines.
    fn read(files: Vec<PathBuf>) -> (Vec<i64>, usize) {
        let (mut seconds, mut unreadable) = (Vec::new(), 0);
        let journals = Journals { files };
        journals
            .read(None, |line| match line {
                Line::Event(record) => seconds.push(record.time.as_second() % 60),
                Line::Unreadable => unreadable += 1,
            })
            .unwrap();
        (seconds, unreadable)
    }

    #[test]
    fn rotated_journals_are_read_oldest_first_and_none_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, second) in [("e.jsonl", 9), ("e.jsonl.1", 8), ("e.jsonl.2", 7), ("e.jsonl.10", 6)] {
            fs::write(path(name), event(second)).unwrap();
        }
        fs::write(path("e.jsonl.old"), event(1)).unwrap();
        fs::write(path("other.jsonl.1"), event(2)).unwrap();
        assert_eq!(read(vec![path("e.jsonl")]).0, [6, 7, 8, 9]);
        assert_eq!(read(vec![path("e.jsonl.1"), path("e.jsonl")]).0, [8, 6, 7, 9]);
        assert_eq!(read(vec![path("e.jsonl.2")]).0, [7]);
    }

    #[test]
    fn a_line_that_is_no_event_is_counted_and_the_next_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.jsonl");
        let mut octets = event(1).into_bytes();
        octets.extend_from_slice(b"\n\xff\xfe\nhalf a li\n{}\n");
        octets.extend(vec![b'['; usize::try_from(LONGEST).unwrap() * 3]);
        octets.push(b'\n');
        octets.extend(format!("{}\n", "[".repeat(100_000)).bytes());
        octets.extend(event(2).bytes());
        octets.extend(b"{\"time\":\"2026-01-01T00:00:00Z\",\"eve");
        fs::write(&file, octets).unwrap();
        assert_eq!(read(vec![file]), (vec![1, 2], 6));
    }

    #[test]
    fn a_journal_that_is_not_there_is_named() {
        let journals = Journals { files: vec!["/nonexistent/e.jsonl".into()] };
        let error = journals.read(None, |_| {}).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/e.jsonl: this journal cannot be read"), "{error}");
    }
}
