//! A running wall takes up what its files say: by itself, whole or not at all,
//! and what that no longer permits is closed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use support::change::{BOTH, REGISTRY, by_name, operator, reload};
use support::client::{addresses, ask, verdict};
use support::lab::{Conversation, Lab, SECOND_UPSTREAM, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall, configuration};

const SECOND: Duration = Duration::from_secs(1);
const OTHER_WALL: &str = "10.77.1.1:53";

const API: &str = r#"
permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
"#;
const ONLY_CLAUDE: &str = r#"
permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"api.example.com:443");
"#;

fn watched(policy: &str) -> Setup<'_> {
    Setup { policy, policy_lines: "", ..Setup::default() }
}

fn resolve(lab: &Lab, name: &str) -> Vec<String> {
    addresses(&lab.within("agent", || ask(WALL, name, RecordType::A)).unwrap())
}

fn answers(lab: &Lab, name: &str) -> bool {
    !resolve(lab, name).is_empty()
}

/// The configuration of `setup` with one text in the place of another.
fn reconfigure(lab: &Lab, setup: &Setup<'_>, changes: &[(&str, &str)]) {
    let text = changes.iter().fold(configuration(lab, setup), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    lab.write("new.toml", &text);
    fs::rename(lab.path("new.toml"), lab.path("cedarwall.toml")).unwrap();
}

fn loaded(wall: &Wall) -> u64 {
    wall.operator(&["status"]).unwrap()["reloads"]["loaded"].as_u64().unwrap()
}

#[test]
fn every_way_of_writing_a_file_is_taken_up_unasked() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(0));
        let wall = Wall::start(lab, &watched(""));
        let takes_up = |what: &str, api: bool| {
            eventually(what, 6 * SECOND, || {
                answers(lab, "api.example.com") == api && answers(lab, "registry.example.com") != api
            });
        };
        let file = lab.path("policies/wall.cedar");

        // In place, in two pieces of which the first is no policy.
        let (begin, rest) = API.split_at(API.len() / 2);
        fs::write(&file, begin).unwrap();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(rest.as_bytes()).unwrap();
        takes_up("written in two pieces", true);

        // Renamed over it.
        lab.write("policies/.wall.cedar.new", REGISTRY);
        fs::rename(lab.path("policies/.wall.cedar.new"), &file).unwrap();
        takes_up("renamed", false);

        // As editors do: the old one becomes the backup, a new one appears.
        fs::rename(&file, lab.path("policies/wall.cedar~")).unwrap();
        lab.write("policies/wall.cedar", API);
        takes_up("written by an editor", true);

        // As a mounted ConfigMap: the file is a link into a folder behind a
        // link, which another one is renamed over.
        for (version, policy) in [("..1", API), ("..2", REGISTRY)] {
            lab.write(&format!("policies/{version}/wall.cedar"), policy);
        }
        symlink("..1", lab.path("policies/..data")).unwrap();
        fs::remove_file(&file).unwrap();
        symlink("..data/wall.cedar", &file).unwrap();
        std::thread::sleep(SECOND / 2);
        symlink("..2", lab.path("policies/..data_tmp")).unwrap();
        fs::rename(lab.path("policies/..data_tmp"), lab.path("policies/..data")).unwrap();
        takes_up("a link swapped", false);

        // The whole folder away, and another in its place.
        fs::rename(lab.path("policies"), lab.path("away")).unwrap();
        eventually("the folder is missed", 6 * SECOND, || wall.operator(&["status"]).unwrap().get("refused").is_some());
        assert!(answers(lab, "registry.example.com"), "what was in force stays");
        lab.write("policies/wall.cedar", API);
        takes_up("another folder", true);
        lab.write("policies/wall.cedar", REGISTRY);
        takes_up("a file in it", false);
        let status = wall.operator(&["status"]).unwrap();
        assert_eq!((&status["watch"], status.get("refused")), (&"on".into(), None), "{status}");
    });
}

