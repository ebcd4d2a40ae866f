//! G8 (in part): a daemon that dies leaves the wall closed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::lab::{UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall, binary};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_daemon_that_is_killed_leaves_the_default_drop_and_its_leases_run_out() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(1, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let api: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let setup = Setup { lease: "min = \"2s\"\ngrace = \"1s\"", ..Setup::default() };
        let mut wall = Wall::start(lab, &setup);
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        wall.process().kill();
        assert!(lab.connects("agent", api, SECOND / 2), "the lease outlives the daemon");
        eventually("the lease ends", 8 * SECOND, || elements("lease4").is_empty());
        assert!(!lab.connects("agent", api, SECOND / 2));

        wall.restart(lab);
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        assert!(lab.connects("agent", api, SECOND));
    });
}

#[test]
fn sigterm_leaves_the_wall_closed_and_down_takes_it_away() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let api: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let mut wall = Wall::start(lab, &Setup::default());
        let socket = lab.path("control.sock");
        let down = || std::process::Command::new(binary()).args(["down", "--socket"]).arg(&socket).status().unwrap();
        assert!(!down().success(), "down has to be refused while the daemon runs");
        assert_eq!(wall.process().terminate(), Some(0));
        assert!(!lab.connects("agent", api, SECOND / 2));
        assert!(down().success());
        assert!(run("nft", &["list", "tables"]).is_empty());
    });
}

#[test]
fn a_policy_that_does_not_load_starts_nothing_and_opens_nothing() {
    in_lab(|lab| {
        let mut wall = Wall::start(lab, &Setup::default());
        wall.process().terminate();
        lab.write("policies/wall.cedar", "permit(principal, action, resource) when { 1 };");
        let config = lab.path("cedarwall.toml");
        let output = std::process::Command::new(binary()).args(["serve", "--config"]).arg(config).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("wall.cedar:1:"), "{told}");
        assert!(run("nft", &["list", "tables"]).contains("cedarwall"), "the old wall stands");
    });
}
