//! Upstream servers that are silent, dead or full of errors: the next one
//! answers within a second, or there is SERVFAIL and no address.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use support::client::{addresses, verdict};
use support::lab::{Lab, SECOND_UPSTREAM, UPSTREAM, WALL, eventually, in_lab};
use support::nft::elements;
use support::released::{NONE, asked_by_agent, expect, told};
use support::upstream::{Datagrams, Upstream, address, answer, plain, refusal, wire};
use support::wall::{ANY_NAMES, Setup, Wall};

const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;
const BOTH: &[&str] = &["udp://198.51.100.53:53", "udp://198.51.100.54:53"];
const TRUE: &str = "203.0.113.7";
/// A fail-over slower than this would not be worth the name.
const PROMISED: Duration = Duration::from_secs(1);
/// How long a silent server is waited for before the next is asked, too. An
/// answer that came sooner did not wait for a timer.
const HEDGE: Duration = Duration::from_millis(300);

fn setup() -> Setup<'static> {
    Setup { policy: POLICY, upstream: BOTH, ..Setup::default() }
}

fn good() -> Upstream {
    Upstream::start(SECOND_UPSTREAM, plain(300, TRUE, "2001:db8:2::7"))
}

/// The quickest of three first questions to a daemon that knows nothing of
/// its servers yet: this machine may be busy.
fn quickest(lab: &Lab, wall: &mut Wall) -> Duration {
    let mut quickest = Duration::MAX;
    for index in 0..3 {
        let (reply, took) = asked_by_agent(lab, wall, &format!("host{index}.example.com"));
        assert_eq!(addresses(&reply), [TRUE]);
        quickest = quickest.min(took);
        wall.process().kill();
        wall.restart(lab);
    }
    quickest
}

#[test]
fn the_second_server_answers_for_a_silent_first_within_a_second() {
    in_lab(|lab| {
        let silent = Upstream::start(UPSTREAM, |_, _| None);
        good();
        let mut wall = Wall::start(lab, &setup());
        let (reply, first) = asked_by_agent(lab, &mut wall, "api.example.com");
        assert_eq!(addresses(&reply), [TRUE]);
        assert!(silent.count("api.example.com") > 0, "the first server was asked first");
        assert!(first < PROMISED, "fail-over took {first:?}");
        eprintln!("fail-over from a silent server: {first:?}");
        // From then on nobody waits for the silent one.
        let (reply, _) = asked_by_agent(lab, &mut wall, "registry.example.com");
        assert_eq!(addresses(&reply), [TRUE]);
        assert_eq!(silent.count("registry.example.com"), 0);
    });
}

#[test]
fn an_error_or_nonsense_of_the_first_server_is_passed_over_at_once() {
    type Answerer = fn(&Message) -> Option<Vec<u8>>;
    let errors: [(&str, Answerer); 5] = [
        ("SERVFAIL", |query| wire(&refusal(query, ResponseCode::ServFail))),
        ("REFUSED", |query| wire(&refusal(query, ResponseCode::Refused))),
        ("NOTIMP", |query| wire(&refusal(query, ResponseCode::NotImp))),
        ("FORMERR without a question", |query| {
            let mut message = refusal(query, ResponseCode::FormErr);
            message.queries.clear();
            wire(&message)
        }),
        ("garbage after the question", |query| {
            let mut octets = wire(&answer(query, vec![address(query, 300, "203.0.113.66")]))?;
            let end = octets.len();
            octets[end - 16..].fill(0xe5);
            Some(octets)
        }),
    ];
    for (what, error) in errors {
        in_lab(move |lab| {
            let failing = Upstream::start(UPSTREAM, move |_, query| error(query));
            good();
            let mut wall = Wall::start(lab, &setup());
            let took = quickest(lab, &mut wall);
            assert!(took < HEDGE, "{what}: it took {took:?}");
            assert_eq!(failing.asked().len(), 3, "{what}: it was asked first, and once each time");
            assert!(elements("lease4").iter().all(|lease| lease.key[1] == TRUE));
        });
    }
}

#[test]
fn a_dead_first_server_is_passed_over_at_once() {
    in_lab(|lab| {
        good();
        let mut wall = Wall::start(lab, &setup());
        let took = quickest(lab, &mut wall);
        assert!(took < HEDGE, "it took {took:?}");
    });
}

#[test]
fn when_all_are_silent_the_client_hears_so_in_time_and_nothing_opens() {
    in_lab(|lab| {
        let first = Upstream::start(UPSTREAM, |_, _| None);
        let second = Upstream::start(SECOND_UPSTREAM, |_, _| None);
        let mut wall = Wall::start(lab, &Setup { dns: "upstream_timeout = \"2s\"", ..setup() });
        let (_, took) = asked_by_agent(lab, &mut wall, "api.example.com");
        assert!(took < Duration::from_secs(3), "it took {took:?}");
        expect(lab, &mut wall, &[("registry.example.com", ResponseCode::ServFail, Some(22), NONE)]);
        assert_eq!(elements("lease4"), []);
        assert_eq!(wall.events("query.failed", 2)[1]["reason"], "upstream_silent");
        // Lost packets are repeated, and a failure is not a flood.
        for server in [first, second] {
            assert_eq!(server.count("api.example.com"), 2, "asked {:?}", server.asked());
        }
    });
}

