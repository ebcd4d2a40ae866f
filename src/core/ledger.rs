//! The ledger: the daemon's own table of leases, kept in step with the kernel.
//!
//! A change is made in two steps. [`Ledger::plan`] works out what the kernel
//! has to be told, and touches nothing; once the kernel has acknowledged the
//! batch, [`Ledger::commit`] writes it down. A batch the kernel refuses is
//! dropped, and the ledger is as it was.
//!
//! Leases that have run out are remembered for a while: flows outlive them,
//! and a new policy ([`revision`]) has a word on those, too.

mod accounts;
pub mod adopted;
mod asked;
mod lapsed;
mod leases;
mod record;
pub mod revision;
mod runs;
pub mod told;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use self::accounts::Accounts;
use self::asked::Asked;
use self::lapsed::Lapsed;
use self::leases::Leases;
use self::told::{Ends, LeaseTurn, Turn};
use super::config::LeaseSettings;
use super::decision::Reason;
use super::lease::{Aliases, Generation, Key, Ports, Wanted};
use super::name::Name;
use super::query::{Client, Port, Protocol};
use super::time::{Moment, Ttl};

/// The longest comment an element carries. With the attribute's type, length
/// and final NUL it makes 254 octets of user data; Linux 6.18 refuses 255, and
/// what is 256 long nft does not show.
const COMMENT_LENGTH: usize = 251;

/// How much longer than the ledger's the kernel's term of an element may be:
/// it is [kept](KEPT) longer, begins when the batch arrives, and ends with a
/// tick of the kernel's clock.
const LINGERS: Duration = Duration::from_secs(4);
/// How much longer than the lease the kernel would keep its element if nobody
/// took it out.
///
/// An element that has run out in the kernel takes room in its set until the
/// kernel clears it away, which it does only in a while without commits
/// (`nft_rhash_gc` gives up when the ruleset has changed meanwhile): under
/// steady load, never. So the firewall takes elements out in time, and the
/// kernel's own timeout is for the day on which the daemon is gone.
const KEPT: Duration = Duration::from_secs(2);

/// The table of leases.
#[derive(Debug)]
pub struct Ledger {
    settings: LeaseSettings,
    leases: Leases,
    accounts: Accounts,
    lapsed: Lapsed,
}

/// One lease: who needs it, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The client on whose account it counts.
    account: Client,
    /// Each name that led here. Never empty, and nearly always one.
    holders: SmallVec<[Holder; 1]>,
}

/// A name that needs a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    /// It, and who asked for it last.
    asked: Asked,
    /// The aliases that led from it to the address.
    aliases: Aliases,
    /// The policy that permitted it.
    generation: Generation,
    /// How long it needs the lease.
    until: Moment,
    /// Whether its end has been told.
    is_told: bool,
}

impl Lease {
    /// When the last name that needs it stops needing it.
    pub fn until(&self) -> Moment {
        self.holders.iter().map(|holder| holder.until).max().unwrap_or_default()
    }

    /// Whether the kernel may hold it still, if only just.
    fn lingers(&self, now: Moment) -> bool {
        self.until() + LINGERS > now
    }

    /// The names that need it.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.holders.iter().map(Holder::name)
    }

    /// The comment its kernel element carries: as many of its names as fit.
    pub fn comment(&self) -> String {
        let mut comment = String::new();
        for name in self.names().map(Name::as_str) {
            if comment.is_empty() {
                comment.extend(name.chars().take(COMMENT_LENGTH));
            } else if comment.len() + 1 + name.len() <= COMMENT_LENGTH {
                comment.push(' ');
                comment.push_str(name);
            }
        }
        comment
    }
}

/// What the kernel has to be told about one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add it, or set its time and comment anew, with no instant in between in
    /// which it is not there.
    Set {
        /// The element.
        key: Key,
        /// How long from now.
        lifetime: Duration,
        /// Its comment.
        comment: String,
        /// Whether it is there under another comment, which only replacing it
        /// changes.
        relabelled: bool,
    },
    /// Take it out.
    Remove(Key),
}

/// Changes worked out, not yet made: what several queries want at one moment,
/// for one batch.
#[derive(Debug, Default)]
#[must_use = "a plan changes nothing until it is committed"]
pub struct Plan {
    next: HashMap<Key, Option<Next>>,
    added: HashMap<Client, u32>,
    added_keys: usize,
    turns: HashMap<Asked, LeaseTurn>,
}

/// A lease as it will be.
#[derive(Debug)]
struct Next {
    lease: Lease,
    relabelled: bool,
}

/// What has run out.
#[derive(Debug)]
pub struct Expired {
    /// What the kernel has to be told of it before it comes to that itself.
    pub changes: Vec<Change>,
    /// What it means for whose names.
    pub turns: Vec<LeaseTurn>,
}

