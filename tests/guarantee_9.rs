//! G9, and the second half of G6: a policy that cannot be used replaces
//! nothing; a new one takes effect at once, and what it revokes is closed,
//! established flows included.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use cedarwall::core::decision::Opening;
use cedarwall::core::lease::{Aliases, Generation, Grant, Refusal, Wanted};
use cedarwall::core::ledger::revision::Verdict;
use cedarwall::core::name::Name;
use cedarwall::core::query::{Client, Port, Protocol};
use cedarwall::core::time::Ttl;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use support::change::{BOTH, Done, REGISTRY, by_name, change, operator};
use support::client::{addresses, ask, verdict};
use support::lab::{Conversation, Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::room::Room;
use support::upstream::{Asked, Upstream, plain};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
const OTHER_WALL: &str = "10.77.1.1:53";

/// Clients that ask in a loop are not to meet a cap.
const AS_FAST_AS_IT_CAN: &str = "queries_per_second = 1000000";

fn resolve(lab: &Lab, namespace: &str, wall: &str, name: &str, kind: RecordType) -> Vec<String> {
    addresses(&lab.within(namespace, || ask(wall, name, kind)).unwrap())
}

fn hang_up(wall: &mut Wall) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(wall.process().id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGHUP).unwrap();
}

#[test]
fn a_flow_ends_with_its_permit_and_every_other_goes_on() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        greeter(443);
        let wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
        for name in ["api.example.com", "registry.example.com"] {
            for kind in [RecordType::A, RecordType::AAAA] {
                assert_eq!(resolve(lab, "agent", WALL, name, kind).len(), 1);
            }
        }
        resolve(lab, "other", OTHER_WALL, "api.example.com", RecordType::A);
        let mut revoked = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let mut revoked_six = Conversation::begin(lab, "agent", "[2001:db8:2::7]:443");
        let mut other_name = Conversation::begin(lab, "agent", "203.0.113.8:443");
        let mut other_client = Conversation::begin(lab, "other", "203.0.113.7:443");
        let untouched = element_of("203.0.113.8");

        let only_other = r#"
            @id("api") permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443")
                when { context.client == ip("10.77.1.2") };"#;
        let report = change(lab, &format!("{REGISTRY}{only_other}"));

        // Two families, TCP and UDP each; two flows.
        assert_eq!((&report["closed_elements"], &report["ended_flows"]), (&4.into(), &2.into()), "{report}");
        assert!(!revoked.goes_on(SECOND), "a flow that is permitted no longer goes on");
        assert!(!revoked_six.goes_on(SECOND), "a flow over IPv6 that is permitted no longer goes on");
        assert!(other_name.goes_on(SECOND), "the flow to another name was cut");
        assert!(other_client.goes_on(SECOND), "another client's flow was cut");
        assert!(!lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND / 4));
        assert!(lab.connects("agent", "203.0.113.8:443".parse().unwrap(), SECOND));
        let (left, before) = (element_of("203.0.113.8"), untouched);
        assert!(left <= before, "an element that stays was set anew: {before} s, then {left} s");
        let events = wall.events("policy.revoked", 1);
        assert_eq!((&events[0]["count"], &events[0]["flows"]), (&4.into(), &2.into()));
    });
}

/// Seconds left of the agent's lease of this address.
fn element_of(address: &str) -> u64 {
    let found = elements("lease4").into_iter().find(|element| element.key[1] == address && element.key[2] == "tcp");
    found.unwrap().expires.unwrap()
}

#[test]
fn a_flow_that_outlived_its_lease_ends_with_its_permit_too() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(1));
        greeter(443);
        let lease = "min = \"1s\"\ngrace = \"1s\"";
        let _wall = Wall::start(lab, &Setup { policy: BOTH, lease, ..Setup::default() });
        resolve(lab, "agent", WALL, "api.example.com", RecordType::A);
        resolve(lab, "agent", WALL, "registry.example.com", RecordType::A);
        let mut revoked = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let mut stays = Conversation::begin(lab, "agent", "203.0.113.8:443");
        eventually("the leases end", 10 * SECOND, || elements("lease4").is_empty());
        assert!(revoked.goes_on(SECOND), "flows outlive their lease");

        let report = change(lab, REGISTRY);

        assert_eq!(report["ended_flows"], 1, "{report}");
        assert!(!revoked.goes_on(SECOND));
        assert!(stays.goes_on(SECOND));
    });
}

