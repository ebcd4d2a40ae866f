//! Whatever somebody does to the table is undone before anybody gets an
//! answer (G8).
//!
//! The kernel counts every commit to the ruleset. Where its count is ours,
//! nobody else has done anything. Otherwise the kernel's notifications up to
//! that commit say what was done, and just that is undone; where they do not,
//! the whole table is loaded anew. Each batch is made for the count of the
//! last look and refused for any other, so nothing happens in between.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::EPERM;

use super::super::conntrack::{self, Flow};
use super::super::element::Repair;
use super::super::place::Place;
use super::super::protect;
use super::super::renewal;
use super::super::transaction::{self, Connection, MAX_CHANGES, Refused};
use super::super::watch::{Missed, Watch};
use super::Error;
use super::damage::Touched;
use super::keeper::Keeper;
use crate::core::event::Event;
use crate::core::statics::Term;
use crate::core::time::Moment;

/// How long is tried to bring the table in order while others change it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the notifications of a commit may take: the kernel counts it first
/// and tells of it at its end.
const COMMIT: Duration = Duration::from_millis(500);

/// Before a socket that failed is opened anew.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the table is not in order yet.
enum Trouble {
    /// Somebody was faster: look again.
    Overtaken,
    /// It cannot be done now.
    Failed(String),
}

/// What was undone since it was last told.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// Leases put back with the table, if that was loaded anew.
    reloaded: Option<usize>,
    /// Nobody had done anything: other rules were wanted.
    pub(super) is_wanted: bool,
    removed: usize,
    restored: usize,
    /// Where flows may have begun that nothing permits.
    suspects: Vec<Place>,
}

