//! Addresses that a policy names itself: open without DNS, exactly, and for
//! nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use cedarwall::core::config::TableName;
use cedarwall::core::lease::{StaticGrant, Statics};
use cedarwall::core::query::{Client, Port, PortRange, Protocol};
use cedarwall::core::statics::StaticChange;
use cedarwall::nft::element::Renewal;
use cedarwall::nft::firewall::Closed;
use cedarwall::nft::transaction::Connection;
use support::change::reload;
use support::lab::{Conversation, Lab, enter, eventually, greeter, in_lab};
use support::nft::{Element, elements, with_table};
use support::room::Room;
use support::run;
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
const AGENT: &str = "10.77.0.2";

fn grant(client: &str, first: &str, last: &str, protocol: Protocol, ports: (u16, u16)) -> StaticGrant {
    let ports = PortRange::new(Port::new(ports.0).unwrap(), Port::new(ports.1).unwrap()).unwrap();
    let client = Client::new(client.parse().unwrap());
    StaticGrant { client, first: first.parse().unwrap(), last: last.parse().unwrap(), protocol, ports }
}

fn lasting(grants: Vec<StaticGrant>) -> Vec<Statics> {
    vec![Statics { grants, valid_for: None }]
}

#[test]
fn what_a_policy_names_reads_back_as_it_was_written() {
    with_table(|mut kernel| {
        let four = grant(AGENT, "10.20.0.0", "10.20.255.255", Protocol::Tcp, (5432, 5433));
        let one = grant(AGENT, "192.0.2.7", "192.0.2.7", Protocol::Udp, (53, 53));
        let six = grant("fd77::2", "2001:db8::", "2001:db8::ffff", Protocol::Tcp, (1, 65535));
        let minute = Some(60 * SECOND);
        kernel
            .apply_statics(&[
                StaticChange::Add(four, None),
                StaticChange::Add(one, minute),
                StaticChange::Add(six, None),
            ])
            .unwrap();
        let found = elements("static4");
        let of = |protocol: &str| found.iter().find(|element| element.key[2] == protocol).unwrap();
        let prefix = r#"{"prefix":{"addr":"10.20.0.0","len":16}}"#;
        assert_eq!(of("tcp").key, [AGENT, prefix, "tcp", r#"{"range":[5432,5433]}"#]);
        assert_eq!((of("tcp").expires, of("tcp").comment.as_deref()), (None, Some("policy")));
        assert_eq!(of("udp").key, [AGENT, "192.0.2.7", "udp", "53"]);
        assert!(of("udp").expires.is_some_and(|left| (58..=60).contains(&left)));
        assert_eq!(elements("static6")[0].key[..2], ["fd77::2", r#"{"prefix":{"addr":"2001:db8::","len":112}}"#]);

        // Renewing, and taking out what is there and what is not.
        kernel.apply_statics(&[StaticChange::Renew(one, 600 * SECOND)]).unwrap();
        let renewed = elements("static4").into_iter().find(|element| element.key[2] == "udp").unwrap();
        assert!(renewed.expires.is_some_and(|left| left > 590), "{renewed:?}");
        for _ in 0..2 {
            kernel
                .apply_statics(&[
                    StaticChange::Remove(four, false),
                    StaticChange::Remove(one, true),
                    StaticChange::Remove(six, false),
                ])
                .unwrap();
        }
        assert_eq!((elements("static4"), elements("static6")), (Vec::new(), Vec::new()));
    });
}

#[test]
fn an_element_is_cut_and_made_lasting_or_timed_in_one_transaction() {
    with_table(|mut kernel| {
        let whole = grant(AGENT, "10.20.0.0", "10.20.255.255", Protocol::Tcp, (443, 443));
        let below = grant(AGENT, "10.20.0.0", "10.20.2.255", Protocol::Tcp, (443, 443));
        let above = grant(AGENT, "10.20.4.0", "10.20.255.255", Protocol::Tcp, (443, 443));
        kernel.apply_statics(&[StaticChange::Add(whole, None)]).unwrap();
        let pieces = [below, above].map(|grant| StaticChange::Add(grant, None));
        kernel.apply_statics(&[&[StaticChange::Remove(whole, false)], &pieces[..]].concat()).unwrap();
        assert_eq!(elements("static4").len(), 2);
        kernel
            .apply_statics(&[StaticChange::Remove(below, false), StaticChange::Add(below, Some(60 * SECOND))])
            .unwrap();
        assert_eq!(elements("static4").iter().filter(|element| element.expires.is_some()).count(), 1);
        kernel.apply_statics(&[StaticChange::Remove(below, true), StaticChange::Add(below, None)]).unwrap();
        assert_eq!(elements("static4").iter().filter(|element| element.expires.is_none()).count(), 2);
    });
}

#[test]
fn five_thousand_addresses_go_in_one_transaction() {
    with_table(|mut kernel| {
        let address = |index: usize| format!("198.{}.{}.{}", 18 + index / 40_000, index / 200 % 200, index % 200 + 1);
        let changes: Vec<_> = (0..5000)
            .map(|index| {
                let address = address(index);
                StaticChange::Add(grant(AGENT, &address, &address, Protocol::Tcp, (443, 443)), None)
            })
            .collect();
        let before = ruleset_generation();
        kernel.apply_statics(&changes).unwrap();
        assert_eq!(ruleset_generation(), before + 1);
        assert_eq!(elements("static4").len(), 5000);
    });
}

const NAMED: &str = r#"
@id("database") permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"203.0.113.7:443")
    when { context.protocol == Protocol::"tcp" && context.client == ip("10.77.0.2") };
@id("cluster") permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"100.70.0.0/16:443")
    when { context.protocol == Protocol::"tcp" };
@id("six") permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"[2001:db8:2::/120]:443")
    when { context.protocol == Protocol::"tcp" };
"#;

#[test]
fn the_addresses_of_a_policy_are_open_once_the_wall_is_ready_and_shown() {
    in_lab(|lab| {
        greeter(443);
        let wall = Wall::start(lab, &Setup { policy: NAMED, allow_ranges: &[], ..Setup::default() });
        // Nobody has asked anything, and special-purpose ranges are closed to
        // answers.
        for open in ["203.0.113.7:443", "100.70.1.2:443", "[2001:db8:2::8]:443"] {
            assert!(lab.connects("agent", to(open), SECOND), "{open} is closed");
        }
        assert!(!lab.connects("other", to("203.0.113.7:443"), SECOND / 4), "its policy looks at the client");
        assert!(lab.connects("other", to("100.70.1.2:443"), SECOND));
        for closed in ["203.0.113.8:443", "100.71.0.1:443", "[2001:db8:2::1:8]:443"] {
            assert!(!lab.connects("agent", to(closed), SECOND / 4), "{closed} is open");
        }
        assert_eq!(wall.operator(&["status"]).unwrap()["statics"], 5);
        let leases = wall.operator(&["leases"]).unwrap();
        let of_agent = leases.as_array().unwrap().iter().filter(|row| row["client"] == AGENT);
        let addresses: Vec<_> = of_agent.map(|row| row["address"].as_str().unwrap()).collect();
        assert_eq!(addresses, ["100.70.0.0/16", "203.0.113.7"]);
        assert!(leases[0].get("seconds_left").is_none() && leases[0]["names"] == serde_json::json!([]), "{leases}");
    });
}

#[test]
fn a_reload_opens_the_addresses_that_the_policy_names_now_and_closes_the_others() {
    in_lab(|lab| {
        greeter(443);
        let wall = Wall::start(lab, &Setup { policy: NAMED, ..Setup::default() });
        let mut ends = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let mut stays = Conversation::begin(lab, "agent", "100.70.1.2:443");
        lab.write("policies/wall.cedar", &NAMED.replace("203.0.113.7:443", "203.0.113.9:443"));
        let report = reload(lab);
        assert_eq!((&report["closed_elements"], &report["ended_flows"]), (&1.into(), &1.into()), "{report}");
        assert!(!ends.goes_on(SECOND));
        assert!(stays.goes_on(SECOND));
        assert!(lab.connects("agent", to("203.0.113.9:443"), SECOND));
        assert!(!lab.connects("agent", to("203.0.113.7:443"), SECOND / 4));
        assert_eq!(wall.events("policy.revoked", 1).len(), 1);

        run("nft", &["delete", "table", "inet", "cedarwall"]);
        wall.events("table.restored", 1);
        assert!(lab.connects("agent", to("203.0.113.9:443"), SECOND), "it is back with the table");
    });
}

#[test]
fn what_looks_at_the_time_is_open_for_a_time_only() {
    in_lab(|lab| {
        greeter(443);
        let policy = r#"permit(principal, action == Action::"net.connect", resource == Resource::"203.0.113.7:443")
            when { context.now < datetime("2999-01-01") };"#;
        let mut wall = Wall::start(lab, &Setup { policy, ..Setup::default() });
        let timed = elements("static4");
        assert!(!timed.is_empty() && timed.iter().all(|element| element.expires.is_some()), "{timed:?}");
        assert!(lab.connects("agent", to("203.0.113.7:443"), SECOND));
        wall.process().kill();
        let left = elements("static4").iter().filter_map(|element| element.expires).max();
        assert!(left.is_some_and(|left| left <= 75), "a daemon that died leaves it open for {left:?} s");
    });
}

/// How many commits the kernel has counted.
fn ruleset_generation() -> u32 {
    Connection::open(TableName::default(), Renewal::InPlace).unwrap().generation().unwrap()
}

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn an_address_is_open_to_its_client_on_its_protocol_and_port_and_no_other() {
    in_lab(|lab| {
        for port in [443, 444, 5432] {
            greeter(port);
        }
        let room = Room::build();
        room.set(lasting(vec![
            grant(AGENT, "203.0.113.4", "203.0.113.7", Protocol::Tcp, (443, 443)),
            grant(AGENT, "203.0.113.9", "203.0.113.9", Protocol::Udp, (5000, 5001)),
            grant("fd77::2", "2001:db8:2::40", "2001:db8:2::4f", Protocol::Tcp, (5432, 5432)),
            // Special-purpose, and named: that opens it.
            grant(AGENT, "100.70.0.0", "100.70.255.255", Protocol::Tcp, (443, 443)),
        ]));
        for open in ["203.0.113.4:443", "203.0.113.7:443", "[2001:db8:2::45]:5432", "100.70.3.4:443"] {
            assert!(lab.connects("agent", to(open), SECOND), "{open} is closed");
            assert!(!lab.connects("other", to(open), SECOND / 4), "{open} is open to another client");
        }
        let closed = [
            "203.0.113.3:443",
            "203.0.113.8:443",
            "203.0.113.4:444",
            "[2001:db8:2::50]:5432",
            "[2001:db8:2::45]:443",
            "100.71.0.1:443",
        ];
        for closed in closed {
            assert!(!lab.connects("agent", to(closed), SECOND / 4), "{closed} is open");
        }
        assert_eq!(heard(lab, "203.0.113.9:5000"), Some(SocketAddr::new(AGENT.parse().unwrap(), 0).ip()));
        assert_eq!(heard(lab, "203.0.113.9:5001"), Some(SocketAddr::new(AGENT.parse().unwrap(), 0).ip()));
        for closed in ["203.0.113.9:5002", "203.0.113.4:443"] {
            assert_eq!(heard(lab, closed), None, "UDP to {closed}");
        }
    });
}

/// Who is heard at `address`, when the agent sends a datagram there.
fn heard(lab: &Lab, address: &'static str) -> Option<IpAddr> {
    let (ready, bound) = std::sync::mpsc::channel();
    let listener = std::thread::spawn(move || {
        enter("internet");
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(SECOND / 2)).unwrap();
        ready.send(()).unwrap();
        socket.recv_from(&mut [0; 64]).ok().map(|(_, from)| from.ip())
    });
    bound.recv().unwrap();
    lab.within("agent", || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", address).unwrap());
    listener.join().unwrap()
}

#[test]
fn a_table_that_is_lost_comes_back_with_the_addresses_the_policy_names() {
    in_lab(|lab| {
        greeter(443);
        let room = Room::build();
        room.set(lasting(vec![grant(AGENT, "203.0.113.4", "203.0.113.7", Protocol::Tcp, (443, 443))]));
        let before = elements("static4");
        run("nft", &["delete", "table", "inet", "cedarwall"]);
        eventually("the table is back", 5 * SECOND, || !room.heard().is_empty());
        assert_eq!(elements("static4"), before);
        assert!(lab.connects("agent", to("203.0.113.5:443"), SECOND));
    });
}

#[test]
fn a_change_touches_only_what_changes_and_ends_the_flows_to_what_goes() {
    in_lab(|lab| {
        greeter(443);
        let room = Room::build();
        let stays = grant(AGENT, "203.0.113.4", "203.0.113.4", Protocol::Tcp, (443, 443));
        let goes = grant(AGENT, "203.0.113.8", "203.0.113.15", Protocol::Tcp, (443, 443));
        room.set(lasting(vec![stays, goes]));
        let mut kept = Conversation::begin(lab, "agent", "203.0.113.4:443");
        let mut ended = Conversation::begin(lab, "agent", "203.0.113.9:443");
        let handle = || run("nft", &["-a", "list", "set", "inet", "cedarwall", "static4"]);
        let new = grant(AGENT, "203.0.113.20", "203.0.113.20", Protocol::Tcp, (443, 443));

        assert_eq!(room.set(lasting(vec![stays, new])), Closed { elements: 1, flows: 1, leases: 0 });

        assert!(kept.goes_on(SECOND), "a flow to an address that is still named was cut: {}", handle());
        assert!(!ended.goes_on(SECOND), "a flow to an address that is named no longer goes on");
        assert!(lab.connects("agent", to("203.0.113.20:443"), SECOND));
        assert!(!lab.connects("agent", to("203.0.113.8:443"), SECOND / 4));
        let held: Vec<Element> = elements("static4");
        assert_eq!(held.len(), 2, "{held:?}");

        let before = ruleset_generation();
        assert_eq!(room.set(lasting(vec![new, stays])), Closed::default());
        assert_eq!(ruleset_generation(), before, "the kernel is not told what it holds");
    });
}

#[test]
fn what_rests_on_the_time_ends_by_itself_when_nobody_renews_it() {
    in_lab(|_| {
        let room = Room::build();
        let grants = vec![grant(AGENT, "203.0.113.4", "203.0.113.4", Protocol::Tcp, (443, 443))];
        let timed = vec![Statics { grants, valid_for: Some(60 * SECOND) }];
        room.set(timed.clone());
        assert!(elements("static4")[0].expires.is_some_and(|left| (70..=75).contains(&left)));
        room.set(timed);
        assert!(elements("static4")[0].expires.is_some_and(|left| (73..=75).contains(&left)), "renewed");
        let views = room.run(room.firewall.statics());
        assert!(views.len() == 1 && views[0].left.is_some());
    });
}
