//! The handler: from a client's message to the gate and back. The only place
//! that chooses response codes and extended errors.

mod hooks;
mod settings;
mod unasked;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout};

pub use self::hooks::{Hooks, Tracing};
pub use self::settings::Settings;
use super::answer::{self, ExtendedError, Rcode, Reply};
use super::caps::{Caps, Pace};
use super::limits::{Full, Quota};
use super::repeat::{Occasion, Repeats};
use super::request::{Request, Unreadable};
use super::sinkhole::{Sinkhole, Swallowed};
use super::{Admission, Answer, Glance};
use crate::clients::Clients;
use crate::core::cap::{Cap, Party};
use crate::core::config::{DenyAnswer, Transport};
use crate::core::decision::{Answered, Decision, Denial, Empty, Failure, Outcome, Reason};
use crate::core::event::{Event, Report, Subject};
use crate::core::identities::Identity;
use crate::core::name::Hostname;
use crate::core::process::{Ends, Traced};
use crate::core::query::{Client, Protocol, Query, RecordKind};
use crate::core::screen::Negative;
use crate::core::search;
use crate::core::sinkhole;
use crate::core::time::{Ttl, WallTime};
use crate::gate::{Gate, Open, Resolve};

const CLASS_IN: u16 = 1;
const CLASS_CHAOS: u16 = 3;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
/// QTYPEs and meta types (RFC 6895 section 3.1): TKEY, TSIG, IXFR, AXFR,
/// MAILB, MAILA and the unassigned ones among them.
const META_TYPES: std::ops::RangeInclusive<u16> = 128..=254;

/// The gate as the handler sees it.
pub trait Pass: Send + Sync + 'static {
    /// Takes a query all the way.
    fn pass(&self, query: &Query, now: WallTime) -> impl Future<Output = Outcome> + Send;

    /// What the policy says of a query that is never asked upstream.
    fn decide(&self, query: &Query, now: WallTime) -> Decision;
}

impl<U: Resolve + 'static, F: Open + 'static> Pass for Gate<U, F> {
    async fn pass(&self, query: &Query, now: WallTime) -> Outcome {
        Self::pass(self, query, now).await
    }

    fn decide(&self, query: &Query, now: WallTime) -> Decision {
        Self::decide(self, query, now)
    }
}

/// Why nobody gets anything, and how much of it.
struct Refusal {
    denial: Denial,
    is_whole_name: bool,
    process: Traced,
}

/// Answers messages.
pub struct Handler<G, R> {
    gate: G,
    clients: Clients,
    settings: Arc<ArcSwap<Settings>>,
    hooks: Hooks,
    report: R,
    in_flight: Arc<Quota>,
    caps: Caps,
    sinkhole: Sinkhole,
    repeats: Repeats,
}

impl<G: Pass, R: Report> Handler<G, R> {
    /// A handler in front of `gate`.
    pub fn new(gate: G, clients: Clients, settings: Settings, hooks: Hooks, report: R) -> Self {
        let in_flight = Quota::new(settings.max_in_flight, settings.in_flight_per_client);
        let caps = Caps::new(settings.rate);
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let sinkhole = Sinkhole::new(clients.clone());
        let repeats = Repeats::new(hooks.edition.clone());
        Self { gate, clients, settings, hooks, report, in_flight, caps, sinkhole, repeats }
    }

    /// What it goes by. Stored anew, it holds for the next query; the cap on
    /// queries in flight stays as it was.
    pub fn settings(&self) -> Arc<ArcSwap<Settings>> {
        Arc::clone(&self.settings)
    }

    /// The addresses that denied names have got.
    pub fn sinkhole(&self) -> Sinkhole {
        self.sinkhole.clone()
    }

    /// Tells of what was given again and is told in sums: before anybody counts.
    pub fn tell_repeats(&self) {
        self.repeats.untold(Instant::now()).into_iter().for_each(|event| self.report.report(event));
    }

