//! One upstream server: how to speak to it, and how it has been lately.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Judged, Spelling, Transaction};
use super::tcp;
use super::udp::Lines;
use crate::core::config::{Transport, Upstream};
use crate::core::decision::Failure;
use crate::core::record::Response;
use crate::gate::Question;

/// How long a server that failed is asked only after the others.
const DISGRACE: Duration = Duration::from_secs(10);

/// An upstream server.
#[derive(Debug)]
pub(super) struct Server {
    upstream: Upstream,
    lines: Lines,
    failed: Mutex<Option<Instant>>,
}

impl Server {
    pub(super) const fn new(upstream: Upstream) -> Self {
        Self { upstream, lines: Lines::new(upstream.address), failed: Mutex::new(None) }
    }

    /// Which one it is.
    pub(super) const fn upstream(&self) -> Upstream {
        self.upstream
    }

    /// Asks for the name servers of the root: whether anything answers there.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        let judged = match self.upstream.transport {
            Transport::Udp => self.lines.exchange(Transaction::for_the_root()).await?,
            Transport::Tcp => tcp::exchange(self.upstream.address, &Transaction::for_the_root()).await?,
        };
        match judged {
            Judged::Useless(failure) => Err(failure),
            Judged::Response(_) | Judged::Truncated | Judged::NotOurs | Judged::Misspelled => Ok(()),
        }
    }

    /// Whether a lost packet is worth a second try.
    pub(super) const fn may_lose_packets(&self) -> bool {
        matches!(self.upstream.transport, Transport::Udp)
    }

    /// Asks once, over TCP if the answer does not fit a datagram, or if the
    /// server does not repeat what makes its datagrams hard to forge.
    pub(super) async fn ask(&self, question: &Question) -> Result<Response, Failure> {
        let mut judged = match self.upstream.transport {
            Transport::Udp => self.lines.exchange(Transaction::new(question, Spelling::Random)).await?,
            Transport::Tcp => Judged::Truncated,
        };
        if matches!(judged, Judged::Truncated | Judged::Misspelled) {
            judged = tcp::exchange(self.upstream.address, &Transaction::new(question, Spelling::Canonical)).await?;
        }
        match judged {
            Judged::Response(response) => Ok(response),
            Judged::Useless(failure) => Err(failure),
            Judged::NotOurs | Judged::Misspelled | Judged::Truncated => Err(Failure::UpstreamUnusable),
        }
    }

    /// Whether it failed lately.
    pub(super) fn is_in_disgrace(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < DISGRACE)
    }

    /// It answered.
    pub(super) fn did_well(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It failed, or was silent while another answered.
    pub(super) fn did_badly(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
