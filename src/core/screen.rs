//! Screening: which of the records an upstream server sent may be told to a
//! client, and which addresses of them may be opened.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;

use super::decision::Failure;
use super::name::Name;
use super::query::RecordKind;
use super::ranges;
use super::record::{Data, Record, Response, Verdict};
use super::time::Ttl;

mod svcb;
#[cfg(test)]
mod tests;

/// The longest CNAME chain that is followed.
const MAX_CHAIN: usize = 12;
/// The most addresses one answer may open.
const MAX_ADDRESSES: usize = 32;
/// The most records of other types one answer may carry.
const MAX_RECORDS: usize = 256;
/// The longest a negative answer is kept (RFC 2308 section 5 allows hours; a
/// name that has just been created should not stay missing that long).
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(300);
/// How long a negative answer without an SOA is kept: long enough for a burst
/// of retries (RFC 2308 section 5 would not keep it at all).
const BARE_NEGATIVE_TTL: Duration = Duration::from_secs(5);

const CNAME: u16 = 5;
const RRSIG: u16 = 46;

/// What screening needs to know besides the answer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Special-purpose ranges that are open all the same.
    pub allow_ranges: Vec<IpNet>,
    /// Answers live at most this long.
    pub max_ttl: Ttl,
}

/// Records that may leave the house.
#[derive(Debug)]
pub struct Screened {
    /// The names the question is an alias of, nearest first.
    pub chain: Vec<Name>,
    /// The CNAME records of the chain and the records at its end.
    pub records: Vec<Record>,
    /// The addresses among `records`.
    pub addresses: Arc<[IpAddr]>,
    /// Addresses that were taken out.
    pub removed: Arc<[IpAddr]>,
    /// Present when there is no record of the asked type at the chain's end.
    pub negative: Option<Negative>,
    /// The shortest TTL of all of them, capped.
    pub ttl: Ttl,
    /// The answer on the wire, made once by the DNS edge and patched for each
    /// client.
    pub encoded: OnceLock<Encoded>,
}

/// Why there is no record (RFC 2308 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negative {
    /// The end of the chain does not exist.
    NoSuchName,
    /// It exists, without a record of this type.
    NoData,
}

/// An encoded answer: everything after the header and the question, and where
/// its TTLs stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// A whole message with id 0, the canonical question, and TTLs of zero.
    pub message: Box<[u8]>,
    /// Offsets of the 32-bit TTL fields.
    pub ttl_offsets: Box<[u16]>,
}

impl PartialEq for Screened {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
            && self.removed == other.removed
            && self.negative == other.negative
            && self.ttl == other.ttl
    }
}

impl Eq for Screened {}

/// Screens `response` to the question `name`/`kind`.
///
/// # Errors
/// [`Failure::UpstreamUnusable`] when the chain loops or is too long, or the
/// answer both denies the name and carries records of it.
pub fn screen(name: &Name, kind: RecordKind, response: &Response, rules: &Rules) -> Result<Screened, Failure> {
    let (chain, aliases) = follow(name, kind, &response.records)?;
    let end = chain.last().unwrap_or(name);

    let mut removed = Vec::new();
    let mut found = false;
    // What is removed counts, too: what is left without it is true no longer.
    let mut ttl = aliases.iter().map(|alias| alias.ttl).fold(rules.max_ttl, Ttl::min);
    let mut records = aliases;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for record in response.records.iter().filter(|record| record.owner == *end) {
        if record.data.number() != kind.number() {
            continue;
        }
        found = true;
        ttl = ttl.min(record.ttl);
        match &record.data {
            Data::Address(address) => {
                let address = *address;
                if addresses.contains(&address) || removed.contains(&address) {
                    continue;
                }
                if addresses.len() == MAX_ADDRESSES || !ranges::is_open(address, &rules.allow_ranges) {
                    if removed.len() < MAX_ADDRESSES {
                        removed.push(address);
                    }
                    continue;
                }
                addresses.push(address);
                records.push(of(end, record));
            }
            Data::Alias(_) => records.push(of(end, record)),
            Data::Opaque { .. } if records.len() >= MAX_RECORDS => {}
            Data::Opaque { kind: RecordKind::Https | RecordKind::Svcb, rdata } => {
                records.extend(svcb::without_hints(rdata).map(|rdata| Record {
                    owner: end.clone(),
                    ttl: record.ttl,
                    data: Data::Opaque { kind, rdata },
                }));
            }
            Data::Opaque { .. } => records.push(of(end, record)),
        }
    }
    if found && response.verdict == Verdict::NoSuchName {
        return Err(Failure::UpstreamUnusable);
    }

    let answered = records.len() > chain.len();
    let emptied = !removed.is_empty() && addresses.is_empty();
    if emptied {
        records.clear();
    } else {
        records.extend(signatures(name, &chain, kind, &response.records));
    }
    let negative = (!answered && !emptied).then_some(match response.verdict {
        Verdict::NoSuchName => Negative::NoSuchName,
        Verdict::Exists => Negative::NoData,
    });
    let mut ttl = records.iter().map(|record| record.ttl).fold(ttl, Ttl::min);
    if emptied {
        ttl = ttl.min(Ttl::within(BARE_NEGATIVE_TTL));
    }
    if negative.is_some() {
        ttl = ttl.min(negative_ttl(response));
    }
    // It is kept, perhaps a million times.
    records.shrink_to_fit();
    let (addresses, removed) = (shared(addresses), shared(removed));
    Ok(Screened { chain, records, addresses, removed, negative, ttl, encoded: OnceLock::new() })
}

