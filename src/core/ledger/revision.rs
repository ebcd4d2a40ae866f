//! A new policy judges again what is open.
//!
//! [`Ledger::holdings`] lists what an older policy permitted; somebody judges
//! each of them, and [`Ledger::revise`] works out what has to be closed. What
//! was opened under the new policy meanwhile is no part of that: each holder
//! knows which policy permitted it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use smallvec::{SmallVec, smallvec};

use super::super::lease::{Aliases, Generation, Key, Ports, StaticGrant};
use super::super::name::Name;
use super::super::query::{Client, Port, PortRange};
use super::super::time::Moment;
use super::told::{Ends, LeaseTurn, Turn};
use super::{Change, Holder, Lease, Ledger, Next, Plan, record};

/// A name's hold on what is open, or was: flows outlive their lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// What it opened.
    pub key: Key,
    /// Under which name.
    pub name: Name,
    /// Who asked for the name.
    pub asked_by: Client,
    /// The aliases that led from the name to the address.
    pub aliases: Aliases,
}

/// What the new policy says of a [`Holding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The holding.
    pub holding: Holding,
    /// The ports that the policy still permits on its address, by its
    /// protocol.
    pub permitted: Vec<PortRange>,
}

impl Verdict {
    /// That nothing of `holding` is permitted.
    pub const fn nothing_for(holding: Holding) -> Self {
        Self { holding, permitted: Vec::new() }
    }
}

/// A revision worked out, not yet made.
#[derive(Debug)]
#[must_use = "a revision closes nothing until it is committed"]
pub struct Revision {
    generation: Generation,
    plan: Plan,
    verdicts: BTreeMap<Key, HashMap<Name, Vec<PortRange>>>,
    closed: Vec<StaticGrant>,
}

impl Revision {
    /// What the kernel has to be told, as one transaction.
    pub fn changes(&self, now: Moment) -> Vec<Change> {
        self.plan.changes(now)
    }

    /// What has to be written down of it before the kernel is told: the leases
    /// that are new. How the others were has to be known until it is done.
    pub fn lines<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = String> + 'a {
        let new = |key: &Key| !ledger.leases.contains_key(key);
        let leases = self.plan.next.iter().filter_map(|(key, next)| Some((key, next.as_ref()?)));
        leases.filter(move |(key, _)| new(key)).map(|(key, next)| record::write(key, Some(&next.lease)))
    }

    /// Every lease it concerns.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.verdicts.keys().chain(self.plan.next.keys()).copied().collect()
    }

    /// The flows that are permitted no longer, unless something else opens
    /// them.
    pub fn closed(&self) -> &[StaticGrant] {
        &self.closed
    }
}

impl Ledger {
    /// Everything that a policy before `generation` permitted, leases that
    /// have run out included.
    pub fn holdings(&self, generation: Generation) -> Vec<Holding> {
        let leases = self.leases.iter().chain(self.lapsed.leases.iter());
        let holdings = leases.flat_map(|(key, lease)| {
            let older = lease.holders.iter().filter(move |holder| holder.generation < generation);
            older.map(move |holder| Holding {
                key,
                name: holder.name().clone(),
                asked_by: holder.asked.client(),
                aliases: holder.aliases.clone(),
            })
        });
        holdings.collect()
    }

