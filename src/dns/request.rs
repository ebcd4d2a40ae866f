//! From a client's octets to what is asked.

use hickory_proto::op::{Edns, Header, HeaderCounts, Message, MessageType, OpCode};
use hickory_proto::rr::Name as WireName;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::core::name::{Name, NameError};

/// Length of the header (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;

/// What the header of an answer repeats from its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u16,
    /// The four bits, as they stood.
    pub(super) opcode: u8,
    pub(super) recursion_desired: bool,
    pub(super) checking_disabled: bool,
}

/// The client's OPT record, as far as an answer depends on it (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientEdns {
    pub(super) version: u8,
    pub(super) payload: u16,
    pub(super) dnssec_ok: bool,
}

/// A well-formed query with one question.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) head: Head,
    /// The question section as the client wrote it, case and all.
    pub(super) question: &'a [u8],
    pub(super) name: WireName,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) edns: Option<ClientEdns>,
}

/// Octets that are no [`Request`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Too short to have a header, or an answer itself. Answering it could
    /// start a loop of two servers answering each other.
    NotAQuery,
    /// FORMERR.
    Malformed(Head),
    /// NOTIMP: NOTIFY, UPDATE and whatever else is not QUERY.
    OtherOpcode(Head),
}

impl<'a> Request<'a> {
    /// Reads a message.
    pub(super) fn parse(wire: &'a [u8]) -> Result<Self, Unreadable> {
        let mut decoder = BinDecoder::new(wire);
        let header = Header::read(&mut decoder).map_err(|_| Unreadable::NotAQuery)?;
        if header.metadata.message_type == MessageType::Response {
            return Err(Unreadable::NotAQuery);
        }
        let head = Head {
            id: header.metadata.id,
            opcode: header.metadata.op_code.into(),
            recursion_desired: header.metadata.recursion_desired,
            checking_disabled: header.metadata.checking_disabled,
        };
        if header.metadata.op_code != OpCode::Query {
            return Err(Unreadable::OtherOpcode(head));
        }
        if header.counts.queries != 1 {
            return Err(Unreadable::Malformed(head));
        }
        Self::question(wire, &mut decoder, head, header.counts).ok_or(Unreadable::Malformed(head))
    }

    fn question(wire: &'a [u8], decoder: &mut BinDecoder<'a>, head: Head, counts: HeaderCounts) -> Option<Self> {
        let name = WireName::read(decoder).ok()?;
        let kind = decoder.read_u16().ok()?.unverified();
        let class = decoder.read_u16().ok()?.unverified();
        let question = wire.get(HEADER..decoder.index())?;
        // A name of pointers into the header cannot be repeated in an answer.
        if question.len() != wire_length(&name) + 4 {
            return None;
        }
        let edns = edns(decoder, counts)?.map(|edns| ClientEdns {
            version: edns.version(),
            payload: edns.max_payload(),
            dnssec_ok: edns.flags().dnssec_ok,
        });
        Some(Self { head, question, name, kind, class, edns })
    }

    /// The name asked for, if a policy can speak of it.
    pub(super) fn canonical_name(&self) -> Result<Name, NameError> {
        Name::from_labels(self.name.iter())
    }

    /// The name asked for, for a log line: printable ASCII only, and no
    /// octet that could be taken for another (RFC 1035 section 5.1).
    pub(super) fn escaped_name(&self) -> String {
        let mut text = String::new();
        for label in self.name.iter() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' => text.extend(['\\', char::from(octet)]),
                    b'!'..=b'~' => text.push(char::from(octet.to_ascii_lowercase())),
                    _ => text.push_str(&format!("\\{octet:03}")),
                }
            }
            text.push('.');
        }
        match text.strip_suffix('.') {
            Some(stripped) => stripped.into(),
            None => ".".into(),
        }
    }
}