#[test]
fn when_all_refuse_or_are_dead_there_is_servfail_and_nothing_opens() {
    in_lab(|lab| {
        let mut wall = Wall::start(lab, &setup());
        expect(lab, &mut wall, &[("dead.example.com", ResponseCode::ServFail, Some(23), NONE)]);
        let first = Upstream::start(UPSTREAM, |_, query| wire(&refusal(query, ResponseCode::Refused)));
        let second = Upstream::start(SECOND_UPSTREAM, |_, query| wire(&refusal(query, ResponseCode::ServFail)));
        expect(lab, &mut wall, &[("refused.example.com", ResponseCode::ServFail, Some(0), NONE)]);
        assert_eq!([first.asked().len(), second.asked().len()], [1, 1], "who says no is not asked again");
        assert_eq!(elements("lease4"), []);
    });
}

#[test]
fn a_server_spoken_to_over_tcp_is_passed_over_alike() {
    in_lab(|lab| {
        let second = good();
        let upstream = &["tcp://198.51.100.53:53", "tcp://198.51.100.54:53"];
        let mut wall = Wall::start(lab, &Setup { upstream, ..setup() });
        let took = quickest(lab, &mut wall);
        assert!(took < HEDGE, "a closed port took {took:?}");
        // One that accepts and hangs up.
        let first = Upstream::start(UPSTREAM, |_, _| None);
        let took = quickest(lab, &mut wall);
        assert!(took < HEDGE, "a hang-up took {took:?}");
        assert!(first.asked().iter().chain(&second.asked()).all(|asked| asked.over_tcp));
    });
}

#[test]
fn many_who_wait_for_a_silent_server_all_hear_and_the_daemon_lives() {
    in_lab(|lab| {
        let silent = Upstream::start(UPSTREAM, |_, _| None);
        let setup = Setup { dns: "upstream_timeout = \"700ms\"\nmax_in_flight = 20", ..setup() };
        let mut wall = Wall::start(lab, &Setup { upstream: &["udp://198.51.100.53:53"], ..setup });
        let codes: Vec<_> = std::thread::scope(|scope| {
            let asks: Vec<_> = (0..60)
                .map(|index| {
                    // The same name thrice: one lookup for all who wait.
                    let name = format!("host{}.example.com", index / 3);
                    scope.spawn(move || lab.within("agent", || support::client::ask(WALL, &name, RecordType::A)))
                })
                .collect();
            asks.into_iter().map(|ask| verdict(&ask.join().unwrap().unwrap()).0).collect()
        });
        assert_eq!(codes, [ResponseCode::ServFail; 60]);
        assert!(silent.asked().len() <= 60, "{} questions for at most 20 names", silent.asked().len());
        assert_eq!(elements("lease4"), []);
        assert!(wall.process().is_running());
    });
}

#[test]
fn a_server_that_dies_and_comes_back_is_used_again() {
    in_lab(|lab| {
        let serve = || {
            Datagrams::start(UPSTREAM, |query| {
                wire(&answer(query, vec![address(query, 300, TRUE)])).into_iter().collect()
            })
        };
        let server = serve();
        let mut wall = Wall::start(lab, &Setup { upstream: &["udp://198.51.100.53:53"], ..setup() });
        let answered = |name| (name, ResponseCode::NoError, None, [TRUE].as_slice());
        expect(lab, &mut wall, &[answered("api.example.com")]);
        drop(server);
        // The kernel limits the errors it sends, over all namespaces: a port
        // that is closed may look like one that is silent.
        let (code, extended, addresses) = told(lab, &mut wall, "registry.example.com");
        assert_eq!((code, addresses), (ResponseCode::ServFail, Vec::new()));
        assert!(matches!(extended, Some(22 | 23)), "{extended:?}");
        expect(lab, &mut wall, &[answered("api.example.com")]);
        let _server = serve();
        expect(lab, &mut wall, &[answered("registry.example.com"), answered("new.example.com")]);
    });
}

#[test]
fn a_first_server_that_recovers_is_preferred_again() {
    in_lab(|lab| {
        let silent = Arc::new(AtomicBool::new(true));
        let is_silent = Arc::clone(&silent);
        let first = Upstream::start(UPSTREAM, move |_, query| {
            (!is_silent.load(Ordering::Relaxed)).then(|| wire(&answer(query, vec![address(query, 300, TRUE)])))?
        });
        good();
        let mut wall = Wall::start(lab, &Setup { names: ANY_NAMES, ..setup() });
        assert_eq!(told(lab, &mut wall, "api.example.com"), (ResponseCode::NoError, None, vec![TRUE.into()]));
        silent.store(false, Ordering::Relaxed);
        let mut index = 0;
        eventually("the first server is asked again", Duration::from_secs(20), || {
            index += 1;
            let name = format!("host{index}.example.com");
            asked_by_agent(lab, &mut wall, &name);
            first.count(&name) > 0
        });
    });
}
