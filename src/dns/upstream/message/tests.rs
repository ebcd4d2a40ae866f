use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{CNAME, MX, SOA};
use hickory_proto::rr::{RData, Record as WireRecordOut};
use proptest::prelude::*;

use super::*;

fn question(kind: RecordKind) -> Question {
    let name = Name::parse("www.example.org").unwrap();
    Question { name, kind, dnssec_ok: true, checking_disabled: true }
}

fn wire_name(text: &str) -> WireName {
    WireName::from_ascii(text).unwrap()
}

fn answer(transaction: &Transaction, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(transaction.wire()).unwrap().into_response();
    let name = message.queries[0].name().clone();
    let address = RData::A(hickory_proto::rr::rdata::A::new(1, 1, 1, 1));
    message.add_answer(WireRecordOut::from_rdata(name, 60, address));
    change(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn a_query_asks_one_question_with_edns_and_what_the_client_wanted() {
    let transaction = Transaction::new(&question(RecordKind::Aaaa), Spelling::Random);
    let message = Message::from_vec(transaction.wire()).unwrap();
    assert!(message.recursion_desired && message.checking_disabled);
    assert_eq!(message.queries[0].name().to_lowercase(), wire_name("www.example.org."));
    let edns = message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok, edns.options().as_ref().len()), (1232, true, 0));
}

#[test]
fn ids_and_spellings_differ_from_query_to_query() {
    let wires: std::collections::HashSet<_> =
        (0..64).map(|_| Transaction::new(&question(RecordKind::A), Spelling::Random).wire().to_vec()).collect();
    assert!(wires.len() > 60);
    let spellings: std::collections::HashSet<_> = wires.iter().map(|wire| wire[12..].to_vec()).collect();
    assert!(spellings.len() > 32);
}

#[test]
fn only_the_answer_to_this_very_query_is_ours() {
    let transaction = Transaction::new(&question(RecordKind::A), Spelling::Random);
    let good = answer(&transaction, |_| {});
    assert!(matches!(transaction.judge(&good), Judged::Response(response) if response.records.len() == 1));

    let mut other_id = good.clone();
    other_id[1] ^= 1;
    let mut other_case = good.clone();
    other_case[13] ^= 0x20;
    let mut other_kind = good.clone();
    other_kind[transaction.question_end - 3] = 28;
    let mut query = good.clone();
    query[2] &= 0x7f;
    let mut other_opcode = good.clone();
    other_opcode[2] |= 4 << 3;
    assert_eq!(transaction.judge(&other_case), Judged::Misspelled);
    for forged in [other_id, other_kind, query, other_opcode, good[..11].to_vec(), Vec::new()] {
        assert_eq!(transaction.judge(&forged), Judged::NotOurs);
    }
}

#[test]
fn errors_and_truncation_are_told_apart_from_answers() {
    use hickory_proto::op::ResponseCode;
    let transaction = Transaction::new(&question(RecordKind::A), Spelling::Random);
    let judge = |change: fn(&mut Message)| transaction.judge(&answer(&transaction, change));
    assert_eq!(judge(|message| message.metadata.truncation = true), Judged::Truncated);
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::FormErr, ResponseCode::NotImp] {
        let mut wire = answer(&transaction, |_| {});
        wire[3] |= code.low();
        assert_eq!(transaction.judge(&wire), Judged::Useless(Failure::UpstreamRefused));
    }
    let bad_version = judge(|message| message.metadata.response_code = ResponseCode::BADVERS);
    assert_eq!(bad_version, Judged::Useless(Failure::UpstreamRefused));
    let negative = judge(|message| {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.answers.clear();
    });
    assert!(matches!(negative, Judged::Response(Response { verdict: Verdict::NoSuchName, .. })));
    let cut = answer(&transaction, |_| {});
    let cut = &cut[..transaction.question_end + 5];
    assert_eq!(transaction.judge(cut), Judged::Useless(Failure::UpstreamUnusable));
}

#[test]
fn compressed_names_inside_records_are_written_out() {
    let transaction = Transaction::new(&question(RecordKind::Other(15)), Spelling::Canonical);
    let wire = answer(&transaction, |message| {
        message.answers.clear();
        let name = wire_name("www.example.org.");
        let exchange = RData::MX(MX::new(10, wire_name("mail.www.example.org.")));
        message.add_answer(WireRecordOut::from_rdata(name.clone(), 60, exchange));
        message.add_answer(WireRecordOut::from_rdata(name, 60, RData::CNAME(CNAME(wire_name("example.org.")))));
        let soa = SOA::new(wire_name("ns.example.org."), wire_name("hm.example.org."), 1, 2, 3, 4, 55);
        message.add_authority(WireRecordOut::from_rdata(wire_name("org."), 900, RData::SOA(soa)));
    });
    let Judged::Response(response) = transaction.judge(&wire) else { panic!("no response") };
    let rdata = b"\x00\x0a\x04mail\x03www\x07example\x03org\x00".as_slice().into();
    assert_eq!(response.records[0].data, Data::Opaque { kind: RecordKind::Other(15), rdata });
    assert_eq!(response.records[1].data, Data::Alias(Name::parse("example.org").unwrap()));
    assert_eq!(response.negative_ttl, Some(Ttl::from_wire(55)));
}

proptest! {
    #[test]
    fn hostile_answers_never_panic(
        tail in prop::collection::vec(any::<u8>(), 0..300),
        counts: [u8; 4],
        flags: u8,
        kind in prop::sample::select(vec![1_u16, 2, 5, 6, 15, 33, 35, 46, 65]),
    ) {
        let transaction = Transaction::new(&question(RecordKind::A), Spelling::Random);
        let mut wire = transaction.wire()[..transaction.question_end].to_vec();
        wire[2] = 0x80;
        wire[3] = flags & 0x83;
        wire[6..12].copy_from_slice(&[0, counts[0], 0, counts[1], counts[2] & 1, counts[3]]);
        wire.extend(b"\xc0\x0c");
        wire.extend(kind.to_be_bytes());
        wire.extend(b"\0\x01\0\0\0\x3c");
        wire.extend(tail);
        let _ = transaction.judge(&wire);
    }
}
