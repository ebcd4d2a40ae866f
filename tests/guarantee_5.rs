//! G5 and G6: the TTL of an answer, the life of its lease, and what outlives
//! it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::lab::{UPSTREAM, WALL, enter, eventually, greeter, in_lab};
use support::nft::elements;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: &str = "min = \"1s\"\nmax = \"1h\"\ngrace = \"1s\"";

fn api() -> SocketAddr {
    "203.0.113.7:443".parse().unwrap()
}

#[test]
fn an_answers_ttl_is_never_longer_than_what_is_left_of_its_lease() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(1_000_000, "203.0.113.7", "2001:db8:2::7"));
        let setup = Setup { lease: "max = \"20s\"\ngrace = \"5s\"\nmin = \"1s\"", ..Setup::default() };
        let _wall = Wall::start(lab, &setup);
        for _ in 0..4 {
            let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
            let ttl = u64::from(reply.answers[0].ttl);
            let left = elements("lease4")[0].expires.unwrap();
            assert!(ttl <= 20 && ttl + 4 <= left, "ttl {ttl}, lease {left}");
            std::thread::sleep(SECOND);
        }
    });
}

#[test]
fn a_lease_ends_after_ttl_and_grace_and_the_flow_it_admitted_goes_on() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(1, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let _wall = Wall::start(lab, &Setup { lease: SHORT, ..Setup::default() });
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        let mut flow = lab.within("agent", || TcpStream::connect_timeout(&api(), SECOND)).unwrap();
        flow.set_read_timeout(Some(2 * SECOND)).unwrap();
        let mut greeting = [0; 6];
        flow.read_exact(&mut greeting).unwrap();

        eventually("the lease ends", 6 * SECOND, || elements("lease4").is_empty());
        assert!(!lab.connects("agent", api(), SECOND), "a new SYN got through");
        flow.write_all(b"still here").unwrap();
        let mut echo = [0; 10];
        flow.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"still here");
    });
}

#[test]
fn a_refresh_leaves_no_instant_in_which_a_permitted_packet_is_dropped() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(1, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let _wall = Wall::start(lab, &Setup { lease: SHORT, ..Setup::default() });
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        let asking = std::thread::spawn(|| {
            enter("agent");
            let start = Instant::now();
            while start.elapsed() < 6 * SECOND {
                assert!(!addresses(&ask(WALL, "api.example.com", RecordType::A).unwrap()).is_empty());
                std::thread::sleep(SECOND / 10);
            }
        });
        let mut connections = 0;
        while !asking.is_finished() {
            // A dropped SYN is sent again after a second: this one must not be.
            assert!(lab.connects("agent", api(), SECOND / 2), "dropped after {connections} connections");
            connections += 1;
        }
        asking.join().unwrap();
        assert!(connections > 100, "only {connections} connections were made");
    });
}

#[test]
fn a_lease_is_not_shortened_while_another_name_needs_it() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let ttl = if asked.name == "api.example.com" { 3000 } else { 1 };
            plain(ttl, "203.0.113.7", "2001:db8:2::7")(asked, query)
        });
        let _wall = Wall::start(lab, &Setup { lease: SHORT, ..Setup::default() });
        let (api, registry) = ("api.example.com", "registry.example.com");
        for (client, wall, names, comment) in [
            ("agent", WALL, [registry, api, registry], "registry.example.com api.example.com"),
            ("other", "10.77.1.1:53", [api, registry, registry], "api.example.com registry.example.com"),
        ] {
            for name in names {
                lab.within(client, || ask(wall, name, RecordType::A)).unwrap();
            }
            let address = if client == "agent" { "10.77.0.2" } else { "10.77.1.2" };
            let lease = elements("lease4").into_iter().find(|lease| lease.key[0] == address).unwrap();
            assert!(lease.expires.unwrap() > 2900, "{lease:?}");
            assert_eq!(lease.comment.as_deref(), Some(comment));
        }
    });
}