    async fn respond(
        &self,
        request: &Request<'_>,
        reply: Reply<'_>,
        ends: Ends,
        resolver: Option<IpAddr>,
        occasion: Option<Occasion>,
    ) -> Vec<u8> {
        let started = Instant::now();
        let client = Client::new(ends.client.ip());
        if request.edns.is_some_and(|edns| edns.version > 0) {
            return reply.bare(Rcode::BadVers, None);
        }
        if request.kind == TYPE_OPT {
            return reply.bare(Rcode::FormErr, None);
        }
        let name = request.canonical_name();
        let mut subject = Subject {
            client,
            agent: None,
            name: name.clone().map_or_else(|_| Hostname::Escaped(request.escaped_name().into()), Hostname::Canonical),
            kind: RecordKind::from_number(request.kind),
            resolver,
            search: false,
        };
        let Some(Identity { agent, addresses }) = self.clients.identify(client) else {
            // Nobody searches this host for addresses that anybody can invent.
            return self.refuse(reply, subject, Reason::UnknownClient, Traced::Unasked);
        };
        subject.agent = Some(agent.clone());
        if request.class == CLASS_CHAOS {
            return self.chaos(request, reply, client);
        }
        if request.class != CLASS_IN || META_TYPES.contains(&request.kind) {
            let process = self.trace(ends).await;
            return self.refuse(reply, subject, Reason::NotPermitted, process);
        }
        let Ok(name) = name else {
            // Everything is below the root: it must not be said to be missing.
            let is_whole_name = !request.name.is_root();
            let denial = Denial::by_default(Reason::UnusableName);
            let process = self.trace(ends).await;
            return self.denied(request, reply, subject, Refusal { denial, is_whole_name, process }, None);
        };
        // All addresses of a client share its slots.
        let _slot = match self.in_flight.take(addresses.first().copied().unwrap_or(client)) {
            Ok(slot) => slot,
            Err(Full::ForClient) => return self.failed(reply, subject, Failure::ClientOverloaded, started),
            Err(Full::ForAll) => return self.failed(reply, subject, Failure::Overloaded, started),
        };

        let query = Query {
            addresses,
            client,
            agent,
            name,
            kind: subject.kind,
            dnssec_ok: request.edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: request.head.checking_disabled,
        };
        let now = (self.hooks.now)();
        if request.kind == TYPE_ANY {
            return match self.decide_any(&query, now) {
                Ok(permit) => self.any(request, reply, subject, permit, started),
                Err(denial) => {
                    let process = self.trace(ends).await;
                    self.denied(request, reply, subject, Refusal { denial, is_whole_name: true, process }, None)
                }
            };
        }
        match timeout(self.settings.load().patience, self.gate.pass(&query, now)).await {
            Ok(Outcome::Answered(answered)) => self.answered(reply, subject, &query, answered, started, occasion),
            Ok(Outcome::Empty(empty)) => self.empty(reply, subject, &query, empty, started),
            Ok(Outcome::Denied(denial)) => {
                let is_whole_name = self.denies_the_whole_name(&query, &denial, now);
                let process = self.trace(ends).await;
                self.denied(request, reply, subject, Refusal { denial, is_whole_name, process }, occasion)
            }
            Ok(Outcome::Failed(failure)) => self.failed(reply, subject, failure, started),
            // The upstream servers have a shorter timeout of their own.
            Err(_) => self.failed(reply, subject, Failure::KernelSilent, started),
        }
    }

