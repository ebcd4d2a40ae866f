//! The firewall: one thread that owns the ledger and the netlink socket.
//!
//! Whatever waits in the queue when the kernel is free becomes one batch; an
//! answer is told that it may go once that batch is acknowledged, and not
//! before (G1). A batch the kernel refuses is tried again query by query, so
//! that one query's misfortune is not its neighbours'.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Error;
use super::element::Renewal;
use super::install::{self, Snapshot};
use super::source;
use super::transaction::{Connection, MAX_CHANGES, Refused};
use crate::core::config::{LeaseSettings, Mode, TableName};
use crate::core::decision::Failure;
use crate::core::event::{Event, Report};
use crate::core::lease::{Grant, Key, Opened, Refusal, Wanted};
use crate::core::ledger::{Change, Ledger, Plan};
use crate::core::query::Client;
use crate::core::time::{Moment, Ttl};
use crate::gate::Open;

/// How long a query waits for the kernel.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests waiting for the firewall; more queries than that wait for a place.
const QUEUE: usize = 4096;
/// How often the table is looked after while nobody asks anything.
const ROUND: Duration = Duration::from_secs(1);
/// Queries put into one batch.
const MAX_QUERIES: usize = 256;

/// A handle to the firewall thread.
#[derive(Clone, Debug)]
pub struct Firewall {
    requests: mpsc::Sender<Request>,
}

/// What the firewall needs to know to begin.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The table.
    pub table: TableName,
    /// The text it was loaded from, for the day it has to be put back.
    pub ruleset: String,
    /// What the kernel then held.
    pub loaded: Snapshot,
    /// The caps and terms of leases.
    pub settings: LeaseSettings,
    /// Where the clients are.
    pub mode: Mode,
}

#[derive(Debug)]
enum Request {
    Open(Wanted, oneshot::Sender<Result<Opened, Refusal>>),
    Leases(oneshot::Sender<Vec<LeaseView>>),
    /// Have a look at the table, with no query to ask for it.
    Look,
}

/// A lease as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// What is open for whom.
    pub key: Key,
    /// What is left of it.
    pub left: Duration,
    /// The names that need it.
    pub names: Vec<String>,
}

impl Firewall {
    /// Starts the thread. The table has to be in the kernel already.
    ///
    /// # Errors
    /// When the kernel gives no socket or no thread.
    pub fn start(setup: Setup, journal: impl Report + 'static) -> Result<Self, Error> {
        let connection = Connection::open(setup.table.clone(), renewal())?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let mut keeper = Keeper {
            ledger: Ledger::new(setup.settings),
            connection,
            journal: Box::new(journal),
            epoch: Instant::now(),
            generation: None,
            setup,
        };
        thread::Builder::new().name("firewall".into()).spawn(move || keeper.run(queue))?;
        // A weak handle: when nobody can ask any more, both threads end.
        let round = requests.downgrade();
        let look = move || round.upgrade().is_some_and(|requests| requests.blocking_send(Request::Look).is_ok());
        thread::Builder::new().name("firewall-round".into()).spawn(move || {
            while look() {
                thread::sleep(ROUND);
            }
        })?;
        Ok(Self { requests })
    }

    /// Whether the thread still takes requests. Without it nothing opens.
    pub fn is_standing(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Every lease there is now.
    pub async fn leases(&self) -> Vec<LeaseView> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Leases(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }
}

impl Open for Firewall {
    async fn open(&self, wanted: Wanted) -> Result<Opened, Refusal> {
        const SILENT: Refusal = Refusal::Failed(Failure::KernelSilent);
        if wanted.grants.is_empty() {
            return Ok(Opened::acknowledged(wanted.ttl));
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(Request::Open(wanted, reply)).await.map_err(|_| SILENT)?;
            answer.await.map_err(|_| SILENT)?
        };
        timeout(PATIENCE, asked).await.unwrap_or(Err(SILENT))
    }
}

/// The thread's own: nobody else touches the ledger or the socket.
struct Keeper {
    ledger: Ledger,
    connection: Connection,
    journal: Box<dyn Report>,
    epoch: Instant,
    /// The ruleset's generation when the table was last known to be as it was
    /// loaded; our own commits are counted along.
    generation: Option<u32>,
    setup: Setup,
}

/// A query that waits for the kernel.
struct Waiting {
    wanted: Wanted,
    reply: oneshot::Sender<Result<Opened, Refusal>>,
}

impl Keeper {
    fn run(&mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = Vec::new();
            self.take(first, &mut batch);
            while batch.len() < MAX_QUERIES
                && let Ok(next) = queue.try_recv()
            {
                self.take(next, &mut batch);
            }
            self.serve(batch);
        }
    }

    fn take(&mut self, request: Request, batch: &mut Vec<Waiting>) {
        match request {
            Request::Open(wanted, reply) => batch.push(Waiting { wanted: self.seen_from_here(wanted), reply }),
            Request::Leases(reply) => {
                // Whoever asked may have gone; then nobody misses the answer.
                let _ = reply.send(self.view());
            }
            // Every batch begins with a look.
            Request::Look => {}
        }
    }