impl Plan {
    /// What the kernel has to be told, removals first; empty if it already
    /// holds all of it.
    pub fn changes(&self, now: Moment) -> Vec<Change> {
        let removals = self.next.iter().filter(|(_, next)| next.is_none()).map(|(key, _)| Change::Remove(*key));
        let additions = self
            .next
            .iter()
            .filter_map(|(key, next)| next.as_ref().map(|next| next.lease.as_change(*key, now, next.relabelled)));
        removals.chain(additions).collect()
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new(settings: LeaseSettings) -> Self {
        Self { settings, leases: Leases::default(), accounts: Accounts::default(), lapsed: Lapsed::default() }
    }

    /// Adds to `plan` what it takes to open what is wanted, and says which TTL
    /// an answer resting on it may carry at most.
    ///
    /// # Errors
    /// When the client, its name, or all clients together would hold too many;
    /// the plan is as it was.
    pub fn plan(&self, plan: &mut Plan, now: Moment, wanted: &Wanted) -> Result<Ttl, Reason> {
        let term = Term::of(wanted, &self.settings, now);
        let (asked, held) = self.accounts.of_name(wanted.client, &wanted.name);
        self.count(plan, now, wanted, held)?;
        let mut turn = None;
        for key in wanted.keys() {
            for piece in self.pieces(plan, key, now) {
                let holder = Holder::of(&asked, wanted, term.until);
                let next = match self.lease(plan, &piece, now) {
                    None => {
                        turn = Some(Turn::Opened);
                        self.anew(plan, &piece, Lease { account: wanted.client, holders: smallvec![holder] }, now)
                    }
                    Some(lease) if lease.is_held_by(&holder, term.needed_until) => continue,
                    Some(lease) => {
                        turn = turn.max(lease.turn(&holder, now));
                        lease.clone().held_also_by(holder, now)
                    }
                };
                plan.next.insert(piece, Some(next));
            }
        }
        if let Some(turn) = turn {
            plan.note(turn, asked, wanted, term.until);
        }
        Ok(term.answer_ttl)
    }

    /// Writes down what the kernel has acknowledged, and says what it means
    /// for whose names.
    pub fn commit(&mut self, plan: Plan) -> Vec<LeaseTurn> {
        for (key, next) in plan.next {
            let before = self.leases.remove(&key);
            self.accounts.replace(before.as_ref(), next.as_ref().map(|next| &next.lease));
            if let Some(Next { lease, .. }) = next {
                self.lapsed.take(&key);
                self.leases.insert(key, lease);
            }
        }
        plan.turns.into_values().collect()
    }

    /// Forgets every lease that has run out.
    pub fn expire(&mut self, now: Moment) -> Expired {
        let (mut changes, mut ends) = (Vec::new(), Ends::default());
        while let Some((_, key)) = self.leases.first().filter(|(due, _)| *due <= now) {
            let Some(mut lease) = self.leases.remove(&key) else { break };
            lease.ended(now).for_each(|holder| ends.note(holder, key.address));
            let until = lease.until();
            if until > now {
                self.leases.insert(key, lease);
                continue;
            }
            self.accounts.replace(Some(&lease), None);
            self.lapsed.remember(key, lease, self.settings.set_size);
            // Soon the kernel does it by itself.
            if until + KEPT / 2 > now {
                changes.push(Change::Remove(key));
            }
        }
        Expired { changes, turns: ends.into_turns(Turn::Expired) }
    }

    /// Everything that has to be in the kernel now.
    pub fn live(&self, now: Moment) -> impl Iterator<Item = Key> {
        self.leases.iter().filter(move |(_, lease)| lease.until() > now).map(|(key, _)| key)
    }

    /// What sets the live lease of `key` in the kernel; `relabelled` if
    /// something else may be there.
    pub fn change(&self, key: &Key, now: Moment, relabelled: bool) -> Option<Change> {
        let lease = self.leases.get(key).filter(|lease| lease.until() > now)?;
        Some(lease.as_change(*key, now, relabelled))
    }

    /// From here on, leases are made by `settings`; those there are stay.
    pub const fn set_settings(&mut self, settings: LeaseSettings) {
        self.settings = settings;
    }

    /// Whether there is a lease of exactly this key now.
    pub fn is_live(&self, key: &Key, now: Moment) -> bool {
        self.leases.get(key).is_some_and(|lease| lease.until() > now)
    }

    /// Every lease there is.
    pub fn leases(&self) -> impl Iterator<Item = (Key, &Lease)> {
        self.leases.iter()
    }

    /// Whether a flow of `client` to `address` and `port` is open now.
    pub fn covers(&self, client: Client, address: IpAddr, protocol: Protocol, port: Port, now: Moment) -> bool {
        let is_live = |key: &Key| self.leases.get(key).is_some_and(|lease| lease.until() > now);
        runs::keys_over(self.leases.runs(), client, address, protocol, port).any(|key| is_live(&key))
    }

    /// Whether a flow of `client` to `address` and `port` was open at any time
    /// that is remembered.
    pub fn remembers(&self, client: Client, address: IpAddr, protocol: Protocol, port: Port) -> bool {
        // Nothing has run out at the beginning of time.
        self.covers(client, address, protocol, port, Moment::default())
            || self.lapsed.covers(Key { client, address, protocol, ports: Ports::All }, port)
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Holds the client, the name and everybody together to their caps, where
    /// the client's name holds so many.
    fn count(&self, plan: &mut Plan, now: Moment, wanted: &Wanted, held: u32) -> Result<(), Reason> {
        let (mut new_keys, mut new) = (0, 0u32);
        for key in wanted.keys() {
            let lease = self.lease(plan, &key, now);
            new_keys += usize::from(lease.is_none());
            new += u32::from(lease.is_none_or(|lease| lease.names().all(|name| *name != wanted.name)));
        }
        if new == 0 {
            return Ok(());
        }
        let LeaseSettings { per_client, per_name, total, .. } = self.settings;
        if held.saturating_add(new) > per_name {
            return Err(Reason::TooManyLeasesOfName);
        }
        let added = plan.added.get(&wanted.client).copied().unwrap_or(0).saturating_add(new);
        if self.accounts.of(wanted.client).saturating_add(added) > per_client {
            return Err(Reason::TooManyLeases);
        }
        let added_keys = plan.added_keys + new_keys;
        if new_keys > 0 && self.leases.len() + added_keys > usize::try_from(total).unwrap_or(usize::MAX) {
            return Err(Reason::TooManyLeasesInAll);
        }
        plan.added.insert(wanted.client, added);
        plan.added_keys = added_keys;
        Ok(())
    }

    /// The live lease of `key`, as it would be after `plan`.
    fn lease<'a>(&'a self, plan: &'a Plan, key: &Key, now: Moment) -> Option<&'a Lease> {
        let lease = match plan.next.get(key) {
            Some(next) => next.as_ref().map(|next| &next.lease),
            None => self.leases.get(key),
        };
        lease.filter(|lease| lease.until() > now)
    }

    /// A lease where there is none any more. The kernel may hold the element
    /// of one that has just ended, or is about to be taken out, with its
    /// comment.
    fn anew(&self, plan: &Plan, key: &Key, lease: Lease, now: Moment) -> Next {
        let lingers = self.lapsed.leases.get(key).is_some_and(|lapsed| lapsed.lingers(now));
        Next { lease, relabelled: lingers || plan.next.contains_key(key) || self.leases.contains_key(key) }
    }
}

/// For how long.
struct Term {
    /// The lease's end, if it is set anew.
    until: Moment,
    /// The earliest end an existing lease may have and still do.
    needed_until: Moment,
    /// The TTL of the answer.
    answer_ttl: Ttl,
}

impl Term {
    fn of(wanted: &Wanted, settings: &LeaseSettings, now: Moment) -> Self {
        let ceiling = wanted.at_most.map_or(settings.max, |at_most| at_most.min(settings.max));
        let answer = wanted.ttl.duration().min(ceiling);
        let lease = answer.max(settings.min).min(ceiling.max(answer));
        Self {
            until: now + lease + settings.grace,
            needed_until: now + answer + settings.grace,
            answer_ttl: Ttl::within(answer),
        }
    }
}

impl Lease {
    /// Whether `holder` holds it just so, and for long enough already.
    fn is_held_by(&self, holder: &Holder, needed_until: Moment) -> bool {
        self.holders.iter().any(|known| known.is_like(holder) && known.until >= needed_until)
    }

    fn as_change(&self, key: Key, now: Moment, relabelled: bool) -> Change {
        Change::Set { key, lifetime: self.until().left(now) + KEPT, comment: self.comment(), relabelled }
    }

    /// The same lease with `holder` among its holders, without those that have
    /// run out. No holder's term is ever shortened.
    fn held_also_by(mut self, holder: Holder, now: Moment) -> Next {
        let label = self.comment();
        self.holders.retain(|known| known.name() == holder.name() || known.until > now);
        match self.holders.iter_mut().find(|known| known.name() == holder.name()) {
            Some(known) => *known = Holder { until: holder.until.max(known.until), ..holder },
            None => self.holders.push(holder),
        }
        Next { relabelled: self.comment() != label, lease: self }
    }

    fn into_first(self) -> Next {
        Next { lease: self, relabelled: false }
    }
}

impl Holder {
    fn of(asked: &Asked, wanted: &Wanted, until: Moment) -> Self {
        let (asked, aliases) = (asked.clone(), wanted.aliases.clone());
        Self { asked, aliases, generation: wanted.generation, until, is_told: false }
    }

    fn name(&self) -> &Name {
        self.asked.name()
    }

    /// Whether both are one name, reached over the same aliases and permitted
    /// by the same policy.
    fn is_like(&self, other: &Self) -> bool {
        self.name() == other.name() && self.generation == other.generation && self.aliases == other.aliases
    }
}

#[cfg(test)]
mod tests;