    /// Works out what becomes of the judged holdings under the policy of
    /// `generation`: what is still permitted stays as it is, and of what is
    /// permitted in part the rest is closed.
    pub fn revise(&self, generation: Generation, verdicts: Vec<Verdict>, now: Moment) -> Revision {
        let verdicts = by_key(verdicts);
        let mut revision = Revision { generation, plan: Plan::default(), verdicts, closed: Vec::new() };
        // First everything that goes, then the pieces that stay: a piece may
        // cut its neighbours, which have to be judged by then.
        let mut pieces: Vec<(Key, Holder, Lease)> = Vec::new();
        for (key, verdicts) in &revision.verdicts {
            let (lease, is_live) = match (self.leases.get(key), self.lapsed.leases.get(key)) {
                (Some(lease), _) => (lease, true),
                (None, Some(lease)) => (lease, false),
                (None, None) => continue,
            };
            let judged: Vec<_> = lease.holders.iter().map(|holder| holder.judged(key, generation, verdicts)).collect();
            let permitted = judged.iter().flat_map(|(_, permitted)| permitted.iter().copied());
            let gaps = gaps(key.ports.range(), permitted.collect());
            revision.closed.extend(gaps.into_iter().map(|ports| StaticGrant { ports, ..StaticGrant::from(key) }));
            if judged.iter().all(|(_, permitted)| is_whole(key, permitted)) {
                continue;
            }
            if !is_live {
                if lease.lingers(now) {
                    revision.plan.next.insert(*key, None);
                }
                continue;
            }
            let (whole, partly): (Vec<_>, Vec<_>) =
                judged.into_iter().partition(|(_, permitted)| is_whole(key, permitted));
            let holders: SmallVec<_> = whole.into_iter().map(|(holder, _)| holder).collect();
            let rest = Lease { account: lease.account, holders };
            let next = (!rest.holders.is_empty()).then_some(Next { lease: rest, relabelled: true });
            revision.plan.next.insert(*key, next);
            for (holder, permitted) in partly {
                let ports = permitted.into_iter().flat_map(Ports::listing);
                let keys = ports.map(|ports| Key { ports, ..*key });
                let alone = Lease { account: lease.account, holders: smallvec![holder.clone()] };
                pieces.extend(keys.map(|key| (key, holder.clone(), alone.clone())));
            }
        }
        // Where there is no room for more elements, the rest ends here; who
        // asks again is told.
        let goes = |(key, next): &(&Key, &Option<Next>)| next.is_none() && self.leases.contains_key(key);
        let mut held = self.leases.len() - revision.plan.next.iter().filter(goes).count();
        let most = usize::try_from(self.settings.set_size).unwrap_or(usize::MAX);
        for (key, holder, alone) in pieces {
            for piece in self.pieces(&mut revision.plan, key, now) {
                let next = match self.lease(&revision.plan, &piece, now) {
                    None if held >= most => continue,
                    None => {
                        held += 1;
                        self.anew(&revision.plan, &piece, alone.clone(), now)
                    }
                    Some(lease) => lease.clone().held_also_by(holder.clone(), now),
                };
                revision.plan.next.insert(piece, Some(next));
            }
        }
        revision
    }

    /// Writes a revision down, and says whose leases it ended under which
    /// names.
    pub fn commit_revision(&mut self, revision: Revision) -> Vec<LeaseTurn> {
        let Revision { generation, plan, verdicts, .. } = revision;
        let ends = Ends::planned(&plan, &self.leases);
        self.commit(plan);
        for (key, verdicts) in verdicts {
            self.leases.alter(&key, |lease| {
                // Whoever is still there has been judged, so that the next
                // query need not tell the kernel anything.
                let judged = |holder: &&mut Holder| verdicts.contains_key(holder.name());
                lease.holders.iter_mut().filter(judged).for_each(|holder| holder.generation = generation);
            });
            if let Some(mut lapsed) = self.lapsed.take(&key) {
                lapsed.holders.retain(|holder| {
                    let permitted;
                    (*holder, permitted) = holder.judged(&key, generation, &verdicts);
                    !permitted.is_empty()
                });
                if !lapsed.holders.is_empty() {
                    self.lapsed.remember(key, lapsed, self.settings.set_size);
                }
            }
        }
        ends.unless_held(&self.leases).into_turns(Turn::Revoked)
    }
}

impl Holder {
    /// The holder as the policy of `generation` sees it, and the ports it
    /// permits: all of them where it was permitted by that policy already.
    fn judged(
        &self,
        key: &Key,
        generation: Generation,
        verdicts: &HashMap<Name, Vec<PortRange>>,
    ) -> (Self, Vec<PortRange>) {
        match verdicts.get(self.name()) {
            Some(permitted) if self.generation < generation => {
                (Self { generation, ..self.clone() }, within(key.ports.range(), permitted))
            }
            _ => (self.clone(), vec![key.ports.range()]),
        }
    }
}

fn by_key(verdicts: Vec<Verdict>) -> BTreeMap<Key, HashMap<Name, Vec<PortRange>>> {
    let mut found: BTreeMap<Key, HashMap<Name, Vec<PortRange>>> = BTreeMap::new();
    for Verdict { holding, permitted } in verdicts {
        found.entry(holding.key).or_default().insert(holding.name, permitted);
    }
    found
}

fn is_whole(key: &Key, permitted: &[PortRange]) -> bool {
    gaps(key.ports.range(), permitted.to_vec()).is_empty()
}

/// What of `range` is in one of `runs`.
fn within(range: PortRange, runs: &[PortRange]) -> Vec<PortRange> {
    let cut = |run: &PortRange| PortRange::new(run.first().max(range.first()), run.last().min(range.last()));
    runs.iter().filter_map(cut).collect()
}

/// What of `range` is in none of `runs`.
fn gaps(range: PortRange, mut runs: Vec<PortRange>) -> Vec<PortRange> {
    runs.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = Some(range.first());
    for run in runs {
        let Some(first) = next else { break };
        let before = run.first().number().checked_sub(1).and_then(Port::new);
        gaps.extend(before.and_then(|before| PortRange::new(first, before.min(range.last()))));
        let after = run.last().number().checked_add(1).and_then(Port::new);
        next = after.map(|after| after.max(first));
    }
    gaps.extend(next.and_then(|first| PortRange::new(first, range.last())));
    gaps
}

#[cfg(test)]
mod tests;
