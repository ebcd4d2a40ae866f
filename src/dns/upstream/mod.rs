//! The way to the upstream servers: a forwarder with a cache, in which equal
//! questions in flight are one.

mod cache;
mod message;
mod race;
mod rdata;
mod server;
mod tcp;
mod udp;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use self::cache::Answers;
use self::message::{Judged, Spelling, Transaction};
use self::server::Server;
use crate::core::config::{Dns, Upstream};
use crate::core::decision::Failure;
use crate::core::record::Response;
use crate::core::screen::Rules;
use crate::gate::{Question, Resolve, Resolved};

/// Forwards questions to the upstream servers.
#[derive(Clone, Debug)]
pub struct Forwarder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    servers: Vec<Arc<Server>>,
    rules: Rules,
    patience: Duration,
    answers: Answers,
    in_flight: Mutex<HashMap<Question, watch::Receiver<Progress>>>,
}

/// How a lookup that several wait for stands: not finished, or its result.
type Progress = Option<Result<Resolved, Failure>>;

impl Forwarder {
    /// A forwarder to the servers of `dns`, screening by `rules`.
    pub fn new(dns: &Dns, rules: Rules) -> Self {
        Self::to(&dns.upstream, rules, dns.upstream_timeout, dns.cache_entries)
    }

    /// A forwarder to `servers`, which together may take `patience`, with a
    /// cache of `entries` answers.
    pub fn to(servers: &[Upstream], rules: Rules, patience: Duration, entries: u64) -> Self {
        Self(Arc::new(Shared {
            servers: servers.iter().map(|&server| Arc::new(Server::new(server))).collect(),
            rules,
            patience,
            answers: Answers::new(entries),
            in_flight: Mutex::new(HashMap::new()),
        }))
    }

    /// Joins the lookup of `question` that is in flight, or starts one. It
    /// runs as a task of its own: whoever waits may go away.
    fn join(&self, question: &Question) -> watch::Receiver<Progress> {
        let mut in_flight = self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        match in_flight.entry(question.clone()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let (progress, watcher) = watch::channel(None);
                entry.insert(watcher.clone());
                let landing = Landing { shared: Arc::clone(&self.0), question: Arc::new(question.clone()) };
                tokio::spawn(async move {
                    let result = landing.shared.look_up(&landing.question).await;
                    drop(landing);
                    progress.send_replace(Some(result));
                });
                watcher
            }
        }
    }
}

impl Resolve for Forwarder {
    async fn resolve(&self, question: &Question) -> Result<Resolved, Failure> {
        if let Some(resolved) = self.0.answers.find(question) {
            return Ok(resolved);
        }
        let mut watcher = self.join(question);
        match watcher.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Err(Failure::UpstreamUnusable),
        }
    }
}

impl Shared {
    async fn look_up(&self, question: &Arc<Question>) -> Result<Resolved, Failure> {
        let asking = race::ask(&self.servers, question, &self.rules);
        let screened = timeout(self.patience, asking).await.unwrap_or(Err(Failure::UpstreamSilent))?;
        let screened = Arc::new(screened);
        self.answers.keep(question, &screened);
        Ok(Resolved { ttl: screened.ttl, screened })
    }
}

/// Takes a lookup off the list of those in flight, however it ends.
struct Landing {
    shared: Arc<Shared>,
    question: Arc<Question>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(self.question.as_ref());
    }
}

/// What a server says to `question` with `message`, whatever its id and the
/// spelling of the name; `None` if it is no answer to it, or of no use.
pub fn read_answer(question: &Question, message: &[u8]) -> Option<Response> {
    let transaction = Transaction::new(question, Spelling::Canonical).of_id(*message.first_chunk()?);
    match transaction.judge(message) {
        Judged::Response(response) => Some(response),
        Judged::NotOurs | Judged::Misspelled | Judged::Truncated | Judged::Useless(_) => None,
    }
}

/// The address to bind for speaking to `server` from any port.
const fn any_port_for(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

#[cfg(test)]
mod tests;