    /// Opens what a batch of queries wants, in as few transactions as it takes.
    fn serve(&mut self, batch: Vec<Waiting>) {
        let now = self.now();
        self.ledger.expire(now);
        if !self.stands(now) {
            let closed = Err(Refusal::Failed(Failure::KernelRefused));
            return batch.into_iter().for_each(|waiting| waiting.tell(closed));
        }
        let mut plan = Plan::default();
        let mut planned: Vec<(Waiting, Ttl)> = Vec::new();
        for waiting in batch {
            match self.ledger.plan(&mut plan, now, &waiting.wanted) {
                Ok(ttl) => planned.push((waiting, ttl)),
                Err(reason) => waiting.tell(Err(Refusal::Denied(reason))),
            }
        }
        match self.carry_out(plan, now) {
            Ok(()) => planned.into_iter().for_each(|(waiting, ttl)| waiting.tell(Ok(Opened::acknowledged(ttl)))),
            Err(_) if planned.len() > 1 => planned.into_iter().for_each(|(waiting, _)| self.serve(vec![waiting])),
            Err(refused) => {
                planned.into_iter().for_each(|(waiting, _)| waiting.tell(Err(Refusal::Failed(failure(&refused)))))
            }
        }
    }

    /// Makes the kernel hold what `plan` says, and writes it down.
    fn carry_out(&mut self, plan: Plan, now: Moment) -> Result<(), Refused> {
        self.apply(&plan.changes(now))?;
        self.ledger.commit(plan);
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Refused> {
        // Chunks that went through before one was refused leave elements that
        // nobody was told of; they run out by themselves.
        for chunk in changes.chunks(MAX_CHANGES) {
            self.connection.apply(chunk)?;
            self.generation = self.generation.map(|generation| generation.wrapping_add(1));
        }
        Ok(())
    }

    /// Whether the table is as it was loaded. Read back only where somebody
    /// else has changed the ruleset since; if it is not as loaded, it is put
    /// back, with every live lease, before anybody gets an answer (G8).
    fn stands(&mut self, now: Moment) -> bool {
        let generation = self.connection.generation().ok();
        if generation.is_some() && generation == self.generation {
            return true;
        }
        match self.setup.loaded.verify() {
            Ok(()) => {
                self.generation = generation;
                true
            }
            Err(error) => {
                tracing::warn!("{error}");
                self.generation = None;
                self.restore(now)
            }
        }
    }

    fn restore(&mut self, now: Moment) -> bool {
        match install::install(&self.setup.table, &self.setup.ruleset) {
            Ok(loaded) => self.setup.loaded = loaded,
            Err(error) => {
                tracing::error!("the table is not as it was loaded and cannot be put back: {error}");
                return false;
            }
        }
        let leases = self.ledger.restore(now);
        if let Err(error) = self.apply(&leases) {
            tracing::error!("the table is back, but not its leases: {error}");
            return false;
        }
        let table = self.setup.table.as_str().to_owned();
        self.journal.report(Event::TableRestored { table, leases: leases.len() });
        true
    }

    /// In sidecar mode a query comes from loopback, and the connection that
    /// follows from whichever of our addresses the route chooses.
    fn seen_from_here(&self, mut wanted: Wanted) -> Wanted {
        if matches!(self.setup.mode, Mode::Sidecar { .. }) {
            for grant in &mut wanted.grants {
                grant.client = source_of(grant);
            }
        }
        wanted
    }

    fn view(&self) -> Vec<LeaseView> {
        let now = self.now();
        let live = self.ledger.leases().filter(|(_, lease)| lease.until() > now);
        live.map(|(key, lease)| LeaseView {
            key: *key,
            left: lease.until().left(now),
            names: lease.names().map(ToString::to_string).collect(),
        })
        .collect()
    }

    fn now(&self) -> Moment {
        Moment::from_millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Waiting {
    fn tell(self, result: Result<Opened, Refusal>) {
        // Whoever waited may have given up; the lease runs out by itself.
        let _ = self.reply.send(result);
    }
}

fn source_of(grant: &Grant) -> Client {
    let loopback = || match grant.address {
        IpAddr::V4(_) => IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    };
    Client::new(source::towards(grant.address).unwrap_or_else(|_| loopback()))
}

fn failure(refused: &Refused) -> Failure {
    tracing::warn!("{refused}");
    match refused {
        Refused::NoSuchTable | Refused::Full | Refused::Kernel(_) => Failure::KernelRefused,
        Refused::Unacknowledged(_) => Failure::KernelSilent,
    }
}

/// Linux renews an element in place since 6.12.
fn renewal() -> Renewal {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let version = release.unwrap_or_default();
    let mut numbers = version.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse::<u32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 12) => Renewal::InPlace,
        _ => Renewal::Replace,
    }
}
