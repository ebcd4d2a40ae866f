//! From an outcome to octets.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::Edns;
use hickory_proto::rr::Name as WireName;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::request::{ClientEdns, HEADER, Head, Request};
use crate::core::config::Transport;
use crate::core::name::Name;
use crate::core::query::RecordKind;
use crate::core::record::Data;
use crate::core::screen::{Encoded, Screened};
use crate::core::time::Ttl;

/// The largest datagram we send and accept: what passes nearly every path
/// unfragmented (DNS Flag Day 2020).
pub(super) const UDP_PAYLOAD: u16 = 1232;
/// The largest datagram without EDNS (RFC 1035 section 4.2.1).
const PLAIN_PAYLOAD: u16 = 512;
/// An EDE text is cut to this many octets, so that it fits beside any
/// question.
const MAX_EXTRA_TEXT: usize = 200;

/// Octets that an OPT record without options has.
const OPTIONS: usize = 11;
/// Octets that most answers have at most.
const USUAL: usize = 256;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
const TYPE_HINFO: u16 = 13;
const TYPE_TXT: u16 = 16;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT_EDE: u16 = 15;

/// A response code (RFC 6895 section 2.3), as many bits as it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    BadVers = 16,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtendedError {
    pub(super) code: u16,
    pub(super) text: String,
}

/// What every answer to one query has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    head: Head,
    question: &'a [u8],
    edns: Option<ClientEdns>,
    limit: usize,
}

impl<'a> Reply<'a> {
    /// The frame of the answer to `request`.
    pub(super) fn to(request: &Request<'a>, transport: Transport) -> Self {
        let limit = match (transport, request.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, None) => PLAIN_PAYLOAD,
            (Transport::Udp, Some(edns)) => edns.payload.clamp(PLAIN_PAYLOAD, UDP_PAYLOAD),
        };
        Self { head: request.head, question: request.question, edns: request.edns, limit: usize::from(limit) }
    }

    /// The frame of the answer to a message of which only the header could be
    /// read.
    pub(super) const fn to_header(head: Head) -> Self {
        Self { head, question: &[], edns: None, limit: PLAIN_PAYLOAD as usize }
    }

    /// An answer without records.
    pub(super) fn bare(&self, rcode: Rcode, error: Option<&ExtendedError>) -> Vec<u8> {
        let count = u8::from(!self.question.is_empty());
        let header = [0, 0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0];
        self.finish([&header, self.question].concat(), rcode, error)
    }

    /// An answer with the records of `encoded`, each to be kept for `ttl`.
    pub(super) fn with(&self, encoded: &Encoded, ttl: Ttl, rcode: Rcode, error: Option<&ExtendedError>) -> Vec<u8> {
        let mut message = Vec::with_capacity(encoded.message.len() + OPTIONS);
        message.extend_from_slice(&encoded.message);
        // The client's own spelling: it may compare, to tell our answer from
        // a forged one. Every owner name is a pointer to it.
        write_at(&mut message, HEADER, self.question);
        for &offset in &encoded.ttl_offsets {
            write_at(&mut message, usize::from(offset), &ttl.as_secs().to_be_bytes());
        }
        self.finish(message, rcode, error)
    }

    fn finish(&self, mut message: Vec<u8>, rcode: Rcode, error: Option<&ExtendedError>) -> Vec<u8> {
        let mut options = self.options(rcode, error);
        let mut truncated = false;
        if message.len() + options.len() > self.limit {
            truncated = message.len() > HEADER + self.question.len();
            message.truncate(HEADER + self.question.len());
            write_at(&mut message, 6, &[0; 6]);
            if message.len() + options.len() > self.limit {
                options = self.options(rcode, None);
            }
        }
        if !options.is_empty() {
            write_at(&mut message, 10, &[0, 1]);
            message.extend_from_slice(&options);
        }
        write_at(&mut message, 0, &self.head.id.to_be_bytes());
        write_at(&mut message, 2, &self.flags(rcode, truncated));
        message
    }

    /// QR, AA and RA set, RD and CD as asked, AD never: nothing was validated.
    fn flags(&self, rcode: Rcode, truncated: bool) -> [u8; 2] {
        let authoritative = matches!(rcode, Rcode::NoError | Rcode::NxDomain);
        let first = 0x80
            | (self.head.opcode << 3)
            | if authoritative { 0x04 } else { 0 }
            | if truncated { 0x02 } else { 0 }
            | u8::from(self.head.recursion_desired);
        let second = 0x80 | if self.head.checking_disabled { 0x10 } else { 0 } | (rcode as u8 & 0x0f);
        [first, second]
    }

    /// The OPT record; empty unless the client sent one (RFC 6891 section 7).
    fn options(&self, rcode: Rcode, error: Option<&ExtendedError>) -> Vec<u8> {
        let Some(client) = self.edns else {
            return Vec::new();
        };
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(client.dnssec_ok).set_rcode_high(rcode as u8 >> 4);
        if let Some(error) = error {
            let text = error.text.get(..error.text.floor_char_boundary(MAX_EXTRA_TEXT)).unwrap_or_default();
            let data = [error.code.to_be_bytes().as_slice(), text.as_bytes()].concat();
            edns.options_mut().insert(EdnsOption::Unknown(TYPE_OPT_EDE, data));
        }
        let mut octets = Vec::new();
        match edns.emit(&mut BinEncoder::new(&mut octets)) {
            Ok(()) => octets,
            Err(_) => Vec::new(),
        }
    }
}

