//! What is promised of answers that are given again.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{Admission, Answer, Glance};
use super::tests::{Wall, answered, query, wall, wall_with};
use super::*;
use crate::core::rate::Rate;
use hickory_proto::rr::RecordType;

const CLIENT: &str = "10.77.0.2:4000";

/// What becomes of a question before anything is spent on it.
fn asked(wall: &Wall, peer: &str, wire: &[u8]) -> Admission {
    wall.handler.admit(peer.parse().unwrap(), Transport::Udp, wire, &mut Glance::new(|| true))
}

fn api() -> Vec<u8> {
    query("api.example.com.", RecordType::A).to_vec().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_question_asked_again_gets_what_is_left_of_its_answer_and_each_is_told_of() {
    let wall = wall();
    assert_eq!(asked(&wall, CLIENT, &api()), Admission::Serve, "nothing was answered yet");
    let first = wall.octets(CLIENT, &api()).await.unwrap();
    assert_eq!(asked(&wall, CLIENT, &api()), Admission::Answered(first.clone()), "at the same moment it is the same");
    tokio::time::advance(Duration::from_millis(10_500)).await;
    let Admission::Answered(later) = asked(&wall, "10.77.0.2:53211", &api()) else { panic!("it is not over") };
    let ttl = |wire: &[u8]| hickory_proto::op::Message::from_vec(wire).unwrap().answers[0].ttl;
    assert_eq!((ttl(&first), ttl(&later)), (30, 19), "never more than is left");
    assert_eq!(wall.events(), ["query.answered"; 3]);
    tokio::time::advance(Duration::from_millis(18_501)).await;
    assert_eq!(asked(&wall, CLIENT, &api()), Admission::Serve, "less than a second is left");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_repeated_once_anything_has_changed() {
    let wall = wall();
    let is_repeated = |glance: &mut Glance| {
        let admission = wall.handler.admit(CLIENT.parse().unwrap(), Transport::Udp, &api(), glance);
        matches!(admission, Admission::Answered(_))
    };
    wall.octets(CLIENT, &api()).await.unwrap();
    assert!(!is_repeated(&mut Glance::blind()), "nobody says that the kernel holds it");
    assert!(is_repeated(&mut Glance::new(|| true)));
    wall.edition.turn();
    assert!(!is_repeated(&mut Glance::new(|| true)), "the law is another");
    wall.octets(CLIENT, &api()).await.unwrap();
    assert!(is_repeated(&mut Glance::new(|| true)));
    let over_tcp = wall.handler.admit(CLIENT.parse().unwrap(), Transport::Tcp, &api(), &mut Glance::new(|| true));
    assert_eq!(over_tcp, Admission::Serve, "what had to be truncated may be whole there");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_on_its_way_while_the_law_changed_is_not_kept() {
    let wall = wall_with(answered, |_| {}, Duration::from_secs(1));
    let wire = api();
    let change = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        wall.edition.turn();
    };
    tokio::join!(wall.octets(CLIENT, &wire), change).0.unwrap();
    assert_eq!(asked(&wall, CLIENT, &api()), Admission::Serve);
}

/// More addresses than a datagram takes.
fn at_length(query: &Query) -> Outcome {
    let Outcome::Answered(answer) = answered(query) else { panic!("it is answered") };
    let mut screened = Arc::into_inner(answer.screened).unwrap();
    screened.records = vec![screened.records[0].clone(); 200];
    Outcome::Answered(Answered { screened: Arc::new(screened), ..answer })
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_had_to_be_cut_is_not_kept() {
    let wall = wall_with(at_length, |_| {}, Duration::ZERO);
    let first = wall.octets(CLIENT, &api()).await.unwrap();
    assert_eq!((first[2] & 0x02, first[7]), (0x02, 0), "it is cut");
    assert_eq!(asked(&wall, CLIENT, &api()), Admission::Serve);
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_by_the_time_or_only_let_pass_is_decided_each_time() {
    let by_time = |query: &Query| match answered(query) {
        Outcome::Answered(answer) => Outcome::Answered(Answered { stays: false, ..answer }),
        other => other,
    };
    let let_pass = |query: &Query| match answered(query) {
        Outcome::Answered(answer) => {
            let would_deny = Some(Denial::by_default(Reason::NotPermitted));
            Outcome::Answered(Answered { would_deny, ..answer })
        }
        other => other,
    };
    for outcome in [by_time, let_pass] {
        let wall = wall_with(outcome, |_| {}, Duration::ZERO);
        wall.octets(CLIENT, &api()).await.unwrap();
        assert_eq!(asked(&wall, CLIENT, &api()), Admission::Serve);
    }
}

#[tokio::test(start_paused = true)]
async fn many_repeats_are_told_in_sums_and_none_is_forgotten() {
    let wall = wall_with(
        answered,
        |settings| settings.rate = Rate { per_second: 1_000_000, burst: 1_000_000 },
        Duration::ZERO,
    );
    let names = ["api.example.com.", "registry.example.com."];
    for name in names {
        wall.octets(CLIENT, &query(name, RecordType::A).to_vec().unwrap()).await.unwrap();
    }
    for repeat in 0..5000 {
        let wire = query(names[repeat % 2], RecordType::A).to_vec().unwrap();
        assert!(matches!(asked(&wall, CLIENT, &wire), Admission::Answered(_)));
    }
    let times = |events: &[Event]| -> u64 {
        events.iter().map(|event| if let Event::QueryAnswered { times, .. } = event { *times } else { 0 }).sum()
    };
    assert_eq!(wall.told().len(), 1002);
    wall.handler.round();
    let told = wall.told();
    assert_eq!((told.len(), times(&told)), (1004, 5002));
    wall.handler.round();
    assert_eq!(wall.told().len(), 1004, "what was told is told");
}

fn telemetry() -> Vec<u8> {
    query("telemetry.example.com.", RecordType::A).to_vec().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_repeated_to_the_socket_that_got_it_for_a_second_and_each_is_told_of() {
    let denied = |_: &Query| Outcome::Denied(Denial::by_default(Reason::NotPermitted));
    let wall = wall_with(denied, |_| {}, Duration::ZERO);
    let first = wall.octets(CLIENT, &telemetry()).await.unwrap();
    assert_eq!(asked(&wall, CLIENT, &telemetry()), Admission::Answered(first.clone()));
    assert_eq!(asked(&wall, "10.77.0.2:53211", &telemetry()), Admission::Serve, "somebody else may have that socket");
    assert_eq!(wall.events(), ["query.denied"; 2]);
    let mut blind = Glance::blind();
    let unseen = wall.handler.admit(CLIENT.parse().unwrap(), Transport::Udp, &telemetry(), &mut blind);
    assert_eq!(unseen, Admission::Answered(first), "nothing of it is in the kernel");
    wall.edition.turn();
    assert_eq!(asked(&wall, CLIENT, &telemetry()), Admission::Serve, "the law is another");
    wall.octets(CLIENT, &telemetry()).await.unwrap();
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert_eq!(asked(&wall, CLIENT, &telemetry()), Admission::Serve, "who holds the socket is asked once a second");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_names_denied_to_eight_sockets_are_kept_together() {
    let denied = |_: &Query| Outcome::Denied(Denial::by_default(Reason::NotPermitted));
    let fast = |settings: &mut Settings| settings.rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let wall = wall_with(denied, fast, Duration::ZERO);
    let questions: Vec<(String, Vec<u8>)> = (0..8000)
        .map(|number| {
            let name = format!("n{:08}.denied.example.org.", number / 8);
            (format!("10.77.0.2:{}", 4000 + number % 8), query(&name, RecordType::A).to_vec().unwrap())
        })
        .collect();
    for (peer, wire) in &questions {
        wall.octets(peer, wire).await.unwrap();
    }
    let kept = questions.iter().filter(|(peer, wire)| asked(&wall, peer, wire) != Admission::Serve).count();
    assert!(kept > 7800, "{kept} of 8,000");
}

#[tokio::test(start_paused = true)]
async fn whoever_counts_denials_is_told_of_all_of_them_first() {
    let denied = |_: &Query| Outcome::Denied(Denial::by_default(Reason::Forbidden));
    let fast = |settings: &mut Settings| settings.rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let wall = wall_with(denied, fast, Duration::ZERO);
    wall.octets(CLIENT, &telemetry()).await.unwrap();
    for _ in 0..3000 {
        assert!(matches!(asked(&wall, CLIENT, &telemetry()), Admission::Answered(_)));
    }
    wall.handler.tell_repeats();
    let told: u64 =
        wall.told().iter().map(|event| if let Event::QueryDenied { times, .. } = event { *times } else { 0 }).sum();
    assert_eq!((told, wall.told().len()), (3001, 1002));
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_rests_on_more_than_the_law_is_judged_each_time() {
    let for_want_of_room: fn(&Query) -> Outcome = |_| Outcome::Denied(Denial::by_default(Reason::TooManyLeases));
    let for_its_addresses: fn(&Query) -> Outcome = |_| Outcome::Denied(Denial::by_default(Reason::NoPermittedAddress));
    for outcome in [for_want_of_room, for_its_addresses] {
        let wall = wall_with(outcome, |_| {}, Duration::ZERO);
        wall.octets(CLIENT, &telemetry()).await.unwrap();
        assert_eq!(asked(&wall, CLIENT, &telemetry()), Admission::Serve);
    }
}

proptest! {
    /// There is one way to an answer: what is repeated is what the whole way
    /// would have come to.
    #[test]
    fn what_is_repeated_is_what_the_whole_way_would_have_answered(
        spelling in "[aA][pP][iI]\\.[eE][xX]aM[pP]le\\.com\\.",
        ids: [u16; 2],
        flags in prop::collection::vec(any::<bool>(), 4),
        payload: u16,
        other in prop::sample::select(vec!["api.example.com.", "registry.example.com.", "a.very.long.name.example.com."]),
        kind in prop::sample::select(vec![RecordType::A, RecordType::AAAA, RecordType::TXT]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let wall = wall();
            let ask = |name: &str, id: u16, flags: &[bool]| {
                let mut message = query(name, kind);
                message.metadata.id = id;
                message.metadata.recursion_desired = flags[0];
                message.metadata.checking_disabled = flags[1];
                if flags[2] {
                    message.edns = None;
                } else if let Some(edns) = &mut message.edns {
                    edns.set_max_payload(payload).set_dnssec_ok(flags[3]);
                }
                message.to_vec().unwrap()
            };
            let first = wall.octets(CLIENT, &ask(&spelling, ids[0], &flags)).await.unwrap();
            let is_answered = first[7] > 0;
            // Another spelling and id of the same, or another question.
            let turned: Vec<bool> = flags.iter().map(|flag| !flag).collect();
            for wire in [ask("api.example.com.", ids[1], &flags), ask(other, ids[1], &flags), ask(&spelling, ids[1], &turned)] {
                if let Admission::Answered(repeated) = asked(&wall, CLIENT, &wire) {
                    assert_eq!(repeated, wall.octets(CLIENT, &wire).await.unwrap());
                }
            }
            let same = asked(&wall, CLIENT, &ask("API.example.COM.", ids[1], &flags));
            assert!(!is_answered || matches!(same, Admission::Answered(_)));
            let other_client = asked(&wall, "10.77.0.9:4000", &ask(&spelling, ids[1], &flags));
            assert!(!matches!(other_client, Admission::Answered(reply) if reply[3] & 15 == 0));
        });
    }

    #[test]
    fn hostile_questions_are_never_repeated_by_mistake(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let wall = wall();
            wall.octets(CLIENT, &api()).await.unwrap();
            if let Admission::Answered(reply) = asked(&wall, CLIENT, &octets) {
                assert_eq!(Some(reply), wall.octets(CLIENT, &octets).await);
            }
        });
    }
}
