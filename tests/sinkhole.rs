//! `deny = "sinkhole"`: each denied name has an address of its own that leads
//! nowhere, and whoever connects to it is refused at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use cedarwall::core::sinkhole::{PER_CLIENT, covers};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, question, verdict};
use support::lab::{Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::{counter, elements};
use support::run;
use support::trouble::memory;
use support::upstream::{Upstream, plain};
use support::wall::{STORY, Setup, Wall, configuration};

const SECOND: Duration = Duration::from_secs(1);
const TELEMETRY: &str = "telemetry.example.com";
const OTHER_WALL: &str = "10.77.1.1:53";

/// Counts every packet to the sinkhole that reaches the internet.
const TALLY: &str = "
    table inet tally {
        counter arrived { }
        chain arriving {
            type filter hook prerouting priority -500; policy accept;
            ip daddr 198.18.0.0/15 counter name arrived
            ip6 daddr 100::/64 counter name arrived
        }
    }";

fn sinkhole<'a>() -> Setup<'a> {
    Setup { dns: "deny = \"sinkhole\"", ..Setup::default() }
}

fn count_arrivals(lab: &Lab) {
    let file = lab.write("tally.nft", TALLY);
    run("ip", &["netns", "exec", "internet", "nft", "-f", file.to_str().unwrap()]);
}

fn arrived() -> u64 {
    let listing = run("ip", &["netns", "exec", "internet", "nft", "-j", "list", "counters"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let counters = listing["nftables"].as_array().unwrap();
    counters.iter().find_map(|object| object.get("counter")).unwrap()["packets"].as_u64().unwrap()
}

/// A way to everywhere, so that nothing but the rules stands between a client
/// and the sinkhole's ranges.
fn route_everything() {
    run("ip", &["route", "add", "default", "via", "198.51.100.10"]);
    run("ip", &["-6", "route", "add", "default", "via", "2001:db8:1::10"]);
}

/// The address in the sinkhole that a client of `namespace` is told.
fn told(lab: &Lab, namespace: &str, server: &str, name: &str, kind: RecordType) -> IpAddr {
    let reply = lab.within(namespace, || ask(server, name, kind)).unwrap();
    let (code, extended) = verdict(&reply);
    assert_eq!((code, extended.unwrap().0), (ResponseCode::NoError, 15));
    let [record] = &reply.answers[..] else { panic!("{reply:?}") };
    let address = record.data.ip_addr().unwrap();
    assert!(covers(address), "{address}");
    address
}

/// How a connection fails, and how long that takes.
fn connect(lab: &Lab, namespace: &str, address: IpAddr, port: u16) -> (ErrorKind, Duration) {
    let start = Instant::now();
    let attempt = || TcpStream::connect_timeout(&SocketAddr::new(address, port), 2 * SECOND);
    (lab.within(namespace, attempt).unwrap_err().kind(), start.elapsed())
}

/// How a datagram fails, and how long that takes.
fn datagram(lab: &Lab, namespace: &str, address: IpAddr, port: u16) -> (ErrorKind, Duration) {
    let start = Instant::now();
    let attempt = || {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(2 * SECOND))?;
        socket.connect((address, port))?;
        socket.send(b"x")?;
        socket.recv(&mut [0; 1])
    };
    (lab.within(namespace, attempt).unwrap_err().kind(), start.elapsed())
}

#[test]
fn who_connects_to_a_denied_name_is_refused_at_once_and_nothing_leaves() {
    in_lab(|lab| {
        count_arrivals(lab);
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &sinkhole());
        let reply = lab.within("agent", || ask(WALL, TELEMETRY, RecordType::A)).unwrap();
        assert!(reply.answers[0].ttl <= 10, "a denial is not remembered for long");
        for has_route in [false, true] {
            if has_route {
                route_everything();
            }
            for kind in [RecordType::A, RecordType::AAAA] {
                let address = told(lab, "agent", WALL, TELEMETRY, kind);
                assert_eq!(address, told(lab, "agent", WALL, TELEMETRY, kind), "it stays the same");
                let before = counter("denied_sinkhole");
                let (error, took) = connect(lab, "agent", address, 443);
                assert_eq!(error, ErrorKind::ConnectionRefused, "{address}, a route: {has_route}");
                assert!(took < SECOND / 2, "{took:?}");
                // The kernel limits its own ICMP errors, so this is asked once a time.
                let (error, took) = datagram(lab, "agent", address, 4433);
                assert_eq!(error, ErrorKind::ConnectionRefused, "{address}, a route: {has_route}");
                assert!(took < SECOND / 2, "{took:?}");
                assert_eq!(counter("denied_sinkhole"), before + 2);
                let set = if address.is_ipv4() { "denied4" } else { "denied6" };
                let refused = elements(set).into_iter().any(|element| element.key[1] == address.to_string());
                assert!(refused, "{address} is not in {set}");
            }
        }
        let (error, took) = connect(lab, "agent", "203.0.113.9".parse().unwrap(), 443);
        assert!(error != ErrorKind::ConnectionRefused && took >= SECOND, "elsewhere the verdict counts: {error:?}");
        assert_eq!(arrived(), 0, "a packet to the sinkhole reached the internet");
        for event in wall.events("connect.denied", 4) {
            assert_eq!(event["hostname"], TELEMETRY, "{event}");
            assert!(event["port"] == 443 || event["port"] == 4433, "{event}");
        }
        assert_eq!(upstream.count(TELEMETRY), 0);
        for event in wall.events("query.denied", 5) {
            assert!(covers(event["sinkhole"].as_str().unwrap().parse().unwrap()), "{event}");
        }
    });
}

#[test]
fn the_count_of_arrivals_would_see_what_the_rules_let_through() {
    in_lab(|lab| {
        count_arrivals(lab);
        route_everything();
        datagram(lab, "agent", "198.18.0.7".parse().unwrap(), 443);
        datagram(lab, "agent", "100::7".parse().unwrap(), 443);
        assert_eq!(arrived(), 2, "without a wall");
    });
}

#[test]
fn one_clients_address_is_of_no_use_to_another() {
    in_lab(|lab| {
        count_arrivals(lab);
        route_everything();
        let wall = Wall::start(lab, &sinkhole());
        let mine: Vec<_> =
            (0..3).map(|number| told(lab, "agent", WALL, &format!("n{number}.example.net"), RecordType::A)).collect();
        let theirs = told(lab, "other", OTHER_WALL, "n2.example.net", RecordType::A);
        assert_eq!(theirs, mine[0], "each client's first name is at the same place");
        for (namespace, address) in [("other", mine[1]), ("agent", mine[1]), ("agent", theirs), ("other", theirs)] {
            assert_eq!(connect(lab, namespace, address, 443).0, ErrorKind::ConnectionRefused, "{namespace} {address}");
        }
        assert_eq!((arrived(), counter("denied_sinkhole")), (0, 4));
        let events = wall.events("query.denied", 4);
        let names: HashMap<_, _> = events
            .iter()
            .map(|event| ((event["client"].to_string(), event["sinkhole"].to_string()), event["hostname"].to_string()))
            .collect();
        assert_eq!(names.len(), 4, "a client and an address are one name: {names:?}");
    });
}

#[test]
fn neither_a_range_that_is_allowed_nor_an_address_that_a_policy_names_opens_the_sinkhole() {
    in_lab(|lab| {
        count_arrivals(lab);
        route_everything();
        // Whatever is said of it upstream, and whoever permits it.
        Upstream::start(UPSTREAM, plain(300, "198.18.0.7", "100::7"));
        let policy = format!(
            "{STORY}permit(principal, action == Action::\"net.connect\", resource == Resource::\"198.0.0.0/8:443\");"
        );
        let setup = Setup { policy: &policy, allow_ranges: &["0.0.0.0/0", "::/0"], ..sinkhole() };
        let wall = Wall::start(lab, &setup);
        for kind in [RecordType::A, RecordType::AAAA] {
            let reply = lab.within("agent", || ask(WALL, "api.example.com", kind)).unwrap();
            assert_eq!(addresses(&reply), Vec::<String>::new());
        }
        for address in ["198.18.0.7", "198.19.255.254", "100::7"] {
            assert_eq!(
                connect(lab, "agent", address.parse().unwrap(), 443).0,
                ErrorKind::ConnectionRefused,
                "{address}"
            );
        }
        assert_eq!(arrived(), 0);

        let text = configuration(lab, &Setup { allow_ranges: &["198.18.0.0/16"], ..sinkhole() });
        lab.write("cedarwall.toml", &text);
        assert!(wall.operator(&["reload"]).is_none(), "a range inside the sinkhole was taken");
        let problems = wall.events("config.refused", 1)[0]["problems"].to_string();
        assert!(problems.contains("that is the sinkhole"), "{problems}");
    });
}

#[test]
fn a_reload_gives_a_permitted_name_its_own_addresses_and_changes_what_a_denied_one_gets() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let wall = Wall::start(lab, &Setup { dns: "deny = \"sinkhole\"\ndeny_ttl = \"1s\"", ..sinkhole() });
        let address = told(lab, "agent", WALL, TELEMETRY, RecordType::A);

        let permit = STORY.replace("api.example.com", TELEMETRY);
        lab.write("policies/wall.cedar", &permit);
        wall.operator(&["reload"]).unwrap();
        let reply = lab.within("agent", || ask(WALL, TELEMETRY, RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
        assert_eq!(connect(lab, "agent", address, 443).0, ErrorKind::ConnectionRefused, "who remembers it");

        lab.write("policies/wall.cedar", STORY);
        lab.write("cedarwall.toml", &configuration(lab, &Setup::default()));
        let report = wall.operator(&["reload"]).unwrap();
        assert_eq!(report["waiting"].as_array().map_or(0, Vec::len), 0, "{report}");
        let reply = lab.within("agent", || ask(WALL, TELEMETRY, RecordType::A)).unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::NXDomain);
        assert_eq!(connect(lab, "agent", address, 443).0, ErrorKind::ConnectionRefused, "the rules stay");
        lab.write("cedarwall.toml", &configuration(lab, &sinkhole()));
        wall.operator(&["reload"]).unwrap();
        let anew = told(lab, "agent", WALL, TELEMETRY, RecordType::A);
        assert_ne!(anew, address, "what was forgotten is given away again as late as can be");
    });
}