impl Screened {
    /// The same answer with only the addresses that `keep` holds true for.
    /// With none left, no record is left either.
    #[must_use]
    pub fn keeping(&self, keep: impl Fn(IpAddr) -> bool) -> Self {
        let (addresses, dropped): (Vec<_>, Vec<_>) = self.addresses.iter().copied().partition(|&address| keep(address));
        let emptied = addresses.is_empty() && !dropped.is_empty();
        let stays = |record: &&Record| match record.data {
            Data::Address(address) => addresses.contains(&address),
            Data::Alias(_) | Data::Opaque { .. } => true,
        };
        let records = if emptied { Vec::new() } else { self.records.iter().filter(stays).cloned().collect() };
        Self {
            chain: self.chain.clone(),
            records,
            addresses: shared(addresses),
            removed: shared(self.removed.iter().copied().chain(dropped).collect()),
            negative: self.negative,
            ttl: self.ttl,
            encoded: OnceLock::new(),
        }
    }
}

/// Most lists of what was removed are empty: they are one and the same.
fn shared(addresses: Vec<IpAddr>) -> Arc<[IpAddr]> {
    if addresses.is_empty() { Arc::default() } else { addresses.into() }
}

/// The same record, whose owner is `owner`: its name is written down once for
/// all that speak of it.
fn of(owner: &Name, record: &Record) -> Record {
    Record { owner: owner.clone(), ..record.clone() }
}

/// The names that `name` is an alias of, and the CNAME records that say so.
/// A question for the CNAME itself follows nothing (RFC 1034 section 3.6.2).
fn follow(name: &Name, kind: RecordKind, records: &[Record]) -> Result<(Vec<Name>, Vec<Record>), Failure> {
    let mut chain: Vec<Name> = Vec::new();
    let mut aliases = Vec::new();
    if kind.number() == CNAME {
        return Ok((chain, aliases));
    }
    loop {
        let current = chain.last().unwrap_or(name);
        let next = records.iter().find_map(|record| match &record.data {
            Data::Alias(target) if record.owner == *current => Some((record, target)),
            _ => None,
        });
        let Some((record, target)) = next else {
            return Ok((chain, aliases));
        };
        if target == name || chain.contains(target) || chain.len() == MAX_CHAIN {
            return Err(Failure::UpstreamUnusable);
        }
        aliases.push(of(current, record));
        chain.push(target.clone());
    }
}

/// The signatures over the chain and over the asked type, for clients that
/// asked for them (RFC 4035 section 3.2.1).
fn signatures<'a>(
    name: &'a Name,
    chain: &'a [Name],
    kind: RecordKind,
    records: &'a [Record],
) -> impl Iterator<Item = Record> + 'a {
    let covers = move |rdata: &[u8]| {
        let covered = rdata.first_chunk().map(|octets| u16::from_be_bytes(*octets));
        covered == Some(CNAME) || covered == Some(kind.number())
    };
    let wanted = move |record: &&Record| match &record.data {
        Data::Opaque { kind: RecordKind::Other(RRSIG), rdata } => {
            kind.number() != RRSIG && covers(rdata) && (record.owner == *name || chain.contains(&record.owner))
        }
        _ => false,
    };
    records.iter().filter(wanted).take(MAX_RECORDS).cloned()
}

fn negative_ttl(response: &Response) -> Ttl {
    response.negative_ttl.unwrap_or(Ttl::within(BARE_NEGATIVE_TTL)).min(Ttl::within(MAX_NEGATIVE_TTL))
}
