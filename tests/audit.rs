//! `[policy] mode = "audit"`: everything is answered and open, but for
//! special-purpose ranges, strangers and the wall's own host; all that would
//! have been denied is marked and counted; and leaving it closes it at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use cedarwall::nft::conntrack;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};
use support::client::{addresses, ask, verdict};
use support::lab::{Conversation, Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::{counter, elements};
use support::run;
use support::upstream::{Upstream, address, answer, plain, wire};
use support::wall::{STORY, Setup, Wall, configuration};

const SECOND: Duration = Duration::from_secs(1);
const TELEMETRY: &str = "telemetry.example.com";
/// An address that no name leads to.
const DIRECT: &str = "203.0.113.9:443";
/// Its IPv6 fellow.
const DIRECT6: &str = "[2001:db8:2::9]:443";
/// It answers, and is in a special-purpose range that nothing allows.
const SPECIAL: &str = "100.70.0.9:443";
const ALLOWED: &[&str] = &["203.0.113.0/24", "2001:db8:2::/64"];

fn audit<'a>() -> Setup<'a> {
    Setup { policy_lines: "watch = false\nmode = \"audit\"", allow_ranges: ALLOWED, ..Setup::default() }
}

fn enforce<'a>() -> Setup<'a> {
    Setup { allow_ranges: ALLOWED, ..Setup::default() }
}

fn reload(lab: &Lab, wall: &Wall, setup: &Setup<'_>) {
    lab.write("cedarwall.toml", &configuration(lab, setup));
    let report = wall.operator(&["reload"]).expect("it is taken");
    assert_eq!(report["waiting"].as_array().map_or(0, Vec::len), 0, "it takes effect at once: {report}");
    assert_eq!(report["problems"].as_array().map_or(0, Vec::len), 0, "{report}");
}

fn connects(lab: &Lab, to: &str) -> bool {
    lab.connects("agent", to.parse().unwrap(), SECOND)
}

fn rules_of(chain: &str) -> usize {
    let listing = run("nft", &["list", "chain", "inet", "cedarwall", chain]);
    listing.lines().filter(|line| line.starts_with("\t\t")).count()
}

#[test]
fn everything_a_client_does_works_and_is_marked_and_counted() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        greeter(8080);
        let policy = format!(
            "{STORY}@id(\"no-ads\") forbid(principal, action == Action::\"net.connect\", resource in Domain::\"example.net\");"
        );
        let wall = Wall::start(lab, &Setup { policy: &policy, ..audit() });
        for (name, kind, expected) in [
            ("api.example.com", RecordType::A, "203.0.113.7"),
            (TELEMETRY, RecordType::A, "203.0.113.7"),
            (TELEMETRY, RecordType::AAAA, "2001:db8:2::7"),
            ("ads.example.net", RecordType::A, "203.0.113.7"),
        ] {
            let reply = lab.within("agent", || ask(WALL, name, kind)).unwrap();
            assert_eq!(
                (verdict(&reply), addresses(&reply)),
                ((ResponseCode::NoError, None), vec![expected.to_owned()])
            );
        }
        assert_eq!(counter("would_deny"), 0);
        assert!(connects(lab, "203.0.113.7:8080") && connects(lab, "[2001:db8:2::7]:8080"), "every port is open");
        assert_eq!(counter("would_deny"), 0, "leases have opened these");

        assert!(connects(lab, DIRECT) && connects(lab, DIRECT6), "without any question");
        assert_eq!(counter("would_deny"), 2);
        for set in ["would_deny4", "would_deny6"] {
            assert_eq!(elements(set)[0].key[2..], ["tcp", "443"], "{set}");
        }
        run("ip", &["netns", "exec", "agent", "ping", "-c", "1", "-W", "2", "203.0.113.9"]);
        let mut held = Conversation::begin(lab, "agent", DIRECT);
        assert!(held.goes_on(SECOND) && held.goes_on(SECOND));
        assert_eq!(counter("would_deny"), 4, "a flow counts once");
        assert_eq!((counter("denied_syn"), elements("denied4").len()), (0, 0), "nothing was denied");

        let events = wall.events("query.answered", 4);
        let would_deny = |name: &str| {
            let event = events.iter().find(|event| event["hostname"] == name).unwrap();
            (event["would_deny"]["reason"].clone(), event["would_deny"]["policies"].clone())
        };
        assert_eq!(would_deny("api.example.com"), (serde_json::Value::Null, serde_json::Value::Null));
        assert_eq!(would_deny(TELEMETRY), ("not_permitted".into(), serde_json::json!([])));
        assert_eq!(would_deny("ads.example.net"), ("forbidden".into(), serde_json::json!(["no-ads"])));
    });
}

