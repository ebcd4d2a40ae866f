//! One query to an upstream server, and the judgement of what comes back.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name as WireName;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::rdata;
use crate::core::decision::Failure;
use crate::core::name::Name;
use crate::core::query::RecordKind;
use crate::core::record::{Data, Record, Response, Verdict};
use crate::core::time::Ttl;
use crate::dns::answer::UDP_PAYLOAD;
use crate::dns::request::HEADER;
use crate::gate::Question;

const CLASS_IN: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_OPT: u16 = 41;

/// A query on its way.
#[derive(Debug)]
pub(super) struct Transaction {
    wire: Vec<u8>,
    /// The end of the question section.
    question_end: usize,
}

/// How the letters of the name are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Lower case.
    Canonical,
    /// Each letter's case by chance, which the answer must repeat: that many
    /// more bits for a forger to guess ("0x20").
    Random,
}

/// What a message from the server turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Not an answer to this query: a stray, or a forgery.
    NotOurs,
    /// Ours but for the case of the name: a forgery, or one of the rare
    /// servers that do not repeat the case.
    Misspelled,
    /// Cut short: ask again over TCP.
    Truncated,
    /// The answer.
    Response(Response),
    /// An answer that is of no use.
    Useless(Failure),
}

impl Transaction {
    /// A fresh query with a random id.
    pub(super) fn new(question: &Question, spelling: Spelling) -> Self {
        let labels = question.name.labels();
        Self::of(labels, question.kind.number(), question.dnssec_ok, question.checking_disabled, spelling)
    }

    /// A fresh query for the name servers of the root.
    pub(super) fn for_the_root() -> Self {
        Self::of(std::iter::empty(), TYPE_NS, false, false, Spelling::Canonical)
    }

    fn of<'a>(
        labels: impl Iterator<Item = &'a str>,
        kind: u16,
        dnssec_ok: bool,
        checking_disabled: bool,
        spelling: Spelling,
    ) -> Self {
        let recursion_desired = 0x01;
        let checking_disabled = if checking_disabled { 0x10 } else { 0 };
        let mut wire = rand::random::<u16>().to_be_bytes().to_vec();
        wire.extend([recursion_desired, checking_disabled, 0, 1, 0, 0, 0, 0, 0, 1]);
        for label in labels {
            wire.push(u8::try_from(label.len()).unwrap_or_default());
            wire.extend(label.bytes().map(|octet| match spelling {
                Spelling::Random if rand::random() => octet.to_ascii_uppercase(),
                Spelling::Random | Spelling::Canonical => octet,
            }));
        }
        wire.push(0);
        wire.extend(kind.to_be_bytes());
        wire.extend(CLASS_IN.to_be_bytes());
        let question_end = wire.len();

        let dnssec_ok = if dnssec_ok { 0x80 } else { 0 };
        wire.push(0);
        wire.extend(TYPE_OPT.to_be_bytes());
        wire.extend(UDP_PAYLOAD.to_be_bytes());
        wire.extend([0, 0, dnssec_ok, 0, 0, 0]);
        Self { wire, question_end }
    }

    /// The same query with this id.
    pub(super) fn of_id(mut self, id: [u8; 2]) -> Self {
        self.wire.splice(..2, id);
        self
    }

    /// Its id.
    pub(super) fn id(&self) -> [u8; 2] {
        self.wire.first_chunk().copied().unwrap_or_default()
    }

    /// The query's octets.
    pub(super) fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Judges a message from the server.
    pub(super) fn judge(&self, message: &[u8]) -> Judged {
        let Some([id_high, id_low, flags, codes, qd_high, qd_low, ..]) = message.first_chunk::<HEADER>().copied()
        else {
            return Judged::NotOurs;
        };
        let questions = u16::from_be_bytes([qd_high, qd_low]);
        let is_answer = flags & 0x80 != 0;
        let opcode = (flags >> 3) & 0x0f;
        let rcode = codes & 0x0f;
        if !is_answer || opcode != 0 || self.wire.get(..2) != Some(&[id_high, id_low]) {
            return Judged::NotOurs;
        }
        // Some servers leave the question out of an error.
        if questions == 0 && rcode != 0 && rcode != 3 {
            return Judged::Useless(Failure::UpstreamRefused);
        }
        let asked = self.wire.get(HEADER..self.question_end);
        let answered = message.get(HEADER..self.question_end);
        if questions != 1 || answered.is_none() {
            return Judged::NotOurs;
        }
        if answered != asked {
            let is_alike = answered.zip(asked).is_some_and(|(answered, asked)| differ_in_case_only(answered, asked));
            return if is_alike { Judged::Misspelled } else { Judged::NotOurs };
        }
        let is_truncated = flags & 0x02 != 0;
        match rcode {
            0 | 3 if is_truncated => Judged::Truncated,
            0 => self.response(message, Verdict::Exists),
            3 => self.response(message, Verdict::NoSuchName),
            _ => Judged::Useless(Failure::UpstreamRefused),
        }
    }

    fn response(&self, message: &[u8], verdict: Verdict) -> Judged {
        match read_sections(message, self.question_end) {
            Some(sections) if sections.extended_rcode == 0 => {
                Judged::Response(Response { verdict, records: sections.answer, negative_ttl: sections.negative_ttl })
            }
            Some(_) => Judged::Useless(Failure::UpstreamRefused),
            None => Judged::Useless(Failure::UpstreamUnusable),
        }
    }
}