#[test]
fn a_lease_that_two_names_share_stays_while_one_is_permitted() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let _wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
        for name in ["api.example.com", "registry.example.com"] {
            resolve(lab, "agent", WALL, name, RecordType::A);
        }
        let mut shared = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let report = change(lab, REGISTRY);
        assert_eq!(report["ended_flows"], 0, "{report}");
        assert!(shared.goes_on(SECOND));
        let comments: Vec<_> = elements("lease4").into_iter().map(|element| element.comment.unwrap()).collect();
        assert_eq!(comments, ["registry.example.com", "registry.example.com"]);

        assert_eq!(change(lab, "")["ended_flows"], 1);
        assert!(!shared.goes_on(SECOND));
    });
}

#[test]
fn ports_that_are_permitted_still_stay_open_and_their_flows_go_on() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        for port in [443, 8443] {
            greeter(port);
        }
        let every = r#"permit(principal, action == Action::"net.connect", resource in Domain::"api.example.com");"#;
        let _wall = Wall::start(lab, &Setup { policy: every, ..Setup::default() });
        resolve(lab, "agent", WALL, "api.example.com", RecordType::A);
        let mut stays = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let mut ends = Conversation::begin(lab, "agent", "203.0.113.7:8443");
        change(lab, BOTH);
        assert!(stays.goes_on(SECOND));
        assert!(!ends.goes_on(SECOND));
        assert_eq!((elements("lease4_all_ports").len(), elements("lease4").len()), (0, 2));
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
    });
}

#[test]
fn a_policy_that_cannot_be_used_replaces_nothing_and_says_why() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
        resolve(lab, "agent", WALL, "api.example.com", RecordType::A);
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");

        // One good file, which forbids all, and one that is broken.
        lab.write("policies/wall.cedar", REGISTRY);
        lab.write("policies/broken.cedar", "permit(principal, action, resource) when { 1 };");
        let (code, report) = operator(lab, &["reload"]);
        assert_eq!((code, &report["loaded"]), (Some(1), &false.into()), "{report}");
        assert!(report["problems"][0].as_str().unwrap().contains("broken.cedar:1:"), "{report}");
        hang_up(&mut wall);
        let refused = wall.events("policy.refused", 2);
        assert!(refused[1]["problems"][0].as_str().unwrap().contains("broken.cedar:1:"), "{refused:?}");
        let status = wall.operator(&["status"]).unwrap();
        assert!(status["refused"]["problems"][0].as_str().unwrap().contains("broken.cedar:1:"), "{status}");
        assert_eq!(status["policies"], 2);
        assert!(flow.goes_on(SECOND));
        assert_eq!(resolve(lab, "agent", WALL, "api.example.com", RecordType::A), ["203.0.113.7"]);

        // Nothing readable at all.
        std::fs::rename(lab.path("policies"), lab.path("elsewhere")).unwrap();
        assert_eq!(operator(lab, &["reload"]).0, Some(1));
        assert!(flow.goes_on(SECOND));
        std::fs::rename(lab.path("elsewhere"), lab.path("policies")).unwrap();

        std::fs::remove_file(lab.path("policies/broken.cedar")).unwrap();
        hang_up(&mut wall);
        assert_eq!(wall.events("policy.loaded", 2)[1]["count"], 1);
        eventually("the flow ends", 5 * SECOND, || !flow.goes_on(SECOND / 4));
        assert!(wall.operator(&["status"]).unwrap().get("refused").is_none());
    });
}

#[test]
fn a_query_that_was_under_way_is_judged_by_the_new_policy() {
    in_lab(|lab| {
        let (asked, was_asked) = mpsc::channel();
        let (go, may_answer) = mpsc::channel();
        let (asked, may_answer) = (Mutex::new(asked), Mutex::new(may_answer));
        let internet = by_name(300);
        Upstream::start(UPSTREAM, move |question: &Asked, query: &Message| {
            asked.lock().unwrap().send(question.name.clone()).ok()?;
            may_answer.lock().unwrap().recv_timeout(10 * SECOND).ok()?;
            internet(question, query)
        });
        let _wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
        std::thread::scope(|scope| {
            let api = scope.spawn(|| lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap());
            assert_eq!(was_asked.recv_timeout(5 * SECOND).unwrap(), "api.example.com");
            change(lab, REGISTRY);
            for _ in 0..8 {
                go.send(()).unwrap();
            }
            let reply = api.join().unwrap();
            assert_eq!(verdict(&reply).0, ResponseCode::NXDomain, "{reply}");
            assert_eq!(elements("lease4"), []);
        });
    });
}

