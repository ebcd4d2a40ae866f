//! The firewall's thread: the ledgers, the socket, and what is done with them.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};

use super::super::adopt::Adopted;
use super::super::clock;
use super::super::conntrack::{self, Flow};
use super::super::element::Renewal;
use super::super::install;
use super::super::memory::Memory;
use super::super::transaction::{Connection, MAX_CHANGES, Refused};
use super::unexplained::Suspects;
use super::{Closed, Error, LeaseView, Request, Setup, StaticView};
use crate::core::decision::Failure;
use crate::core::event::{Event, Report};
use crate::core::lease::{Generation, Opened, Refusal, StaticGrant, Statics, Wanted};
use crate::core::ledger::revision::{Holding, Verdict};
use crate::core::ledger::{Change, Ledger, Plan};
use crate::core::statics::{StaticChange, StaticLedger};
use crate::core::time::{Moment, Ttl};

/// Queries put into one batch.
const MAX_QUERIES: usize = 256;

/// The thread's own: nobody else touches the ledger or the socket.
pub(super) struct Keeper {
    pub(super) ledger: Ledger,
    pub(super) statics: StaticLedger,
    /// Where what the kernel does not know of leases is written down.
    memory: Memory,
    /// The policy in force; what an older one permitted opens nothing.
    in_force: Generation,
    /// What the policy names itself, as it was last told.
    pub(super) wanted: Vec<Statics>,
    /// Our own addresses when that was last carried out, in sidecar mode.
    pub(super) own: BTreeSet<IpAddr>,
    /// What was closed since the last round, to be looked after once more.
    closed: Vec<StaticGrant>,
    /// Whose flows have to be explained, at the next round once more.
    pub(super) unexplained: Option<Suspects>,
    connection: Connection,
    journal: Box<dyn Report>,
    /// The ruleset's generation when the table was last known to be as it was
    /// loaded; our own commits are counted along.
    ruleset: Option<u32>,
    /// The kernel may hold more than the ledgers say.
    has_to_restore: bool,
    pub(super) setup: Setup,
}

/// A query that waits for the kernel.
struct Waiting {
    wanted: Wanted,
    reply: oneshot::Sender<Result<Opened, Refusal>>,
}

