//! Containers on one bridge: each is who the engine says it is, from its own
//! port alone, and nobody else; and the wall does not open when the engine goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};
use support::client::{addresses, ask, verdict};
use support::lab::{Conversation, Lab, UPSTREAM, eventually, greeter, in_lab};
use support::nft::{counter, elements};
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{STORY, Setup, Wall};
use support::yard::{YARD_WALL, Yard, hardware};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(15);
const API: &str = "203.0.113.7:443";
const API6: &str = "[2001:db8:2::7]:443";

/// A yard with its wall, and an internet that has the API.
fn in_yard(more: &'static str, test: impl FnOnce(&Lab, &mut Yard, &mut Wall) + Send + 'static) {
    in_lab(move |lab| {
        Upstream::start(UPSTREAM, plain(60, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut yard = Yard::build(lab);
        let setup = Setup { lease: "min = \"60s\"", ..Setup::default() };
        let text = yard.configuration(lab, &setup, more);
        let mut wall = Wall::start_on(lab, &setup, &text);
        test(lab, &mut yard, &mut wall);
    });
}

fn known(wall: &Wall, id: &str) {
    wall.event("container.known", |event| event["container_id"] == id);
}

/// Whether the container's question for the API is answered with its address.
fn resolves(lab: &Lab, id: &str) -> bool {
    let reply = lab.within(id, || ask(YARD_WALL, "api.example.com", RecordType::A));
    reply.is_some_and(|reply| addresses(&reply) == ["203.0.113.7"])
}

fn connects(lab: &Lab, id: &str, address: &str) -> bool {
    lab.connects(id, address.parse().unwrap(), SECOND)
}

/// Frames of somebody else's that went no further, wherever they were stopped.
fn spoofed() -> u64 {
    [["bridge", "cedarwall"], ["inet", "cedarwall"], ["arp", "cedarwall"]]
        .iter()
        .map(|table| count(table, "denied_spoof"))
        .sum()
}

fn count([family, table]: &[&str; 2], counter: &str) -> u64 {
    let listing: Value = serde_json::from_str(&run("nft", &["-j", "list", "counter", family, table, counter])).unwrap();
    listing["nftables"][1]["counter"]["packets"].as_u64().unwrap()
}

/// The hardware address that the host has for an address on the bridge.
fn neighbour(address: &str) -> String {
    let listing: Value = serde_json::from_str(&run("ip", &["-j", "neigh", "show", address, "dev", "agents"])).unwrap();
    listing[0]["lladdr"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_container_is_who_its_label_says_and_one_without_is_nobody() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        assert!(resolves(lab, "one"));
        assert!(connects(lab, "one", API));
        let reply = lab.within("one", || ask(YARD_WALL, "api.example.com", RecordType::AAAA)).unwrap();
        assert_eq!(addresses(&reply), ["2001:db8:2::7"]);
        assert!(connects(lab, "one", API6), "it has both families");

        yard.start("two", None, 3);
        let told = wall.event("container.unknown", |event| event["container_id"] == "two");
        assert!(told["problems"].to_string().contains("cedarwall.agent"), "{told}");
        let reply = lab.within("two", || ask(YARD_WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::Refused);
        assert!(!connects(lab, "two", API));
        wall.event("client.unknown", |event| event["client"] == "10.88.0.3");
    });
}

#[test]
fn a_container_without_a_label_is_whom_the_configuration_says_also_when_that_changes() {
    in_yard("[[docker.agent]]\nname = \"name-o*\"\nagent = \"claude\"", |lab, yard, wall| {
        yard.start("one", None, 2);
        yard.start("two", None, 3);
        known(wall, "one");
        assert!(resolves(lab, "one"));
        wall.event("container.unknown", |event| event["container_id"] == "two");

        let text = std::fs::read_to_string(lab.path("cedarwall.toml")).unwrap();
        lab.write("cedarwall.toml", &text.replace("name-o*", "name-t*"));
        assert!(wall.operator(&["reload"]).is_some());
        known(wall, "two");
        eventually("the other is known", SOON, || resolves(lab, "two"));
        wall.event("container.gone", |event| event["container_id"] == "one");
        eventually("the first has lost what was open", SOON, || !connects(lab, "one", API));
    });
}

#[test]
fn a_label_says_whose_policies_hold_for_a_container() {
    in_yard("", |lab, yard, wall| {
        let policy = r#"permit(principal in Team::"readers", action == Action::"net.connect",
            resource == Resource::"api.example.com:443");"#;
        lab.write("policies/wall.cedar", policy);
        lab.write(
            "policies/entities.json",
            r#"[{"uid": {"type": "Team", "id": "readers"}, "attrs": {}, "parents": []}]"#,
        );
        assert!(wall.operator(&["reload"]).is_some());
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        yard.plug_in("two", 3);
        yard.tell_with("two", &json!({ "cedarwall.agent": "claude", "cedarwall.policy": "readers" }), 3);
        known(wall, "two");
        assert!(resolves(lab, "two") && connects(lab, "two", API), "it is in the team");
        assert!(!resolves(lab, "one") && !connects(lab, "one", API), "the same agent without it is not");
        yard.plug_in("three", 4);
        yard.tell_with("three", &json!({ "cedarwall.agent": "claude", "cedarwall.policy": "a\"b" }), 4);
        let told = wall.event("container.unknown", |event| event["container_id"] == "three");
        assert!(told["problems"].to_string().contains("cedarwall.policy"), "{told}");
        assert!(!resolves(lab, "three"));
    });
}

#[test]
fn a_port_of_which_the_engine_says_nothing_sends_nothing() {
    in_yard("", |lab, yard, wall| {
        yard.plug_in("one", 2);
        let before = spoofed();
        assert!(lab.within("one", || ask(YARD_WALL, "api.example.com", RecordType::A)).is_none());
        assert!(!connects(lab, "one", API));
        assert!(spoofed() > before);
        yard.tell_of("one", Some("claude"), 2);
        known(wall, "one");
        eventually("it is heard", SOON, || resolves(lab, "one"));
    });
}

#[test]
fn a_port_of_which_the_engine_says_nothing_sends_nothing_as_one_of_which_it_does() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        assert!(resolves(lab, "one") && connects(lab, "one", API));
        yard.plug_in("ghost", 2);
        // It needs no answer to find the gateway.
        let listing: Value = serde_json::from_str(&run("ip", &["-j", "link", "show", "agents"])).unwrap();
        let gateway = listing[0]["address"].as_str().unwrap();
        let known =
            ["-n", "ghost", "neigh", "replace", "10.88.0.1", "lladdr", gateway, "dev", "eth0", "nud", "permanent"];
        run("ip", &known);
        let (permitted, before) = (counter("permitted"), spoofed());
        assert!(!connects(lab, "ghost", API));
        eventually("it is counted", SOON, || spoofed() > before);
        assert_eq!(counter("permitted"), permitted, "it has used the lease of another");
    });
}

