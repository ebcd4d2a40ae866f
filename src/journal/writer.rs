//! The thread that writes: the only part of the journal that may block.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use jiff::Timestamp;

use super::counters::Counters;
use super::line;
use crate::core::event::Event;

/// An event, and when it happened.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) event: Event,
}

/// Takes entries from the queue and writes them to the file and to standard
/// error.
pub(super) struct Writer {
    entries: Receiver<Entry>,
    file: Option<Box<dyn Write + Send>>,
    counters: Arc<Counters>,
    /// Lost lines that the journal has already told of.
    told: u64,
    /// The same once what is waiting is written.
    telling: Option<u64>,
    /// Lines waiting to be written at once.
    lines: Vec<u8>,
    /// How many lines that is.
    waiting: u64,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

/// Lines are written together up to this many octets.
const BATCH: usize = 64 * 1024;

impl Writer {
    pub(super) fn new(entries: Receiver<Entry>, file: Option<Box<dyn Write + Send>>, counters: Arc<Counters>) -> Self {
        Self { entries, file, counters, told: 0, telling: None, lines: Vec::new(), waiting: 0, torn: false }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            match self.entries.try_recv() {
                Ok(entry) => self.take(&entry),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.flush();
                    match self.entries.recv() {
                        Ok(entry) => self.take(&entry),
                        Err(_) => break,
                    }
                }
            }
        }
        self.tell_losses();
        self.flush();
        // What the last flush itself may have lost stands in the counters.
    }

    fn take(&mut self, entry: &Entry) {
        self.tell_losses();
        self.add(entry);
        if self.lines.len() >= BATCH {
            self.flush();
        }
    }

    /// Puts a line where lines are missing.
    fn tell_losses(&mut self) {
        let lost = self.counters.lost();
        let told = self.telling.unwrap_or(self.told);
        if lost > told {
            let lines = usize::try_from(lost - told).unwrap_or(usize::MAX);
            let waiting = self.waiting;
            self.add(&Entry { time: Timestamp::now(), event: Event::JournalLost { lines } });
            // Should this line be lost, what it tells is told by the next.
            self.waiting = waiting;
            self.telling = Some(lost);
        }
    }

    fn add(&mut self, entry: &Entry) {
        tell(&entry.event);
        if self.file.is_none() {
            return;
        }
        if line::append_json(&mut self.lines, entry).is_ok() {
            self.waiting += 1;
        } else {
            self.counters.lose(1);
        }
    }

    fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.lines.is_empty() {
            return;
        }
        if self.torn {
            self.lines.insert(0, b'\n');
        }
        let written = file.write_all(&self.lines).and_then(|()| file.flush());
        if let Err(error) = &written {
            if !self.torn {
                tracing::error!("cannot write to the journal: {error}");
            }
            self.counters.lose(self.waiting);
        } else {
            self.told = self.telling.unwrap_or(self.told);
        }
        self.telling = None;
        self.torn = written.is_err();
        self.lines.clear();
        self.waiting = 0;
    }
}

/// The line for people, on standard error.
fn tell(event: &Event) {
    let line = line::Spoken(event);
    match event {
        Event::QueryFailed { .. }
        | Event::TableRestored { .. }
        | Event::TableRepaired { .. }
        | Event::PacketsLost { .. }
        | Event::AuditMode { .. }
        | Event::CapReached(_)
        | Event::JournalLost { .. } => tracing::warn!("{line}"),
        Event::PolicyLoaded { warnings, .. } if !warnings.is_empty() => tracing::warn!("{line}"),
        Event::PolicyRefused { .. } | Event::ConfigRefused { .. } => tracing::error!("{line}"),
        Event::PolicyLoaded { .. }
        | Event::ConfigLoaded { .. }
        | Event::LeaseRevoked { .. }
        | Event::Revoked { .. }
        | Event::QueryAnswered { .. }
        | Event::QueryEmpty { .. }
        | Event::QueryDenied { .. }
        | Event::LeaseOpened(_)
        | Event::LeaseExpired(_)
        | Event::ConnectDenied { .. }
        | Event::PacketDropped { .. }
        | Event::PacketsSummarised { .. }
        | Event::TableAdopted { .. }
        | Event::WallUp { .. }
        | Event::Stopped { .. } => tracing::info!("{line}"),
        Event::LeaseRefreshed(_) | Event::TrafficCounted { .. } => tracing::debug!("{line}"),
    }
}
