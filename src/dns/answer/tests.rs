use std::sync::OnceLock;

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use super::*;
use crate::core::record::Record;
use crate::core::screen::Negative;

const QUERY: &[u8] = b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\0\x03wWw\x07example\x03ORG\0\0\x01\0\x01";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn with_opt() -> Vec<u8> {
    let mut wire = [QUERY, OPT].concat();
    wire[11] = 1;
    wire
}

fn screened(addresses: usize, negative: Option<Negative>) -> Screened {
    let ttl = Ttl::from_wire(300);
    let alias = Record { owner: name("www.example.org"), ttl, data: Data::Alias(name("web.example.org")) };
    let address = |last: usize| Record {
        owner: name("web.example.org"),
        ttl,
        data: Data::Address(std::net::Ipv4Addr::from_bits(0x0101_0000 + u32::try_from(last).unwrap()).into()),
    };
    Screened {
        chain: vec![name("web.example.org")],
        records: std::iter::once(alias).chain((0..addresses).map(address)).collect(),
        addresses: [].into(),
        removed: [].into(),
        negative,
        ttl,
        encoded: OnceLock::new(),
    }
}

fn reply(wire: &[u8], transport: Transport) -> Reply<'_> {
    Reply::to(&Request::parse(wire).unwrap(), transport)
}

fn answer(wire: &[u8], screened: &Screened, seconds: u32, transport: Transport) -> Vec<u8> {
    let encoded = encode(&name("www.example.org"), RecordKind::A, screened).unwrap();
    reply(wire, transport).with(encoded, Ttl::from_wire(seconds), Rcode::NoError, None)
}

#[test]
fn a_kept_answer_is_patched_with_id_case_flags_and_ttl() {
    let screened = screened(2, None);
    for seconds in [300, 17] {
        let wire = answer(QUERY, &screened, seconds, Transport::Udp);
        let message = Message::from_vec(&wire).unwrap();
        assert_eq!(message.id, 0x1234);
        assert!(message.authoritative && message.recursion_available && message.recursion_desired);
        assert!(message.checking_disabled && !message.authentic_data && !message.truncation);
        assert_eq!(message.queries[0].name().to_ascii(), "wWw.example.ORG.");
        assert_eq!(message.answers.len(), 3);
        assert!(message.answers.iter().all(|record| record.ttl == seconds));
        assert_eq!(message.answers[0].name.to_ascii(), "wWw.example.ORG.", "owners point to the question");
        assert!(message.edns.is_none());
    }
    assert!(screened.encoded.get().is_some(), "encoded once");
}

#[test]
fn an_opt_record_comes_back_only_if_one_was_sent() {
    let screened = screened(1, None);
    let wire = with_opt();
    let message = Message::from_vec(&answer(&wire, &screened, 1, Transport::Udp)).unwrap();
    assert_eq!(message.edns.map(|edns| edns.max_payload()), Some(1232));

    let error = ExtendedError { code: 15, text: "no".into() };
    let plain = Message::from_vec(&reply(QUERY, Transport::Udp).bare(Rcode::Refused, Some(&error))).unwrap();
    assert!(plain.edns.is_none(), "no extended error without EDNS");
}

#[test]
fn what_does_not_fit_is_truncated_and_keeps_question_and_opt() {
    let screened = screened(100, None);
    let wire = with_opt();
    let truncated = answer(&wire, &screened, 60, Transport::Udp);
    assert!(truncated.len() <= 1232);
    let message = Message::from_vec(&truncated).unwrap();
    assert!(message.truncation && message.answers.is_empty() && message.edns.is_some());
    assert_eq!(message.queries.len(), 1);

    let plain = answer(QUERY, &screened, 60, Transport::Udp);
    assert!(plain.len() <= 512 && Message::from_vec(&plain).unwrap().truncation);

    let whole = Message::from_vec(&answer(&wire, &screened, 60, Transport::Tcp)).unwrap();
    assert!(!whole.truncation && whole.answers.len() == 101);
}

#[test]
fn a_negative_answer_carries_its_ttl_in_the_soa_twice() {
    let screened = screened(0, Some(Negative::NoSuchName));
    let message = Message::from_vec(&answer(QUERY, &screened, 42, Transport::Udp)).unwrap();
    assert_eq!((message.answers.len(), message.authorities.len()), (1, 1));
    let RData::SOA(soa) = &message.authorities[0].data else { panic!("no SOA") };
    assert_eq!((message.authorities[0].ttl, soa.minimum), (42, 42));
}

#[test]
fn an_extended_error_is_cut_to_fit_beside_any_question() {
    let wire = with_opt();
    let error = ExtendedError { code: 15, text: "é".repeat(2000) };
    let reply = reply(&wire, Transport::Udp).bare(Rcode::Refused, Some(&error));
    assert!(reply.len() < 512);
    let message = Message::from_vec(&reply).unwrap();
    let option = message.edns.unwrap().option(15.into()).cloned();
    let Some(EdnsOption::Unknown(15, data)) = option else { panic!("no EDE") };
    assert_eq!(&data[..2], [0, 15]);
    assert_eq!(std::str::from_utf8(&data[2..]), Ok("é".repeat(100).as_str()));
}

#[test]
fn bad_version_uses_the_upper_bits_of_the_response_code() {
    let wire = with_opt();
    let message = Message::from_vec(&reply(&wire, Transport::Udp).bare(Rcode::BadVers, None)).unwrap();
    assert_eq!(u16::from(message.response_code), 16);
    assert!(!message.authoritative);
}
