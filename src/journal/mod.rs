//! The journal: every event becomes one JSON line, the same in a file and in
//! the live stream; one line for people on standard error; and a step of the
//! counters.
//!
//! An answer never waits for a disk. [`Journal::report`] counts, puts the
//! event into a bounded queue and returns; a thread of its own writes. When
//! the queue is full the line is lost, the loss is counted, and the next line
//! written says how many are missing.

mod counters;
mod denials;
mod file;
mod line;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use self::counters::Counters;
pub use self::counters::{QueryTotals, TableTotals};
use self::denials::DenialTable;
pub use self::denials::{DenialRow, DenialTotal, Denials};
pub use self::file::numbered;
use self::file::{JournalFile, Lines};
use self::stream::Begins;
pub use self::stream::Stream;
use self::writer::{Entry, Writer};
use crate::core::config::Rotation;
use crate::core::event::{Event, Report, Run};
use crate::core::query::Client;

/// Events that may wait for the disk: at 10,000 queries a second, most of a
/// second.
const QUEUE: usize = 8192;
/// How long [`Journal::close`] waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The journal of one daemon, with its counters.
#[derive(Debug)]
pub struct Journal {
    /// `None` once closed.
    queue: RwLock<Option<SyncSender<Entry>>>,
    /// Told when the writer has written its last line.
    written: Mutex<Receiver<()>>,
    counters: Arc<Counters>,
    denials: Mutex<DenialTable>,
    streams: Begins,
}

/// Why the journal could not be opened.
#[derive(Debug, Error)]
pub enum Error {
    /// The file.
    #[error("cannot append to the journal {}: {source}; see [journal] in the configuration", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The writer's thread.
    #[error("cannot start the journal's thread: {0}")]
    Thread(io::Error),
}

impl Journal {
    /// Opens the journal: appends to the file at this path (created with mode
    /// 0640, its folder with 0750) and turns it over as the rotation says, or
    /// only writes to standard error where there is none.
    ///
    /// # Errors
    /// When the file cannot be appended to, or no thread can be started.
    pub fn open(file: Option<(&Path, Rotation)>) -> Result<Self, Error> {
        let Some((path, rotation)) = file else {
            return Self::start(None, QUEUE);
        };
        let file = JournalFile::open(path, rotation);
        let file = file.map_err(|source| Error::File { path: path.to_owned(), source })?;
        Self::start(Some(Box::new(file)), QUEUE)
    }

    fn start(file: Option<Box<dyn Lines>>, capacity: usize) -> Result<Self, Error> {
        let (queue, entries) = sync_channel(capacity);
        let (finished, written) = sync_channel(1);
        let counters = Arc::new(Counters::new());
        let (told, streams) = stream::stream();
        let now = Timestamp::now();
        let started = u32::try_from(now.as_second()).unwrap_or(0);
        // Of two that began in the same second, the order stays.
        let micros = u32::try_from(now.subsec_microsecond()).unwrap_or_default();
        let run = Run::new(started, micros << 12 | rand::random_range(0..1 << 12));
        let writer = Writer::new(entries, run, file, told, Arc::clone(&counters));
        let run = move || {
            writer.run();
            // Nobody may be waiting for it.
            let _ = finished.try_send(());
        };
        thread::Builder::new().name("journal".into()).spawn(run).map_err(Error::Thread)?;
        Ok(Self {
            queue: RwLock::new(Some(queue)),
            written: Mutex::new(written),
            counters,
            denials: Mutex::new(DenialTable::default()),
            streams,
        })
    }

    /// The events from now on, each as its line in the file.
    pub fn stream(&self) -> Stream {
        self.streams.begin()
    }

    /// How many queries ended how.
    pub fn queries(&self) -> QueryTotals {
        self.counters.queries()
    }

    /// Whether nothing is denied now, for the metrics.
    pub fn set_audit_mode(&self, is_audit: bool) {
        self.counters.set_audit_mode(is_audit);
    }

    /// How often others' changes to the nftables table were undone.
    pub fn table(&self) -> TableTotals {
        self.counters.table()
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.counters.lost()
    }

    /// What was denied to whom, the most frequent first.
    pub fn denials(&self) -> Denials {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).snapshot()
    }

    /// How often `client` was denied anything.
    pub fn denied_to(&self, client: Client) -> u64 {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).of_client(client)
    }

    /// Adds every counter to `text` in the OpenMetrics text format, without
    /// its end mark.
    pub fn encode_metrics(&self, text: &mut String) {
        self.counters.encode(text);
    }

    /// Writes what is queued and stops; whatever is reported afterwards is
    /// counted and not written. Waits at most two seconds for the disk.
    pub fn close(&self) {
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the journal's last lines could not be written in time");
        }
    }
}

impl Report for Journal {
    fn report(&self, event: Event) {
        let now = Timestamp::now();
        self.counters.count(&event);
        if let Event::QueryDenied { subject, denial, times, .. } = &event {
            self.denials.lock().unwrap_or_else(PoisonError::into_inner).add(subject, denial, *times, now);
        }
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queued = queue.as_ref().is_some_and(|queue| queue.try_send(Entry { time: now, event }).is_ok());
        if !queued {
            self.counters.lose(1);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let open = self.queue.get_mut().is_ok_and(|queue| queue.is_some());
        if open {
            self.close();
        }
    }
}
