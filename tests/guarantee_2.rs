//! G2: a name that is not permitted never causes a packet to an upstream
//! server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, ask_tcp};
use support::lab::{UPSTREAM, WALL, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

#[test]
fn a_denied_name_is_never_heard_of_upstream() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &Setup::default());
        let denied = [
            "telemetry.example.com",
            "c2VjcmV0.example.com",
            "evilapi.example.com",
            "api.example.com.evil.example.net",
            "x.api.example.com",
            "example.com",
            "com",
        ];
        let kinds =
            [RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::TXT, RecordType::ANY, RecordType::MX];
        for name in denied {
            for kind in kinds {
                let reply = lab.within("agent", || ask(WALL, name, kind)).unwrap();
                assert_eq!(addresses(&reply), Vec::<String>::new(), "{name} {kind}");
            }
            assert!(lab.within("agent", || ask_tcp(WALL, name, RecordType::A)).is_some());
        }
        // A permitted name, but a type that needs `dns.query`.
        assert!(lab.within("agent", || ask(WALL, "api.example.com", RecordType::TXT)).is_some());
        // The permitted name comes last: whatever went before would show.
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);

        let asked: Vec<_> = upstream.asked().into_iter().map(|asked| (asked.name, asked.kind)).collect();
        assert_eq!(asked, [("api.example.com".to_owned(), RecordType::A)]);
        assert_eq!(upstream.probes(), 1, "the daemon asks by itself at its start, and not again");
        assert_eq!(elements("lease4").len(), 1);
        assert_eq!(wall.events("query.denied", denied.len() * 7 + 1).len(), denied.len() * 7 + 1);
    });
}

#[test]
fn a_stranger_is_told_nothing_and_asks_nobody() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &Setup::default());
        run("ip", &["-n", "agent", "addr", "del", "10.77.0.2/24", "dev", "eth0"]);
        run("ip", &["-n", "agent", "addr", "add", "10.77.0.9/24", "dev", "eth0"]);
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), Vec::<String>::new());
        assert_eq!(wall.events("client.unknown", 1)[0]["reason"], "unknown_client");
        assert_eq!(upstream.asked(), []);
    });
}