/// Whether two question sections have the same name but for its case, and the
/// same type and class.
fn differ_in_case_only(left: &[u8], right: &[u8]) -> bool {
    let parts = |section: &[u8]| section.split_last_chunk::<4>().map(|(name, rest)| (name.to_ascii_lowercase(), *rest));
    parts(left) == parts(right)
}

struct Sections {
    answer: Vec<Record>,
    negative_ttl: Option<Ttl>,
    /// The upper eight bits of the response code (RFC 6891 section 6.1.3).
    extended_rcode: u8,
}

/// `None` if anything in the message is malformed.
fn read_sections(message: &[u8], question_end: usize) -> Option<Sections> {
    let [_, _, _, _, _, _, an_high, an_low, ns_high, ns_low, ar_high, ar_low] = *message.first_chunk::<HEADER>()?;
    let mut decoder = BinDecoder::new(message).clone(u16::try_from(question_end).ok()?);
    let mut sections = Sections { answer: Vec::new(), negative_ttl: None, extended_rcode: 0 };
    for _ in 0..u16::from_be_bytes([an_high, an_low]) {
        sections.answer.extend(WireRecord::read(&mut decoder)?.into_record());
    }
    for _ in 0..u16::from_be_bytes([ns_high, ns_low]) {
        let record = WireRecord::read(&mut decoder)?;
        sections.negative_ttl = sections.negative_ttl.or(record.negative_ttl());
    }
    for _ in 0..u16::from_be_bytes([ar_high, ar_low]) {
        let record = WireRecord::read(&mut decoder)?;
        if record.kind == TYPE_OPT {
            sections.extended_rcode = record.ttl.to_be_bytes()[0];
        }
    }
    Some(sections)
}

/// A record as it stood in the message, its RDATA without compression.
struct WireRecord {
    owner: WireName,
    kind: u16,
    class: u16,
    ttl: u32,
    rdata: Vec<u8>,
}

impl WireRecord {
    fn read(decoder: &mut BinDecoder<'_>) -> Option<Self> {
        let owner = WireName::read(decoder).ok()?;
        let kind = decoder.read_u16().ok()?.unverified();
        let class = decoder.read_u16().ok()?.unverified();
        let ttl = decoder.read_u32().ok()?.unverified();
        let length = decoder.read_u16().ok()?.unverified();
        let rdata = rdata::uncompressed(decoder, kind, usize::from(length))?;
        Some(Self { owner, kind, class, ttl, rdata })
    }

    /// `None` for what no client of ours can have asked for: another class, a
    /// name that no policy can speak of.
    fn into_record(self) -> Option<Record> {
        if self.class != CLASS_IN {
            return None;
        }
        let owner = Name::from_labels(self.owner.iter()).ok()?;
        let data = match RecordKind::from_number(self.kind) {
            RecordKind::A => Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(self.rdata).ok()?).into()),
            RecordKind::Aaaa => Data::Address(Ipv6Addr::from(<[u8; 16]>::try_from(self.rdata).ok()?).into()),
            RecordKind::Other(TYPE_CNAME) => {
                let target = WireName::read(&mut BinDecoder::new(&self.rdata)).ok()?;
                Data::Alias(Name::from_labels(target.iter()).ok()?)
            }
            kind => Data::Opaque { kind, rdata: self.rdata.into() },
        };
        Some(Record { owner, ttl: Ttl::from_wire(self.ttl), data })
    }

    /// RFC 2308 section 5: the lesser of the SOA's TTL and its MINIMUM.
    fn negative_ttl(&self) -> Option<Ttl> {
        if self.kind != TYPE_SOA || self.class != CLASS_IN {
            return None;
        }
        let minimum = u32::from_be_bytes(*self.rdata.last_chunk()?);
        Some(Ttl::from_wire(self.ttl).min(Ttl::from_wire(minimum)))
    }
}

#[cfg(test)]
mod tests;