#[test]
fn what_a_container_opened_as_one_agent_it_does_not_have_as_another() {
    in_yard("[[docker.agent]]\nname = \"name-o*\"\nagent = \"claude\"", |lab, yard, wall| {
        lab.write("policies/wall.cedar", &STORY.replace("principal == Agent::\"claude\"", "principal"));
        assert!(wall.operator(&["reload"]).is_some());
        yard.start("one", None, 2);
        known(wall, "one");
        assert!(resolves(lab, "one") && connects(lab, "one", API));
        let text = std::fs::read_to_string(lab.path("cedarwall.toml")).unwrap();
        lab.write("cedarwall.toml", &text.replace("agent = \"claude\"", "agent = \"ci\""));
        assert!(wall.operator(&["reload"]).is_some());
        wall.event("container.known", |event| event["agent"] == "ci");
        assert_eq!(elements("lease4").len(), 0);
        assert!(!connects(lab, "one", API));
        assert!(resolves(lab, "one") && connects(lab, "one", API), "it is permitted to both");
    });
}

#[test]
fn nobody_sends_as_another_by_address_hardware_address_or_neighbour_discovery() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        yard.start("two", Some("claude"), 3);
        known(wall, "one");
        known(wall, "two");
        assert!(resolves(lab, "one") && connects(lab, "one", API));
        lab.within("one", || ask(YARD_WALL, "api.example.com", RecordType::AAAA)).unwrap();
        assert!(connects(lab, "one", API6));
        let mut talk = Conversation::begin(lab, "one", API);
        assert_eq!([neighbour("10.88.0.2"), neighbour("fd88::2")], [hardware(2), hardware(2)]);

        // From its own address it says where another's is.
        let before = spoofed();
        lab.within("two", || advertises("fd88::2", &hardware(3)));
        eventually("it is counted", SOON, || spoofed() > before);
        assert_eq!(neighbour("fd88::2"), hardware(2), "the host believes it");

        // It takes the addresses, and says to everybody where they are now.
        let takes = "
            for file in ipv4/conf/eth0/arp_notify ipv6/conf/eth0/ndisc_notify; do echo 1 > /proc/sys/net/$file; done
            ip addr add 10.88.0.2/32 dev eth0; ip addr add fd88::2/128 dev eth0 nodad
            ip link set eth0 address 02:42:0a:58:00:77; ip link set eth0 address 02:42:0a:58:00:03
        ";
        // Then the hardware address as well.
        for script in [takes, "ip link set eth0 address 02:42:0a:58:00:02"] {
            let before = spoofed();
            run("ip", &["netns", "exec", "two", "sh", "-c", script]);
            for source in ["10.88.0.2", "fd88::2"] {
                let sent = lab.within("two", || sends_as(source));
                assert!(!sent, "{source} was heard after {script}");
            }
            eventually("it is counted", SOON, || spoofed() > before);
            let believed = [neighbour("10.88.0.2"), neighbour("fd88::2")];
            assert_eq!(believed, [hardware(2), hardware(2)], "the host believes it");
            assert!(talk.goes_on(SECOND), "the other's flow was taken");
        }
    });
}

