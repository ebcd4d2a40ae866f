//! The firewall: one thread that owns the ledger and the netlink socket.
//!
//! Whatever waits in the queue when the kernel is free becomes one batch; an
//! answer is told that it may go once that batch is acknowledged, and not
//! before (G1). Clients take turns, so that one that asks much does not make the
//! others wait. A batch the kernel refuses is tried again query by query, so
//! that one query's misfortune is not its neighbours'.

mod damage;
mod keeper;
mod repair;
mod sidecar;
mod turns;
mod unexplained;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::keeper::Keeper;
pub use self::unexplained::Suspects;
use super::Error;
use super::adopt::Adopted;
use super::install::Snapshot;
use super::lookout::{Known, Lookout};
use super::members::Member;
use super::watch::Watch;
use crate::core::config::{LeaseSettings, Mode, PolicyMode, TableName};
use crate::core::decision::Failure;
use crate::core::event::Report;
use crate::core::lease::{Generation, Key, Opened, Refusal, StaticGrant, Statics, Wanted};
use crate::core::ledger::revision::{Holding, Verdict};
use crate::core::name::Name;
use crate::core::query::Client;
use crate::gate::{Edition, Open};

/// How long a query waits for the kernel.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests waiting for the firewall; more queries than that wait for a place.
const QUEUE: usize = 4096;
/// How often the table is looked after while nobody asks or does anything.
const ROUND: Duration = Duration::from_secs(1);

/// A handle to the firewall thread.
#[derive(Clone, Debug)]
pub struct Firewall {
    requests: mpsc::Sender<Request>,
    table: TableName,
    known: Known,
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
    /// Whether the table was loaded so that it can be made our own.
    pub protect: bool,
    /// Who the ruleset says is behind the wall.
    pub members: BTreeSet<Member>,
    /// Is turned before anything is closed before its time.
    pub edition: Edition,
}

#[derive(Debug)]
enum Request {
    Open(Wanted, oneshot::Sender<Result<Opened, Refusal>>),
    SetStatics(Vec<Statics>, oneshot::Sender<Result<Closed, Error>>),
    Supersede(Generation, oneshot::Sender<Vec<Holding>>),
    Revoke(Vec<Verdict>, oneshot::Sender<Result<Closed, Error>>),
    Withdraw(Selection, oneshot::Sender<Result<Withdrawn, Error>>),
    Settings(LeaseSettings, BTreeSet<IpAddr>, oneshot::Sender<()>),
    Rules(String, PolicyMode, oneshot::Sender<Result<(), Error>>),
    Fill(BTreeSet<Member>, String, oneshot::Sender<Result<(), Error>>),
    Ping(oneshot::Sender<()>),
    Leases(oneshot::Sender<Vec<LeaseView>>),
    Statics(oneshot::Sender<Vec<StaticView>>),
    EndUnexplained(Suspects, oneshot::Sender<usize>),
    /// Have a look at the table, with no query to ask for it. The answer is
    /// what wakes whoever asked before the next round.
    Look(oneshot::Sender<Arc<Watch>>),
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

/// An address that the policy names itself, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticView {
    /// What is open for whom.
    pub grant: StaticGrant,
    /// What is left of it if it is not renewed; `None` if it stays.
    pub left: Option<Duration>,
}

/// Which leases an operator wants closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Those that were asked for from one of these addresses.
    pub clients: Vec<Client>,
    /// Under this name; under any where there is none.
    pub name: Option<Name>,
}

/// What an operator has closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// The names under which something was open, in order.
    pub names: Vec<Name>,
    /// Elements that stay open because another name needs them.
    pub shared: usize,
    /// What was closed.
    pub closed: Closed,
}

/// What a change of policy has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Leases that ended, one for each client and name.
    pub leases: usize,
    /// Elements taken out of the kernel's sets.
    pub elements: usize,
    /// Flows that had been admitted.
    pub flows: usize,
}

impl Firewall {
    /// Starts the thread, with what was `adopted`. The table has to be in the
    /// kernel already.
    ///
    /// # Errors
    /// When the kernel gives no socket or no thread.
    pub fn start(setup: Setup, adopted: Adopted, journal: impl Report + 'static) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (table, known) = (setup.table.clone(), Known::nothing());
        let mut keeper = Keeper::new(setup, adopted, known.clone(), Box::new(journal))?;
        thread::Builder::new().name("firewall".into()).spawn(move || keeper.run(queue))?;
        // A weak handle: when nobody can ask any more, both threads end.
        let round = requests.downgrade();
        let look = move || {
            let (reply, watch) = oneshot::channel();
            round.upgrade()?.blocking_send(Request::Look(reply)).ok()?;
            watch.blocking_recv().ok()
        };
        thread::Builder::new().name("firewall-round".into()).spawn(move || {
            while let Some(watch) = look() {
                watch.wait(ROUND);
            }
        })?;
        Ok(Self { requests, table, known })
    }