impl Keeper {
    /// A keeper of what `setup` says. The table is in the kernel already.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub(super) fn new(setup: Setup, adopted: Adopted, journal: Box<dyn Report>) -> Result<Self, Error> {
        let Adopted { ledger, statics, mut memory, .. } = adopted;
        memory.tidy(&ledger);
        Ok(Self {
            ledger,
            statics,
            memory,
            in_force: Generation::FIRST,
            wanted: Vec::new(),
            own: BTreeSet::new(),
            closed: Vec::new(),
            unexplained: None,
            connection: Connection::open(setup.table.clone(), Renewal::of_this_kernel())?,
            journal,
            ruleset: None,
            has_to_restore: false,
            setup,
        })
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(&mut self, mut queue: mpsc::Receiver<Request>) {
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
            Request::SetStatics(wanted, reply) => {
                self.wanted = wanted;
                let _ = reply.send(self.open_statics());
            }
            Request::Supersede(generation, reply) => {
                let _ = reply.send(self.supersede(generation));
            }
            Request::Revoke(verdicts, reply) => {
                let _ = reply.send(self.revoke(verdicts));
            }
            Request::Statics(reply) => {
                let _ = reply.send(self.statics_view());
            }
            Request::EndUnexplained(suspects, reply) => {
                let _ = reply.send(self.end_unexplained(suspects));
            }
            // Every batch begins with a look at the rules.
            Request::Look => self.look_after(),
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
            if waiting.wanted.generation < self.in_force {
                waiting.tell(Err(Refusal::Superseded));
                continue;
            }
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
        self.memory.append(plan.lines());
        self.apply(&plan.changes(now))?;
        self.ledger.commit(plan);
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Refused> {
        // Chunks that went through before one was refused leave elements that
        // nobody was told of; they run out by themselves.
        for chunk in changes.chunks(MAX_CHANGES) {
            self.connection.apply(chunk)?;
            self.count_commit();
        }
        Ok(())
    }

    /// As one transaction, however many they are.
    fn apply_whole(&mut self, changes: &[Change]) -> Result<(), Refused> {
        if changes.is_empty() {
            return Ok(());
        }
        self.connection.apply(changes)?;
        self.count_commit();
        Ok(())
    }

    fn apply_statics(&mut self, changes: &[StaticChange]) -> Result<(), Refused> {
        if changes.is_empty() {
            return Ok(());
        }
        self.connection.apply_statics(changes)?;
        self.count_commit();
        Ok(())
    }

    fn count_commit(&mut self) {
        self.ruleset = self.ruleset.map(|generation| generation.wrapping_add(1));
    }

    /// From here on, nothing that a policy before `generation` permitted is
    /// opened; what was opened so far is returned, to be judged.
    fn supersede(&mut self, generation: Generation) -> Vec<Holding> {
        self.in_force = generation;
        self.ledger.expire(self.now());
        self.ledger.holdings(generation)
    }

    /// Closes what the policy in force permits no longer.
    fn revoke(&mut self, verdicts: Vec<Verdict>) -> Result<Closed, Error> {
        let now = self.now();
        self.ledger.expire(now);
        let stood = self.stands(now);
        let revision = self.ledger.revise(self.in_force, verdicts, now);
        let (changes, closed) = (revision.changes(now), revision.closed().to_vec());
        self.memory.append(revision.lines(&self.ledger));
        let told = if stood { self.apply_whole(&changes) } else { Err(Refused::NoSuchTable) };
        let keys = revision.keys();
        self.ledger.commit_revision(revision);
        self.must_hold(told, now)?;
        let elements = changes.iter().filter(|change| matches!(change, Change::Remove(_))).count();
        let flows = self.end_flows(closed, now);
        self.memory.append(keys.iter().map(|key| self.ledger.line(key)));
        Ok(Closed { elements, flows })
    }

    /// Makes the kernel hold the addresses that the policy names, and no
    /// others of that kind.
    fn open_statics(&mut self) -> Result<Closed, Error> {
        let now = self.now();
        self.statics.expire(now);
        let wanted = self.statics_from_here();
        let stood = self.stands(now);
        let plan = self.statics.plan(now, &wanted);
        let changes = plan.changes(now);
        let closed: Vec<_> = plan.removed().collect();
        let told = if stood { self.apply_statics(&changes) } else { Err(Refused::NoSuchTable) };
        self.statics.commit(plan);
        self.must_hold(told, now)?;
        Ok(Closed { elements: closed.len(), flows: self.end_flows(closed, now) })
    }

    /// After a change that may not be left undone: where the kernel did not
    /// take it, the whole table is loaded anew from the ledgers, and until
    /// that succeeds nobody gets an answer.
    fn must_hold(&mut self, told: Result<(), Refused>, now: Moment) -> Result<(), Error> {
        let Err(refused) = told else { return Ok(()) };
        self.has_to_restore = true;
        if self.stands(now) { Ok(()) } else { Err(Error::NotTaken(refused)) }
    }

    /// Ends the flows to what was closed, unless something else still opens
    /// it. The rules admit no new one by now.
    fn end_flows(&mut self, closed: Vec<StaticGrant>, now: Moment) -> usize {
        let ended = self.cut(&closed, now).unwrap_or_else(|error| {
            tracing::error!(
                "flows that are permitted no longer go on until the kernel's table of flows answers: {error}"
            );
            0
        });
        self.closed.extend(closed);
        ended
    }

    fn cut(&self, closed: &[StaticGrant], now: Moment) -> io::Result<usize> {
        if closed.is_empty() {
            return Ok(0);
        }
        let is_closed = |flow: &Flow| {
            let Flow { client, address, protocol, port } = *flow;
            closed.iter().any(|grant| grant.covers(client, address, protocol, port))
                && !self.statics.covers(client, address, protocol, port, now)
                && !self.ledger.covers(client, address, protocol, port, now)
        };
        conntrack::cut(|flows| flows.iter().any(is_closed))
    }

    /// What is done once a second.
    fn look_after(&mut self) {
        // A packet that was between the rules and the table of flows when the
        // flows were ended is in that table by now.
        let closed = std::mem::take(&mut self.closed);
        if let Err(error) = self.cut(&closed, self.now()) {
            tracing::error!("the kernel's table of flows: {error}");
            self.closed = closed;
        }
        if let Some(suspects) = self.unexplained.take() {
            self.look_again(suspects);
        }
        self.memory.tidy(&self.ledger);
        if !self.wanted.is_empty()
            && self.own_addresses() != self.own
            && let Err(error) = self.open_statics()
        {
            tracing::error!("{error}");
        }
    }

    /// Whether the table is as it was loaded. Read back only where somebody
    /// else has changed the ruleset since; if it is not as loaded, it is put
    /// back, with every live lease, before anybody gets an answer (G8).
    fn stands(&mut self, now: Moment) -> bool {
        if self.has_to_restore {
            return self.restore(now);
        }
        let generation = self.connection.generation().ok();
        if generation.is_some() && generation == self.ruleset {
            return true;
        }
        match self.setup.loaded.verify() {
            Ok(()) => {
                self.ruleset = generation;
                true
            }
            Err(error) => {
                tracing::warn!("{error}");
                self.restore(now)
            }
        }
    }

    fn restore(&mut self, now: Moment) -> bool {
        self.has_to_restore = true;
        self.ruleset = None;
        match install::install(&self.setup.table, &self.setup.ruleset) {
            Ok(loaded) => self.setup.loaded = loaded,
            Err(error) => {
                tracing::error!("the table is not as it was loaded and cannot be put back: {error}");
                return false;
            }
        }
        let leases = self.ledger.restore(now);
        let statics = self.statics.restore(now);
        if let Err(error) = self.apply(&leases).and_then(|()| self.apply_statics(&statics)) {
            tracing::error!("the table is back, but not all that was open: {error}");
            return false;
        }
        self.has_to_restore = false;
        let table = self.setup.table.as_str().to_owned();
        self.journal.report(Event::TableRestored { table, leases: leases.len() });
        true
    }

    fn statics_view(&self) -> Vec<StaticView> {
        let now = self.now();
        let views = self.statics.grants().map(|(grant, term)| StaticView { grant: *grant, left: term.left(now) });
        views.filter(|view| view.left.is_none_or(|left| !left.is_zero())).collect()
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

    pub(super) fn now(&self) -> Moment {
        clock::now()
    }
}

impl Waiting {
    fn tell(self, result: Result<Opened, Refusal>) {
        // Whoever waited may have given up; the lease runs out by itself.
        let _ = self.reply.send(result);
    }
}

fn failure(refused: &Refused) -> Failure {
    tracing::warn!("{refused}");
    match refused {
        Refused::NoSuchTable | Refused::Full | Refused::Kernel(_) => Failure::KernelRefused,
        Refused::Unacknowledged(_) => Failure::KernelSilent,
    }
}
