//! A resolver's search list makes names that nobody meant: they are denied
//! without alarm, and in such a way that the resolver finds the one meant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::process::Command;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::mount::{MsFlags, mount};
use support::change::{operator, reload};
use support::client::{addresses, ask, verdict};
use support::lab::{Lab, UPSTREAM, WALL, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall, configuration};

const POLICY: &str = r#"
permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
permit(principal, action == Action::"net.connect", resource == Resource::"wiki.corp.example.com:443");
"#;
const SEARCH: &str = "search = [\"corp.example.com\"]";

fn code(lab: &Lab, name: &str) -> ResponseCode {
    verdict(&lab.within("agent", || ask(WALL, name, RecordType::A)).unwrap()).0
}

#[test]
fn a_name_of_a_search_list_is_denied_counted_apart_and_no_alarm() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let setup = Setup { policy: POLICY, dns: SEARCH, names: "per_minute = 1", ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        for index in 0..20 {
            assert_eq!(code(lab, &format!("api{index}.example.com.corp.example.com")), ResponseCode::NXDomain);
        }
        assert_eq!(code(lab, "telemetry.example.com"), ResponseCode::NXDomain);
        let reply = lab.within("agent", || ask(WALL, "wiki.corp.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"], "what the policy permits is answered");
        assert_eq!(upstream.asked().len(), 1, "{:?}", upstream.asked());

        let denied = wall.events("query.denied", 21);
        let marked = denied.iter().filter(|event| event["search"] == true).count();
        assert_eq!((denied.len(), marked), (21, 20));
        assert!(denied.iter().all(|event| event["reason"] == "not_permitted"));
        assert_eq!(wall.metric("queries_total{outcome=\"denied_search\"}"), 20);
        assert_eq!(wall.metric("queries_total{outcome=\"denied\"}"), 1);
        assert_eq!(wall.metric("denied_total{agent=\"claude\",reason=\"not_permitted\"}"), 1);
        let (_, report) = operator(lab, &["denials"]);
        assert_eq!((&report["count"], &report["search"]), (&1.into(), &20.into()), "{report}");
        assert_eq!(report["names"].as_array().unwrap().len(), 1);
        assert_eq!(report["names"][0]["name"], "telemetry.example.com");

        // A change takes effect at once.
        lab.write("cedarwall.toml", &configuration(lab, &Setup { dns: "", ..setup }));
        assert_eq!(reload(lab)["waiting"], serde_json::json!([]));
        assert_eq!(code(lab, "late.corp.example.com"), ResponseCode::NXDomain);
        let late = wall.event("query.denied", |event| event["hostname"] == "late.corp.example.com");
        assert!(late.get("search").is_none(), "{late}");
    });
}

/// The C library's own resolver, told to try the search list first.
#[test]
fn a_resolver_that_tries_its_search_list_first_still_finds_what_was_meant() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let resolv_conf = lab.write("resolv.conf", "nameserver 10.77.0.1\nsearch corp.example.com\noptions ndots:5\n");
        let none: Option<&str> = None;
        // The laboratory's mounts are its own.
        mount(Some(&resolv_conf), "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
        for deny in ["nxdomain", "refused", "sinkhole"] {
            let dns = format!("{SEARCH}\ndeny = \"{deny}\"");
            let mut wall = Wall::start(lab, &Setup { policy: POLICY, dns: &dns, ..Setup::default() });
            let found = Command::new("ip")
                .args(["netns", "exec", "agent", "getent", "ahostsv4", "api.example.com"])
                .output()
                .unwrap();
            let found = String::from_utf8_lossy(&found.stdout).into_owned();
            assert!(found.starts_with("203.0.113.7"), "{deny}: {found:?}");
            wall.event("query.denied", |event| event["hostname"] == "api.example.com.corp.example.com");
            wall.process().terminate();
        }
    });
}