#[test]
fn a_policy_behind_a_link_is_taken_up_when_the_link_leads_elsewhere() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(0));
        lab.write("releases/1/wall.cedar", API);
        lab.write("releases/2/wall.cedar", REGISTRY);
        symlink("releases/1", lab.path("current")).unwrap();
        let setup = watched("");
        let _wall = Wall::start(lab, &setup);
        reconfigure(lab, &setup, &[("path = \"policies\"", "path = \"current\"")]);
        eventually("the policy is where the configuration says", 6 * SECOND, || answers(lab, "api.example.com"));
        symlink("releases/2", lab.path("next")).unwrap();
        fs::rename(lab.path("next"), lab.path("current")).unwrap();
        eventually("the other release", 6 * SECOND, || answers(lab, "registry.example.com"));
        assert!(!answers(lab, "api.example.com"));
        lab.write("releases/2/wall.cedar", API);
        eventually("a file behind the link", 6 * SECOND, || answers(lab, "api.example.com"));
    });
}

#[test]
fn fifty_writes_are_a_few_reloads_and_the_last_one_counts() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(0));
        let wall = Wall::start(lab, &watched(API));
        for number in 0..50 {
            lab.write("policies/wall.cedar", &format!("{BOTH}// {number}\n"));
            std::thread::sleep(SECOND / 50);
        }
        lab.write("policies/wall.cedar", REGISTRY);
        eventually("the last one counts", 6 * SECOND, || {
            answers(lab, "registry.example.com") && !answers(lab, "api.example.com")
        });
        let times = loaded(&wall);
        assert!((1..=4).contains(&times), "{times} reloads");

        // Touched and unchanged: nothing is loaded.
        fs::write(lab.path("policies/wall.cedar"), REGISTRY).unwrap();
        eventually("it is looked at", 6 * SECOND, || wall.metric("reloads_total{result=\"unchanged\"}") >= 1);
        assert_eq!(loaded(&wall), times);
    });
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_after_it_does() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        greeter(443);
        let wall = Wall::start(lab, &watched(API));
        resolve(lab, "api.example.com");
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let started = wall.metric("reload_last_success_timestamp_seconds");

        lab.write("policies/wall.cedar", "permit(principal, action, resource) when { 1 };");
        let refused = wall.events("policy.refused", 1);
        assert!(refused[0]["problems"][0].as_str().unwrap().contains("wall.cedar:1:"), "{refused:?}");
        assert!(flow.goes_on(SECOND));
        assert_eq!(wall.metric("reloads_total{result=\"refused\"}"), 1);
        assert_eq!(wall.metric("reload_last_success"), 0);
        assert_eq!(wall.metric("reload_last_success_timestamp_seconds"), started);

        lab.write("policies/wall.cedar", REGISTRY);
        eventually("the flow ends", 6 * SECOND, || !flow.goes_on(SECOND / 5));
        assert_eq!(wall.metric("reload_last_success"), 1);
        assert_eq!(wall.metric("reloads_total{result=\"loaded\"}"), 1);
    });
}

#[test]
fn without_watching_nothing_is_taken_up_until_somebody_says_so() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(0));
        let setup = Setup { policy: API, ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        lab.write("policies/wall.cedar", REGISTRY);
        std::thread::sleep(SECOND);
        assert!(answers(lab, "api.example.com"));
        assert_eq!(wall.operator(&["status"]).unwrap()["watch"], "off");
        // The configuration itself may say that from now on they are watched.
        reconfigure(lab, &setup, &[("watch = false", "watch = true")]);
        reload(lab);
        assert!(!answers(lab, "api.example.com"));
        lab.write("policies/wall.cedar", API);
        eventually("it is watched", 6 * SECOND, || answers(lab, "api.example.com"));
    });
}

