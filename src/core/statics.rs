//! The ledger of statics: the addresses that policies name themselves, as
//! elements of the interval sets `static4` and `static6`.
//!
//! What is wanted comes whole, as [`Statics`]; [`StaticLedger::plan`] works
//! out the difference to what the kernel holds, and
//! [`StaticLedger::commit`] writes it down once the kernel has acknowledged
//! it. An interval set refuses what overlaps in part, so whatever overlaps is
//! cut; an element all of which is still wanted is never touched.

mod area;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use self::area::Area;
use super::lease::{StaticGrant, Statics};
use super::query::{Client, Port, Protocol};
use super::time::Moment;

/// How much longer than its rhythm an element lives that has to be renewed:
/// a daemon that is late closes nothing, and one that died leaves nothing
/// open for long.
const MARGIN: Duration = Duration::from_secs(15);

/// What `static4` and `static6` hold.
#[derive(Debug, Default)]
pub struct StaticLedger {
    held: BTreeMap<StaticGrant, Term>,
}

/// Until when an element is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// Until it is removed.
    Lasting,
    /// Until then, if it is not renewed.
    Until(Moment),
}

/// What the kernel has to be told about one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticChange {
    /// Add it, which is not there yet; no time means for ever.
    Add(StaticGrant, Option<Duration>),
    /// Set its time anew.
    Renew(StaticGrant, Duration),
    /// Take it out. Whether it was there for a time only.
    Remove(StaticGrant, bool),
}

/// Changes worked out, not yet made.
#[derive(Debug, Default)]
#[must_use = "a plan changes nothing until it is committed"]
pub struct StaticPlan {
    removed: Vec<(StaticGrant, Term)>,
    renewed: Vec<(StaticGrant, Moment)>,
    added: Vec<(StaticGrant, Term)>,
}

impl StaticPlan {
    /// What the kernel has to be told, removals first; empty if it holds all
    /// of it already.
    pub fn changes(&self, now: Moment) -> Vec<StaticChange> {
        let removals = self.removed.iter().map(|(grant, term)| StaticChange::Remove(*grant, *term != Term::Lasting));
        let renewals = self.renewed.iter().map(|(grant, until)| StaticChange::Renew(*grant, until.left(now)));
        let additions = self.added.iter().map(|(grant, term)| StaticChange::Add(*grant, term.left(now)));
        removals.chain(renewals).chain(additions).collect()
    }

    /// What will be open no longer, at least not as it was.
    pub fn removed(&self) -> impl Iterator<Item = StaticGrant> + '_ {
        self.removed.iter().map(|(grant, _)| *grant)
    }
}

impl StaticLedger {
    /// The ledger of what the kernel holds already, and until when.
    pub fn adopt(standing: impl IntoIterator<Item = (StaticGrant, Term)>) -> Self {
        Self { held: standing.into_iter().collect() }
    }

    /// Works out how to get from what is held to what is `wanted`, which is
    /// everything. Where a lasting and a timed grant overlap, the lasting one
    /// counts.
    pub fn plan(&self, now: Moment, wanted: &[Statics]) -> StaticPlan {
        let mut groups = groups(wanted);
        for (grant, term) in &self.held {
            groups.entry((grant.client, grant.protocol)).or_default().held.push((*grant, *term));
        }
        let mut plan = StaticPlan::default();
        for ((client, protocol), group) in groups {
            let until = now + group.valid_for.unwrap_or_default() + MARGIN;
            let lasting = area::disjoint(group.lasting);
            let timed = area::without(area::disjoint(group.timed), &lasting);
            let mut kept = (Vec::new(), Vec::new());
            for (grant, term) in group.held {
                let (wanted, kept) = match term {
                    Term::Lasting => (&lasting, &mut kept.0),
                    Term::Until(_) => (&timed, &mut kept.1),
                };
                match Area::of(&grant) {
                    Some(area) if area.is_within(wanted) => kept.push(area),
                    _ => plan.removed.push((grant, term)),
                }
            }
            let (kept_lasting, kept_timed) = kept;
            let grant = |area: Area| area.grant(client, protocol);
            let added = area::without(lasting, &kept_lasting).into_iter().filter_map(grant);
            plan.added.extend(added.map(|grant| (grant, Term::Lasting)));
            let added = area::without(timed, &kept_timed).into_iter().filter_map(grant);
            plan.added.extend(added.map(|grant| (grant, Term::Until(until))));
            plan.renewed.extend(kept_timed.into_iter().filter_map(grant).map(|grant| (grant, until)));
        }
        plan
    }

    /// Writes down what the kernel has acknowledged.
    pub fn commit(&mut self, plan: StaticPlan) {
        for (grant, _) in plan.removed {
            self.held.remove(&grant);
        }
        self.held.extend(plan.renewed.into_iter().map(|(grant, until)| (grant, Term::Until(until))));
        self.held.extend(plan.added);
    }

    /// Forgets what has run out; the kernel has done so by itself.
    pub fn expire(&mut self, now: Moment) {
        self.held.retain(|_, term| term.is_live(now));
    }

    /// Everything that has to be in the kernel now.
    pub fn live(&self, now: Moment) -> impl Iterator<Item = (&StaticGrant, Term)> {
        self.grants().filter(move |(_, term)| term.is_live(now))
    }

    /// Until when the kernel has to hold just `grant`; `None` if it has not.
    pub fn term(&self, grant: &StaticGrant, now: Moment) -> Option<Term> {
        self.held.get(grant).copied().filter(|term| term.is_live(now))
    }

    /// Every element there is, and until when.
    pub fn grants(&self) -> impl Iterator<Item = (&StaticGrant, Term)> {
        self.held.iter().map(|(grant, term)| (grant, *term))
    }

    /// Whether a flow of `client` to `address` and `port` is open now.
    pub fn covers(&self, client: Client, address: IpAddr, protocol: Protocol, port: Port, now: Moment) -> bool {
        let mut live = self.held.iter().filter(|(_, term)| term.is_live(now));
        live.any(|(grant, _)| grant.covers(client, address, protocol, port))
    }
}

impl Term {
    /// What is left at `now`; `None` where it has no end.
    pub fn left(self, now: Moment) -> Option<Duration> {
        match self {
            Self::Lasting => None,
            Self::Until(until) => Some(until.left(now)),
        }
    }

    fn is_live(self, now: Moment) -> bool {
        self.left(now).is_none_or(|left| !left.is_zero())
    }
}

/// What is wanted and what is held for one client and protocol: areas of
/// others never overlap with them.
#[derive(Default)]
struct Group {
    lasting: Vec<Area>,
    timed: Vec<Area>,
    valid_for: Option<Duration>,
    held: Vec<(StaticGrant, Term)>,
}

fn groups(wanted: &[Statics]) -> BTreeMap<(Client, Protocol), Group> {
    let mut groups: BTreeMap<(Client, Protocol), Group> = BTreeMap::new();
    for statics in wanted {
        for grant in &statics.grants {
            let Some(area) = Area::of(grant) else { continue };
            let group = groups.entry((grant.client, grant.protocol)).or_default();
            match statics.valid_for {
                None => group.lasting.push(area),
                Some(valid_for) => {
                    group.timed.push(area);
                    group.valid_for = Some(group.valid_for.map_or(valid_for, |known| known.min(valid_for)));
                }
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests;