impl Keeper {
    /// Whether the table is as it should be. If somebody has changed it, it is
    /// put right first.
    pub(super) fn stands(&mut self, now: Moment) -> bool {
        let start = Instant::now();
        let complaint = loop {
            match self.settle(now) {
                Ok(()) => {
                    if self.complaint.take().is_some() {
                        tracing::info!("the table is in order again, and answers open what they name");
                    }
                    return true;
                }
                Err(Trouble::Failed(complaint)) => break complaint,
                Err(Trouble::Overtaken) if start.elapsed() < PATIENCE => {}
                Err(Trouble::Overtaken) => {
                    break "others change the table faster than it can be put right, or its sockets fail".to_owned();
                }
            }
        };
        // The same trouble is told once, however long it lasts.
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::error!("nobody gets an answer that opens anything: {complaint}");
            self.complaint = Some(complaint);
        }
        false
    }

    /// Tells the kernel something that rests on the last look, and looks again
    /// where somebody else was faster.
    pub(super) fn put(
        &mut self,
        now: Moment,
        put: impl Fn(&mut Connection) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let start = Instant::now();
        loop {
            match put(&mut self.connection) {
                Err(Refused::Overtaken) if start.elapsed() < PATIENCE && self.stands(now) => {}
                done => return done,
            }
        }
    }

    /// Ends once more the flows that what was undone has let in: a packet that
    /// was between the rules and the table of flows is in that table by now.
    pub(super) fn judge_suspects_again(&mut self, now: Moment) {
        let suspects = std::mem::take(&mut self.suspects);
        if let Err(error) = self.cut_suspects(&suspects, now) {
            tracing::error!("the kernel's table of flows: {error}");
            self.suspects = suspects;
        }
    }

    fn settle(&mut self, now: Moment) -> Result<(), Trouble> {
        if self.is_owned && self.damage.is_none() && self.is_undisturbed()? {
            return Ok(());
        }
        self.listen()?;
        if !self.damage.has_to_reload() {
            self.own()?;
        }
        if !self.damage.has_to_reload() && self.damage.has_to_compare() {
            match self.setup.loaded.verify() {
                Ok(()) => self.damage.compared(),
                Err(error) => {
                    tracing::warn!("{error}");
                    self.damage.reload();
                }
            }
        }
        if self.damage.has_to_reload() {
            self.reload(now)?;
        }
        self.mend(now)?;
        self.tell(now);
        Ok(())
    }

    /// Makes the table our own connection's, where that is wanted: from then on
    /// nobody else can change it.
    fn own(&mut self) -> Result<(), Trouble> {
        if self.is_owned {
            return Ok(());
        }
        let families = protect::families(&self.setup.table, &self.setup.ruleset);
        match self.connection.adopt(&families) {
            Ok(()) => {
                self.is_owned = true;
                Ok(())
            }
            Err(Refused::Overtaken) => Err(Trouble::Overtaken),
            Err(refused) => {
                self.damage.reload();
                Err(Trouble::Failed(format!("the table cannot be protected as `wall.protect` asks: {refused}")))
            }
        }
    }

    /// Gives the table up, so that `nft` can load it: it stays, and is
    /// nobody's.
    fn disown(&mut self) -> Result<(), Trouble> {
        if !self.setup.protect {
            return Ok(());
        }
        let failed = |error: std::io::Error| Trouble::Failed(format!("cannot reach nftables in the kernel: {error}"));
        let mut connection = Connection::open(self.setup.table.clone(), renewal()).map_err(failed)?;
        self.watch.except(connection.port()).map_err(failed)?;
        if let Some(generation) = self.connection.made_for() {
            connection.rest_on(generation);
        }
        self.connection = connection;
        self.is_owned = false;
        Ok(())
    }

    fn is_undisturbed(&mut self) -> Result<bool, Trouble> {
        self.connection.is_undisturbed().or_else(|error| self.reconnect(&error).map(|()| false))
    }

    /// Hears of everything that was done up to now.
    fn listen(&mut self) -> Result<(), Trouble> {
        let generation = match self.connection.generation() {
            Ok(generation) => generation,
            Err(error) => return self.reconnect(&error),
        };
        let known = self.connection.made_for();
        if known.is_none() {
            // Whether our own last batch took effect is not known.
            self.damage.reload();
        }
        let mut heard = known.unwrap_or(generation);
        let start = Instant::now();
        while is_before(heard, generation) {
            match self.watch.read() {
                Ok(notices) if !notices.is_empty() => heard = self.damage.note(notices).unwrap_or(heard),
                Ok(_) if self.watch.wait(COMMIT.saturating_sub(start.elapsed())) => {}
                Ok(_) => {
                    self.damage.reload_and_judge();
                    heard = generation;
                }
                Err(missed) => {
                    tracing::warn!("{missed}; the table is loaded anew");
                    self.damage.reload_and_judge();
                    if matches!(missed, Missed::Broken(_)) {
                        thread::sleep(PAUSE);
                        self.watch = self.new_watch()?;
                    }
                    heard = generation;
                }
            }
        }
        self.connection.rest_on(heard);
        Ok(())
    }

    /// After a failure of the socket. What happened meanwhile is not known.
    fn reconnect(&mut self, error: &std::io::Error) -> Result<(), Trouble> {
        if error.raw_os_error() == Some(EPERM) {
            let lacking = "the kernel lets nobody change its ruleset without CAP_NET_ADMIN, which is lacking now";
            return Err(Trouble::Failed(lacking.to_owned()));
        }
        let failed = |error: std::io::Error| Trouble::Failed(format!("cannot reach nftables in the kernel: {error}"));
        if transaction::is_shortage(error) {
            return Err(Trouble::Failed(format!("nftables in the kernel cannot be asked at the moment: {error}")));
        }
        thread::sleep(PAUSE);
        self.connection = Connection::open(self.setup.table.clone(), renewal()).map_err(failed)?;
        self.is_owned = !self.setup.protect;
        self.watch = self.new_watch()?;
        self.damage.reload_and_judge();
        tracing::warn!("the socket to nftables failed and was opened anew: {error}");
        Err(Trouble::Overtaken)
    }

    fn new_watch(&self) -> Result<Arc<Watch>, Trouble> {
        let watch = Watch::open(self.setup.table.clone(), self.connection.port());
        watch.map(Arc::new).map_err(|error| Trouble::Failed(format!("cannot hear of changes to the ruleset: {error}")))
    }

    /// Loads the table anew; what it has to hold is then among what is to be
    /// put back.
    fn reload(&mut self, now: Moment) -> Result<(), Trouble> {
        self.loads += 1;
        let table = self.setup.table.as_str();
        let mark = format!("loading_{}_{}", self.connection.port(), self.loads);
        let chain = format!("chain inet {table} {mark}\n");
        self.undone.suspects.extend(self.damage.suspects().cloned());
        self.damage.expect(mark);
        self.disown()?;
        let text = format!("{}add {chain}delete {chain}", self.setup.ruleset);
        match protect::install(&self.setup.table, &text, self.setup.protect) {
            Ok(loaded) => self.setup.loaded = loaded,
            Err(Error::NotAsLoaded { .. }) => return Err(Trouble::Overtaken),
            Err(error) => {
                let complaint = format!("the table is not as it was loaded and cannot be put back: {error}");
                return Err(Trouble::Failed(complaint));
            }
        }
        self.listen()?;
        if !self.damage.is_loaded() {
            self.damage.reload();
            return Err(Trouble::Overtaken);
        }
        self.own()?;
        let leases: Vec<_> = self.ledger.live(now).map(|key| Place::of_lease(&key)).collect();
        self.undone.reloaded = Some(leases.len());
        leases.into_iter().for_each(|place| self.damage.put_back(place));
        self.statics.live(now).for_each(|(grant, _)| self.damage.put_back(Place::of_static(grant)));
        Ok(())
    }

    /// Puts every element right that somebody has touched.
    fn mend(&mut self, now: Moment) -> Result<(), Trouble> {
        loop {
            let touched = self.damage.next(MAX_CHANGES);
            if touched.is_empty() {
                return Ok(());
            }
            let repairs: Vec<_> =
                touched.iter().filter_map(|(place, touched)| self.repair_of(place, *touched, now)).collect();
            match if repairs.is_empty() { Ok(()) } else { self.connection.repair(&repairs) } {
                Ok(()) => {}
                Err(Refused::Overtaken) => return Err(Trouble::Overtaken),
                Err(refused) => {
                    let was_reloaded = self.undone.reloaded.is_some();
                    self.damage.reload();
                    let complaint = format!("the table cannot be given all that was open: {refused}");
                    return Err(if was_reloaded { Trouble::Failed(complaint) } else { Trouble::Overtaken });
                }
            }
            for (place, touched) in &touched {
                if touched.was_there && self.is_foreign(place, now) {
                    self.undone.suspects.push(place.clone());
                }
                self.damage.mended(place);
            }
            let removed = repairs.iter().filter(|repair| matches!(repair, Repair::Remove(_))).count();
            self.undone.removed += removed;
            self.undone.restored += repairs.len() - removed;
        }
    }

    /// What makes the element at `place` what it should be.
    fn repair_of(&self, place: &Place, touched: Touched, now: Moment) -> Option<Repair> {
        if let Some(change) = place.lease().and_then(|key| self.ledger.change(&key, now, touched.is_there)) {
            return Some(Repair::Lease(change));
        }
        if let Some(term) = self.static_at(place, now) {
            return Some(Repair::Static(place.clone(), term.left(now), touched.is_there));
        }
        touched.is_there.then(|| Repair::Remove(place.clone()))
    }

    fn is_foreign(&self, place: &Place, now: Moment) -> bool {
        self.repair_of(place, Touched::default(), now).is_none()
    }

    fn static_at(&self, place: &Place, now: Moment) -> Option<Term> {
        // A lease of the same flows is in another set.
        let grant = place.static_grant().filter(|grant| Place::of_static(grant) == *place)?;
        self.statics.term(&grant, now)
    }

    /// Ends what should never have begun, and reports what was undone.
    fn tell(&mut self, now: Moment) {
        let Undone { reloaded, is_wanted, removed, restored, suspects } = std::mem::take(&mut self.undone);
        let mut flows = 0;
        let judge_all = self.damage.take_may_have_admitted();
        let ended = if judge_all { self.cut_unexplained(true) } else { Ok(0) };
        match ended.and_then(|ended| Ok(ended + self.cut_suspects(&suspects, now)?)) {
            Ok(ended) => flows = ended,
            Err(error) => {
                tracing::error!(
                    "flows that others have let in go on until the kernel's table of flows answers: {error}"
                );
            }
        }
        self.suspects.extend(suspects);
        let table = self.setup.table.as_str().to_owned();
        if is_wanted {
            return;
        }
        if let Some(leases) = reloaded {
            self.journal.report(Event::TableRestored { table, leases });
        } else if removed + restored + flows > 0 {
            self.journal.report(Event::TableRepaired { table, removed, restored, flows });
        }
    }

    fn cut_suspects(&self, suspects: &[Place], now: Moment) -> std::io::Result<usize> {
        if suspects.is_empty() {
            return Ok(0);
        }
        let is_over = |flow: &Flow| suspects.iter().any(|place| place.covers(flow)) && !self.permits(flow, now);
        conntrack::cut(is_over, suspects.iter().any(Place::covers_strays))
    }
}

/// Whether `generation` comes after `heard`, which wrap around.
const fn is_before(heard: u32, generation: u32) -> bool {
    heard != generation && generation.wrapping_sub(heard) < 1 << 31
}