#[test]
fn it_says_so_wherever_somebody_looks() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &audit());
        assert_eq!(wall.events("audit.mode", 1).len(), 1);
        for _ in 0..2 {
            lab.within("agent", || ask(WALL, TELEMETRY, RecordType::A)).unwrap();
        }
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        let status = wall.operator(&["status"]).unwrap();
        assert_eq!((&status["policy_mode"], &status["queries"]["would_deny"]), (&"audit".into(), &2.into()));
        assert_eq!(wall.metric("audit_mode"), 1);
        assert_eq!(wall.metric("would_deny_total{agent=\"claude\",reason=\"not_permitted\"}"), 2);
        reload(lab, &wall, &enforce());
        assert_eq!(wall.metric("audit_mode"), 0);
        assert_eq!(wall.operator(&["status"]).unwrap()["policy_mode"], "enforce");
        reload(lab, &wall, &audit());
        assert_eq!(wall.events("audit.mode", 2).last().unwrap()["count"], 2);
        assert_eq!(wall.metric("audit_mode"), 1);
        assert!(
            std::fs::read_to_string(lab.path("events.jsonl"))
                .unwrap()
                .lines()
                .all(|line| { !line.contains("table.restored") && !line.contains("table.repaired") })
        );
    });
}

#[test]
fn special_ranges_strangers_and_the_host_stay_closed() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let address = |text| vec![address(query, 300, text)];
            let records = if asked.kind == RecordType::A { address("100.70.0.9") } else { Vec::new() };
            wire(&answer(query, records))
        });
        greeter(443);
        assert!(connects(lab, SPECIAL), "without a wall");
        let host = TcpListener::bind("10.77.0.1:8443").unwrap();
        let _wall = Wall::start(lab, &audit());
        let reply = lab.within("agent", || ask(WALL, TELEMETRY, RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), Vec::<String>::new());
        assert!(!connects(lab, SPECIAL) && !connects(lab, "198.51.100.10:443"));
        assert!(!connects(lab, "10.77.0.1:8443"), "the wall's own host");
        assert!(!connects(lab, "10.77.1.2:443"), "another client");
        drop(host);

        // An address of the agent's that the configuration does not name.
        run("ip", &["-n", "agent", "addr", "add", "10.77.0.3/24", "dev", "eth0"]);
        let from_stranger = |to: &str| {
            let to: SocketAddr = to.parse().unwrap();
            lab.within("agent", || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.bind(&"10.77.0.3:0".parse::<SocketAddr>().unwrap().into()).unwrap();
                socket.connect_timeout(&to.into(), SECOND).is_ok()
            })
        };
        assert!(!from_stranger(DIRECT) && connects(lab, DIRECT));
        let refused = lab.within("agent", || {
            let socket = UdpSocket::bind("10.77.0.3:0").unwrap();
            socket.set_read_timeout(Some(2 * SECOND)).unwrap();
            socket.send_to(&support::client::question(TELEMETRY, RecordType::A).to_vec().unwrap(), WALL).unwrap();
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).unwrap();
            hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap()
        });
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    });
}