    /// Whether the thread still takes requests. Without it nothing opens.
    pub fn is_standing(&self) -> bool {
        !self.requests.is_closed()
    }

    /// A look at the kernel that does not take the thread's time.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn lookout(&self) -> io::Result<Lookout> {
        Lookout::open(self.table.clone(), self.known.clone())
    }

    /// Opens the addresses that the policy names itself: `wanted` replaces all
    /// that was wanted before, in one transaction, and what is wanted still is
    /// not touched. Flows to what is wanted no longer end.
    ///
    /// # Errors
    /// When the kernel does not take it, or the thread is gone. What was to be
    /// closed is closed, or nobody gets an answer until it is.
    pub async fn set_statics(&self, wanted: Vec<Statics>) -> Result<Closed, Error> {
        self.ask(|reply| Request::SetStatics(wanted, reply)).await?
    }

    /// From here on, nothing that a policy before `generation` permitted is
    /// opened. What was opened so far is returned, to be judged by the policy
    /// of `generation` and [revoked](Self::revoke) where it says no.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn supersede(&self, generation: Generation) -> Result<Vec<Holding>, Error> {
        self.ask(|reply| Request::Supersede(generation, reply)).await
    }

    /// Closes what the `verdicts` permit no longer: first to new flows, then
    /// to those there are.
    ///
    /// # Errors
    /// When the kernel does not take it, or the thread is gone. What was to be
    /// closed is closed, or nobody gets an answer until it is.
    pub async fn revoke(&self, verdicts: Vec<Verdict>) -> Result<Closed, Error> {
        self.ask(|reply| Request::Revoke(verdicts, reply)).await?
    }

    /// Closes what was opened for whoever is selected, as [`Self::revoke`]
    /// does. It is no ban: who asks again is answered by the policy.
    ///
    /// # Errors
    /// When the kernel does not take it, or the thread is gone. What was to be
    /// closed is closed, or nobody gets an answer until it is.
    pub async fn withdraw(&self, selection: Selection) -> Result<Withdrawn, Error> {
        self.ask(|reply| Request::Withdraw(selection, reply)).await?
    }

    /// Has leases made by `settings` from here on; those there are keep their
    /// term. The kernel's sets keep their size. Flows of the `clients` have to
    /// be explained, as those of all clients before.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn set_terms(&self, settings: LeaseSettings, clients: BTreeSet<IpAddr>) -> Result<(), Error> {
        self.ask(|reply| Request::Settings(settings, clients, reply)).await
    }

    /// Has `ruleset` in the kernel from here on, with all that is open, if it
    /// is another than the one that is there. Unless it is one of audit `mode`,
    /// flows that this alone let through end.
    ///
    /// # Errors
    /// When the kernel does not hold it, or the thread is gone. Nobody gets an
    /// answer that opens anything until it does.
    pub async fn set_rules(&self, ruleset: String, mode: PolicyMode) -> Result<(), Error> {
        self.ask(|reply| Request::Rules(ruleset, mode, reply)).await?
    }

    /// Has the sets of who is behind the wall hold `members` and no others;
    /// `ruleset` says the same, for the day the table has to be put back.
    ///
    /// # Errors
    /// When the kernel does not hold it, or the thread is gone. Nobody gets an
    /// answer that opens anything until it does.
    pub async fn fill(&self, members: BTreeSet<Member>, ruleset: String) -> Result<(), Error> {
        self.ask(|reply| Request::Fill(members, ruleset, reply)).await?
    }

    /// Comes back once the thread has come to this request.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn ping(&self) -> Result<(), Error> {
        self.ask(Request::Ping).await
    }

    /// Ends the flows of the `suspects` that were admitted before this daemon
    /// began and that nothing explains. Says how many there were.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn end_unexplained(&self, suspects: Suspects) -> Result<usize, Error> {
        self.ask(|reply| Request::EndUnexplained(suspects, reply)).await
    }

    /// Every address there is now that the policy names itself.
    pub async fn statics(&self) -> Vec<StaticView> {
        self.ask(Request::Statics).await.unwrap_or_default()
    }

    /// Every lease there is now.
    pub async fn leases(&self) -> Vec<LeaseView> {
        self.ask(Request::Leases).await.unwrap_or_default()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Error::FirewallGone)?;
        answer.await.map_err(|_| Error::FirewallGone)
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