    fn answered(
        &self,
        reply: Reply<'_>,
        subject: Subject,
        query: &Query,
        answered: Answered,
        started: Instant,
        occasion: Option<Occasion>,
    ) -> Vec<u8> {
        let Answered { policies, screened, ttl, opened, openings, would_deny, stays } = answered;
        let Ok(encoded) = answer::encode(&query.name, query.kind, &screened) else {
            return self.failed(reply, subject, Failure::UpstreamUnusable, started);
        };
        let wire = reply.with(encoded, ttl, Rcode::NoError, None);
        let removed = Arc::clone(&screened.removed);
        let (seconds, micros) = (ttl.as_secs(), micros_since(started));
        let subject = self.marked(subject, would_deny.as_ref());
        let may_repeat = stays && would_deny.is_none();
        let event = Event::QueryAnswered {
            subject,
            policies,
            opened,
            openings,
            removed,
            ttl: seconds,
            micros,
            would_deny,
            times: 1,
        };
        if let Some(occasion) = occasion.filter(|_| may_repeat) {
            self.repeats.keep(&occasion, (&wire, &encoded.ttl_offsets), ttl, event.clone(), Instant::now());
        }
        self.report.report(event);
        wire
    }

    fn empty(&self, reply: Reply<'_>, subject: Subject, query: &Query, empty: Empty, started: Instant) -> Vec<u8> {
        let Empty { policies, screened, ttl, would_deny } = empty;
        let Ok(encoded) = answer::encode(&query.name, query.kind, &screened) else {
            return self.failed(reply, subject, Failure::UpstreamUnusable, started);
        };
        let no_such_name = screened.negative == Some(Negative::NoSuchName);
        let rcode = if no_such_name { Rcode::NxDomain } else { Rcode::NoError };
        let wire = reply.with(encoded, ttl, rcode, None);
        let subject = self.marked(subject, would_deny.as_ref());
        self.report.report(Event::QueryEmpty {
            subject,
            policies,
            no_such_name,
            micros: micros_since(started),
            would_deny,
        });
        wire
    }

    /// Whether a denial may be told as "no such name". Clients apply NXDOMAIN
    /// to every type of the name (RFC 8020), and some resolvers give up on the
    /// other address family: so a name that has permitted addresses of another
    /// type must get NODATA instead.
    fn denies_the_whole_name(&self, query: &Query, denial: &Denial, now: WallTime) -> bool {
        match denial.reason {
            Reason::NoPermittedAddress
            | Reason::TooManyLeases
            | Reason::TooManyLeasesOfName
            | Reason::TooManyLeasesInAll
            | Reason::LeaseSetFull
            | Reason::TooManyNames
            | Reason::TooManyNameOctets
            | Reason::TooManyNameBits
            | Reason::TooManyQueries => false,
            Reason::UnknownClient | Reason::UnusableName | Reason::ForbiddenAlias => true,
            Reason::NotPermitted | Reason::Forbidden | Reason::PolicyError => {
                query.kind.leads_to_connections() || !self.permits_addresses(query, now)
            }
        }
    }

    fn permits_addresses(&self, query: &Query, now: WallTime) -> bool {
        let query = Query { kind: RecordKind::A, ..query.clone() };
        matches!(self.gate.decide(&query, now), Decision::Permit(_))
    }

    fn denied(
        &self,
        request: &Request<'_>,
        reply: Reply<'_>,
        subject: Subject,
        refusal: Refusal,
        occasion: Option<Occasion>,
    ) -> Vec<u8> {
        let Refusal { denial, is_whole_name, process } = refusal;
        let error = ExtendedError { code: extended::BLOCKED, text: denial.to_string() };
        let subject = self.marked(subject, Some(&denial));
        let settings = self.settings.load();
        let (rcode, sinkhole) = match settings.deny {
            // Whatever else a resolver got, it would not try the next name.
            _ if subject.search => (if is_whole_name { Rcode::NxDomain } else { Rcode::NoError }, None),
            DenyAnswer::Refused => (Rcode::Refused, None),
            DenyAnswer::Sinkhole if sinkhole::swallows(denial.reason) => {
                self.swallow(request, &subject, &denial, settings.deny_ttl)
            }
            DenyAnswer::Nxdomain | DenyAnswer::Sinkhole if is_whole_name => (Rcode::NxDomain, None),
            DenyAnswer::Nxdomain | DenyAnswer::Sinkhole => (Rcode::NoError, None),
        };
        let encoded = match sinkhole {
            Some(address) => answer::address(request, address),
            None => answer::negative(request),
        };
        let wire = match encoded {
            Ok(encoded) if rcode != Rcode::Refused => reply.with(&encoded, settings.deny_ttl, rcode, Some(&error)),
            Ok(_) | Err(_) => reply.bare(Rcode::Refused, Some(&error)),
        };
        if let Some(cap) = Cap::behind(denial.reason) {
            self.met(cap, subject.client);
        }
        let by_law_alone = matches!(denial.reason, Reason::NotPermitted | Reason::Forbidden) && sinkhole.is_none();
        let event = Event::QueryDenied { subject, denial, process, sinkhole, times: 1 };
        if let Some(occasion) = occasion.filter(|_| by_law_alone) {
            self.repeats.keep_denial(&occasion, &wire, event.clone(), Instant::now());
        }
        self.report.report(event);
        wire
    }

