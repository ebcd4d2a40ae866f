//! G8: a daemon that dies leaves the wall closed. What somebody does to the
//! table while it lives is in `tests/repair.rs`, too.

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

/// Whatever somebody does to the table, it is back before the next answer.
#[test]
fn what_somebody_does_to_the_rules_is_undone_before_the_next_answer() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let api: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let elsewhere: SocketAddr = "203.0.113.9:443".parse().unwrap();
        let wall = Wall::start(lab, &Setup::default());
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        let before = run("nft", &["-t", "list", "ruleset"]);
        let deeds: [&[&str]; 6] = [
            &["flush", "ruleset"],
            &["delete", "table", "inet", "cedarwall"],
            &["flush", "chain", "inet", "cedarwall", "leaving"],
            &["insert", "rule", "inet", "cedarwall", "leaving", "accept"],
            &["add", "rule", "inet", "cedarwall", "verdict", "accept"],
            &["add chain inet cedarwall input { policy drop; }"],
        ];
        for (index, deed) in deeds.iter().enumerate() {
            run("nft", deed);
            // The answer is in the cache and its lease is held: nothing of it
            // would have to reach the kernel.
            let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
            assert_eq!(addresses(&reply), ["203.0.113.7"], "after {deed:?}");
            assert_eq!(run("nft", &["-t", "list", "ruleset"]), before, "after {deed:?}");
            assert!(lab.connects("agent", api, SECOND / 2), "the lease is back after {deed:?}");
            assert!(!lab.connects("agent", elsewhere, SECOND / 4), "open after {deed:?}");
            assert_eq!(wall.events("table.restored", index + 1).len(), index + 1);
        }
    });
}

#[test]
fn a_table_that_is_gone_comes_back_with_nobody_asking() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &Setup::default());
        run("nft", &["delete", "table", "inet", "cedarwall"]);
        eventually("the table is back", 5 * SECOND, || run("nft", &["list", "tables"]).contains("cedarwall"));
        assert_eq!(wall.events("table.restored", 1).len(), 1);
    });
}

#[test]
fn what_others_do_to_tables_of_their_own_is_none_of_our_business() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &Setup::default());
        for table in ["one", "two", "three"] {
            run("nft", &["add", "table", "inet", table]);
            lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        }
        assert_eq!(wall.events("query.answered", 3).len(), 3);
        assert!(wall.events("table.restored", 0).is_empty());
        assert!(run("nft", &["list", "tables"]).contains("three"));
    });
}
