//! [`Budgets`]: how much clients may tell the owners of permitted domains in
//! the names they ask for.
//!
//! Who may resolve everything below `example.com` can ask for
//! `c2VjcmV0.example.com`, and the server of `example.com` reads it. What a
//! permit names itself tells nothing and is free; of every other question the
//! labels to the left of what a permit names count, for each client, over a
//! sliding minute: as distinct names, as octets, and as bits.
//!
//! The bits are no guess. [`bits`] is the length of the labels in a prefix
//! code, rounded up; so of all names that cost up to `n` bits there are no more
//! than 2^n (Kraft's inequality), whatever the client has thought of, and a
//! minute's questions tell on average no more bits than they cost. Shannon's
//! entropy of a label's own characters would not do: it is 0 for `aaaa`, and
//! the number of letters would tell the secret for nothing.
//!
//! A name that counted within the minute costs, when asked upstream again, only
//! what the choice among those names can tell. What lies outside: which of the
//! domains that permits name is asked, and when.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::config::NameLimits;
use super::decision::Reason;
use super::name::Name;
use super::query::{Client, RecordKind};
use super::time::Moment;

/// Over how long names count.
const SPAN: Duration = Duration::from_secs(60);
/// What counts together, and is forgotten together.
const SLOT: Duration = Duration::from_secs(1);
/// Letters, digits, `-`, `_`, `.` and the end.
const SYMBOLS: u32 = 40;
/// What a question tells beside its name: seen or new (1 bit), whether it leads
/// to connections (1), DNSSEC OK and Checking Disabled (2), and which of the
/// four types that do (2).
const BITS_OF_CONNECTING: u64 = 6;
/// The same for any other type: its number has 16 bits.
const BITS_OF_OTHER: u64 = 20;

/// What each client has told within the last minute.
///
/// A client's part holds as many names as it may ask for in a minute, and there
/// are as many parts as clients that have asked within it.
#[derive(Debug)]
pub struct Budgets {
    limits: NameLimits,
    windows: HashMap<Client, Window>,
    swept: Moment,
}

#[derive(Debug, Default)]
struct Window {
    slots: VecDeque<Slot>,
    seen: BTreeSet<Name>,
    octets: u64,
    bits: u64,
}

/// What was told within one second.
#[derive(Debug)]
struct Slot {
    start: Moment,
    names: Vec<Name>,
    octets: u64,
    bits: u64,
}

impl Budgets {
    /// Nothing told yet.
    pub fn new(limits: NameLimits) -> Self {
        Self { limits, windows: HashMap::new(), swept: Moment::ZERO }
    }

    /// Counts a question that is about to be asked upstream for `client`;
    /// `unnamed` labels of `name`, from the left, are in no permit.
    ///
    /// # Errors
    /// Which part of the budget it would exceed; then it does not count.
    pub fn charge(
        &mut self,
        client: Client,
        name: &Name,
        kind: RecordKind,
        unnamed: usize,
        now: Moment,
    ) -> Result<(), Reason> {
        if unnamed == 0 {
            return Ok(());
        }
        self.sweep(now);
        let window = self.windows.entry(client).or_default();
        window.slide(now);
        window.charge(&self.limits, name, kind, unnamed, now)
    }

    fn sweep(&mut self, now: Moment) {
        if now.since(self.swept) < SPAN {
            return;
        }
        self.swept = now;
        self.windows.retain(|_, window| {
            window.slide(now);
            !window.slots.is_empty()
        });
    }
}

impl Window {
    /// Forgets what was told more than a minute ago.
    fn slide(&mut self, now: Moment) {
        while let Some(slot) = self.slots.pop_front_if(|slot| now.since(slot.start) >= SPAN + SLOT) {
            self.octets -= slot.octets;
            self.bits -= slot.bits;
            for name in &slot.names {
                self.seen.remove(name);
            }
        }
    }

    fn charge(
        &mut self,
        limits: &NameLimits,
        name: &Name,
        kind: RecordKind,
        unnamed: usize,
        now: Moment,
    ) -> Result<(), Reason> {
        let frame = if kind.leads_to_connections() { BITS_OF_CONNECTING } else { BITS_OF_OTHER };
        let is_new = !self.seen.contains(name);
        let (octets, bits) = if is_new {
            let labels = leftmost(name.as_str(), unnamed);
            (u64::try_from(labels.len()).unwrap_or(u64::MAX), bits(labels) + frame)
        } else {
            (0, choice_among(self.seen.len()) + frame)
        };
        if is_new && self.seen.len() >= usize::try_from(limits.per_minute).unwrap_or(usize::MAX) {
            return Err(Reason::TooManyNames);
        }
        if self.octets + octets > u64::from(limits.octets_per_minute) {
            return Err(Reason::TooManyNameOctets);
        }
        if self.bits + bits > u64::from(limits.bits_per_minute) {
            return Err(Reason::TooManyNameBits);
        }

        self.octets += octets;
        self.bits += bits;
        let slot = self.slot(now);
        slot.octets += octets;
        slot.bits += bits;
        if is_new {
            slot.names.push(name.clone());
            self.seen.insert(name.clone());
        }
        Ok(())
    }

    fn slot(&mut self, now: Moment) -> &mut Slot {
        let is_current = self.slots.back().is_some_and(|slot| now.since(slot.start) < SLOT);
        if is_current && let Some(slot) = self.slots.pop_back() {
            return self.slots.push_back_mut(slot);
        }
        self.slots.push_back_mut(Slot { start: now, names: Vec::new(), octets: 0, bits: 0 })
    }
}

/// The first `count` labels of a name.
fn leftmost(name: &str, count: usize) -> &str {
    let dots = name.match_indices('.').map(|(offset, _)| offset);
    let end = dots.chain([name.len()]).nth(count.saturating_sub(1)).unwrap_or(name.len());
    name.get(..end).unwrap_or(name)
}

/// The length of `labels` in bits, rounded up, in the adaptive code in which a
/// symbol that has come `c` times among `n` so far has the probability
/// `(c + 1) / (n + 40)` (Laplace's rule of succession), with an end of its own.
pub fn bits(labels: &str) -> u64 {
    let mut counts = [0u32; 256];
    let mut length = 0.0;
    let mut so_far = 0u32;
    for octet in labels.bytes().chain([0]) {
        let Some(count) = counts.get_mut(usize::from(octet)) else { continue };
        length += f64::from(so_far + SYMBOLS).log2() - f64::from(*count + 1).log2();
        *count += 1;
        so_far += 1;
    }
    rounded_up(length)
}

/// The bits that choosing one of `count` things tells.
fn choice_among(count: usize) -> u64 {
    u64::from(count.max(1).next_power_of_two().trailing_zeros())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2,000")]
fn rounded_up(bits: f64) -> u64 {
    bits.ceil() as u64
}

#[cfg(test)]
mod tests;