#[test]
fn a_client_that_is_another_agent_now_or_gone_loses_what_it_had() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        greeter(443);
        let setup = Setup { policy: ONLY_CLAUDE, ..Setup::default() };
        let _wall = Wall::start(lab, &setup);
        resolve(lab, "api.example.com");
        assert!(lab.within("other", || ask(OTHER_WALL, "api.example.com", RecordType::A)).is_some());
        let mut agent = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let mut other = Conversation::begin(lab, "other", "203.0.113.7:443");

        let other_client = "[[client]]\naddress = [\"10.77.1.2\", \"fd77:1::2\"]\nagent = \"claude\"\n";
        let now_ci = other_client.replace("claude", "ci");
        reconfigure(lab, &setup, &[(other_client, &now_ci)]);
        let report = reload(lab);
        // One element each for TCP and UDP.
        assert_eq!((&report["closed_elements"], &report["ended_flows"]), (&2.into(), &1.into()), "{report}");
        let ended = Instant::now();
        assert!(!other.goes_on(SECOND), "the flow of a client that is another agent now goes on");
        assert!(ended.elapsed() < 2 * SECOND);
        assert!(agent.goes_on(SECOND), "the flow of a client that nothing changed for was cut");

        let first_client = "[[client]]\naddress = [\"10.77.0.2\", \"fd77::2\"]\nagent = \"claude\"\n";
        reconfigure(lab, &setup, &[(first_client, "")]);
        assert_eq!(reload(lab)["ended_flows"], 1);
        assert!(!agent.goes_on(SECOND), "the flow of a client that is gone goes on");
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::Refused);
        assert!(answers_to_other(lab), "the client that is claude again is answered");
    });
}

fn answers_to_other(lab: &Lab) -> bool {
    let reply = lab.within("other", || ask(OTHER_WALL, "api.example.com", RecordType::A)).unwrap();
    !addresses(&reply).is_empty()
}

#[test]
fn a_flow_has_ended_when_the_reload_comes_back() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        greeter(443);
        let setup = Setup { policy: ONLY_CLAUDE, ..Setup::default() };
        let _wall = Wall::start(lab, &setup);
        resolve(lab, "api.example.com");
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");
        reconfigure(
            lab,
            &setup,
            &[(
                "address = [\"10.77.0.2\", \"fd77::2\"]\nagent = \"claude\"",
                "address = [\"10.77.0.2\", \"fd77::2\"]\nagent = \"ci\"",
            )],
        );
        assert!(flow.goes_on(SECOND));
        let told = Instant::now();
        reload(lab);
        eprintln!("`cedarwall reload`, its own start included: {:?}", told.elapsed());
        assert!(!flow.goes_on(SECOND / 5));
    });
}

#[test]
fn addresses_in_a_range_that_is_allowed_no_longer_are_closed_and_not_answered_from_the_cache() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let setup = Setup { policy: API, ..Setup::default() };
        let _wall = Wall::start(lab, &setup);
        assert_eq!(resolve(lab, "api.example.com"), ["203.0.113.7"]);
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");

        reconfigure(lab, &setup, &[("\"203.0.113.0/24\", ", "")]);
        let report = reload(lab);

        assert_eq!(report["ended_flows"], 1, "{report}");
        assert!(!flow.goes_on(SECOND));
        assert_eq!(elements("lease4"), []);
        assert_eq!(resolve(lab, "api.example.com"), Vec::<String>::new());
        assert_eq!(upstream.count("api.example.com"), 2, "the cache was asked");
    });
}

