//! The lines of a journal's files, the oldest first.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::super::Error;
use crate::journal::numbered;

/// Numbers that files of a journal have at most.
const NUMBERS: u32 = 1000;
/// A line that is longer is none of ours, and is told as none.
const LONGEST: u64 = 1 << 20;

/// The lines of several files, without their ends.
pub(super) struct Lines {
    /// The last is read first.
    readers: Vec<Box<dyn BufRead>>,
}

/// The journal at `path` and the files that it has turned over, without those
/// that nothing was written to since.
pub(super) fn of_journal(path: &Path, since: Option<Timestamp>) -> Result<Lines, Error> {
    let mut readers: Vec<Box<dyn BufRead>> = Vec::new();
    let mut seen = HashSet::new();
    // The newest first: should it be turned over meanwhile, it is met again
    // under its number, and none is missed.
    for path in std::iter::once(path.to_owned()).chain((1..=NUMBERS).map(|number| numbered(path, number))) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let found = file.metadata().map_err(|error| unreadable(&path, &error))?;
        let is_old = since.is_some_and(|since| found.modified().is_ok_and(|at| at < SystemTime::from(since)));
        if seen.insert((found.dev(), found.ino())) && !is_old {
            readers.push(Box::new(BufReader::new(file)));
        }
    }
    if seen.is_empty() {
        return Err(unreadable(path, &io::ErrorKind::NotFound.into()));
    }
    Ok(Lines { readers })
}

/// Just these files, in this order.
pub(super) fn named(paths: &[PathBuf]) -> Result<Lines, Error> {
    let open = |path: &PathBuf| -> Result<Box<dyn BufRead>, Error> {
        if path.as_os_str() == "-" {
            return Ok(Box::new(BufReader::new(io::stdin())));
        }
        Ok(Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?)))
    };
    Ok(Lines { readers: paths.iter().rev().map(open).collect::<Result<_, _>>()? })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::said(format!("cannot read the journal {}: {error}", path.display()))
}

impl Iterator for Lines {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let reader = self.readers.last_mut()?;
            match next_line(reader.as_mut()) {
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => _ = self.readers.pop(),
                Err(error) => {
                    self.readers.clear();
                    return Some(Err(Error::said(format!("cannot read the journal: {error}"))));
                }
            }
        }
    }
}

/// The next line, cut where it is too long to be one of ours.
fn next_line(mut reader: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    Read::take(&mut reader, LONGEST).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(lines: Lines) -> Vec<String> {
        lines.map(|line| String::from_utf8(line.unwrap()).unwrap()).collect()
    }

    #[test]
    fn files_that_gave_way_come_first_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (number, text) in [(1, "3\n4\n"), (2, "2\n"), (10, "1")] {
            fs::write(numbered(&path, number), text).unwrap();
        }
        fs::write(&path, "5\n\n6").unwrap();
        assert_eq!(read(of_journal(&path, None).unwrap()), ["1", "2", "3", "4", "5", "", "6"]);
        assert_eq!(read(named(&[path.clone(), numbered(&path, 1)]).unwrap()), ["5", "", "6", "3", "4"]);
        let tomorrow = Timestamp::now() + std::time::Duration::from_secs(86_400);
        assert_eq!(read(of_journal(&path, Some(tomorrow)).unwrap()), Vec::<String>::new());

        fs::remove_file(&path).unwrap();
        assert_eq!(read(of_journal(&path, None).unwrap()).len(), 4, "the newest may not be there yet");
        let missing = of_journal(&folder.path().join("other.jsonl"), None).err().unwrap().to_string();
        assert!(missing.contains("other.jsonl"), "{missing}");
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, format!("{}\nnext\n", "x".repeat(5 << 20))).unwrap();
        let lines = read(of_journal(&path, None).unwrap());
        assert_eq!((lines.len(), lines[0].len(), lines[1].as_str()), (2, 1 << 20, "next"));
    }
}