/// Reads the sections after the question. `None` if one is malformed or there
/// are two OPT records (RFC 6891 section 6.1.1).
fn edns(decoder: &mut BinDecoder<'_>, counts: HeaderCounts) -> Option<Option<Edns>> {
    let mut section = |count: u16, is_additional| {
        Message::read_records(decoder, usize::from(count), is_additional, OpCode::Query).ok()
    };
    section(counts.answers, false)?;
    section(counts.authorities, false)?;
    let (_, edns, _) = section(counts.additionals, true)?;
    Some(edns)
}

/// Length of an uncompressed name on the wire.
fn wire_length(name: &WireName) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\0\x03wWw\x07example\x03ORG\0\0\x01\0\x01";

    fn with(changes: &[(usize, u8)], tail: &[u8]) -> Vec<u8> {
        let mut wire = [QUERY, tail].concat();
        for &(offset, octet) in changes {
            wire[offset] = octet;
        }
        wire
    }

    const OPT: &[u8] = b"\0\0\x29\x10\0\0\0\x80\0\0\0";

    #[test]
    fn a_query_is_read_with_its_case_kept() {
        let wire = with(&[(11, 1)], OPT);
        let request = Request::parse(&wire).unwrap();
        assert_eq!(
            (request.head.id, request.head.recursion_desired, request.head.checking_disabled),
            (0x1234, true, true)
        );
        assert_eq!(request.question, &QUERY[12..]);
        assert_eq!(request.canonical_name(), Name::parse("www.example.org"));
        assert_eq!(request.edns, Some(ClientEdns { version: 0, payload: 4096, dnssec_ok: true }));
    }

    #[test]
    fn an_answer_is_never_a_query_even_when_malformed() {
        assert_eq!(Request::parse(&with(&[(2, 0x81)], b"")).unwrap_err(), Unreadable::NotAQuery);
        assert_eq!(Request::parse(&with(&[(2, 0x81), (5, 9)], b"")).unwrap_err(), Unreadable::NotAQuery);
        assert_eq!(Request::parse(&QUERY[..11]).unwrap_err(), Unreadable::NotAQuery);
    }

    #[test]
    fn what_cannot_be_read_is_malformed() {
        for (wire, why) in [
            (with(&[(5, 0)], b""), "no question"),
            (with(&[(5, 2)], b"\0\0\x01\0\x01"), "two questions"),
            (QUERY[..20].to_vec(), "a question cut short"),
            (with(&[(11, 2)], &[OPT, OPT].concat()), "two OPT records"),
            (with(&[(11, 1)], b""), "a record that is not there"),
            ([&QUERY[..12], b"\xc0\x04\0\x01\0\x01"].concat(), "a pointer into the header"),
        ] {
            assert!(matches!(Request::parse(&wire), Err(Unreadable::Malformed(_))), "{why}");
        }
    }

    #[test]
    fn other_opcodes_are_told_apart() {
        for opcode in [1, 2, 4, 5, 6, 15] {
            let wire = with(&[(2, opcode << 3)], b"");
            let expected = matches!(Request::parse(&wire), Err(Unreadable::OtherOpcode(head)) if head.opcode == opcode);
            assert!(expected, "opcode {opcode}");
        }
    }

    #[test]
    fn an_odd_name_is_escaped_for_the_log() {
        let wire = [&QUERY[..12], b"\x06a.b\"\n\xff\x03org\0\0\x01\0\x01"].concat();
        let request = Request::parse(&wire).unwrap();
        assert!(request.canonical_name().is_err());
        assert_eq!(request.escaped_name(), "a\\.b\\\"\\010\\255.org");
    }

    proptest! {
        #[test]
        fn hostile_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&octets);
        }

        #[test]
        fn a_damaged_query_never_panics(at in 2..QUERY.len() + 11, octet: u8, cut in 0..60usize) {
            let mut wire = with(&[(11, 1)], OPT);
            wire[at] = octet;
            wire.truncate(wire.len().saturating_sub(cut));
            if let Ok(request) = Request::parse(&wire) {
                prop_assert!(request.escaped_name().is_ascii());
            }
        }
    }
}
