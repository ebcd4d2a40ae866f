//! The gate: the journey of one query, from what was asked to what may leave
//! the house. What it needs from the outside it names as two traits; the
//! edges implement them.

mod edition;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;

pub use self::edition::{Edition, Stage};
use crate::core::budget::Budgets;
use crate::core::config::{NameLimits, PolicyMode};
use crate::core::decision::{Answered, Decision, Denial, Empty, Failure, Outcome, Permit, Reason};
use crate::core::identities::{Identities, Identity};
use crate::core::judge::Law;
use crate::core::lease::{Generation, Grant, Opened, Refusal, Wanted};
use crate::core::name::Name;
use crate::core::policy::Policy;
use crate::core::query::{Query, RecordKind};
use crate::core::ranges;
use crate::core::screen::Screened;
use crate::core::time::{Moment, Ttl, WallTime};

/// What the gate asks upstream: the part of a query that is the same for
/// every client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type.
    pub kind: RecordKind,
    /// DNSSEC OK.
    pub dnssec_ok: bool,
    /// Checking Disabled.
    pub checking_disabled: bool,
}

/// What came back: screened, and perhaps from the cache.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The screened records.
    pub screened: Arc<Screened>,
    /// What is left of their shortest TTL.
    pub ttl: Ttl,
}

/// The way to the upstream servers.
pub trait Resolve: Send + Sync {
    /// Answers `question` from the cache or the network, screened by
    /// [`crate::core::screen`].
    ///
    /// # Errors
    /// When no upstream server gave a usable answer in time.
    fn resolve(&self, question: &Question) -> impl Future<Output = Result<Resolved, Failure>> + Send;

    /// The answer to `question` if it takes no packet to an upstream server.
    fn at_hand(&self, question: &Question) -> Option<Resolved>;
}

/// The way to the kernel.
pub trait Open: Send + Sync {
    /// Opens what is `wanted` and comes back once the kernel has acknowledged
    /// all of it.
    ///
    /// # Errors
    /// When a cap denies it, or the kernel refuses or is silent; then nothing
    /// of it may be told to the client.
    fn open(&self, wanted: Wanted) -> impl Future<Output = Result<Opened, Refusal>> + Send;
}

/// By what queries are judged, and its place in the order of what was in force
/// before. It is one whole, so that no query is judged by a part of one and a
/// part of another.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Who asks from which address.
    pub identities: Arc<Identities>,
    /// Special-purpose ranges that answers may carry all the same.
    pub allow_ranges: Arc<[IpNet]>,
    /// Whether what the policy denies is denied.
    pub mode: PolicyMode,
    /// Its place.
    pub generation: Generation,
}

impl InForce {
    /// It, for judging again what is open.
    pub fn law(&self) -> Law<'_> {
        let Self { policy, identities, allow_ranges, mode, .. } = self;
        Law { policy, identities, allow_ranges, mode: *mode }
    }

    /// `query` as asked by whoever its address stands for now, and the permit
    /// for it.
    fn admit(&self, query: &Query, now: WallTime) -> Result<(Query, Permit), Denial> {
        let Some(Identity { agent, addresses }) = self.identities.of(query.client).cloned() else {
            return Err(Denial::by_default(Reason::UnknownClient));
        };
        let query = Query { agent, addresses, ..query.clone() };
        let permit = match self.policy.decide(&query, now) {
            Decision::Permit(permit) => permit,
            Decision::Deny(denial) => self.despite(denial, &query)?,
        };
        Ok((query, permit))
    }

    /// What a denial comes to: itself, or in audit mode a permit that says so.
    fn despite(&self, denial: Denial, query: &Query) -> Result<Permit, Denial> {
        match self.mode {
            PolicyMode::Enforce => Err(denial),
            PolicyMode::Audit => Ok(Permit::despite(denial, query.kind)),
        }
    }

    /// The permit as the names say that the question is an alias of, and in
    /// audit mode the addresses.
    fn review(&self, permit: Permit, query: &Query, now: WallTime, screened: &Screened) -> Result<Permit, Denial> {
        let mut aliases = screened.chain.iter();
        if let Some(denial) = aliases.find_map(|alias| self.policy.forbids_alias(query, alias, now)) {
            return if permit.would_deny.is_some() { Ok(permit) } else { self.despite(denial, query) };
        }
        if self.mode == PolicyMode::Enforce || !permit.judges_addresses {
            return Ok(permit);
        }
        let denied = |address: &IpAddr| match self.policy.decide_address(query, *address, now) {
            Decision::Permit(_) => None,
            Decision::Deny(denial) => Some(denial),
        };
        let denial = screened.addresses.iter().find_map(denied);
        denial.map_or(Ok(permit), |denial| self.despite(denial, query))
    }
}