/// What is open after audit mode: the permitted name and nothing else.
fn only_the_policy_counts(lab: &Lab, held: &mut [(&str, Conversation, bool)]) {
    for (name, conversation, is_permitted) in held {
        assert_eq!(conversation.goes_on(SECOND), *is_permitted, "the connection to {name}");
    }
    assert!(!connects(lab, DIRECT) && !connects(lab, DIRECT6) && !connects(lab, "203.0.113.8:443"));
    assert!(connects(lab, "203.0.113.7:443"), "what is permitted goes on");
    assert!(!connects(lab, "203.0.113.7:8080"), "on its port");
    let leases: Vec<_> = elements("lease4").into_iter().filter_map(|element| element.comment).collect();
    assert_eq!(leases, ["api.example.com"]);
    for set in ["lease6", "lease4_all_ports", "lease6_all_ports", "lease4_port_range", "static4"] {
        assert_eq!(elements(set), [], "{set}");
    }
    assert_eq!((rules_of("audit"), rules_of("audited")), (0, 0));
    let reply = lab.within("agent", || ask(WALL, TELEMETRY, RecordType::A)).unwrap();
    assert_eq!(verdict(&reply).0, ResponseCode::NXDomain);
}

/// The permitted name and telemetry each have an address of their own.
fn two_names() {
    Upstream::start(UPSTREAM, |asked, query| {
        let four = if asked.name == "api.example.com" { "203.0.113.7" } else { "203.0.113.8" };
        let records = if asked.kind == RecordType::A { vec![address(query, 300, four)] } else { Vec::new() };
        wire(&answer(query, records))
    });
    greeter(443);
    greeter(8080);
}

fn hold(lab: &Lab) -> [(&'static str, Conversation, bool); 4] {
    for name in ["api.example.com", TELEMETRY] {
        lab.within("agent", || ask(WALL, name, RecordType::A)).unwrap();
    }
    [
        ("the permitted name", Conversation::begin(lab, "agent", "203.0.113.7:443"), true),
        ("telemetry", Conversation::begin(lab, "agent", "203.0.113.8:443"), false),
        ("an address", Conversation::begin(lab, "agent", DIRECT), false),
        ("an IPv6 address", Conversation::begin(lab, "agent", DIRECT6), false),
    ]
}

#[test]
fn a_reload_enters_and_leaves_it_at_once_and_ends_what_it_alone_let_through() {
    in_lab(|lab| {
        two_names();
        let wall = Wall::start(lab, &enforce());
        assert!(!connects(lab, DIRECT));
        assert_eq!((rules_of("audit"), rules_of("audited")), (0, 0));
        for _ in 0..2 {
            reload(lab, &wall, &audit());
            let mut held = hold(lab);
            assert!(held.iter_mut().all(|(_, conversation, _)| conversation.goes_on(SECOND)));
            reload(lab, &wall, &enforce());
            only_the_policy_counts(lab, &mut held);
        }
        assert_eq!(conntrack::end_audited().unwrap(), 0, "flows of audit mode are remembered");
    });
}

#[test]
fn the_next_daemon_leaves_nothing_open_that_audit_mode_let_through() {
    in_lab(|lab| {
        two_names();
        let mut wall = Wall::start(lab, &audit());
        let mut held = hold(lab);
        wall.process().kill();
        assert!(held.iter_mut().all(|(_, conversation, _)| conversation.goes_on(SECOND)), "the rules stay");
        lab.write("cedarwall.toml", &configuration(lab, &enforce()));
        wall.restart(lab);
        only_the_policy_counts(lab, &mut held);
    });
}

#[test]
fn a_reload_within_it_follows_clients_and_ranges_and_cuts_nothing() {
    in_lab(|lab| {
        two_names();
        let wall = Wall::start(lab, &audit());
        let mut held = hold(lab);
        assert!(!connects(lab, SPECIAL));
        lab.write("policies/wall.cedar", "");
        reload(lab, &wall, &Setup { allow_ranges: &["203.0.113.0/24", "2001:db8:2::/64", "100.70.0.0/16"], ..audit() });
        assert!(connects(lab, SPECIAL), "the rules know the range");
        for (name, conversation, _) in &mut held {
            assert!(conversation.goes_on(SECOND), "{name}");
        }
        let text = configuration(lab, &audit()).replace("\"10.77.0.2\", ", "");
        lab.write("cedarwall.toml", &text);
        wall.operator(&["reload"]).unwrap();
        eventually("a client that is one no longer is a stranger", 2 * SECOND, || {
            lab.within("agent", || TcpStream::connect_timeout(&DIRECT.parse().unwrap(), SECOND / 5)).is_err()
        });
        assert!(connects(lab, DIRECT6), "its other address");
    });
}
