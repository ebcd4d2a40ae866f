//! G1: an answer is never released before the kernel has acknowledged every
//! address in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, verdict};
use support::lab::{UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Upstream, address, answer, plain, wire};
use support::wall::{Setup, Wall};

const API: &str = "203.0.113.7:443";

#[test]
fn an_answer_waits_for_the_kernel_and_names_what_it_opened() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let wall = Wall::start(lab, &Setup::default());
        let api: SocketAddr = API.parse().unwrap();
        assert!(!lab.connects("agent", api, Duration::from_secs(1)), "open before it was asked for");

        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
        let leases = elements("lease4");
        let lease = leases.iter().find(|lease| lease.key == ["10.77.0.2", "203.0.113.7", "tcp", "443"]).unwrap();
        assert_eq!(lease.comment.as_deref(), Some("api.example.com"));
        assert!(lab.connects("agent", api, Duration::from_secs(1)));

        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::AAAA)).unwrap();
        assert_eq!(addresses(&reply), ["2001:db8:2::7"]);
        assert!(elements("lease6").iter().any(|lease| lease.key == ["fd77::2", "2001:db8:2::7", "tcp", "443"]));
        assert!(lab.connects("agent", "[2001:db8:2::7]:443".parse().unwrap(), Duration::from_secs(1)));

        let answered = wall.events("query.answered", 2);
        assert_eq!(answered[0]["policies"], serde_json::json!(["api"]));
        assert_eq!(answered[0]["opened"], serde_json::json!(["203.0.113.7"]));
    });
}

#[test]
fn a_full_set_means_a_denial_and_no_address() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let host: u8 = if asked.name == "api.example.com" { 7 } else { 8 };
            wire(&answer(query, vec![address(query, 1, &format!("203.0.113.{host}"))]))
        });
        // What runs out while no daemon takes it out keeps its room until the
        // kernel clears it away.
        let lease = "set_size = 1\nper_client = 1\nmin = \"1s\"\ngrace = \"1s\"";
        let mut wall = Wall::start(lab, &Setup { lease, ..Setup::default() });
        let first = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&first), ["203.0.113.7"]);
        wall.process().kill();
        eventually("the lease ends", Duration::from_secs(10), || elements("lease4").is_empty());
        wall.restart(lab);
        // Nobody is at a cap, but the set is full.
        let ask_other = || lab.within("other", || ask("10.77.1.1:53", "registry.example.com", RecordType::A)).unwrap();
        let second = ask_other();
        assert_eq!(addresses(&second), Vec::<String>::new());
        let (code, told) = verdict(&second);
        assert_eq!(
            (code, told),
            (ResponseCode::NoError, Some((15, "the kernel has no room for another lease".into())))
        );
        assert_eq!(wall.events("query.denied", 1)[0]["reason"], "lease_set_full");
        assert_eq!(wall.events("cap.reached", 1)[0]["cap"], "lease_set");
        // It looks every 30 s, and gives up when a commit comes in between, be
        // it one that it refuses: each question here is one.
        eventually("the kernel makes room", Duration::from_secs(180), || {
            std::thread::sleep(Duration::from_secs(1));
            addresses(&ask_other()) == ["203.0.113.8"]
        });
        assert!(wall.process().is_running());
    });
}

#[test]
fn one_query_that_the_kernel_refuses_does_not_fail_its_neighbours() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let host = asked
                .name
                .trim_start_matches("old")
                .trim_start_matches('h')
                .split('.')
                .next()
                .and_then(|text| text.parse::<u8>().ok());
            let ttl = if asked.name.starts_with("old") { 1 } else { 300 };
            wire(&answer(query, vec![address(query, ttl, &format!("203.0.113.{}", host.unwrap_or(1)))]))
        });
        let policy = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
            when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;
        let lease = "set_size = 16\nper_client = 16\nmin = \"1s\"\ngrace = \"1s\"";
        let mut wall = Wall::start(lab, &Setup { policy, lease, ..Setup::default() });
        // Six that run out while no daemon takes them out keep their room until
        // the kernel clears them away.
        for host in 100..106 {
            let old = lab.within("agent", || ask(WALL, &format!("old{host}.example.com"), RecordType::A)).unwrap();
            assert_eq!(addresses(&old).len(), 1);
        }
        wall.process().kill();
        eventually("the leases end", Duration::from_secs(10), || elements("lease4").is_empty());
        wall.restart(lab);
        let ask_one = |client: &'static str, wall: &'static str, host: u32| {
            std::thread::spawn(move || {
                support::lab::enter(client);
                ask(wall, &format!("h{host}.example.com"), RecordType::A).unwrap()
            })
        };
        // Two clients at once want 16 elements where there is room for 10.
        let asks: Vec<_> =
            (0..8).flat_map(|host| [ask_one("agent", WALL, host), ask_one("other", "10.77.1.1:53", host)]).collect();
        let replies: Vec<_> = asks.into_iter().map(|ask| ask.join().unwrap()).collect();
        let answered = replies.iter().filter(|reply| !addresses(reply).is_empty()).count();
        let denied = wall.events("query.denied", 6);
        assert!(denied.iter().all(|event| event["reason"] == "lease_set_full"), "{denied:?}");
        assert_eq!((answered, denied.len()), (10, 6));
        assert_eq!(elements("lease4").len(), 10);
    });
}

#[test]
fn a_table_that_is_gone_is_back_before_the_next_answer_that_needs_it() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &Setup::default());
        let first = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&first), ["203.0.113.7"]);
        run("nft", &["delete", "table", "inet", "cedarwall"]);
        let second = lab.within("agent", || ask(WALL, "registry.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&second), ["203.0.113.7"]);
        let comments: Vec<_> = elements("lease4").into_iter().filter_map(|element| element.comment).collect();
        assert_eq!(comments, ["api.example.com registry.example.com"]);
        assert_eq!(wall.events("table.restored", 1)[0]["count"], 1);
    });
}
