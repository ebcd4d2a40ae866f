//! The thread that writes: the only part of the journal that may block.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;

use super::counters::Counters;
use super::file::Lines;
use super::line;
use super::stream::Told;
use crate::core::event::{Event, EventId, Run};

/// An event, and when it happened.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) event: Event,
}

/// Takes entries from the queue, gives each its id, and tells it to the file,
/// to whoever reads the stream, and to standard error.
pub(super) struct Writer {
    entries: Receiver<Entry>,
    run: Run,
    /// The number of the last event.
    number: u64,
    file: Option<Box<dyn Lines>>,
    stream: Told,
    counters: Arc<Counters>,
    /// Lost lines that the journal has already told of.
    told: u64,
    /// The same once what is waiting is written.
    telling: Option<u64>,
    /// Lines waiting to be written at once.
    lines: Vec<u8>,
    /// How many lines that is.
    waiting: u64,
    /// The last write failed.
    failing: bool,
    /// When the last event happened.
    last: Timestamp,
}

/// Lines are written together up to this many octets.
const BATCH: usize = 64 * 1024;
/// How long after an event that came alone the next ones are waited for:
/// whoever reports while nobody waits at the queue has nobody to wake.
const GATHERING: Duration = Duration::from_millis(2);

impl Writer {
    pub(super) fn new(
        entries: Receiver<Entry>,
        run: Run,
        file: Option<Box<dyn Lines>>,
        stream: Told,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            entries,
            run,
            number: 0,
            file,
            stream,
            counters,
            told: 0,
            telling: None,
            lines: Vec::new(),
            waiting: 0,
            failing: false,
            last: Timestamp::UNIX_EPOCH,
        }
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
                    self.flush();
                    sleep(GATHERING);
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
        let id = self.next_id();
        self.last = entry.time;
        if self.file.is_none() && !self.stream.has_readers() {
            return;
        }
        let Ok(line) = line::json(&entry.event, entry.time, Some(id)) else {
            return self.counters.lose(1);
        };
        if self.file.is_some() {
            self.lines.extend_from_slice(&line);
            self.waiting += 1;
        }
        self.stream.tell(line);
    }

    fn next_id(&mut self) -> EventId {
        self.number += 1;
        self.run.event(self.number)
    }

    fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.lines.is_empty() {
            return;
        }
        let written = file.append(&self.lines, self.last);
        if let Err(error) = &written {
            if !self.failing {
                tracing::error!("cannot write to the journal: {error}");
            }
            self.counters.lose(self.waiting);
        } else {
            self.told = self.telling.unwrap_or(self.told);
        }
        self.telling = None;
        self.failing = written.is_err();
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
        | Event::ContainerUnknown { .. }
        | Event::EngineLost { .. }
        | Event::StreamLost { .. }
        | Event::JournalLost { .. } => tracing::warn!("{line}"),
        Event::PolicyLoaded { warnings, .. } if !warnings.is_empty() => tracing::warn!("{line}"),
        Event::PolicyRefused { .. } | Event::ConfigRefused { .. } => tracing::error!("{line}"),
        // Resolvers ask for these by the dozen, and nobody meant them.
        Event::QueryDenied { subject, .. } if subject.search => tracing::debug!("{line}"),
        Event::PolicyLoaded { .. }
        | Event::ConfigLoaded { .. }
        | Event::LeaseRevoked(_)
        | Event::OperatorRevoked { .. }
        | Event::PolicyRevoked { .. }
        | Event::QueryAnswered { .. }
        | Event::QueryEmpty { .. }
        | Event::QueryDenied { .. }
        | Event::ConnectDenied { .. }
        | Event::PacketDropped { .. }
        | Event::PacketsSummarised { .. }
        | Event::TableAdopted { .. }
        | Event::WallUp { .. }
        | Event::ContainerKnown(_)
        | Event::ContainerGone(_)
        | Event::EngineFound { .. }
        | Event::Stopped { .. } => tracing::info!("{line}"),
        // The answer to the question has said so already.
        Event::LeaseOpened(_) | Event::LeaseRefreshed(_) | Event::LeaseExpired(_) | Event::TrafficCounted { .. } => {
            tracing::debug!("{line}")
        }
    }
}