/// Policy, upstream and kernel, in the order in which a query meets them.
pub struct Gate<U, F> {
    in_force: Arc<ArcSwap<InForce>>,
    upstream: U,
    firewall: F,
    budgets: Mutex<Budgets>,
    epoch: Instant,
}

impl<U: Resolve, F: Open> Gate<U, F> {
    /// A gate in front of `upstream` and `firewall`. Whoever replaces what is
    /// `in_force` has to tell the firewall afterwards.
    pub fn new(in_force: Arc<ArcSwap<InForce>>, upstream: U, firewall: F, limits: NameLimits) -> Self {
        Self { in_force, upstream, firewall, budgets: Mutex::new(Budgets::new(limits)), epoch: Instant::now() }
    }

    /// What the policy says of `query`, for questions that are never asked
    /// upstream.
    pub fn decide(&self, query: &Query, now: WallTime) -> Decision {
        match self.in_force.load().admit(query, now) {
            Ok((_, permit)) => Decision::Permit(permit),
            Err(denial) => Decision::Deny(denial),
        }
    }

    /// Takes `query` all the way.
    pub async fn pass(&self, query: &Query, now: WallTime) -> Outcome {
        let mut in_force = self.in_force.load_full();
        let (mut query, mut permit) = match in_force.admit(query, now) {
            Ok(admitted) => admitted,
            Err(denial) => return Outcome::Denied(denial),
        };

        let question = Question::of(&query);
        let resolved = match self.upstream.at_hand(&question) {
            Some(resolved) => resolved,
            None => {
                if let Err(reason) = self.charge(&query, &permit) {
                    permit = match in_force.despite(Denial::by_default(reason), &query) {
                        Ok(permit) => permit,
                        Err(denial) => return Outcome::Denied(denial),
                    };
                }
                match self.upstream.resolve(&question).await {
                    Ok(resolved) => resolved,
                    Err(failure) => return Outcome::Failed(failure),
                }
            }
        };

        loop {
            // Another policy may have come into force meanwhile: while the
            // upstream servers were asked, or just before the firewall was.
            let now_in_force = self.in_force.load_full();
            if now_in_force.generation != in_force.generation {
                in_force = now_in_force;
                (query, permit) = match in_force.admit(&query, now) {
                    Ok(admitted) => admitted,
                    Err(denial) => return Outcome::Denied(denial),
                };
            }
            let (answer, wanted) = match release(&in_force, &query, now, permit.clone(), &resolved) {
                Ok(released) => released,
                Err(outcome) => return outcome,
            };
            match self.firewall.open(wanted).await {
                Ok(lease) => return Outcome::Answered(Answered { ttl: lease.ttl(), ..answer }),
                Err(Refusal::Denied(reason)) => return Outcome::Denied(Denial::by_default(reason)),
                Err(Refusal::Failed(failure)) => return Outcome::Failed(failure),
                Err(Refusal::Superseded) => {}
            }
        }
    }
}

impl<U, F> Gate<U, F> {
    /// Holds the client to what it may tell by the names it asks for. All its
    /// addresses have one budget.
    fn charge(&self, query: &Query, permit: &Permit) -> Result<(), Reason> {
        let client = query.addresses.first().copied().unwrap_or(query.client);
        let now = Moment::from_millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.charge(client, &query.name, query.kind, permit.unnamed, now)
    }
}

