//! No way out: the battery of `tests/battery/`, run in a container behind each
//! kind of wall, as root with Docker's default capabilities and as a user. Run
//! against no wall at all nearly every attempt gets out, so it can fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::battery::{
    LEASE, Outcome, POLICY, Sink, Who, around, battery, internet, is_ordinary, other_resolves, relay,
};
use support::lab::{Lab, Process, eventually, in_lab};
use support::wall::{Setup, Wall, binary};
use support::{nft, run};

/// Where the container asks DNS behind a gateway, and who else is there.
const GATEWAY: &str = "--dns 10.77.0.1 --dns fd77::1 --other 10.77.1.2 --other fd77:1::2";
const SIDECAR: &str = "--dns 127.0.0.1 --dns ::1 --other 10.77.1.2 --other fd77:1::2";
/// The sidecar's own user.
const DAEMON: &str = "65353";

#[test]
fn without_a_wall_nearly_every_attempt_gets_out() {
    in_lab(|lab| {
        let _upstream = internet();
        relay();
        let sinks = around(lab);
        for who in [Who::Root, Who::User] {
            let outcome = battery(lab, who, &sinks, GATEWAY);
            outcome.assert_controls_worked();
            let can = |attempt: &Value| who == Who::Root || attempt["root"] != true;
            let tried = outcome.ids(can);
            let kept = outcome.ids(|attempt| can(attempt) && !outcome.escaped(attempt));
            let surprising =
                outcome.ids(|attempt| can(attempt) && !outcome.escaped(attempt) && attempt["without"].is_null());
            let report = outcome.report(|attempt| surprising.contains(attempt["id"].as_str().unwrap()));
            assert!(surprising.is_empty(), "as {who:?} these did not get out, with nothing in their way:\n{report}");
            eprintln!("as {who:?}: {} of {} get out, all but {kept:?}", tried.len() - kept.len(), tried.len());
            assert!(kept.len() * 4 < tried.len(), "{kept:?}");
        }
    });
}

#[test]
fn behind_a_gateway_nothing_gets_out() {
    in_lab(|lab| {
        let _upstream = internet();
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, lease: LEASE, ..Setup::default() });
        other_resolves(lab, "10.77.1.1:53");
        let sinks = around(lab);
        for who in [Who::Root, Who::User] {
            let outcome = battery(lab, who, &sinks, GATEWAY);
            outcome.assert_walled(|_| false);
            nobody_else_arrived(&outcome, "198.51.100.1");
        }
        assert!(
            nft::counter("denied_syn") > 1000 && nft::counter("denied_spoof") > 10 && nft::counter("denied_host") > 10
        );
        assert!(wall.process().is_running());
    });
}

/// What a wall in the container's own namespace cannot promise is marked so in
/// the battery's table, each with its reason, and listed in SECURITY.md.
#[test]
fn beside_a_sidecar_nothing_gets_out_but_what_it_cannot_promise() {
    in_lab(|lab| {
        let _upstream = internet();
        let mut wall = sidecar(lab);
        let sinks = [Sink::start(lab, "link", None, "--interface veth-agent --not-from 198.51.100.53")];
        for who in [Who::Root, Who::User] {
            let outcome = battery(lab, who, &sinks, SIDECAR);
            outcome.assert_walled(|attempt| who == Who::Root && !attempt["sidecar"].is_null());
            nobody_else_arrived(&outcome, "10.77.0.2");
            let out = outcome.ids(|attempt| outcome.escaped(attempt));
            eprintln!("as {who:?} a sidecar cannot stop {out:?}");
        }
        assert!(wall.is_running());
    });
}

fn nobody_else_arrived(outcome: &Outcome, wall: &str) {
    let others = outcome.unexplained(|packet| is_ordinary(packet, wall));
    assert!(others.is_empty(), "packets that nothing explains arrived: {others:?}");
}

/// A daemon of its own user in the agent's namespace.
fn sidecar(lab: &Lab) -> Process {
    lab.write("policies/wall.cedar", POLICY);
    let folder = lab.path("daemon");
    std::fs::create_dir(&folder).unwrap();
    run("chown", &[&format!("{DAEMON}:{DAEMON}"), folder.to_str().unwrap()]);
    run("chmod", &["-R", "a+rX", lab.path("").to_str().unwrap()]);
    let configuration = format!(
        r#"
[dns]
listen = ["127.0.0.1:53", "[::1]:53"]
upstream = ["udp://198.51.100.53:53"]
[policy]
path = "policies"
[wall]
mode = "sidecar"
allow_ranges = ["203.0.113.0/24", "100.70.0.0/16", "2001:db8:2::/64"]
[lease]
{LEASE}
[[client]]
address = ["127.0.0.1", "::1"]
agent = "claude"
[control]
socket = "{folder}/control.sock"
[journal]
path = "{folder}/events.jsonl"
"#,
        folder = folder.display()
    );
    let file = lab.write("sidecar.toml", &configuration);
    // Where tests are built, the user may not look; a copy it may.
    let program = lab.path("cedarwall");
    std::fs::copy(binary(), &program).unwrap();
    let capabilities = "+net_admin,+net_bind_service";
    let words = format!(
        "--reuid {DAEMON} --regid {DAEMON} --clear-groups --inh-caps {capabilities} --ambient-caps {capabilities} --"
    );
    let command = [program.to_str().unwrap(), "serve", "--config", file.to_str().unwrap()];
    let arguments: Vec<&str> = words.split(' ').chain(command).collect();
    let process = lab.start(Some("agent"), Path::new("setpriv"), &arguments);
    let socket = folder.join("control.sock");
    eventually("the sidecar answers", Duration::from_secs(20), || {
        let mut status = std::process::Command::new(binary());
        status.args(["status", "--socket"]).arg(&socket).output().unwrap().status.success()
    });
    process
}