/// The records that `screened` tells about `name`/`kind`, encoded once for
/// all clients.
pub(super) fn encode<'a>(name: &Name, kind: RecordKind, screened: &'a Screened) -> Result<&'a Encoded, ProtoError> {
    if let Some(encoded) = screened.encoded.get() {
        return Ok(encoded);
    }
    let mut octets = Vec::with_capacity(USUAL);
    let asked = wire_name(name)?;
    let mut writer = Writer::new(&mut octets, &asked, kind.number(), CLASS_IN)?;
    for record in &screened.records {
        match record.owner == *name {
            true => writer.record(&asked, &record.data)?,
            false => writer.record(&wire_name(&record.owner)?, &record.data)?,
        }
    }
    let answers = screened.records.len();
    if screened.negative.is_some() {
        writer.soa(&wire_name(screened.chain.last().unwrap_or(name))?)?;
    }
    let ttl_offsets = writer.ttl_offsets.into();
    let encoded = finish_counts(octets, answers, usize::from(screened.negative.is_some()), ttl_offsets);
    Ok(screened.encoded.get_or_init(|| encoded))
}

/// No record, and an SOA that says how long that may be remembered (RFC 2308
/// section 3). It stands at the name itself: that spares asking where the
/// zone begins, and no other name is judged by it.
pub(super) fn negative(request: &Request<'_>) -> Result<Encoded, ProtoError> {
    let mut octets = Vec::with_capacity(USUAL);
    let name = request.name.to_lowercase();
    let mut writer = Writer::new(&mut octets, &name, request.kind, request.class)?;
    writer.soa(&name)?;
    let ttl_offsets = writer.ttl_offsets.into();
    Ok(finish_counts(octets, 0, 1, ttl_offsets))
}

/// One address of the name that was asked for.
pub(super) fn address(request: &Request<'_>, address: IpAddr) -> Result<Encoded, ProtoError> {
    match address {
        IpAddr::V4(address) => one_record(request, TYPE_A, &address.octets()),
        IpAddr::V6(address) => one_record(request, TYPE_AAAA, &address.octets()),
    }
}

/// The least an ANY query can be told (RFC 8482 section 4.2).
pub(super) fn minimal_any(request: &Request<'_>) -> Result<Encoded, ProtoError> {
    one_record(request, TYPE_HINFO, b"\x07RFC8482\x00")
}

/// A TXT record of one string, which is cut to 255 octets.
pub(super) fn text(request: &Request<'_>, text: &str) -> Result<Encoded, ProtoError> {
    let text = text.get(..text.floor_char_boundary(255)).unwrap_or_default();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    one_record(request, TYPE_TXT, &[&[length], text.as_bytes()].concat())
}

fn one_record(request: &Request<'_>, kind: u16, rdata: &[u8]) -> Result<Encoded, ProtoError> {
    let mut octets = Vec::with_capacity(USUAL);
    let name = request.name.to_lowercase();
    let mut writer = Writer::new(&mut octets, &name, request.kind, request.class)?;
    writer.front(&name, kind, request.class)?;
    writer.rdata(rdata)?;
    let ttl_offsets = writer.ttl_offsets.into();
    Ok(finish_counts(octets, 1, 0, ttl_offsets))
}

