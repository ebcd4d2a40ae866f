use std::future::ready;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query as WireQuery, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name as WireName, RData, RecordType};
use proptest::prelude::*;

use super::*;
use crate::core::config::ClientEntry;
use crate::core::decision::{Permit, PolicyId};
use crate::core::identities::Identities;
use crate::core::name::Name;
use crate::core::process::Process;
use crate::core::query::Agent;
use crate::core::rate::Rate;
use crate::core::record::{Data, Record};
use crate::core::screen::Screened;
use crate::dns::Capture;
use crate::gate::Edition;

#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Report for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Permits `api.example.com` and what is below it; other names are denied.
pub(super) struct Fake {
    outcome: fn(&Query) -> Outcome,
    passed: Arc<Mutex<Vec<Query>>>,
    delay: Duration,
}

impl Pass for Fake {
    async fn pass(&self, query: &Query, now: WallTime) -> Outcome {
        if let Decision::Deny(denial) = self.decide(query, now) {
            return Outcome::Denied(denial);
        }
        self.passed.lock().unwrap().push(query.clone());
        tokio::time::sleep(self.delay).await;
        (self.outcome)(query)
    }

    fn decide(&self, query: &Query, _: WallTime) -> Decision {
        let permitted = query.name.as_str().ends_with("example.com") && query.kind.leads_to_connections();
        if !permitted {
            let policies = [PolicyId::new("story")].into();
            return Decision::Deny(Denial { reason: Reason::NotPermitted, policies });
        }
        let openings = Arc::from([]);
        Decision::Permit(Permit {
            policies: [].into(),
            openings,
            judges_addresses: false,
            valid_for: None,
            unnamed: 0,
            would_deny: None,
        })
    }
}

pub(super) fn answered(query: &Query) -> Outcome {
    let address = "1.1.1.1".parse().unwrap();
    let record = Record { owner: query.name.clone(), ttl: Ttl::from_wire(300), data: Data::Address(address) };
    let screened = Screened {
        chain: Vec::new(),
        records: vec![record],
        addresses: [address].into(),
        removed: [].into(),
        negative: None,
        ttl: Ttl::from_wire(300),
        encoded: OnceLock::new(),
    };
    Outcome::Answered(Answered {
        policies: [].into(),
        screened: Arc::new(screened),
        ttl: Ttl::from_wire(30),
        opened: [address].into(),
        openings: Arc::from([]),
        would_deny: None,
        stays: true,
    })
}

pub(super) struct Wall {
    pub(super) handler: Handler<Fake, Recorder>,
    pub(super) edition: Edition,
    pub(super) events: Recorder,
    passed: Arc<Mutex<Vec<Query>>>,
}

pub(super) fn wall_with(outcome: fn(&Query) -> Outcome, change: impl FnOnce(&mut Settings), delay: Duration) -> Wall {
    let entry = ClientEntry {
        addresses: [Client::new("10.77.0.2".parse().unwrap())].into(),
        agent: Agent::parse("claude").unwrap(),
    };
    let mut settings = Settings {
        deny: DenyAnswer::Nxdomain,
        deny_ttl: Ttl::from_wire(5),
        max_in_flight: 8,
        in_flight_per_client: 4,
        rate: Rate { per_second: 1000, burst: 1000 },
        patience: Duration::from_secs(5),
        search: Arc::from([]),
    };
    change(&mut settings);
    let events = Recorder::default();
    let passed = Arc::new(Mutex::new(Vec::new()));
    let gate = Fake { outcome, passed: Arc::clone(&passed), delay };
    let edition = Edition::default();
    let hooks = Hooks {
        now: || WallTime(0),
        denials: Arc::new(|_| 7),
        trace: Arc::new(|_| Box::pin(ready(Traced::Unasked))),
        capture: Capture::nothing(),
        glance: Arc::new(|| Glance::new(|| true)),
        edition: edition.clone(),
    };
    let clients = Clients::new(Arc::new(Identities::new(&[entry])));
    Wall { handler: Handler::new(gate, clients, settings, hooks, events.clone()), edition, events, passed }
}

pub(super) fn wall() -> Wall {
    wall_with(answered, |_| {}, Duration::ZERO)
}

pub(super) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.metadata.recursion_desired = true;
    message.add_query(WireQuery::query(WireName::from_ascii(name).unwrap(), kind));
    message.set_edns(Edns::new());
    message
}

