//! Screening: which of the records an upstream server sent may be told to a
//! client, and which addresses of them may be opened.

use std::net::IpAddr;
use std::sync::OnceLock;

use ipnet::IpNet;

use super::decision::Failure;
use super::name::Name;
use super::query::RecordKind;
use super::record::{Record, Response};
use super::time::Ttl;

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
    pub addresses: Vec<IpAddr>,
    /// Addresses that were taken out.
    pub removed: Vec<IpAddr>,
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
/// [`Failure::UpstreamUnusable`] when the chain loops or is too long.
pub fn screen(name: &Name, kind: RecordKind, response: &Response, rules: &Rules) -> Result<Screened, Failure> {
    todo!("{name} {kind} {response:?} {rules:?}")
}

impl Screened {
    /// The same answer with only the addresses that `keep` holds true for.
    #[must_use]
    pub fn keeping(&self, keep: impl Fn(IpAddr) -> bool) -> Self {
        todo!("{}", keep(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)))
    }
}