fn finish_counts(mut octets: Vec<u8>, answers: usize, authorities: usize, ttl_offsets: Box<[u16]>) -> Encoded {
    let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    write_at(&mut octets, 4, &1_u16.to_be_bytes());
    write_at(&mut octets, 6, &count(answers));
    write_at(&mut octets, 8, &count(authorities));
    Encoded { message: octets.into(), ttl_offsets }
}

/// Writes records after a header and a question, and remembers where their
/// TTLs stand. Names are told to it in lower case, so that equal ones become
/// pointers.
struct Writer<'a> {
    encoder: BinEncoder<'a>,
    ttl_offsets: Vec<u16>,
}

impl<'a> Writer<'a> {
    fn new(octets: &'a mut Vec<u8>, name: &WireName, kind: u16, class: u16) -> Result<Self, ProtoError> {
        let mut encoder = BinEncoder::new(octets);
        encoder.emit_vec(&[0; HEADER])?;
        name.emit(&mut encoder)?;
        encoder.emit_u16(kind)?;
        encoder.emit_u16(class)?;
        Ok(Self { encoder, ttl_offsets: Vec::new() })
    }

    fn record(&mut self, owner: &WireName, data: &Data) -> Result<(), ProtoError> {
        self.front(owner, data.number(), CLASS_IN)?;
        match data {
            Data::Address(address) => match address {
                IpAddr::V4(address) => self.rdata(&address.octets()),
                IpAddr::V6(address) => self.rdata(&address.octets()),
            },
            Data::Opaque { rdata, .. } => self.rdata(rdata),
            Data::Alias(target) => {
                let length = self.encoder.place::<u16>()?;
                wire_name(target)?.emit(&mut self.encoder)?;
                self.close(length)
            }
        }
    }

    fn soa(&mut self, owner: &WireName) -> Result<(), ProtoError> {
        let [name_server, mailbox] = [["cedarwall"].as_slice(), ["hostmaster", "cedarwall"].as_slice()];
        self.front(owner, TYPE_SOA, CLASS_IN)?;
        let length = self.encoder.place::<u16>()?;
        WireName::from_labels(name_server.iter().copied())?.emit(&mut self.encoder)?;
        WireName::from_labels(mailbox.iter().copied())?.emit(&mut self.encoder)?;
        for (_field, value) in [("serial", 1), ("refresh", 3600), ("retry", 600), ("expire", 86400)] {
            self.encoder.emit_u32(value)?;
        }
        self.ttl()?;
        self.close(length)
    }

    /// Owner, type, class and TTL.
    fn front(&mut self, owner: &WireName, kind: u16, class: u16) -> Result<(), ProtoError> {
        owner.emit(&mut self.encoder)?;
        self.encoder.emit_u16(kind)?;
        self.encoder.emit_u16(class)?;
        self.ttl()
    }

    fn ttl(&mut self) -> Result<(), ProtoError> {
        let offset = u16::try_from(self.encoder.offset()).map_err(|_| ProtoError::from("message too long"))?;
        self.ttl_offsets.push(offset);
        self.encoder.emit_u32(0)
    }

    fn rdata(&mut self, octets: &[u8]) -> Result<(), ProtoError> {
        let length = self.encoder.place::<u16>()?;
        self.encoder.emit_vec(octets)?;
        self.close(length)
    }

    fn close(&mut self, length: hickory_proto::serialize::binary::Place<u16>) -> Result<(), ProtoError> {
        let written = self.encoder.len_since_place(&length);
        let written = u16::try_from(written).map_err(|_| ProtoError::from("RDATA too long"))?;
        length.replace(&mut self.encoder, written)
    }
}

fn wire_name(name: &Name) -> Result<WireName, ProtoError> {
    WireName::from_labels(name.labels().map(str::as_bytes))
}

fn write_at(message: &mut [u8], offset: usize, octets: &[u8]) {
    if let Some(place) = message.get_mut(offset..offset + octets.len()) {
        place.copy_from_slice(octets);
    }
}

#[cfg(test)]
mod tests;