impl Wall {
    pub(super) async fn octets(&self, peer: &str, wire: &[u8]) -> Option<Vec<u8>> {
        let ends = Ends::new(Protocol::Udp, peer.parse().unwrap(), "10.77.0.1:53".parse().unwrap());
        self.handler.answer(ends, wire).await
    }

    async fn ask(&self, message: &Message) -> Message {
        let wire = self.octets("10.77.0.2:4000", &message.to_vec().unwrap()).await.unwrap();
        Message::from_vec(&wire).unwrap()
    }

    pub(super) fn events(&self) -> Vec<&'static str> {
        self.events.0.lock().unwrap().iter().map(Event::code).collect()
    }

    pub(super) fn told(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }
}

fn extended_error(message: &Message) -> Option<(u16, String)> {
    match message.edns.as_ref()?.option(15.into())? {
        EdnsOption::Unknown(15, data) => {
            Some((u16::from_be_bytes([data[0], data[1]]), String::from_utf8(data[2..].to_vec()).unwrap()))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_denial_waits_for_its_process_and_an_answer_asks_for_none() {
    let mut wall = wall();
    let process = Traced::Found(Arc::new(Process { pid: 7, ..Process::default() }));
    let (found, asked) = (process.clone(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&asked);
    wall.handler.hooks.trace = Arc::new(move |ends| {
        noted.lock().unwrap().push(ends);
        let found = found.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            found
        })
    });
    wall.ask(&query("api.example.com.", RecordType::A)).await;
    assert!(asked.lock().unwrap().is_empty());
    wall.ask(&query("telemetry.example.net.", RecordType::A)).await;
    wall.ask(&query("telemetry.example.net.", RecordType::ANY)).await;
    assert_eq!(asked.lock().unwrap()[0].client, "10.77.0.2:4000".parse().unwrap());
    let told = wall.events.0.lock().unwrap().clone();
    let processes = told.into_iter().filter_map(|event| match event {
        Event::QueryDenied { process, .. } => Some(process),
        _ => None,
    });
    assert_eq!(processes.collect::<Vec<_>>(), [process.clone(), process]);
}

#[tokio::test]
async fn a_permitted_name_is_answered_with_the_leases_ttl_and_one_event() {
    let wall = wall();
    let answer = wall.ask(&query("API.example.com.", RecordType::A)).await;
    assert_eq!((answer.id, answer.response_code, answer.answers[0].ttl), (77, ResponseCode::NoError, 30));
    assert_eq!(answer.queries[0].name().to_ascii(), "API.example.com.");
    assert_eq!(wall.events(), ["query.answered"]);
    assert_eq!(wall.passed.lock().unwrap()[0].name, Name::parse("api.example.com").unwrap());
}

#[tokio::test]
async fn a_denied_name_does_not_exist_and_the_answer_says_why() {
    let wall = wall();
    let answer = wall.ask(&query("telemetry.example.net.", RecordType::A)).await;
    assert_eq!(answer.response_code, ResponseCode::NXDomain);
    assert!(answer.authoritative && answer.answers.is_empty());
    assert_eq!(answer.authorities[0].ttl, 5);
    assert!(matches!(&answer.authorities[0].data, RData::SOA(soa) if soa.minimum == 5));
    assert_eq!(extended_error(&answer), Some((15, "no policy permits this name (policy story)".into())));
    assert_eq!(wall.events(), ["query.denied"]);

    let wall = wall_with(answered, |settings| settings.deny = DenyAnswer::Refused, Duration::ZERO);
    let answer = wall.ask(&query("telemetry.example.net.", RecordType::A)).await;
    assert_eq!((answer.response_code, extended_error(&answer).unwrap().0), (ResponseCode::Refused, 15));
}

#[tokio::test]
async fn a_denied_type_of_a_permitted_name_leaves_the_name_in_existence() {
    let wall = wall();
    let answer = wall.ask(&query("api.example.com.", RecordType::MX)).await;
    assert_eq!((answer.response_code, answer.authorities.len()), (ResponseCode::NoError, 1));
    assert_eq!(extended_error(&answer).unwrap().0, 15);

    let emptied = |_: &Query| Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress));
    let wall = wall_with(emptied, |_| {}, Duration::ZERO);
    let answer = wall.ask(&query("api.example.com.", RecordType::AAAA)).await;
    assert_eq!((answer.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(wall.events(), ["query.denied"]);
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let wall = wall();
    let wire = query("api.example.com.", RecordType::A).to_vec().unwrap();
    let answer = Message::from_vec(&wall.octets("10.77.0.9:4000", &wire).await.unwrap()).unwrap();
    assert_eq!((answer.response_code, extended_error(&answer).unwrap().0), (ResponseCode::Refused, 18));
    assert!(wall.passed.lock().unwrap().is_empty());
    assert_eq!(wall.events(), ["client.unknown"]);
}

#[tokio::test]
async fn each_failure_is_servfail_with_its_extended_error() {
    for (outcome, code) in [
        ((|_: &Query| Outcome::Failed(Failure::UpstreamSilent)) as fn(&Query) -> Outcome, 22),
        (|_| Outcome::Failed(Failure::UpstreamUnreachable), 23),
        (|_| Outcome::Failed(Failure::KernelRefused), 0),
    ] {
        let wall = wall_with(outcome, |_| {}, Duration::ZERO);
        let answer = wall.ask(&query("api.example.com.", RecordType::A)).await;
        assert_eq!((answer.response_code, answer.answers.len()), (ResponseCode::ServFail, 0));
        assert_eq!(extended_error(&answer).unwrap().0, code);
        assert_eq!(wall.events(), ["query.failed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_that_hangs_fails_and_releases_nothing() {
    let wall = wall_with(answered, |_| {}, Duration::from_secs(3600));
    let answer = wall.ask(&query("api.example.com.", RecordType::A)).await;
    assert_eq!((answer.response_code, answer.answers.len()), (ResponseCode::ServFail, 0));
    assert_eq!(wall.events(), ["query.failed"]);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_cap_on_queries_in_flight_there_is_servfail_at_once() {
    let wall = Arc::new(wall_with(answered, |settings| settings.in_flight_per_client = 1, Duration::from_secs(1)));
    let held = tokio::spawn({
        let wall = Arc::clone(&wall);
        async move { wall.ask(&query("a.example.com.", RecordType::A)).await }
    });
    tokio::task::yield_now().await;
    let answer = wall.ask(&query("b.example.com.", RecordType::A)).await;
    assert_eq!(answer.response_code, ResponseCode::ServFail);
    assert_eq!(wall.events(), ["cap.reached", "query.failed"]);
    assert_eq!(held.await.unwrap().response_code, ResponseCode::NoError);
}

#[tokio::test]
async fn an_answer_is_never_answered() {
    let wall = wall();
    let mut wire = query("api.example.com.", RecordType::A).to_vec().unwrap();
    wire[2] |= 0x80;
    assert_eq!(wall.octets("10.77.0.2:53", &wire).await, None);
    assert_eq!(wall.octets("10.77.0.2:53", &wire[..14]).await, None);
    assert_eq!(wall.octets("10.77.0.2:53", &wire[..5]).await, None);
    assert!(wall.events().is_empty());
}

#[tokio::test]
async fn malformed_and_unsupported_messages_get_their_response_codes() {
    let wall = wall();
    let whole = query("api.example.com.", RecordType::A).to_vec().unwrap();
    let rcode =
        async |wire: &[u8]| wall.octets("10.77.0.2:4000", wire).await.map(|answer| (answer[2], answer[3] & 0x0f));
    assert_eq!(rcode(&whole[..20]).await, Some((0x81, 1)), "FORMERR");
    let mut two = whole.clone();
    two[5] = 2;
    assert_eq!(rcode(&two).await.map(|code| code.1), Some(1));
    for opcode in [2, 4, 5] {
        let mut other = whole.clone();
        other[2] = opcode << 3;
        assert_eq!(rcode(&other).await, Some((0x80 | opcode << 3, 4)), "NOTIMP");
    }
    assert!(wall.events().is_empty());

    let mut message = query("api.example.com.", RecordType::A);
    message.edns.as_mut().unwrap().set_version(1);
    let answer = wall.ask(&message).await;
    assert_eq!((u16::from(answer.response_code), answer.edns.unwrap().version()), (16, 0));
    let opt = wall.ask(&query("api.example.com.", RecordType::OPT)).await;
    assert_eq!(opt.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn transfers_and_other_classes_are_refused_without_asking_anyone() {
    let wall = wall();
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        assert_eq!(wall.ask(&query("api.example.com.", kind)).await.response_code, ResponseCode::Refused);
    }
    let mut hesiod = query("api.example.com.", RecordType::A);
    hesiod.queries[0].set_query_class(DNSClass::HS);
    assert_eq!(wall.ask(&hesiod).await.response_code, ResponseCode::Refused);
    assert!(wall.passed.lock().unwrap().is_empty());
    assert_eq!(wall.events(), ["query.denied"; 3]);
}

#[tokio::test]
async fn the_wall_tells_its_version_and_the_clients_denials_in_the_chaos_class() {
    let wall = wall();
    for (name, expected) in [("version.cedarwall.", env!("CARGO_PKG_VERSION")), ("denied.cedarwall.", "7")] {
        let mut message = query(name, RecordType::TXT);
        message.queries[0].set_query_class(DNSClass::CH);
        let answer = wall.ask(&message).await;
        assert_eq!(answer.answers[0].dns_class, DNSClass::CH);
        assert!(answer.answers[0].data.to_string().contains(expected), "{}", answer.answers[0].data);
    }
    let mut other = query("version.bind.", RecordType::TXT);
    other.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(wall.ask(&other).await.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn any_is_answered_minimally_where_permitted_and_never_asked_upstream() {
    let wall = wall();
    let answer = wall.ask(&query("api.example.com.", RecordType::ANY)).await;
    assert!(matches!(answer.answers[0].data, RData::HINFO(_)));
    let answer = wall.ask(&query("api.example.net.", RecordType::ANY)).await;
    assert_eq!(answer.response_code, ResponseCode::NXDomain);
    assert!(wall.passed.lock().unwrap().is_empty());
    assert_eq!(wall.events(), ["query.empty", "query.denied"]);
}

#[tokio::test]
async fn a_name_no_policy_can_speak_of_is_denied() {
    let wall = wall();
    for label in [b"a.b".as_slice(), b"a b", b"a\0b"] {
        let mut message = query("x.", RecordType::A);
        let name = WireName::from_labels([label, b"example", b"com"]).unwrap();
        message.queries[0].set_name(name);
        let answer = wall.ask(&message).await;
        assert_eq!((answer.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0), "{label:?}");
    }
    let root = wall.ask(&query(".", RecordType::A)).await;
    assert_eq!(root.response_code, ResponseCode::NoError, "were the root gone, so were everything below it");
    assert!(wall.passed.lock().unwrap().is_empty());
    assert_eq!(wall.events(), ["query.denied"; 4]);
}

proptest! {
    #[test]
    fn hostile_octets_get_a_short_readable_answer_or_none(octets in prop::collection::vec(any::<u8>(), 0..120), known: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let peer = if known { "10.77.0.2:9" } else { "10.77.0.3:9" };
        let mut wire = octets;
        if let Some(questions) = wire.get_mut(4..12) {
            questions.copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        }
        if let Some(answer) = runtime.block_on(wall().octets(peer, &wire)) {
            prop_assert!(wire[2] & 0x80 == 0 && answer[2] & 0x80 != 0 && answer.len() <= 512);
            prop_assert!(answer[..2] == wire[..2]);
        }
    }
}

#[tokio::test]
async fn who_asks_too_fast_is_refused_then_met_with_silence_and_it_is_told_once() {
    let wall = wall_with(answered, |settings| settings.rate = Rate { per_second: 1, burst: 3 }, Duration::ZERO);
    let wire = query("api.example.com.", RecordType::A).to_vec().unwrap();
    let admit =
        |peer: &str, wire: &[u8]| wall.handler.admit(peer.parse().unwrap(), Transport::Udp, wire, &mut Glance::blind());
    let admissions: Vec<_> = (0..1000).map(|_| admit("10.77.0.2:4000", &wire)).collect();
    let served = admissions.iter().filter(|admission| **admission == Admission::Serve).count();
    let ignored = admissions.iter().filter(|admission| **admission == Admission::Ignored).count();
    assert!((3..6).contains(&served), "{served}");
    assert!(ignored > 900, "{ignored}");
    let refusal = admissions.iter().find_map(|admission| match admission {
        Admission::Answered(reply) => Some(Message::from_vec(reply).unwrap()),
        _ => None,
    });
    assert_eq!(refusal.unwrap().response_code, ResponseCode::Refused);
    assert_eq!(wall.events(), ["cap.reached"], "a flood is one line");

    let strangers: Vec<_> = (1..200).map(|host| admit(&format!("10.77.9.{host}:4000"), &wire)).collect();
    let served = strangers.iter().filter(|admission| **admission == Admission::Serve).count();
    assert!((3..6).contains(&served), "all strangers are one: {served}");
    assert_eq!(wall.events(), ["cap.reached"; 2]);
}

#[tokio::test]
async fn what_is_malformed_is_decided_before_anything_is_spent_on_it() {
    let wall = wall();
    let admit =
        |wire: &[u8]| wall.handler.admit("10.77.0.2:4000".parse().unwrap(), Transport::Udp, wire, &mut Glance::blind());
    let mut wire = query("api.example.com.", RecordType::A).to_vec().unwrap();
    assert_eq!(admit(&wire), Admission::Serve);
    assert_eq!(admit(&wire[..5]), Admission::Ignored);
    let Admission::Answered(reply) = admit(&wire[..14]) else { panic!("no answer") };
    assert_eq!(Message::from_vec(&reply).unwrap().response_code, ResponseCode::FormErr);
    wire[2] |= 0x80;
    assert_eq!(admit(&wire), Admission::Ignored, "an answer is never answered");
    assert!(wall.events().is_empty());
}

fn with_sinkhole(settings: &mut Settings) {
    settings.deny = DenyAnswer::Sinkhole;
}

#[tokio::test]
async fn a_name_in_the_sinkhole_has_one_address_that_leads_nowhere_and_the_answer_says_why() {
    let wall = wall_with(answered, with_sinkhole, Duration::ZERO);
    let reply = wall.ask(&query("telemetry.example.net.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert_eq!(extended_error(&reply).unwrap().0, 15);
    let [record] = &reply.answers[..] else { panic!("{reply:?}") };
    let address = record.data.ip_addr().unwrap();
    assert!(sinkhole::covers(address) && record.ttl == 5, "{record:?}");
    let again = wall.ask(&query("TELEMETRY.example.net.", RecordType::A)).await;
    assert_eq!(again.answers[0].data.ip_addr(), Some(address));

    let known = |client: &str| {
        let client = Client::new(client.parse().unwrap());
        wall.handler.sinkhole().named(client, address, false).map(|(name, denial)| (name, denial.reason))
    };
    assert_eq!(known("10.77.0.2"), Some(("telemetry.example.net".to_owned(), Reason::NotPermitted)));
    assert_eq!(known("10.77.0.3"), None, "it is nobody else's");
    let told = wall.events.0.lock().unwrap().clone();
    assert!(told.iter().all(|event| matches!(event, Event::QueryDenied { sinkhole: Some(at), .. } if *at == address)));
    assert!(wall.passed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_a_search_list_made_never_exists_whatever_denied_names_get() {
    let suffix = Name::parse("corp.example.net").unwrap();
    for deny in [DenyAnswer::Nxdomain, DenyAnswer::Refused, DenyAnswer::Sinkhole] {
        let settings = |settings: &mut Settings| (settings.deny, settings.search) = (deny, [suffix.clone()].into());
        let wall = wall_with(answered, settings, Duration::ZERO);
        for name in ["api.example.com.Corp.example.net.", "corp.example.net."] {
            let reply = wall.ask(&query(name, RecordType::A)).await;
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NXDomain, 0), "{deny:?}");
        }
        let meant = wall.ask(&query("telemetry.example.net.", RecordType::A)).await;
        assert_eq!(meant.metadata.response_code == ResponseCode::NXDomain, deny == DenyAnswer::Nxdomain);
        let told = wall.events.0.lock().unwrap().clone();
        let marked: Vec<_> =
            told.iter().map(|event| matches!(event, Event::QueryDenied { subject, .. } if subject.search)).collect();
        assert_eq!(marked, [true, true, false]);
    }
    // The gate of these tests permits what is below example.com.
    let below = Name::parse("example.com").unwrap();
    let wall = wall_with(answered, |settings| settings.search = [below].into(), Duration::ZERO);
    let reply = wall.ask(&query("api.example.com.", RecordType::A)).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 1), "{reply:?}");
}

#[tokio::test]
async fn a_captured_question_is_told_with_the_ends_that_the_client_has_or_not_answered() {
    let mut wall = wall();
    let arrival: SocketAddr = "10.77.0.1:53".parse().unwrap();
    let sent = Ends::new(Protocol::Udp, "10.77.0.2:4242".parse().unwrap(), "192.0.2.53:53".parse().unwrap());
    wall.handler.hooks.capture =
        Capture::new(vec![arrival], Arc::new(move |ends: Ends| (ends.client.port() == 4000).then_some(sent)));
    let traced = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&traced);
    wall.handler.hooks.trace = Arc::new(move |ends| {
        noted.lock().unwrap().push(ends);
        Box::pin(ready(Traced::Unasked))
    });
    let denied = query("telemetry.example.net.", RecordType::A);
    wall.ask(&denied).await;
    assert_eq!(*traced.lock().unwrap(), [sent]);
    let told = wall.events.0.lock().unwrap().clone();
    let [Event::QueryDenied { subject, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(subject.resolver, Some("192.0.2.53".parse().unwrap()));
    let forgotten = wall.octets("10.77.0.2:4001", &denied.to_vec().unwrap()).await;
    assert_eq!((forgotten, wall.events().len()), (None, 1), "the answer would come from another address");
}

#[tokio::test]
async fn in_sidecar_mode_a_packet_may_come_from_any_address() {
    let wall = wall_with(answered, with_sinkhole, Duration::ZERO);
    let reply = wall.ask(&query("telemetry.example.net.", RecordType::A)).await;
    let address = reply.answers[0].data.ip_addr().unwrap();
    let from = Client::new("192.0.2.9".parse().unwrap());
    assert_eq!(wall.handler.sinkhole().named(from, address, false), None);
    assert_eq!(wall.handler.sinkhole().named(from, address, true).unwrap().0, "telemetry.example.net");
}

#[tokio::test]
async fn what_cannot_be_connected_to_has_no_record_in_the_sinkhole_and_still_exists() {
    let wall = wall_with(answered, with_sinkhole, Duration::ZERO);
    // The client has no IPv6 address.
    for kind in
        [RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB, RecordType::TXT, RecordType::MX, RecordType::ANY]
    {
        let reply = wall.ask(&query("telemetry.example.net.", kind)).await;
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{kind}");
        assert_eq!(reply.authorities.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn only_what_the_policy_denies_by_name_goes_to_the_sinkhole() {
    for (outcome, without_address) in [
        ((|_: &Query| Outcome::Denied(Denial::by_default(Reason::ForbiddenAlias))) as fn(&Query) -> Outcome, None),
        (|_| Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress)), Some(ResponseCode::NoError)),
        (|_| Outcome::Denied(Denial::by_default(Reason::TooManyNames)), Some(ResponseCode::NoError)),
        (|_| Outcome::Denied(Denial::by_default(Reason::LeaseSetFull)), Some(ResponseCode::NoError)),
    ] {
        let wall = wall_with(outcome, with_sinkhole, Duration::ZERO);
        let reply = wall.ask(&query("api.example.com.", RecordType::A)).await;
        assert_eq!(reply.answers.len(), usize::from(without_address.is_none()));
        assert_eq!(reply.metadata.response_code, without_address.unwrap_or(ResponseCode::NoError));
    }
    let wall = wall_with(answered, with_sinkhole, Duration::ZERO);
    let reply = wall.ask(&query("b\\.d.example.com.", RecordType::A)).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NXDomain, 0));
    let message = query("telemetry.example.net.", RecordType::A).to_vec().unwrap();
    let stranger = Message::from_vec(&wall.octets("10.77.0.9:4000", &message).await.unwrap()).unwrap();
    assert_eq!((stranger.metadata.response_code, stranger.answers.len()), (ResponseCode::Refused, 0));
}

#[tokio::test]
async fn a_full_sinkhole_denies_as_if_there_were_none_and_says_so() {
    let wall = wall_with(
        answered,
        |settings| (settings.deny, settings.deny_ttl) = (DenyAnswer::Sinkhole, Ttl::from_wire(3600)),
        Duration::ZERO,
    );
    for number in 0..sinkhole::PER_CLIENT {
        let reply = wall.ask(&query(&format!("n{number}.example.net."), RecordType::A)).await;
        assert_eq!(reply.answers.len(), 1);
    }
    let reply = wall.ask(&query("one-more.example.net.", RecordType::A)).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NXDomain, 0));
    assert_eq!(wall.events().last(), Some(&"query.denied"));
    assert!(wall.events().contains(&"cap.reached"));
    let known = wall.ask(&query("n0.example.net.", RecordType::A)).await;
    assert_eq!(known.answers.len(), 1, "who is in it stays");
}