#[test]
fn other_servers_and_other_terms_are_taken_up() {
    in_lab(|lab| {
        let first = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let second = Upstream::start(SECOND_UPSTREAM, plain(300, "203.0.113.8", "2001:db8:2::8"));
        let setup = Setup { policy: API, ..Setup::default() };
        let _wall = Wall::start(lab, &setup);
        assert_eq!(resolve(lab, "api.example.com"), ["203.0.113.7"]);
        let changes = [
            ("udp://198.51.100.53:53", "udp://198.51.100.54:53"),
            ("[lease]\n", "[lease]\nmax = \"40s\"\nmin = \"30s\"\n"),
            ("[dns]\n", "[dns]\ndeny = \"refused\"\n"),
        ];
        reconfigure(lab, &setup, &changes);
        reload(lab);
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.8"]);
        assert!(reply.answers[0].ttl <= 40, "{reply}");
        assert_eq!((first.count("api.example.com"), second.count("api.example.com")), (1, 1));
        let denied = lab.within("agent", || ask(WALL, "x.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).0, ResponseCode::Refused);
    });
}

#[test]
fn a_setting_that_cannot_change_is_named_and_everything_else_is_taken_up() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        let setup = Setup { policy: API, ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        let changes = [
            ("interfaces = [\"veth-agent\", \"veth-other\"]", "interfaces = [\"veth-agent\"]\nverdict = \"reject\""),
            ("[dns]\n", "[dns]\ndeny = \"refused\"\nmax_connections = 9\n"),
        ];
        reconfigure(lab, &setup, &changes);
        let report = reload(lab);
        let waiting = serde_json::json!(["dns.max_connections", "wall.interfaces", "wall.verdict"]);
        assert_eq!(report["waiting"], waiting, "{report}");
        assert_eq!(wall.operator(&["status"]).unwrap()["waiting"], waiting);
        assert_eq!(wall.events("config.loaded", 1)[0]["waiting"], waiting);
        let denied = lab.within("agent", || ask(WALL, "x.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).0, ResponseCode::Refused);
        reconfigure(lab, &setup, &[]);
        reload(lab);
        assert!(wall.operator(&["status"]).unwrap().get("waiting").is_none(), "nothing waits any more");
    });
}

#[test]
fn nothing_is_taken_up_by_half() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        greeter(443);
        let setup = Setup { policy: API, ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        resolve(lab, "api.example.com");
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let unchanged = |flow: &mut Conversation| {
            assert!(flow.goes_on(SECOND));
            let denied = lab.within("agent", || ask(WALL, "x.example.com", RecordType::A)).unwrap();
            assert_eq!(verdict(&denied).0, ResponseCode::NXDomain);
        };

        // A good configuration with a policy that is none.
        let refused = [("[dns]\n", "[dns]\ndeny = \"refused\"\n")];
        reconfigure(lab, &setup, &refused);
        lab.write("policies/wall.cedar", "permit(");
        assert_eq!(operator(lab, &["reload"]).0, Some(1));
        unchanged(&mut flow);

        // A good policy with a configuration that is none.
        lab.write("policies/wall.cedar", REGISTRY);
        lab.write("cedarwall.toml", "[dns]\nlisten = 7\n");
        let (code, report) = operator(lab, &["reload"]);
        assert_eq!(code, Some(1));
        assert!(report["problems"].to_string().contains("cedarwall.toml:2:10: error"), "{report}");
        assert_eq!(wall.events("config.refused", 1).len(), 1);
        unchanged(&mut flow);

        // Both good.
        reconfigure(lab, &setup, &refused);
        assert_eq!(reload(lab)["ended_flows"], 1);
        assert!(!flow.goes_on(SECOND));
        let denied = lab.within("agent", || ask(WALL, "x.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).0, ResponseCode::Refused);
    });
}

#[test]
fn what_an_operator_revokes_is_closed_and_nothing_else_is() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        for port in [443, 5432] {
            greeter(port);
        }
        let named = r#"permit(principal, action == Action::"net.connect", resource == Resource::"203.0.113.9:5432");"#;
        let setup = Setup { policy: &format!("{BOTH}{named}"), ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        // The other client acts as another agent.
        let other_client = "[[client]]\naddress = [\"10.77.1.2\", \"fd77:1::2\"]\nagent = \"claude\"\n";
        reconfigure(lab, &setup, &[(other_client, &other_client.replace("claude", "ci"))]);
        reload(lab);
        for name in ["api.example.com", "registry.example.com"] {
            resolve(lab, name);
        }
        assert!(answers_to_other(lab));
        let mut api = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let mut registry = Conversation::begin(lab, "agent", "203.0.113.8:443");
        let mut other = Conversation::begin(lab, "other", "203.0.113.7:443");
        let mut database = Conversation::begin(lab, "agent", "203.0.113.9:5432");

        let (code, report) = operator(lab, &["revoke", "--agent", "claude", "API.example.com"]);

        assert_eq!((code, &report["names"]), (Some(0), &serde_json::json!(["api.example.com"])), "{report}");
        assert_eq!((&report["closed_elements"], &report["ended_flows"]), (&2.into(), &1.into()), "{report}");
        let stays = report["named_by_policy"].as_array().unwrap();
        assert!(stays.contains(&"203.0.113.9 5432/tcp".into()) && stays.len() == 2, "{report}");
        assert!(!api.goes_on(SECOND), "the flow was not ended");
        assert!(!lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND / 4), "the element stayed");
        assert!(registry.goes_on(SECOND) && other.goes_on(SECOND) && database.goes_on(SECOND), "another flow was cut");
        let event = &wall.events("lease.revoked", 1)[0];
        assert_eq!((&event["agent"], &event["hostname"]), (&"claude".into(), &"api.example.com".into()), "{event}");
        assert_eq!(event["opened"], serde_json::json!(["203.0.113.7"]), "{event}");
        let event = &wall.events("operator.revoked", 1)[0];
        assert_eq!((&event["agent"], &event["hostname"]), (&"claude".into(), &"api.example.com".into()), "{event}");
        assert_eq!(event["leases"], 1, "{event}");
        assert_eq!((&event["count"], &event["flows"]), (&2.into(), &1.into()), "{event}");

        // Again: there is nothing left. Somebody unknown: neither.
        assert_eq!(operator(lab, &["revoke", "--agent", "claude", "api.example.com"]).0, Some(1));
        let (code, report) = operator(lab, &["revoke", "--agent", "nobody"]);
        assert_eq!((code, &report["agent_is_known"]), (Some(1), &false.into()));

        // It is no ban.
        assert!(answers(lab, "api.example.com"));
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));

        // All of it.
        let (code, report) = operator(lab, &["revoke", "--agent", "claude"]);
        assert_eq!((code, report["names"].as_array().unwrap().len()), (Some(0), 2), "{report}");
        assert!(!registry.goes_on(SECOND) && other.goes_on(SECOND) && database.goes_on(SECOND));
        assert_eq!(elements("lease4").len(), 2, "the other agent's lease");
    });
}

