//! G3: nothing leaves a walled client except DNS to the wall and packets of
//! flows the wall admitted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::lab::{Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::counter;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};
use support::{run, ways};

const SECOND: Duration = Duration::from_secs(1);

/// Counts every packet of the agent's that reaches the internet, fragments and
/// forged sources included, before anything there looks at it.
const TALLY: &str = "
    table inet tally {
        counter arrived { }
        chain arriving {
            type filter hook prerouting priority -500; policy accept;
            iifname eth0 icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report, mld-listener-done } accept
            iifname eth0 meta l4proto { udp, tcp } ip saddr 198.51.100.1 accept
            iifname eth0 counter name arrived
        }
    }";

struct Tally;

impl Tally {
    fn start() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TALLY).unwrap();
        run("ip", &["netns", "exec", "internet", "nft", "-f", file.path().to_str().unwrap()]);
        Self
    }

    fn arrived(&self) -> u64 {
        let listing = run("ip", &["netns", "exec", "internet", "nft", "-j", "list", "counters"]);
        let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
        let counters = listing["nftables"].as_array().unwrap();
        counters.iter().find_map(|object| object.get("counter")).unwrap()["packets"].as_u64().unwrap()
    }
}

/// Which ways out reach the internet now.
fn open_ways(lab: &Lab, tally: &Tally) -> Vec<String> {
    let mut open = Vec::new();
    for (name, attempt) in ways::all() {
        let before = tally.arrived();
        lab.within("agent", attempt);
        if tally.arrived() > before {
            open.push(name);
        }
    }
    open
}

fn all_ways() -> Vec<String> {
    ways::all().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn no_way_out_is_open_behind_the_wall_that_was_open_without_it() {
    in_lab(|lab| {
        let tally = Tally::start();
        // Neighbours are found once, so that the first packet is not lost.
        open_ways(lab, &tally);
        let without: Vec<_> = open_ways(lab, &tally);
        // The kernel itself answers for its own address, and drops what claims to come from it.
        let never: Vec<_> = all_ways().into_iter().filter(|way| !without.contains(way)).collect();
        assert_eq!(never, ["forged source 10.77.0.1"]);

        for (policy, wall) in [("", ""), (support::wall::STORY, ""), (support::wall::STORY, "verdict = \"reject\"")] {
            let mut wall = Wall::start(lab, &Setup { policy, wall, ..Setup::default() });
            assert_eq!(open_ways(lab, &tally), Vec::<String>::new(), "policy {policy:?}");
            assert!(counter("denied_syn") >= 8 && counter("denied_other") >= 20 && counter("denied_spoof") >= 3);
            // Questions to others arrive here.
            assert!(counter("captured_dns") >= 4);
            wall.process().terminate();
        }
    });
}

#[test]
fn with_a_lease_open_every_other_way_stays_shut() {
    in_lab(|lab| {
        let tally = Tally::start();
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let _wall = Wall::start(lab, &Setup::default());
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
        assert_eq!(open_ways(lab, &tally), Vec::<String>::new());
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
    });
}

#[test]
fn a_rejected_connection_fails_at_once_and_a_dropped_one_never() {
    in_lab(|lab| {
        let elsewhere: SocketAddr = "203.0.113.9:443".parse().unwrap();
        let connect = || TcpStream::connect_timeout(&elsewhere, SECOND).unwrap_err().kind();
        let mut wall = Wall::start(lab, &Setup { wall: "verdict = \"reject\"", ..Setup::default() });
        assert_eq!(lab.within("agent", connect), std::io::ErrorKind::ConnectionRefused);
        wall.process().terminate();
        let _wall = Wall::start(lab, &Setup::default());
        assert_eq!(lab.within("agent", connect), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn of_this_host_a_client_reaches_the_walls_dns_and_nothing_more() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        assert!(lab.connects("agent", "10.77.0.1:8080".parse().unwrap(), SECOND));
        let _wall = Wall::start(lab, &Setup::default());
        for address in ["10.77.0.1:8080", "198.51.100.1:8080", "10.77.1.1:53", "10.77.1.1:8080"] {
            let reached = lab.connects("agent", address.parse().unwrap(), SECOND / 2);
            assert_eq!(reached, address == "10.77.1.1:53", "{address}");
        }
        assert!(!addresses(&lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap()).is_empty());
        drop(listener);
    });
}

#[test]
fn a_flow_from_before_the_wall_and_a_flow_from_outside_carry_nothing_out() {
    in_lab(|lab| {
        greeter(443);
        // Somebody else's rules track connections, so that the kernel knows
        // the flow as established before the wall stands.
        run(
            "nft",
            &["add table ip other; add chain ip other forward { type filter hook forward priority 0; }; \
            add rule ip other forward ct state established accept"],
        );
        let server = lab.within("agent", || TcpListener::bind("10.77.0.2:9000").unwrap());
        let mut old = lab.within("agent", || TcpStream::connect("203.0.113.9:443").unwrap());
        let mut greeting = [0; 6];
        old.read_exact(&mut greeting).unwrap();

        let tally = Tally::start();
        let _wall = Wall::start(lab, &Setup::default());
        old.set_read_timeout(Some(SECOND)).unwrap();
        old.write_all(b"secret").unwrap();
        assert!(old.read_exact(&mut [0; 6]).is_err(), "a flow from before the wall is answered");
        assert_eq!(tally.arrived(), 0, "a flow from before the wall goes on");
        assert!(!lab.connects("internet", "10.77.0.2:9000".parse().unwrap(), SECOND));
        drop(server);
    });
}

#[test]
fn two_clients_of_one_wall_reach_each_other_no_more_than_the_world() {
    in_lab(|lab| {
        let server = lab.within("other", || TcpListener::bind("10.77.1.2:9000").unwrap());
        let to_other: SocketAddr = "10.77.1.2:9000".parse().unwrap();
        assert!(lab.connects("agent", to_other, SECOND));
        let _wall = Wall::start(lab, &Setup::default());
        assert!(!lab.connects("agent", to_other, SECOND / 2));
        drop(server);
    });
}

#[test]
fn errors_about_an_admitted_flow_get_through_and_others_do_not() {
    in_lab(|lab| {
        let policy =
            r#"permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");"#;
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let tally = Tally::start();
        let _wall = Wall::start(lab, &Setup { policy, ..Setup::default() });
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        // The flow is admitted, the client's socket is gone when the answer
        // comes: its kernel sends a port unreachable, which belongs to the flow.
        let port = lab.within("agent", || {
            let socket = std::net::UdpSocket::bind("10.77.0.2:0").unwrap();
            socket.send_to(b"x", "203.0.113.7:443").unwrap();
            socket.local_addr().unwrap().port()
        });
        eventually("the datagram arrives", SECOND, || tally.arrived() == 1);
        lab.within("internet", || {
            let server = std::net::UdpSocket::bind("203.0.113.7:443").unwrap();
            server.send_to(b"y", ("10.77.0.2", port)).unwrap();
        });
        eventually("the error arrives", SECOND, || tally.arrived() == 2);
    });
}
