//! [`Repeats`]: answers that are given again without taking the whole way.
//!
//! The same client asks the same question again, and nothing an answer rests on
//! has changed: not the law, the clients, the rules ([`Edition`]), not the
//! kernel's ruleset ([`Glance`]), and its TTL is not over. A lease lives as
//! long as the TTL that it was answered with, so it still outlives what is left
//! of that TTL. Then the answer is the octets it was, but for the id, the
//! spelling of the name, and the TTL.
//!
//! A denial is given again for a second, to the socket that was denied: whoever
//! held it is still the one who asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::Glance;
use super::request::HEADER;
use crate::core::event::Event;
use crate::core::sharded::cache;
use crate::core::time::Ttl;
use crate::gate::{Edition, Stage};

/// What all kept answers and their questions may take together, octets; and
/// all denials: some 10,000, as each socket has its own.
const ROOM: u64 = 24 * 1024 * 1024;
const ROOM_FOR_DENIALS: u64 = 8 * 1024 * 1024;
/// How long a denial is given again.
const DENIED: Duration = Duration::from_secs(1);
/// What is left at least of the TTL of an answer that is given again: TTLs are
/// whole seconds, and zero is no time.
const LEAST_LEFT: Duration = Duration::from_secs(1);
/// What an answer takes besides its octets: the event that tells of it, and the
/// cache's own.
const OVERHEAD: usize = 512;
/// Repeats that are told one by one in each [round](Repeats::round); of others
/// it is told once a round how often they came.
const TOLD: u64 = 1000;
/// Octets that a question has at most: the longest name, and EDNS with a small
/// option.
const LONGEST: usize = 320;
/// Octets of a port.
const PORT: usize = 2;

/// A question as it has to be asked again: who asks and from which port, and
/// every octet but the id and the spelling of the name.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    octets: [u8; LONGEST],
    length: usize,
    /// Where the question section ends in the message.
    end: usize,
}

impl Asked {
    /// `None` for what is no plain question, or too long.
    pub(super) fn of(peer: SocketAddr, wire: &[u8]) -> Option<Self> {
        let flags = *wire.get(2)?;
        let is_question = flags & 0x80 == 0 && wire.get(4..6)? == [0, 1];
        let end = if is_question { end_of_question(wire)? } else { return None };
        let who = match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let (what, before) = (wire.get(2..)?, PORT + who.len());
        let (mut octets, length) = ([0; LONGEST], before + what.len());
        octets.get_mut(..PORT)?.copy_from_slice(&peer.port().to_be_bytes());
        octets.get_mut(PORT..before)?.copy_from_slice(&who);
        octets.get_mut(before..length)?.copy_from_slice(what);
        // A label's length is no letter (RFC 1035 section 2.3.4).
        let name = before + HEADER - 2..before + end - 4 - 2;
        octets.get_mut(name)?.make_ascii_lowercase();
        Some(Self { octets, length, end })
    }

    /// By any socket of the client.
    fn of_client(&self) -> &[u8] {
        self.octets.get(PORT..self.length).unwrap_or_default()
    }

    /// By this socket.
    fn of_socket(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// Where the first question ends, if its name is written out.
fn end_of_question(wire: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match wire.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(*length),
            _ => return None,
        }
    }
    let end = at + 1 + 4;
    (end <= wire.len()).then_some(end)
}

/// TC (RFC 1035 section 4.1.1).
fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// An answer that is on its way, and may be kept.
#[derive(Clone, Debug)]
pub(super) struct Occasion {
    /// The question.
    pub(super) asked: Asked,
    /// The edition before anything was decided.
    pub(super) stage: Stage,
}

/// Kept answers.
#[derive(Debug)]
pub(super) struct Repeats {
    answers: Keep,
    denials: Keep,
    edition: Edition,
    /// Repeats in this round.
    round: AtomicU64,
    /// Those that have come too often to be told one by one.
    untold: Mutex<Vec<Arc<Kept>>>,
}

type Keep = Cache<Box<[u8]>, Arc<Kept>, ByOctets>;

/// An answer, and what it rests on.
#[derive(Debug)]
struct Kept {
    message: Box<[u8]>,
    ttl_offsets: Box<[u16]>,
    /// Where its question section ends.
    end: usize,
    /// When its TTL is over.
    until: Instant,
    /// When it is given again for the last time.
    last: Instant,
    stage: Stage,
    /// Tells of it.
    event: Event,
    /// How often it was given again without being told of.
    untold: AtomicU64,
}

#[derive(Clone, Debug)]
struct ByOctets;

impl Weighter<Box<[u8]>, Arc<Kept>> for ByOctets {
    fn weight(&self, asked: &Box<[u8]>, kept: &Arc<Kept>) -> u64 {
        u64::try_from(asked.len() + kept.message.len() + OVERHEAD).unwrap_or(u64::MAX)
    }
}

impl Repeats {
    /// None yet. They rest on `edition`.
    pub(super) fn new(edition: Edition) -> Self {
        let keep = |room| {
            let usual = usize::try_from(room).unwrap_or(usize::MAX) / (OVERHEAD + 128);
            cache(usual, room, ByOctets)
        };
        let (answers, denials) = (keep(ROOM), keep(ROOM_FOR_DENIALS));
        Self { answers, denials, edition, round: AtomicU64::new(0), untold: Mutex::default() }
    }

