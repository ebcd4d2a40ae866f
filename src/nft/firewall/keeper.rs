//! The firewall's thread: the ledgers, the socket, and what is done with them.

mod members;
mod rules;
mod withdraw;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::super::adopt::Adopted;
use super::super::clock;
use super::super::conntrack::{self, Flow};
use super::super::lookout::Known;
use super::super::memory::Memory;
use super::super::place::Place;
use super::super::renewal;
use super::super::transaction::{Connection, MAX_CHANGES, Refused};
use super::super::watch::Watch;
use super::damage::Damage;
use super::repair::Undone;
use super::turns::Turns;
use super::unexplained::Suspects;
use super::{Closed, Error, LeaseView, ROUND, Request, Setup, StaticView};
use crate::core::decision::{Failure, Reason};
use crate::core::event::Report;
use crate::core::lease::{Generation, Opened, Refusal, StaticGrant, Statics, Wanted};
use crate::core::ledger::revision::{Holding, Verdict};
use crate::core::ledger::told::LeaseTurn;
use crate::core::ledger::{Change, Expired, Ledger, Plan};
use crate::core::statics::{StaticChange, StaticLedger};
use crate::core::time::{Moment, Ttl};

/// Queries put into one batch.
const MAX_QUERIES: usize = 256;

/// Leases ended at once that are told of one by one: more would crowd other
/// events out of the journal's queue.
const MAX_REVOKED_TOLD: usize = 1000;

