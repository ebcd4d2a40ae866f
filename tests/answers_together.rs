//! Answers that one socket of a client gets at about the same time: they go
//! through the kernel as one packet, and arrive as what they are.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::client::{addresses, ask, question};
use support::lab::{Lab, UPSTREAM, WALL, in_lab};
use support::run;
use support::upstream::{Asked, Upstream, address, answer, wire};
use support::wall::{Setup, Wall};

/// Nobody there is asked: the wall captures questions to port 53 of any
/// address.
const FOREIGN: &str = "203.0.113.99:53";
const NAMES: [&str; 2] = ["api.example.com", "many.example.com"];
const QUESTIONS: u16 = 40;

fn upstream(asked: &Asked, query: &Message) -> Option<Vec<u8>> {
    let count = if asked.name == "many.example.com" { 32 } else { 1 };
    let addresses = (1..=count).map(|host| address(query, 300, &format!("203.0.113.{host}")));
    wire(&answer(query, addresses.collect()))
}

fn start(lab: &Lab) -> Wall {
    Upstream::start(UPSTREAM, upstream);
    let policy = r#"
        permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
            when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;
    let wall = Wall::start(lab, &Setup { policy, ..Setup::default() });
    let rules = lab.write(
        "answers.nft",
        "
        table inet answers {
            counter answers { }
            chain arriving {
                type filter hook input priority 0; policy accept;
                udp sport 53 counter name answers
            }
        }",
    );
    run("ip", &["netns", "exec", "agent", "nft", "-f", rules.to_str().unwrap()]);
    wall
}

/// Asks for `NAMES` in turn from one socket, all while the wall stands still,
/// and waits for every answer: in how many packets they came.
fn asked_at_once(lab: &Lab, wall: &mut Wall, server: &str) -> u64 {
    let wall = Pid::from_raw(i32::try_from(wall.process().id()).unwrap());
    let replies = lab.within("agent", || {
        for name in NAMES {
            assert!(!addresses(&ask(server, name, RecordType::A).unwrap()).is_empty(), "it can be repeated now");
        }
        run("nft", &["reset", "counters"]);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.connect(server).unwrap();
        kill(wall, Signal::SIGSTOP).unwrap();
        for id in 0..QUESTIONS {
            let mut question = question(NAMES[usize::from(id) % NAMES.len()], RecordType::A);
            question.metadata.id = id;
            socket.send(&question.to_vec().unwrap()).unwrap();
        }
        kill(wall, Signal::SIGCONT).unwrap();
        (0..QUESTIONS)
            .map(|_| {
                let mut octets = [0; 1500];
                let length = socket.recv(&mut octets).expect("an answer");
                Message::from_vec(&octets[..length]).unwrap()
            })
            .collect::<Vec<_>>()
    });
    let ids: BTreeSet<u16> = replies.iter().map(|reply| reply.metadata.id).collect();
    assert_eq!(ids.len(), usize::from(QUESTIONS), "each question has its answer");
    for reply in replies {
        let count = if reply.metadata.id % 2 == 0 { 1 } else { 32 };
        assert_eq!(addresses(&reply).len(), count, "{:?}", reply.queries);
    }
    packets()
}

fn packets() -> u64 {
    let listing = run("ip", &["netns", "exec", "agent", "nft", "-j", "list", "counters"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let counters = listing["nftables"].as_array().unwrap();
    counters.iter().find_map(|object| object.get("counter")).unwrap()["packets"].as_u64().unwrap()
}

#[test]
fn answers_to_one_socket_come_in_few_packets_and_none_is_missing() {
    in_lab(|lab| {
        let mut wall = start(lab);
        // The second is answered in the name of an address that is not the wall's.
        for server in [WALL, FOREIGN] {
            let packets = asked_at_once(lab, &mut wall, server);
            assert!(packets < u64::from(QUESTIONS) / 2, "{packets} packets from {server}");
        }
    });
}

#[test]
fn answers_longer_than_a_links_packets_come_one_by_one() {
    in_lab(|lab| {
        let mut wall = start(lab);
        run("ip", &["link", "set", "veth-agent", "mtu", "500"]);
        assert!(asked_at_once(lab, &mut wall, WALL) > 0);
    });
}
