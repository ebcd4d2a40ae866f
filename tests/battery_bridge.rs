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

use std::time::Duration;

use support::battery::{LEASE, POLICY, Who, around, battery, internet, is_ordinary, other_resolves, relay};
use support::lab::{Lab, Process, eventually, in_lab};
use support::run;
use support::wall::{Setup, binary, configuration};

const BRIDGE: &str = "--dns 10.77.0.1 --dns fd77::1 --other 10.77.0.3 --other fd77::3";
/// What only a link between two clients makes possible: without a wall it has
/// to arrive here, though it does not elsewhere.
const OVER_THE_LINK: &[&str] = &["arp-payload", "claim-0", "claim-1", "router-advertisement", "frame-unknown-type"];

/// Puts the agent and the other client on one bridge of the host's.
fn bridged() {
    run(
        "sh",
        &[
            "-c",
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
        # Most hosts do not show bridged packets to the rules of IP, and none need to.
        for kind in iptables ip6tables arptables; do
            [ ! -e /proc/sys/net/bridge/bridge-nf-call-$kind ] || echo 0 > /proc/sys/net/bridge/bridge-nf-call-$kind
        done
        # The configuration of the laboratory's wall answers there, too.
        ip addr add 10.77.1.1/32 dev agents
        ",
        ],
    );
}

fn wall(lab: &Lab) -> Process {
    let setup = Setup { policy: POLICY, lease: LEASE, ..Setup::default() };
    let configuration = configuration(lab, &setup)
        .replace("interfaces = [\"veth-agent\", \"veth-other\"]", "interfaces = [\"agents\"]")
        .replace("10.77.1.2", "10.77.0.3")
        .replace("fd77:1::2", "fd77::3");
    lab.write("policies/wall.cedar", POLICY);
    let file = lab.write("cedarwall.toml", &configuration);
    let process = lab.start(None, binary(), &["serve", "--config", file.to_str().unwrap()]);
    let socket = lab.path("control.sock");
    eventually("the wall answers", Duration::from_secs(20), || {
        let mut status = std::process::Command::new(binary());
        status.args(["status", "--socket"]).arg(&socket).output().unwrap().status.success()
    });
    process
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
        let mut wall = wall(lab);
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
        assert!(wall.is_running());
    });
}
