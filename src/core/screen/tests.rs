use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn ttl(seconds: u32) -> Ttl {
    Ttl::from_wire(seconds)
}

fn record(owner: &str, seconds: u32, data: Data) -> Record {
    Record { owner: name(owner), ttl: ttl(seconds), data }
}

fn address(owner: &str, text: &str) -> Record {
    record(owner, 300, Data::Address(text.parse().unwrap()))
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, 200, Data::Alias(name(target)))
}

fn opaque(owner: &str, number: u16, rdata: &[u8]) -> Record {
    record(owner, 300, Data::Opaque { kind: RecordKind::from_number(number), rdata: rdata.into() })
}

fn response(records: Vec<Record>) -> Response {
    Response { verdict: Verdict::Exists, records, negative_ttl: None }
}

fn rules() -> Rules {
    Rules { allow_ranges: Vec::new(), max_ttl: ttl(3600) }
}

fn screen_a(records: Vec<Record>) -> Result<Screened, Failure> {
    screen(&name("www.example.org"), RecordKind::A, &response(records), &rules())
}

#[test]
fn only_records_on_the_chain_of_the_question_count() {
    let screened = screen_a(vec![
        address("evil.example.net", "9.9.9.9"),
        address("web.example.net", "1.1.1.1"),
        alias("www.example.org", "web.example.net"),
        address("www.example.org", "8.8.8.8"),
        address("web.example.net", "2606:4700::1"),
        opaque("web.example.net", 16, b"\x01x"),
    ])
    .unwrap();
    assert_eq!(screened.chain, [name("web.example.net")]);
    assert_eq!(*screened.addresses, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(screened.records, [alias("www.example.org", "web.example.net"), address("web.example.net", "1.1.1.1")]);
    assert_eq!(screened.ttl, ttl(200));
    assert_eq!(screened.negative, None);
}

#[test]
fn a_loop_and_an_endless_chain_are_no_answer() {
    let looped = vec![alias("www.example.org", "a.example.org"), alias("a.example.org", "www.example.org")];
    assert_eq!(screen_a(looped), Err(Failure::UpstreamUnusable));
    assert_eq!(screen_a(vec![alias("www.example.org", "www.example.org")]), Err(Failure::UpstreamUnusable));

    let chain = |length: usize| {
        let hop = |index: usize| if index == 0 { "www.example.org".into() } else { format!("h{index}.example.org") };
        let mut records: Vec<_> = (0..length).map(|index| alias(&hop(index), &hop(index + 1))).collect();
        records.push(address(&hop(length), "1.1.1.1"));
        records
    };
    assert_eq!(screen_a(chain(12)).unwrap().addresses.len(), 1);
    assert_eq!(screen_a(chain(13)), Err(Failure::UpstreamUnusable));
}

#[test]
fn addresses_in_special_ranges_are_taken_out() {
    let records = vec![
        address("www.example.org", "169.254.169.254"),
        address("www.example.org", "1.1.1.1"),
        address("www.example.org", "10.0.0.1"),
    ];
    let screened = screen_a(records.clone()).unwrap();
    assert_eq!(*screened.addresses, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(screened.removed.len(), 2);

    let allowing = Rules { allow_ranges: vec!["10.0.0.0/8".parse().unwrap()], ..rules() };
    let screened = screen(&name("www.example.org"), RecordKind::A, &response(records), &allowing).unwrap();
    assert_eq!(screened.addresses.len(), 2);
}

#[test]
fn with_every_address_taken_out_nothing_is_left_and_it_is_not_called_empty() {
    let screened =
        screen_a(vec![alias("www.example.org", "a.example.org"), address("a.example.org", "127.0.0.1")]).unwrap();
    assert_eq!((screened.records.len(), screened.addresses.len(), screened.negative), (0, 0, None));
    assert_eq!(*screened.removed, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn addresses_are_told_once_and_at_most_thirty_two_of_them() {
    let twice = vec![address("www.example.org", "1.1.1.1"), address("www.example.org", "1.1.1.1")];
    assert_eq!(screen_a(twice).unwrap().records.len(), 1);

    let many = (0..100).map(|last| address("www.example.org", &format!("1.1.1.{last}"))).collect();
    let screened = screen_a(many).unwrap();
    assert_eq!((screened.addresses.len(), screened.records.len(), screened.removed.len()), (32, 32, 32));
}

#[test]
fn a_negative_answer_keeps_its_chain_and_lives_as_its_soa_says_but_not_long() {
    let negative = |verdict, negative_ttl| {
        let records = vec![alias("www.example.org", "gone.example.net")];
        let response = Response { verdict, records, negative_ttl };
        let screened = screen(&name("www.example.org"), RecordKind::A, &response, &rules()).unwrap();
        assert_eq!(screened.records.len(), 1);
        (screened.negative, screened.ttl)
    };
    assert_eq!(negative(Verdict::NoSuchName, Some(ttl(60))), (Some(Negative::NoSuchName), ttl(60)));
    assert_eq!(negative(Verdict::Exists, Some(ttl(86400))), (Some(Negative::NoData), ttl(200)));
    assert_eq!(negative(Verdict::Exists, None), (Some(Negative::NoData), ttl(5)));

    let bare = Response { verdict: Verdict::NoSuchName, records: Vec::new(), negative_ttl: Some(ttl(86400)) };
    assert_eq!(screen(&name("example.org"), RecordKind::A, &bare, &rules()).unwrap().ttl, ttl(300));
}

#[test]
fn records_of_a_name_said_not_to_exist_are_no_answer() {
    let records = vec![address("www.example.org", "1.1.1.1")];
    let response = Response { verdict: Verdict::NoSuchName, records, negative_ttl: None };
    let screened = screen(&name("www.example.org"), RecordKind::A, &response, &rules());
    assert_eq!(screened, Err(Failure::UpstreamUnusable));
}

#[test]
fn a_question_for_the_cname_gets_the_cname() {
    let records = vec![alias("www.example.org", "a.example.org"), address("a.example.org", "1.1.1.1")];
    let screened = screen(&name("www.example.org"), RecordKind::Other(5), &response(records), &rules()).unwrap();
    assert_eq!(screened.records, [alias("www.example.org", "a.example.org")]);
    assert!(screened.chain.is_empty() && screened.negative.is_none());
}

#[test]
fn signatures_come_along_only_over_the_chain_and_the_asked_type() {
    let screened = screen_a(vec![
        address("www.example.org", "1.1.1.1"),
        opaque("www.example.org", 46, b"\x00\x01rest"),
        opaque("www.example.org", 46, b"\x00\x10rest"),
        opaque("other.example.org", 46, b"\x00\x01rest"),
    ])
    .unwrap();
    assert_eq!(screened.records.len(), 2);
}

#[test]
fn service_bindings_lose_their_hints() {
    let rdata = b"\x00\x01\x00\x00\x01\x00\x03\x02h2\x00\x04\x00\x04\x01\x01\x01\x01";
    let response = response(vec![opaque("www.example.org", 65, rdata)]);
    let screened = screen(&name("www.example.org"), RecordKind::Https, &response, &rules()).unwrap();
    assert_eq!(screened.records, [opaque("www.example.org", 65, b"\x00\x01\x00\x00\x01\x00\x03\x02h2")]);
    assert!(screened.addresses.is_empty());
}

#[test]
fn an_answer_is_remembered_no_longer_than_what_was_taken_out_of_it() {
    let lie = |seconds| record("www.example.org", seconds, Data::Address("127.0.0.1".parse().unwrap()));
    let truth = address("www.example.org", "1.1.1.1");
    assert_eq!(screen_a(vec![lie(1)]).unwrap().ttl, ttl(1));
    assert_eq!(screen_a(vec![lie(1), truth]).unwrap().ttl, ttl(1));
    // Nothing is left: soon it is asked again, whatever the lie says.
    assert_eq!(screen_a(vec![lie(3600)]).unwrap().ttl, ttl(5));
    let hidden = vec![alias("www.example.org", "a.example.net"), record("a.example.net", 2, lie(0).data)];
    assert_eq!(screen_a(hidden).unwrap().ttl, ttl(2));
}

#[test]
fn keeping_moves_what_it_drops_to_the_removed() {
    let screened =
        screen_a(vec![address("www.example.org", "1.1.1.1"), address("www.example.org", "8.8.8.8")]).unwrap();
    let one: IpAddr = "1.1.1.1".parse().unwrap();
    let kept = screened.keeping(|address| address == one);
    assert_eq!((&*kept.addresses, kept.records.len(), kept.removed.len()), ([one].as_slice(), 1, 1));
    let none = screened.keeping(|_| false);
    assert_eq!((none.addresses.len(), none.records.len(), none.removed.len()), (0, 0, 2));
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["www.example.org", "a.example.org", "b.example.org", "c.example.net"])
        .prop_map(|text| Name::parse(text).unwrap())
}

fn any_record() -> impl Strategy<Value = Record> {
    let data = prop_oneof![
        any::<u32>().prop_map(|bits| Data::Address(Ipv4Addr::from_bits(bits).into())),
        any::<u128>().prop_map(|bits| Data::Address(Ipv6Addr::from_bits(bits).into())),
        any_name().prop_map(Data::Alias),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(number, rdata)| Data::Opaque {
            kind: RecordKind::from_number(number),
            rdata: Arc::from(rdata)
        }),
    ];
    (any_name(), any::<u32>(), data).prop_map(|(owner, seconds, data)| Record { owner, ttl: ttl(seconds), data })
}

proptest! {
    #[test]
    fn whatever_comes_out_was_on_the_chain_in_order_and_open(records in prop::collection::vec(any_record(), 0..24)) {
        let question = name("www.example.org");
        let response = response(records);
        for kind in [RecordKind::A, RecordKind::Aaaa] {
            let Ok(screened) = screen(&question, kind, &response, &rules()) else { continue };
            let end = screened.chain.last().unwrap_or(&question);
            let mut before = response.records.iter();
            for address in screened.addresses.iter() {
                prop_assert!(ranges::is_open(*address, &[]));
                let data = Data::Address(*address);
                prop_assert!(before.any(|record| record.owner == *end && record.data == data), "order or owner");
            }
            prop_assert!(screened.records.iter().all(|record| record.ttl >= screened.ttl));
            prop_assert!(screened.ttl <= rules().max_ttl);
        }
    }
}
