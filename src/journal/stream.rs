//! The live stream of events: the lines of the journal, as they come.
//!
//! All readers share each line. One that is slower than they come holds nobody
//! up: the oldest lines are lost to it, and it is told how many.

use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, WeakSender, channel};

use super::line;
use crate::core::event::Event;

/// Lines that wait for the slowest reader: some megabytes at most.
const WAITING: usize = 4096;

/// Where lines are told; dropped, every stream ends.
#[derive(Debug)]
pub(super) struct Told(Sender<Bytes>);

/// Where streams are begun.
#[derive(Clone, Debug)]
pub(super) struct Begins(WeakSender<Bytes>);

/// One reader's stream.
#[derive(Debug)]
pub struct Stream(Option<Receiver<Bytes>>);

pub(super) fn stream() -> (Told, Begins) {
    let (told, _) = channel(WAITING);
    let begins = Begins(told.downgrade());
    (Told(told), begins)
}

impl Told {
    pub(super) fn has_readers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Tells `line` to whoever reads. Never blocks.
    pub(super) fn tell(&self, line: Vec<u8>) {
        if self.has_readers() {
            // The last reader may have gone this moment.
            let _ = self.0.send(line.into());
        }
    }
}

impl Begins {
    pub(super) fn begin(&self) -> Stream {
        Stream(self.0.upgrade().map(|told| told.subscribe()))
    }
}

impl Stream {
    /// The next line, with its end; `None` when the journal is closed. Where
    /// lines are lost to this reader, a line says how many.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.0.as_mut()?.recv().await {
                Ok(line) => return Some(line),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(lines)) => {
                    let lost = line::json(&Event::StreamLost { lines }, Timestamp::now(), None);
                    if let Ok(lost) = lost {
                        return Some(lost.into());
                    }
                }
            }
        }
    }
}
