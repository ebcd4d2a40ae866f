//! What an upstream server said, in the core's words.

use std::net::IpAddr;
use std::sync::Arc;

use super::name::Name;
use super::query::RecordKind;
use super::time::Ttl;

/// One resource record of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose record it is.
    pub owner: Name,
    /// How long it may be kept, as the server said.
    pub ttl: Ttl,
    /// What it says.
    pub data: Data,
}

/// The data of a [`Record`], as far as the wall looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME.
    Alias(Name),
    /// Anything else: carried, not looked into, except that address hints are
    /// taken out of HTTPS and SVCB.
    Opaque {
        /// The type.
        kind: RecordKind,
        /// RDATA on the wire, names in it uncompressed.
        rdata: Arc<[u8]>,
    },
}

impl Data {
    /// The record's type number.
    pub fn number(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => RecordKind::A.number(),
            Self::Address(IpAddr::V6(_)) => RecordKind::Aaaa.number(),
            Self::Alias(_) => 5,
            Self::Opaque { kind, .. } => kind.number(),
        }
    }
}

/// What the server says of the name as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// NOERROR: the name exists. With no matching record in the answer this
    /// is NODATA (RFC 2308 section 2.2).
    Exists,
    /// NXDOMAIN: the end of the chain does not exist (RFC 2308 section 2.1).
    NoSuchName,
}

/// An upstream server's answer to one question of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Whether the name exists.
    pub verdict: Verdict,
    /// The answer section.
    pub records: Vec<Record>,
    /// The SOA of the authority section, as RFC 2308 section 5 uses it: how
    /// long a negative answer may be kept.
    pub negative_ttl: Option<Ttl>,
}
