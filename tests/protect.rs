//! `[wall] protect`: a table that nobody but the daemon can change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::lab::{Conversation, Lab, UPSTREAM, WALL, greeter, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall, binary};

const SECOND: Duration = Duration::from_secs(1);
const DEEDS: [&str; 13] = [
    "delete table inet cedarwall",
    "flush table inet cedarwall",
    "add table inet cedarwall { flags dormant; }",
    "flush chain inet cedarwall leaving",
    "insert rule inet cedarwall leaving accept",
    "add chain inet cedarwall another",
    "add chain inet cedarwall input { policy drop; }",
    "add counter inet cedarwall another",
    "add element inet cedarwall lease4 { 10.77.0.2 . 203.0.113.9 . tcp . 443 timeout 1h }",
    "add element inet cedarwall lease4 { * timeout 1h }",
    "flush set inet cedarwall lease4",
    "delete element inet cedarwall walled { \"veth-agent\" }",
    "add element inet cedarwall static4 { 10.77.0.2 . 203.0.113.0/24 . tcp . 1-65535 }",
];

fn does(deed: &str) -> bool {
    Command::new("nft").arg(deed).output().unwrap().status.success()
}

fn is_answered(lab: &Lab, name: &str) {
    let reply = lab.within("agent", || ask(WALL, name, RecordType::A)).unwrap();
    assert_eq!(addresses(&reply), ["203.0.113.7"], "{name}");
}

fn down(lab: &Lab) -> bool {
    let socket = lab.path("control.sock");
    Command::new(binary()).args(["down", "--socket"]).arg(&socket).status().unwrap().success()
}

#[test]
fn nobody_else_can_change_a_protected_table_and_the_daemon_can() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let wall = Wall::start(lab, &Setup { wall: "protect = true", ..Setup::default() });
        is_answered(lab, "api.example.com");
        let before = run("nft", &["-t", "list", "ruleset"]);
        for deed in DEEDS {
            assert!(!does(deed), "{deed}");
        }
        run("nft", &["flush", "ruleset"]);
        assert_eq!(run("nft", &["-t", "list", "ruleset"]), before);
        assert_eq!(elements("lease4").len(), 1);
        is_answered(lab, "registry.example.com");
        assert_eq!(elements("lease4")[0].comment.as_deref(), Some("api.example.com registry.example.com"));
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
        assert!(!lab.connects("agent", "203.0.113.9:443".parse().unwrap(), SECOND / 4));
        assert!(wall.events("table.restored", 0).is_empty() && wall.events("table.repaired", 0).is_empty());
        assert!(run("nft", &["list", "tables"]).lines().count() == 1);
    });
}

#[test]
fn a_protected_table_outlives_its_daemon_as_anybodys_and_is_taken_up_again_or_down() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { wall: "protect = true", ..Setup::default() });
        is_answered(lab, "api.example.com");
        let mut admitted = Conversation::begin(lab, "agent", "203.0.113.7:443");
        wall.process().kill();
        let elsewhere: SocketAddr = "203.0.113.9:443".parse().unwrap();
        assert!(!lab.connects("agent", elsewhere, SECOND / 4), "the default drop is gone");
        // What somebody leaves in the orphan is not taken over.
        assert!(does(DEEDS[8]) && does("add chain inet cedarwall another; add counter inet cedarwall more"));
        assert!(does(
            "add map inet cedarwall jumps { type ipv4_addr : verdict; elements = { 192.0.2.1 : jump another }; }"
        ));
        wall.restart(lab);
        assert!(!lab.connects("agent", elsewhere, SECOND / 4));
        assert!(!run("nft", &["list", "ruleset"]).contains("another"));
        assert!(!does(DEEDS[4]));
        is_answered(lab, "api.example.com");
        assert!(admitted.goes_on(SECOND));
        assert!(!down(lab), "down has to be refused while the daemon runs");
        assert_eq!(wall.process().terminate(), Some(0));
        assert!(down(lab));
        assert!(run("nft", &["list", "tables"]).is_empty());
    });
}

#[test]
fn while_protection_is_turned_on_or_off_nothing_gets_out() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { wall: "protect = false", ..Setup::default() });
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let prober = scope.spawn(|| {
                let (mut tries, mut open) = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    let elsewhere = "203.0.113.9:443".parse().unwrap();
                    open += usize::from(lab.connects("agent", elsewhere, Duration::from_millis(3)));
                    tries += 1;
                }
                (tries, open)
            });
            for protect in ["protect = true", "protect = false", "protect = true"] {
                wall.process().terminate();
                let path = lab.path("cedarwall.toml");
                let text = fs::read_to_string(&path).unwrap();
                let line = text.lines().find(|line| line.starts_with("protect = ")).unwrap();
                fs::write(&path, text.replace(line, protect)).unwrap();
                wall.restart(lab);
                is_answered(lab, "api.example.com");
                assert_eq!(does("add chain inet cedarwall another"), protect == "protect = false", "{protect}");
                assert_eq!(run("nft", &["list", "tables"]), "table inet cedarwall\n");
            }
            is_over.store(true, Ordering::Relaxed);
            let (tries, open) = prober.join().unwrap();
            assert!(tries > 50 && open == 0, "{open} of {tries} got out");
        });
    });
}