/// What of an answer from upstream may be told under the policy in force, and
/// what has to be open for that; or how it ends without anything to open.
fn release(
    in_force: &InForce,
    query: &Query,
    now: WallTime,
    permit: Permit,
    resolved: &Resolved,
) -> Result<(Answered, Wanted), Outcome> {
    let InForce { policy, generation, allow_ranges, .. } = in_force;
    let permit = in_force.review(permit, query, now, &resolved.screened).map_err(Outcome::Denied)?;

    let ttl = resolved.ttl;
    // It may have been screened by the rules of what was in force before.
    let screened = keeping(Arc::clone(&resolved.screened), |address| ranges::is_open(address, allow_ranges));
    if screened.negative.is_some() {
        return Err(Outcome::Empty(Empty { policies: permit.policies, screened, ttl, would_deny: permit.would_deny }));
    }
    if screened.addresses.is_empty() && asks_for_addresses(query) {
        return Err(Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress)));
    }

    let screened = reachable(query, screened);
    if screened.addresses.is_empty() && asks_for_addresses(query) {
        return Err(Outcome::Empty(Empty { policies: permit.policies, screened, ttl, would_deny: permit.would_deny }));
    }

    let (screened, grants) = grants(policy, query, now, &permit, screened);
    if grants.is_empty() && asks_for_addresses(query) {
        return Err(Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress)));
    }

    let wanted = Wanted {
        client: query.client,
        name: query.name.clone(),
        grants,
        ttl,
        at_most: permit.valid_for,
        aliases: screened.chain.iter().cloned().collect(),
        generation: *generation,
    };
    let opened = Arc::clone(&screened.addresses);
    let Permit { policies, openings, would_deny, valid_for, .. } = permit;
    let stays = valid_for.is_none();
    Ok((Answered { policies, screened, ttl, opened, openings, would_deny, stays }, wanted))
}

impl Question {
    fn of(query: &Query) -> Self {
        Self {
            name: query.name.clone(),
            kind: query.kind,
            dnssec_ok: query.dnssec_ok,
            checking_disabled: query.checking_disabled,
        }
    }
}

/// The answer without the addresses of a family from which the client has no
/// address of its own: nothing could be opened for it.
fn reachable(query: &Query, screened: Arc<Screened>) -> Arc<Screened> {
    keeping(screened, |address| query.addresses.iter().any(|client| client.reaches(address)))
}

/// The same answer with only the addresses that `keep` holds true for.
fn keeping(screened: Arc<Screened>, keep: impl Fn(IpAddr) -> bool) -> Arc<Screened> {
    if screened.addresses.iter().all(|&address| keep(address)) {
        return screened;
    }
    Arc::new(screened.keeping(keep))
}

/// Which address opens on which ports, and the answer without the addresses
/// that open on none.
fn grants(
    policy: &Policy,
    query: &Query,
    now: WallTime,
    permit: &Permit,
    screened: Arc<Screened>,
) -> (Arc<Screened>, Vec<Grant>) {
    let mut grants = Vec::new();
    for &address in screened.addresses.iter() {
        let openings = match permit.judges_addresses {
            true => policy.openings_of(query, address, now),
            false => Arc::clone(&permit.openings),
        };
        if openings.is_empty() {
            continue;
        }
        let clients = query.addresses.iter().filter(|client| client.reaches(address));
        grants.extend(clients.map(|&client| Grant { client, address, openings: Arc::clone(&openings) }));
    }
    let is_granted = |address| grants.iter().any(|grant| grant.address == address);
    (keeping(screened, is_granted), grants)
}

/// HTTPS and SVCB answers carry no address once their hints are taken out.
const fn asks_for_addresses(query: &Query) -> bool {
    matches!(query.kind, RecordKind::A | RecordKind::Aaaa)
}

#[cfg(test)]
mod tests;