#[test]
fn ninety_thousand_names_fill_a_table_that_opens_nothing_and_stays_as_it_is() {
    const NAMES: usize = 90_000;
    /// By then every other table that remembers names is full, too.
    const FULL: usize = 70_000;
    const AT_ONCE: usize = 100;
    in_lab(|lab| {
        count_arrivals(lab);
        route_everything();
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let dns = "deny = \"sinkhole\"\ndeny_ttl = \"1h\"\nqueries_per_second = 1000000";
        let mut wall = Wall::start(lab, &Setup { dns, wall: "dns_packets_per_second = 10000000", ..sinkhole() });
        let daemon = wall.process().id();
        let mut at_start = 0;
        let mut holders: HashMap<IpAddr, String> = HashMap::new();
        let mut denied_without = 0;
        lab.within("agent", || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(10 * SECOND)).unwrap();
            socket.connect(WALL).unwrap();
            let mut buffer = [0; 4096];
            for first in (0..NAMES).step_by(AT_ONCE) {
                for number in first..first + AT_ONCE {
                    let mut message = question(&format!("n{number}.example.net"), RecordType::A);
                    message.metadata.id = u16::try_from(number % AT_ONCE).unwrap();
                    socket.send(&message.to_vec().unwrap()).unwrap();
                }
                for _ in 0..AT_ONCE {
                    let length = socket.recv(&mut buffer).expect("each question has an answer");
                    let reply = Message::from_vec(&buffer[..length]).unwrap();
                    let name = reply.queries[0].name().to_string();
                    match reply.answers.first().and_then(|record| record.data.ip_addr()) {
                        Some(address) => {
                            assert!(covers(address), "{address}");
                            assert_eq!(holders.insert(address, name), None, "two live names on {address}");
                        }
                        None => {
                            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
                            denied_without += 1;
                        }
                    }
                }
                if first == FULL {
                    at_start = memory(daemon, "VmRSS");
                }
            }
        });
        assert_eq!((holders.len(), denied_without), (PER_CLIENT, NAMES - PER_CLIENT));
        let grown = memory(daemon, "VmRSS").saturating_sub(at_start);
        assert!(grown < 8_000, "{} more names cost {grown} kB", NAMES - FULL);
        assert!(wall.events("cap.reached", 1).iter().all(|event| event["cap"] == "sinkhole_names"));
        for set in ["lease4", "lease6", "lease4_all_ports", "lease4_port_range", "static4"] {
            assert_eq!(elements(set), [], "{set}");
        }
        let theirs = told(lab, "other", OTHER_WALL, TELEMETRY, RecordType::A);
        for address in holders.keys().take(20).copied().chain([theirs]) {
            let (error, took) = connect(lab, "agent", address, 443);
            assert_eq!(error, ErrorKind::ConnectionRefused);
            assert!(took < SECOND / 2, "{took:?}");
        }
        assert_eq!((arrived(), upstream.asked().len()), (0, 0));
        eventually("the wall answers as before", 5 * SECOND, || {
            let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A));
            reply.is_some_and(|reply| addresses(&reply) == ["203.0.113.7"])
        });
    });
}