/// Tells the gateway in a neighbour advertisement (RFC 4861 section 4.4) that
/// `address` is at this hardware address now.
fn advertises(address: &str, hardware: &str) {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::RAW, Some(socket2::Protocol::ICMPV6));
    let socket = socket.unwrap();
    socket.set_unicast_hops_v6(255).unwrap();
    let address: std::net::Ipv6Addr = address.parse().unwrap();
    let hardware: Vec<u8> = hardware.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    // Override; its one option is the target's link-layer address.
    let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &address.octets(), &[2, 1], &hardware].concat();
    let gateway: std::net::SocketAddr = "[fd88::1]:0".parse().unwrap();
    socket.send_to(&message, &gateway.into()).unwrap();
}

/// Whether a connection to the API from this source address comes about.
fn sends_as(source: &str) -> bool {
    let target: std::net::SocketAddr = if source.contains(':') { API6 } else { API }.parse().unwrap();
    let socket = socket_from(source, target.is_ipv6());
    socket.is_some_and(|socket| {
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&target.into());
        std::thread::sleep(SECOND);
        socket.peer_addr().is_ok()
    })
}

fn socket_from(source: &str, is_ipv6: bool) -> Option<socket2::Socket> {
    let domain = if is_ipv6 { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).ok()?;
    let source: std::net::IpAddr = source.parse().unwrap();
    socket.bind(&std::net::SocketAddr::new(source, 0).into()).ok()?;
    Some(socket)
}

