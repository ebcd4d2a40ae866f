//! The way to the upstream servers: a forwarder with a cache, in which equal
//! questions in flight are one.

mod cache;
mod line;
mod message;
mod race;
mod rdata;
mod server;
mod tcp;
mod udp;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture, WeakShared};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::cache::Answers;
use self::message::{Judged, Spelling, Transaction};
use self::server::Server;
use crate::core::config::{Dns, Upstream};
use crate::core::decision::Failure;
use crate::core::record::Response;
use crate::core::screen::Rules;
use crate::gate::{Question, Resolve, Resolved};

/// Forwards questions to the upstream servers. Clones share one, so that a
/// reload reaches everybody.
#[derive(Clone, Debug)]
pub struct Forwarder(Arc<ArcSwap<Shared>>);

#[derive(Debug)]
struct Shared {
    servers: Vec<Arc<Server>>,
    rules: Rules,
    patience: Duration,
    answers: Answers,
    in_flight: Mutex<HashMap<Question, WeakShared<Lookup>>>,
}

/// A lookup that several may wait for. Whoever waits drives it, and the others
/// go on with it where one goes away.
type Lookup = BoxFuture<'static, Result<Resolved, Failure>>;

impl Forwarder {
    /// A forwarder to the servers of `dns`, screening by `rules`.
    pub fn new(dns: &Dns, rules: Rules) -> Self {
        Self::to(&dns.upstream, rules, dns.upstream_timeout, dns.cache_entries)
    }

    /// A forwarder to `servers`, which together may take `patience`, with a
    /// cache of `entries` answers.
    pub fn to(servers: &[Upstream], rules: Rules, patience: Duration, entries: u64) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Shared::new(servers, rules, patience, entries))))
    }

    /// From now on, asks the servers of `dns` and screens by `rules`. Nothing
    /// that is in the cache is used again; what is in flight goes to whoever
    /// asked for it.
    pub fn replace(&self, dns: &Dns, rules: Rules) {
        self.0.store(Arc::new(Shared::new(&dns.upstream, rules, dns.upstream_timeout, dns.cache_entries)));
    }

    /// Asks each server for the name servers of the root, which is no client's
    /// question, and comes back once one has answered or none will. Returns
    /// those that were found dead by then.
    pub async fn probe(&self) -> Vec<(Upstream, Failure)> {
        let shared = self.0.load_full();
        let mut asked = JoinSet::new();
        for server in &shared.servers {
            let (server, patience) = (Arc::clone(server), shared.patience);
            asked.spawn(async move {
                let answered = timeout(patience, server.probe()).await.unwrap_or(Err(Failure::UpstreamSilent));
                (server.upstream(), answered)
            });
        }
        let mut dead = Vec::new();
        while let Some(Ok((server, answered))) = asked.join_next().await {
            match answered {
                Ok(()) => break,
                Err(failure) => dead.push((server, failure)),
            }
        }
        dead
    }
}

impl Resolve for Forwarder {
    fn at_hand(&self, question: &Question) -> Option<Resolved> {
        self.0.load().answers.find(question)
    }

    async fn resolve(&self, question: &Question) -> Result<Resolved, Failure> {
        self.0.load_full().resolve(question).await
    }
}

impl Shared {
    fn new(servers: &[Upstream], rules: Rules, patience: Duration, entries: u64) -> Self {
        Self {
            servers: servers.iter().map(|&server| Arc::new(Server::new(server))).collect(),
            rules,
            patience,
            answers: Answers::new(entries),
            in_flight: Mutex::new(HashMap::new()),
        }
    }

    async fn resolve(self: &Arc<Self>, question: &Question) -> Result<Resolved, Failure> {
        if let Some(resolved) = self.answers.find(question) {
            return Ok(resolved);
        }
        self.join(question).await
    }

    /// Joins the lookup of `question` that is in flight, or begins one.
    fn join(self: &Arc<Self>, question: &Question) -> future::Shared<Lookup> {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = in_flight.get(question).and_then(WeakShared::upgrade) {
            return lookup;
        }
        let landing = Landing { shared: Arc::clone(self), question: Arc::new(question.clone()) };
        let lookup = async move {
            let result = landing.shared.look_up(&landing.question).await;
            drop(landing);
            result
        };
        let lookup = lookup.boxed().shared();
        in_flight.extend(lookup.downgrade().map(|lookup| (question.clone(), lookup)));
        lookup
    }

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
