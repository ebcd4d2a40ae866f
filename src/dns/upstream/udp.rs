//! Exchanges over UDP: which line to a server a question goes over.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::line::Line;
use super::message::{Judged, Transaction};
use crate::core::decision::Failure;

/// Queries after which a line, and with it its port, is given up.
const MAX_USES: u32 = 256;
/// Age at which it is given up.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The lines to one server. One at a time is asked over; those before it stay
/// until all that was asked over them has ended.
#[derive(Debug)]
pub(super) struct Lines {
    server: SocketAddr,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    line: Arc<Line>,
    opened: Instant,
    uses: u32,
}

impl Lines {
    pub(super) const fn new(server: SocketAddr) -> Self {
        Self { server, current: Mutex::new(None) }
    }

    /// Asks once, and waits for as long as the caller does.
    pub(super) async fn exchange(&self, transaction: Transaction) -> Result<Judged, Failure> {
        let line = self.line().map_err(|_| Failure::UpstreamUnreachable)?;
        line.exchange(transaction).await
    }

    fn line(&self) -> io::Result<Arc<Line>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Current { line, opened, uses }) = current.as_mut()
            && *uses < MAX_USES
            && opened.elapsed() < MAX_AGE
        {
            *uses += 1;
            return Ok(Arc::clone(line));
        }
        let line = Arc::new(Line::open(self.server)?);
        *current = Some(Current { line: Arc::clone(&line), opened: Instant::now(), uses: 1 });
        Ok(line)
    }
}