#[test]
fn an_address_that_another_name_needs_stays_when_one_name_is_revoked() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let _wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
        for name in ["api.example.com", "registry.example.com"] {
            resolve(lab, name);
        }
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let (code, report) = operator(lab, &["revoke", "--agent", "claude", "api.example.com"]);
        assert_eq!((code, &report["shared_elements"], &report["ended_flows"]), (Some(0), &2.into(), &0.into()));
        assert!(flow.goes_on(SECOND));
        assert_eq!(elements("lease4")[0].comment.as_deref(), Some("registry.example.com"));
    });
}

#[test]
fn a_flow_that_outlived_its_lease_is_revoked_too() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(1));
        greeter(443);
        let lease = "min = \"1s\"\ngrace = \"1s\"";
        let _wall = Wall::start(lab, &Setup { policy: API, lease, ..Setup::default() });
        resolve(lab, "api.example.com");
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");
        eventually("the lease ends", 10 * SECOND, || elements("lease4").is_empty());
        let (code, report) = operator(lab, &["revoke", "--agent", "claude"]);
        assert_eq!((code, &report["ended_flows"]), (Some(0), &1.into()), "{report}");
        assert!(!flow.goes_on(SECOND));
    });
}

#[test]
fn a_control_socket_that_somebody_removed_is_there_again() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &Setup::default());
        let socket: &Path = &lab.path("control.sock");
        for _ in 0..2 {
            fs::remove_file(socket).unwrap();
            eventually("an operator is answered again", 5 * SECOND, || wall.operator(&["status"]).is_some());
        }
    });
}