    /// The question `wire` of `peer`, before anything is decided about it.
    pub(super) fn occasion(&self, peer: SocketAddr, wire: &[u8]) -> Option<Occasion> {
        Some(Occasion { asked: Asked::of(peer, wire)?, stage: self.edition.now() })
    }

    /// Keeps the answer `message` to the question of the `occasion`, given at
    /// `now` with this TTL at these offsets, and told of by `event`.
    pub(super) fn keep(
        &self,
        occasion: &Occasion,
        (message, ttl_offsets): (&[u8], &[u16]),
        ttl: Ttl,
        event: Event,
        now: Instant,
    ) {
        // What had to be cut has its TTLs elsewhere, and is asked for over TCP.
        if is_truncated(message) {
            return;
        }
        let until = now + ttl.duration();
        let Some(last) = until.checked_sub(LEAST_LEFT).filter(|last| *last >= now) else { return };
        if occasion.stage == self.edition.now() {
            let kept = occasion.kept((message, ttl_offsets), until, last, event);
            self.answers.insert(occasion.asked.of_client().into(), kept);
        }
    }

    /// Keeps the denial `message` to the question of the `occasion`, told of by
    /// `event`. That it is a denial must not rest on anything but the law.
    pub(super) fn keep_denial(&self, occasion: &Occasion, message: &[u8], event: Event, now: Instant) {
        if occasion.stage == self.edition.now() {
            let last = now + DENIED;
            let kept = occasion.kept((message, &[]), last, last, event);
            self.denials.insert(occasion.asked.of_socket().into(), kept);
        }
    }

    /// The answer to the question `wire` of `peer`, if it may be given again,
    /// and what tells of it, unless that is told later.
    pub(super) fn repeat(
        &self,
        peer: SocketAddr,
        wire: &[u8],
        glance: &mut Glance,
        now: Instant,
    ) -> Option<(Vec<u8>, Option<Event>)> {
        let asked = Asked::of(peer, wire)?;
        let kept = match self.find(&self.answers, asked.of_client(), now) {
            Some(answer) if glance.holds(now) => answer,
            Some(_) => return None,
            // A denial rests on nothing that the kernel holds.
            None => self.find(&self.denials, asked.of_socket(), now)?,
        };
        let left = kept.until.saturating_duration_since(now);
        let message = kept.again(wire, left);
        if self.round.fetch_add(1, Ordering::Relaxed) < TOLD {
            return Some((message, Some(kept.event(1, left))));
        }
        if kept.untold.fetch_add(1, Ordering::AcqRel) == 0 {
            self.untold.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        Some((message, None))
    }

    fn find(&self, keep: &Keep, asked: &[u8], now: Instant) -> Option<Arc<Kept>> {
        let kept = keep.get(asked)?;
        if kept.last < now || kept.stage != self.edition.now() {
            keep.remove(asked);
            return None;
        }
        Some(kept)
    }

    /// What was not told of yet.
    pub(super) fn untold(&self, now: Instant) -> Vec<Event> {
        let untold = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let told = untold.iter().map(|kept| {
            let times = kept.untold.swap(0, Ordering::AcqRel);
            kept.event(times, kept.until.saturating_duration_since(now))
        });
        told.collect()
    }

    /// A new round, in which as many are told one by one again.
    pub(super) fn round(&self) {
        self.round.store(0, Ordering::Relaxed);
    }
}

impl Occasion {
    fn kept(&self, (message, ttl_offsets): (&[u8], &[u16]), until: Instant, last: Instant, event: Event) -> Arc<Kept> {
        Arc::new(Kept {
            message: message.into(),
            ttl_offsets: ttl_offsets.into(),
            end: self.asked.end,
            until,
            last,
            stage: self.stage,
            event,
            untold: AtomicU64::new(0),
        })
    }
}

impl Kept {
    /// The answer to the question `wire`, to be kept for as long as is `left`.
    fn again(&self, wire: &[u8], left: Duration) -> Vec<u8> {
        let mut message = self.message.to_vec();
        let ttl = Ttl::within(left).as_secs().to_be_bytes();
        let places =
            self.ttl_offsets.iter().map(|offset| usize::from(*offset)).map(|at| (at..at + ttl.len(), &ttl[..]));
        let question = (HEADER..self.end, wire.get(HEADER..self.end).unwrap_or_default());
        let id = (0..2, wire.get(..2).unwrap_or_default());
        for (place, octets) in places.chain([question, id]) {
            if let Some(place) = message.get_mut(place).filter(|place| place.len() == octets.len()) {
                place.copy_from_slice(octets);
            }
        }
        message
    }

    fn event(&self, count: u64, left: Duration) -> Event {
        let mut event = self.event.clone();
        match &mut event {
            Event::QueryAnswered { ttl, times, .. } => (*ttl, *times) = (Ttl::within(left).as_secs(), count),
            Event::QueryDenied { times, .. } => *times = count,
            _ => {}
        }
        event
    }
}