    /// What a name is told that leads to the sinkhole. NXDOMAIN would speak for
    /// its addresses, too (RFC 8020), so it is left for the day on which there
    /// is no room for the name.
    fn swallow(&self, request: &Request<'_>, subject: &Subject, denial: &Denial, ttl: Ttl) -> (Rcode, Option<IpAddr>) {
        let Ok(name) = request.canonical_name() else { return (Rcode::NxDomain, None) };
        match self.sinkhole.swallow(subject.client, subject.kind, &name, denial, ttl) {
            Swallowed::At(address) => (Rcode::NoError, Some(address)),
            Swallowed::WithoutAddress => (Rcode::NoError, None),
            Swallowed::Full => {
                self.met(Cap::SinkholeNames, subject.client);
                (Rcode::NxDomain, None)
            }
        }
    }

    fn refuse(&self, reply: Reply<'_>, subject: Subject, reason: Reason, process: Traced) -> Vec<u8> {
        let error = ExtendedError { code: extended::PROHIBITED, text: reason.to_string() };
        let denial = Denial::by_default(reason);
        self.report.report(Event::QueryDenied { subject, denial, process, sinkhole: None, times: 1 });
        reply.bare(Rcode::Refused, Some(&error))
    }

    fn failed(&self, reply: Reply<'_>, subject: Subject, failure: Failure, started: Instant) -> Vec<u8> {
        let code = match failure {
            Failure::UpstreamSilent => extended::NO_REACHABLE_AUTHORITY,
            Failure::UpstreamUnreachable => extended::NETWORK_ERROR,
            Failure::UpstreamRefused
            | Failure::UpstreamUnusable
            | Failure::KernelRefused
            | Failure::KernelSilent
            | Failure::Overloaded
            | Failure::ClientOverloaded => extended::OTHER,
        };
        if let Some(cap) = Cap::behind_failure(failure) {
            self.met(cap, subject.client);
        }
        let error = ExtendedError { code, text: failure.to_string() };
        self.report.report(Event::QueryFailed { subject, failure, micros: micros_since(started) });
        reply.bare(Rcode::ServFail, Some(&error))
    }

    /// `subject`, which got this `denial` or would have, marked if a search
    /// suffix explains it.
    fn marked(&self, subject: Subject, denial: Option<&Denial>) -> Subject {
        let is_explained = |denial| search::explains(&self.settings.load().search, subject.name.as_str(), denial);
        Subject { search: denial.is_some_and(is_explained), ..subject }
    }

    /// Counts that `client` met `cap`, and tells of it if it is time.
    fn met(&self, cap: Cap, client: Client) {
        let party = match self.clients.identify(client) {
            Some(Identity { agent, addresses }) => {
                Party { client: Some(addresses.first().copied().unwrap_or(client)), agent: Some(agent) }
            }
            None => Party { client: None, agent: None },
        };
        if let Some(reached) = self.caps.reached(cap, party) {
            self.report.report(Event::CapReached(reached));
        }
    }