#[test]
fn containers_on_one_bridge_do_not_reach_each_other() {
    in_yard("", |lab, yard, wall| {
        for (id, host) in [("one", 2), ("two", 3)] {
            yard.start(id, Some("claude"), host);
            known(wall, id);
        }
        assert!(resolves(lab, "one") && resolves(lab, "two"));
        let listener = lab.within("two", || std::net::TcpListener::bind("10.88.0.3:7777").unwrap());
        run(
            "ip",
            &["-n", "one", "neigh", "replace", "10.88.0.3", "lladdr", &hardware(3), "dev", "eth0", "nud", "permanent"],
        );
        let before = count(&["bridge", "cedarwall"], "denied_neighbour");
        assert!(!connects(lab, "one", "10.88.0.3:7777"));
        assert!(count(&["bridge", "cedarwall"], "denied_neighbour") > before);
        drop(listener);
    });
}

#[test]
fn the_next_container_at_an_address_has_nothing_of_the_one_before() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        assert!(resolves(lab, "one") && connects(lab, "one", API));
        assert_eq!(elements("lease4").len(), 1);
        yard.stop("one");
        yard.start("next", Some("claude"), 2);
        known(wall, "next");
        assert!(!connects(lab, "next", API), "it has the lease of the one before");
        assert_eq!(elements("lease4").len(), 0);
        assert!(resolves(lab, "next") && connects(lab, "next", API));
        wall.event("container.gone", |event| event["container_id"] == "one");
    });
}

#[test]
fn while_the_engine_is_away_who_is_known_stays_and_nobody_new_is() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        assert!(resolves(lab, "one"));
        let mut talk = Conversation::begin(lab, "one", API);
        yard.kill_engine();
        wall.event("engine.lost", |_| true);
        assert!(talk.goes_on(SECOND) && resolves(lab, "one") && connects(lab, "one", API));
        yard.start("late", Some("claude"), 3);
        assert!(lab.within("late", || ask(YARD_WALL, "api.example.com", RecordType::A)).is_none());
        assert!(!connects(lab, "late", API));
        assert!(talk.goes_on(SECOND));

        yard.start_engine();
        known(wall, "late");
        eventually("it is heard", SOON, || resolves(lab, "late"));
        assert!(talk.goes_on(SECOND));
    });
}

#[test]
fn a_daemon_that_starts_again_knows_who_is_there_and_cuts_nobody_off() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        assert!(resolves(lab, "one"));
        let mut talk = Conversation::begin(lab, "one", API);
        wall.process().kill();
        assert!(talk.goes_on(SECOND) && connects(lab, "one", API), "the wall stays as it is");
        wall.restart(lab);
        assert!(talk.goes_on(SECOND) && connects(lab, "one", API) && resolves(lab, "one"));
        assert!(wall.events("table.restored", 0).is_empty());
        let adopted = wall.events("table.adopted", 1);
        assert_eq!((&adopted[0]["leases"], &adopted[0]["flows"]), (&1.into(), &0.into()), "{adopted:?}");
    });
}

#[test]
fn what_somebody_does_to_the_bindings_is_undone() {
    in_yard("", |lab, yard, wall| {
        yard.start("one", Some("claude"), 2);
        known(wall, "one");
        assert!(resolves(lab, "one"));
        for (index, damage) in [
            "delete table bridge cedarwall",
            "flush set bridge cedarwall bound4",
            "add element bridge cedarwall bound4 { veth-one . 02:42:0a:58:00:02 . 10.88.0.9 }",
            "flush chain bridge cedarwall from_port",
            "delete table arp cedarwall",
            "flush chain inet cedarwall bound",
        ]
        .iter()
        .enumerate()
        {
            run("nft", &damage.split(' ').collect::<Vec<_>>());
            wall.events("table.restored", index + 1);
            let bound = run("nft", &["list", "set", "bridge", "cedarwall", "bound4"]);
            assert!(bound.contains("10.88.0.2") && !bound.contains("10.88.0.9"), "after {damage}: {bound}");
            assert!(connects(lab, "one", API), "after {damage}");
        }
        let rules = run("nft", &["list", "table", "inet", "cedarwall"]);
        assert!(rules.contains("0x40000000"), "{rules}");
    });
}