#[test]
fn no_answer_is_lost_while_policies_come_and_go() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(0));
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { policy: BOTH, dns: AS_FAST_AS_IT_CAN, ..Setup::default() });
        let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _guard = Done(&done);
            for namespace in ["agent", "other"] {
                let (done, answered) = (&done, &answered);
                scope.spawn(move || {
                    let server = if namespace == "agent" { WALL } else { OTHER_WALL };
                    lab.within(namespace, || {
                        while !done.load(Ordering::SeqCst) {
                            let reply = ask(server, "registry.example.com", RecordType::A).expect("an answer");
                            assert_eq!(addresses(&reply), ["203.0.113.8"], "{reply}");
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                });
            }
            for round in 1..=20 {
                lab.write("policies/wall.cedar", if round % 2 == 0 { BOTH } else { REGISTRY });
                let before = answered.load(Ordering::SeqCst);
                hang_up(&mut wall);
                wall.events("policy.loaded", round + 1);
                eventually("answers go on", 5 * SECOND, || answered.load(Ordering::SeqCst) > before);
            }
        });
        assert!(lab.connects("agent", "203.0.113.8:443".parse().unwrap(), SECOND));
        assert!(wall.events("policy.revoked", 0).is_empty(), "nothing was to be closed");
    });
}

#[test]
fn what_an_older_policy_permitted_opens_nothing_once_it_is_superseded() {
    in_lab(|_| {
        let room = Room::build();
        let client = Client::new("10.77.0.2".parse().unwrap());
        let wanted = |port: u16, generation| Wanted {
            client,
            name: Name::parse("api.example.com").unwrap(),
            grants: vec![Grant {
                client,
                address: "203.0.113.7".parse().unwrap(),
                openings: Arc::from([Opening { protocol: Protocol::Tcp, ports: Port::new(port).unwrap().into() }]),
            }],
            ttl: Ttl::from_wire(300),
            at_most: None,
            aliases: Aliases::default(),
            generation,
        };
        let (old, new) = (Generation::FIRST, Generation::FIRST.next());
        assert!(room.open(wanted(443, old)).is_ok());

        let holdings = room.run(room.firewall.supersede(new)).unwrap();

        assert_eq!(holdings.len(), 1);
        assert_eq!(room.open(wanted(80, old)), Err(Refusal::Superseded));
        assert!(room.open(wanted(8443, new)).is_ok());
        let verdicts = holdings.into_iter().map(|holding| Verdict { holding, permitted: Vec::new() }).collect();
        assert_eq!(room.run(room.firewall.revoke(verdicts)).unwrap().elements, 1);
        let open: Vec<_> = elements("lease4").into_iter().map(|element| element.key[3].clone()).collect();
        assert_eq!(open, ["8443"]);
    });
}

/// A client that asks in a loop while its permit comes and goes never keeps
/// what was opened under the policy before.
#[test]
fn nothing_opens_behind_a_revocation() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(0));
        let _wall = Wall::start(lab, &Setup { policy: BOTH, dns: AS_FAST_AS_IT_CAN, ..Setup::default() });
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _guard = Done(&done);
            for _ in 0..4 {
                let done = &done;
                scope.spawn(move || {
                    lab.within("agent", || {
                        while !done.load(Ordering::SeqCst) {
                            ask(WALL, "api.example.com", RecordType::A).expect("an answer");
                        }
                    });
                });
            }
            for _ in 0..10 {
                change(lab, BOTH);
                eventually("it opens", 5 * SECOND, || !elements("lease4").is_empty());
                change(lab, REGISTRY);
                assert_eq!(elements("lease4"), [], "a query opened what the policy no longer permits");
            }
        });
    });
}