    /// The answer to a question that comes too fast.
    fn too_fast(&self, transport: Transport, wire: &[u8]) -> Admission {
        let error = ExtendedError { code: extended::PROHIBITED, text: Reason::TooManyQueries.to_string() };
        match Request::parse(wire) {
            Ok(request) => Admission::Answered(Reply::to(&request, transport).bare(Rcode::Refused, Some(&error))),
            Err(_) => Admission::Ignored,
        }
    }

    /// Who did it, while the client still waits: once it has its answer, it
    /// may be gone.
    async fn trace(&self, ends: Ends) -> Traced {
        (self.hooks.trace)(ends).await
    }
}

impl<G: Pass, R: Report + 'static> Answer for Handler<G, R> {
    async fn answer(&self, ends: Ends, wire: &[u8]) -> Option<Vec<u8>> {
        let transport = match ends.protocol {
            Protocol::Udp => Transport::Udp,
            Protocol::Tcp => Transport::Tcp,
        };
        let (ends, resolver) = self.hooks.capture.sent(ends)?;
        match Request::parse(wire) {
            Ok(request) => {
                let reply = Reply::to(&request, transport);
                let may_repeat = transport == Transport::Udp && resolver.is_none();
                let occasion = if may_repeat { self.repeats.occasion(ends.client, wire) } else { None };
                Some(self.respond(&request, reply, ends, resolver, occasion).await)
            }
            Err(unreadable) => unreadable_reply(&unreadable),
        }
    }

    fn admit(&self, peer: SocketAddr, transport: Transport, wire: &[u8], glance: &mut Glance) -> Admission {
        match self.caps.pace(self.counted_as(peer)) {
            Pace::Fair => {}
            Pace::TooFast => {
                self.reached(Cap::QueriesPerSecond, peer);
                return self.too_fast(transport, wire);
            }
            Pace::Flood => {
                self.reached(Cap::QueriesPerSecond, peer);
                return Admission::Ignored;
            }
        }
        if transport == Transport::Udp
            && let Some((reply, event)) = self.repeats.repeat(peer, wire, glance, Instant::now())
        {
            event.into_iter().for_each(|event| self.report.report(event));
            return Admission::Answered(reply);
        }
        match Request::parse(wire) {
            Ok(_) => Admission::Serve,
            Err(unreadable) => unreadable_reply(&unreadable).map_or(Admission::Ignored, Admission::Answered),
        }
    }

    fn glance(&self, local: SocketAddr) -> Glance {
        // Where a captured question was sent has to be looked up each time.
        if self.hooks.capture.arrives_at(local) { Glance::blind() } else { (self.hooks.glance)() }
    }

    fn reached(&self, cap: Cap, peer: SocketAddr) {
        self.met(cap, Client::new(peer.ip()));
    }

    fn round(&self) {
        for reached in self.caps.round() {
            self.report.report(Event::CapReached(reached));
        }
        self.tell_repeats();
        self.repeats.round();
    }

    fn counted_as(&self, peer: SocketAddr) -> Client {
        let identity = self.clients.identify(Client::new(peer.ip()));
        let first = identity.and_then(|identity| identity.addresses.first().copied());
        first.unwrap_or(Client::new(Ipv6Addr::UNSPECIFIED.into()))
    }
}

fn unreadable_reply(unreadable: &Unreadable) -> Option<Vec<u8>> {
    match unreadable {
        Unreadable::NotAQuery => None,
        Unreadable::Malformed(head) => Some(Reply::to_header(*head).bare(Rcode::FormErr, None)),
        Unreadable::OtherOpcode(head) => Some(Reply::to_header(*head).bare(Rcode::NotImp, None)),
    }
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Info-codes of RFC 8914 section 4.
mod extended {
    pub(super) const OTHER: u16 = 0;
    pub(super) const BLOCKED: u16 = 15;
    pub(super) const PROHIBITED: u16 = 18;
    pub(super) const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub(super) const NETWORK_ERROR: u16 = 23;
}

#[cfg(test)]
mod repeated;
#[cfg(test)]
mod tests;
