//! `cedarwall log`.

mod files;
mod printer;
mod selection;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::files::Lines;
use self::printer::{Format, Printer};
use self::selection::Selection;
use super::Error;
use crate::config_file;
use crate::control::{self, Came, Follow, Status};
use crate::core::config::DEFAULT_SOCKET;
use crate::core::evidence::record::Record;

/// How often it is looked whether somebody still reads what we print.
const ROUND: Duration = Duration::from_secs(1);

/// Arguments of `cedarwall log`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Show what happened, from the journal or as it happens",
    long_about = "Show what happened, from the journal or as it happens\n\n\
                  Without FILE the running daemon is asked where its journal is; the files that it \
                  has turned over are shown first, the oldest before all others. docs/EVENTS.md \
                  explains every event and every field.",
    after_help = "Examples:
  cedarwall log --last 20
  cedarwall log --follow --event query.denied,packet
  cedarwall log --since 10m --agent claude
  cedarwall log --format json events.jsonl | jq -r .hostname
  cedarwall log --format ocsf --follow"
)]
pub(super) struct Arguments {
    /// Go on with what happens, as it happens; what was before is shown only
    /// with --since or --last
    #[arg(long, short, conflicts_with = "files")]
    follow: bool,
    /// How each event is shown: in words, as its line in the journal, or as the
    /// Open Cybersecurity Schema Framework has it
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Format::Text)]
    format: Format,
    /// Only what is about this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only events of these kinds: `query.denied`, or `query` for all of them
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = selection::kind)]
    event: Vec<String>,
    /// Only what happened since: `10m`, `2h 30m`, `3d`, or a time such as
    /// 2026-11-23T09:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = selection::since)]
    since: Option<Timestamp>,
    /// Only the last N events
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Files of a journal, in this order; `-` for standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "socket"])]
    files: Vec<PathBuf>,
    /// The configuration that names the journal, where no daemon runs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let selection = Selection::new(arguments.agent.clone(), arguments.event.clone(), arguments.since);
    let mut shown = Shown { selection, printer: Printer::new(arguments.format), newest: String::new(), bad: 0 };
    if arguments.follow {
        follow(arguments, &mut shown, out)?;
    } else {
        let files = if arguments.files.is_empty() {
            files::of_journal(&journal(arguments)?, arguments.since)?
        } else {
            files::named(&arguments.files)?
        };
        let mut out = BufWriter::new(out);
        shown.past(files, arguments.last, &mut out)?;
        out.flush()?;
    }
    shown.tell_bad();
    Ok(ExitCode::SUCCESS)
}

/// Where the journal is.
fn journal(arguments: &Arguments) -> Result<PathBuf, Error> {
    if let Some(file) = &arguments.config {
        let config = config_file::read(file).map_err(|error| Error::said(error.to_string()))?;
        return config.journal.path.ok_or_else(|| no_journal("this configuration"));
    }
    let status: Status = control::get(&arguments.socket, "/status")
        .map_err(|error| Error::said(format!("{error}; or name the journal's files, or --config")))?;
    status.house.journal.map(PathBuf::from).ok_or_else(|| no_journal("this daemon"))
}

fn no_journal(whose: &str) -> Error {
    Error::said(format!("{whose} keeps no journal: set [journal] path, or see what happens from now on with --follow"))
}

fn follow(arguments: &Arguments, shown: &mut Shown, out: &mut dyn Write) -> Result<(), Error> {
    let said = |error: control::Error| Error::said(error.to_string());
    // First the stream: what happens while the files are read is in it.
    let mut events = Follow::begin(&arguments.socket).map_err(said)?;
    if arguments.since.is_some() || arguments.last.is_some() {
        shown.past(files::of_journal(&journal(arguments)?, arguments.since)?, arguments.last, out)?;
        out.flush()?;
    }
    loop {
        match events.next(ROUND).map_err(said)? {
            Came::Lines(lines) => {
                lines.split(|octet| *octet == b'\n').try_for_each(|line| shown.live(line, out))?;
                out.flush()?;
            }
            Came::Nothing => {}
            Came::Interrupt => return Ok(()),
            Came::End => {
                shown.tell_bad();
                return Err(Error::said("the daemon has stopped, and with it its events"));
            }
        }
        if is_unread() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
    }
}

/// Whether nobody can read any more what we print: `log --follow | head`.
fn is_unread() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let ended = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    poll(&mut watched, PollTimeout::ZERO).is_ok()
        && watched.iter().filter_map(PollFd::revents).any(|found| found.intersects(ended))
}

/// What has been shown so far, and how.
struct Shown {
    selection: Selection,
    printer: Printer,
    /// The newest id in the files: the stream may have it once more.
    newest: String,
    /// Lines that are no events.
    bad: u64,
}

impl Shown {
    /// Shows what is in `files`, or the last of it.
    fn past(&mut self, files: Lines, last: Option<usize>, out: &mut dyn Write) -> Result<(), Error> {
        let mut kept = VecDeque::new();
        for line in files {
            let line = line?;
            let Some(record) = self.read(&line) else { continue };
            if record.id > self.newest {
                self.newest.clone_from(&record.id);
            }
            let Some(text) = String::from_utf8(line).ok().filter(|_| self.selection.takes(&record)) else { continue };
            match last {
                None => self.printer.print(out, &text, &record)?,
                Some(last) => {
                    kept.push_back((text, record));
                    kept.drain(..kept.len().saturating_sub(last));
                }
            }
        }
        kept.iter().try_for_each(|(text, record)| self.printer.print(out, text, record))?;
        Ok(())
    }

    /// Shows a line of the stream, unless the files had it.
    fn live(&mut self, line: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        let Some(record) = self.read(line) else { return Ok(()) };
        let is_old = !record.id.is_empty() && record.id <= self.newest;
        if is_old || !self.selection.takes(&record) {
            return Ok(());
        }
        let Ok(text) = str::from_utf8(line) else { return Ok(()) };
        Ok(self.printer.print(out, text, &record)?)
    }

    fn read(&mut self, line: &[u8]) -> Option<Record> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        let record = str::from_utf8(line).ok().and_then(Record::parse);
        self.bad += u64::from(record.is_none());
        record
    }

    fn tell_bad(&mut self) {
        let bad = std::mem::take(&mut self.bad);
        if bad > 0 {
            let lines =
                if bad == 1 { "1 line is no event, and was" } else { &format!("{bad} lines are no events, and were") };
            // Nothing can be done if standard error is closed.
            let _ = writeln!(io::stderr(), "cedarwall: {lines} passed over");
        }
    }
}