/// How soon what has run out is taken out; the kernel keeps it a second longer.
const TAKEN_OUT_WITHIN: Duration = Duration::from_millis(900);

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
    /// Whose flows have to be explained.
    pub(super) ours: Suspects,
    /// Whether the next round looks at them once more.
    pub(super) looks_again: bool,
    /// What others opened since the last round, to be looked after once more.
    pub(super) suspects: Vec<Place>,
    pub(super) connection: Connection,
    /// What others do to the ruleset, as the kernel tells it.
    pub(super) watch: Arc<Watch>,
    /// What of that is not undone yet, and what was undone and is not told.
    pub(super) damage: Damage,
    pub(super) undone: Undone,
    /// What others may know of the kernel.
    known: Known,
    /// The table is our own connection's, if it has to be.
    pub(super) is_owned: bool,
    /// How often the table was loaded anew.
    pub(super) loads: u64,
    /// What keeps the table from being put right, where that was told.
    pub(super) complaint: Option<String>,
    /// Who waits to hear that the table was looked at.
    looking: Vec<oneshot::Sender<Arc<Watch>>>,
    pub(super) journal: Box<dyn Report>,
    /// Leases that have run out, whose elements are to be taken out; until
    /// when, as the kernel does it itself then.
    ended: Vec<(Moment, Change)>,
    last_round: Instant,
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
    pub(super) fn new(setup: Setup, adopted: Adopted, known: Known, journal: Box<dyn Report>) -> Result<Self, Error> {
        let Adopted { ledger, statics, mut memory, .. } = adopted;
        memory.tidy(&ledger);
        let mut connection = Connection::open(setup.table.clone(), renewal())?;
        let watch = Arc::new(Watch::open(setup.table.clone(), connection.port())?);
        let generation = connection.generation()?;
        connection.rest_on(generation);
        // What was done between loading and listening.
        let mut damage = Damage::default();
        damage.compare();
        Ok(Self {
            ledger,
            statics,
            memory,
            in_force: Generation::FIRST,
            wanted: Vec::new(),
            own: BTreeSet::new(),
            closed: Vec::new(),
            ours: Suspects::default(),
            looks_again: false,
            suspects: Vec::new(),
            connection,
            watch,
            damage,
            undone: Undone::default(),
            known,
            is_owned: !setup.protect,
            loads: 0,
            complaint: None,
            looking: Vec::new(),
            ended: Vec::new(),
            journal,
            last_round: Instant::now(),
            setup,
        })
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(&mut self, mut queue: mpsc::Receiver<Request>) {
        // No more wait here than there are queries in flight.
        let mut turns = Turns::default();
        loop {
            if turns.is_empty() {
                let Some(first) = queue.blocking_recv() else { return };
                self.take(first, &mut turns);
            }
            while let Ok(next) = queue.try_recv() {
                self.take(next, &mut turns);
            }
            self.serve(turns.next(MAX_QUERIES));
            self.tell_others();
            for looking in self.looking.drain(..) {
                let _ = looking.send(Arc::clone(&self.watch));
            }
        }
    }

    /// Where anything is out of order, they have to ask here.
    fn tell_others(&self) {
        let is_in_order = self.is_owned && self.damage.is_none();
        self.known.tell(self.connection.made_for().filter(|_| is_in_order));
    }

    fn take(&mut self, request: Request, turns: &mut Turns<Waiting>) {
        match request {
            Request::Open(wanted, reply) => {
                let waiting = Waiting { wanted: self.seen_from_here(wanted), reply };
                turns.push(waiting.wanted.client, waiting);
            }
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
            Request::Withdraw(selection, reply) => {
                let _ = reply.send(self.withdraw(&selection));
            }
            Request::Settings(settings, clients, reply) => {
                self.ledger.set_settings(settings);
                self.ours.clients.extend(clients);
                let _ = reply.send(());
            }
            Request::Rules(ruleset, mode, reply) => {
                let _ = reply.send(self.set_rules(ruleset, mode));
            }
            Request::Fill(members, ruleset, reply) => {
                let _ = reply.send(self.fill(members, ruleset));
            }
            Request::Ping(reply) => {
                let _ = reply.send(());
            }
            Request::Statics(reply) => {
                let _ = reply.send(self.statics_view());
            }
            Request::EndUnexplained(suspects, reply) => {
                let _ = reply.send(self.end_unexplained(suspects));
            }
            // Every batch begins with a look at the table.
            Request::Look(reply) => {
                self.looking.push(reply);
                self.look_after();
            }
        }
    }

    /// Opens what a batch of queries wants, in as few transactions as it takes.
    fn serve(&mut self, batch: Vec<Waiting>) {
        let now = self.now();
        self.expire(now);
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
            Ok(turns) => {
                planned.into_iter().for_each(|(waiting, ttl)| waiting.tell(Ok(Opened::acknowledged(ttl))));
                self.report(turns, now);
            }
            Err(_) if planned.len() > 1 => planned.into_iter().for_each(|(waiting, _)| self.serve(vec![waiting])),
            Err(refused) => planned.into_iter().for_each(|(waiting, _)| waiting.tell(Err(refusal(&refused)))),
        }
    }

    /// Makes the kernel hold what `plan` says, and nothing of what has run out,
    /// and writes it down. Says what it means for whose names.
    fn carry_out(&mut self, plan: Plan, now: Moment) -> Result<Vec<LeaseTurn>, Refused> {
        // Removals first: a lease may have come back meanwhile. What is not
        // taken out now runs out by itself.
        let mut changes = self.to_take_out(now);
        changes.extend(plan.changes(now));
        self.memory.append(plan.lines());
        // Chunks that went through before one was refused leave elements that
        // nobody was told of; they run out by themselves. Where somebody else
        // was faster, nobody knows what has become of the first of them.
        self.put(now, |kernel| changes.chunks(MAX_CHANGES).try_for_each(|chunk| kernel.apply(chunk)))?;
        self.ended.clear();
        Ok(self.ledger.commit(plan))
    }

    /// Tells what happened to leases.
    fn report(&self, turns: Vec<LeaseTurn>, now: Moment) {
        turns.into_iter().for_each(|turn| self.journal.report(turn.event(now)));
    }

    pub(super) fn expire(&mut self, now: Moment) {
        let Expired { changes, turns } = self.ledger.expire(now);
        self.ended.extend(changes.into_iter().map(|change| (now + TAKEN_OUT_WITHIN, change)));
        self.report(turns, now);
    }

    /// To take an element out it is added first: where the kernel has let go
    /// of it and its set is full, that would be refused.
    fn to_take_out(&self, now: Moment) -> Vec<Change> {
        self.ended.iter().filter(|(until, _)| *until > now).map(|(_, change)| change.clone()).collect()
    }

    /// As one transaction, however many they are.
    fn apply_whole(&mut self, changes: &[Change], now: Moment) -> Result<(), Refused> {
        if changes.is_empty() { Ok(()) } else { self.put(now, |kernel| kernel.apply(changes)) }
    }

    fn apply_statics(&mut self, changes: &[StaticChange], now: Moment) -> Result<(), Refused> {
        if changes.is_empty() { Ok(()) } else { self.put(now, |kernel| kernel.apply_statics(changes)) }
    }

    /// From here on, nothing that a policy before `generation` permitted is
    /// opened; what was opened so far is returned, to be judged.
    fn supersede(&mut self, generation: Generation) -> Vec<Holding> {
        self.in_force = generation;
        self.expire(self.now());
        self.ledger.holdings(generation)
    }

    /// Closes what the policy in force permits no longer.
    fn revoke(&mut self, verdicts: Vec<Verdict>) -> Result<Closed, Error> {
        let now = self.now();
        self.expire(now);
        self.revise(self.in_force, verdicts, now)
    }

    fn revise(&mut self, generation: Generation, verdicts: Vec<Verdict>, now: Moment) -> Result<Closed, Error> {
        self.setup.edition.turn();
        let stood = self.stands(now);
        let revision = self.ledger.revise(generation, verdicts, now);
        let (changes, closed) = (revision.changes(now), revision.closed().to_vec());
        self.memory.append(revision.lines(&self.ledger));
        let mut batch = self.to_take_out(now);
        batch.extend_from_slice(&changes);
        let told = if stood { self.apply_whole(&batch, now) } else { Err(Refused::NoSuchTable) };
        self.ended.clear();
        let keys = revision.keys();
        let mut turns = self.ledger.commit_revision(revision);
        let leases = turns.len();
        turns.truncate(MAX_REVOKED_TOLD);
        self.report(turns, now);
        self.must_hold(told, now)?;
        let elements = changes.iter().filter(|change| matches!(change, Change::Remove(_))).count();
        let flows = self.end_flows(closed, now);
        self.memory.append(keys.iter().map(|key| self.ledger.line(key)));
        Ok(Closed { leases, elements, flows })
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
        let told = if stood { self.apply_statics(&changes, now) } else { Err(Refused::NoSuchTable) };
        self.statics.commit(plan);
        self.must_hold(told, now)?;
        Ok(Closed { leases: 0, elements: closed.len(), flows: self.end_flows(closed, now) })
    }

    /// After a change that may not be left undone: where the kernel did not
    /// take it, the whole table is loaded anew from the ledgers, and until
    /// that succeeds nobody gets an answer.
    pub(super) fn must_hold(&mut self, told: Result<(), Refused>, now: Moment) -> Result<(), Error> {
        let Err(refused) = told else { return Ok(()) };
        self.damage.reload();
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
            closed.iter().any(|grant| grant.covers(client, address, protocol, port)) && !self.permits(flow, now)
        };
        conntrack::cut(is_closed, false)
    }

    /// Whether something opens `flow` now.
    pub(super) fn permits(&self, flow: &Flow, now: Moment) -> bool {
        let Flow { client, address, protocol, port } = *flow;
        self.statics.covers(client, address, protocol, port, now)
            || self.ledger.covers(client, address, protocol, port, now)
    }

    /// What is done once a second.
    fn look_after(&mut self) {
        if self.last_round.elapsed() < ROUND {
            return;
        }
        self.last_round = Instant::now();
        self.judge_suspects_again(self.now());
        // A packet that was between the rules and the table of flows when the
        // flows were ended is in that table by now.
        let closed = std::mem::take(&mut self.closed);
        if let Err(error) = self.cut(&closed, self.now()) {
            tracing::error!("the kernel's table of flows: {error}");
            self.closed = closed;
        }
        if std::mem::take(&mut self.looks_again) {
            self.look_again();
        }
        self.memory.tidy(&self.ledger);
        if !self.wanted.is_empty()
            && self.own_addresses() != self.own
            && let Err(error) = self.open_statics()
        {
            tracing::error!("{error}");
        }
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
            key,
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

fn refusal(refused: &Refused) -> Refusal {
    // A full set has a line of its own in the journal, once a second.
    if !matches!(refused, Refused::Full) {
        tracing::warn!("{refused}");
    }
    match refused {
        Refused::Full => Refusal::Denied(Reason::LeaseSetFull),
        Refused::NoSuchTable | Refused::Overtaken | Refused::Kernel(_) => Refusal::Failed(Failure::KernelRefused),
        Refused::Unacknowledged(_) => Refusal::Failed(Failure::KernelSilent),
    }
}
