//! The battery where several clients are on one bridge, as a container engine
//! has them: forged hardware and IP addresses, ARP and neighbour discovery, and
//! the other client itself, which is on the same link.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use support::battery::{LEASE, POLICY, Who, around, battery, internet, is_ordinary, other_resolves, relay};
use support::lab::{Lab, in_lab};
use support::run;
use support::wall::{Setup, Wall};
use support::yard::{Yard, hardware};

const BRIDGE: &str = "--dns 10.77.0.1 --dns fd77::1 --other 10.77.0.3 --other fd77::3";
/// What the addresses of the two end in.
const AGENT: u8 = 2;
const OTHER: u8 = 3;
/// What only a link between two clients makes possible: without a wall it has
/// to arrive here, though it does not elsewhere.
const OVER_THE_LINK: &[&str] = &["arp-payload", "claim-0", "claim-1", "router-advertisement", "frame-unknown-type"];

/// Puts the agent and the other client on one bridge of the host's.
fn bridged() {
    let script = format!(
        "
        set -e
        ip link add agents type bridge
        for port in veth-agent veth-other; do ip addr flush dev $port; ip link set $port master agents; done
        ip addr add 10.77.0.1/24 dev agents; ip addr add fd77::1/64 dev agents nodad
        ip link set agents up
        ip -n other addr flush dev eth0
        ip -n other addr add 10.77.0.3/24 dev eth0; ip -n other addr add fd77::3/64 dev eth0 nodad
        ip -n other route replace default via 10.77.0.1; ip -n other -6 route replace default via fd77::1
        # A port of a bridge forwards only a while after it has come up.
        ip link set agents type bridge forward_delay 0 stp_state 0
        # As the engine gives them.
        ip -n agent link set eth0 address {agent}; ip -n other link set eth0 address {other}
        # Most hosts do not show bridged packets to the rules of IP, and none need to.
        for kind in iptables ip6tables arptables; do
            [ ! -e /proc/sys/net/bridge/bridge-nf-call-$kind ] || echo 0 > /proc/sys/net/bridge/bridge-nf-call-$kind
        done
        # Nobody asks there, but the battery tries.
        ip addr add 10.77.1.1/32 dev agents
        ",
        agent = hardware(AGENT),
        other = hardware(OTHER),
    );
    run("sh", &["-c", &script]);
}

/// A wall whose engine has told of both.
fn wall(lab: &Lab, yard: &Yard) -> Wall {
    let setup = Setup { policy: POLICY, lease: LEASE, ..Setup::default() };
    let wall = Wall::start_on(lab, &setup, &yard.configuration(lab, &setup, ""));
    for (id, agent, host) in [("agent", "claude", AGENT), ("other", "other", OTHER)] {
        yard.tell_of(id, Some(agent), host);
        wall.event("container.known", |event| event["container_id"] == id);
    }
    wall
}

/// Frames of somebody else's that a table of this family stopped.
fn count(family: &str) -> u64 {
    let listing = run("nft", &["-j", "list", "counter", family, "cedarwall", "denied_spoof"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    listing["nftables"][1]["counter"]["packets"].as_u64().unwrap()
}

/// The hardware address of an interface: `words` say where.
fn mac(words: &[&str]) -> String {
    let listing = run("ip", &[&["-j"], words].concat());
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    listing[0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_wall_clients_on_one_bridge_reach_and_deceive_each_other() {
    in_lab(|lab| {
        bridged();
        let _upstream = internet();
        relay();
        let sinks = around(lab);
        let outcome = battery(lab, Who::Root, &sinks, BRIDGE);
        outcome.assert_controls_worked();
        let out = outcome.ids(|attempt| outcome.escaped(attempt));
        for id in OVER_THE_LINK {
            assert!(out.contains(id), "{id} did not arrive:\n{}", outcome.report(|attempt| attempt["id"] == *id));
        }
        for id in ["source-other-client-4", "source-other-client-6", "source-of-lease-0", "other-udp-0", "other-udp-1"]
        {
            assert!(out.contains(id), "{id} did not arrive");
        }
    });
}

#[test]
fn behind_a_gateway_clients_on_one_bridge_neither_get_out_nor_reach_each_other() {
    in_lab(|lab| {
        bridged();
        let _upstream = internet();
        let yard = Yard::around(lab, ["10.77.0.", "fd77::"]);
        let mut wall = wall(lab, &yard);
        other_resolves(lab, "10.77.0.1:53");
        let agent = mac(&["-n", "agent", "link", "show", "eth0"]);
        let gateway = mac(&["link", "show", "agents"]);
        let sinks = around(lab);
        for who in [Who::Root, Who::User] {
            let outcome = battery(lab, who, &sinks, BRIDGE);
            outcome.assert_walled(|_| false);
            let others = outcome.unexplained(|packet| is_ordinary(packet, "198.51.100.1"));
            assert!(others.is_empty(), "packets that nothing explains arrived: {others:?}");
        }
        // Whom the other client and the host take for each other, and who is where.
        for address in ["10.77.0.1", "fd77::1"] {
            let known = run("ip", &["-n", "other", "neigh", "show", "to", address]);
            assert!(!known.contains(&agent), "the other client was deceived: {known}");
            assert!(known.is_empty() || known.contains(&gateway) || !known.contains("lladdr"), "{known}");
        }
        for address in ["10.77.0.3", "fd77::3"] {
            let known = run("ip", &["neigh", "show", "to", address, "dev", "agents"]);
            assert!(!known.contains(&agent), "the host was deceived: {known}");
        }
        other_resolves(lab, "10.77.0.1:53");
        assert!(count("bridge") + count("arp") > 10, "what is forged is counted where it is stopped");
        assert!(wall.process().is_running());
    });
}
