//! G6, G8, G9 across restarts: a daemon takes its own table over, with the
//! leases in it, and has the policy in force judge them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use serde_json::Value;
use support::change::{BOTH, Done, REGISTRY, by_name, change};
use support::client::{addresses, ask};
use support::lab::{Conversation, Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::{Element, counter, elements};
use support::run;
use support::upstream::{Asked, Upstream, address, answer, plain, wire};
use support::wall::{Setup, Wall, binary};

const SECOND: Duration = Duration::from_secs(1);
const API: &str = "203.0.113.7:443";

fn resolve(lab: &Lab, name: &str) -> Message {
    lab.within("agent", || ask(WALL, name, RecordType::A)).unwrap()
}

fn connects(lab: &Lab, address: &str) -> bool {
    lab.connects("agent", address.parse().unwrap(), SECOND / 2)
}

/// Starts a wall under which both names are permitted and asked for.
fn with_both(lab: &Lab) -> Wall {
    greeter(443);
    let wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
    for name in ["api.example.com", "registry.example.com"] {
        assert_eq!(addresses(&resolve(lab, name)).len(), 1);
    }
    wall
}

/// Kills the daemon and starts it again.
fn start_again(lab: &Lab, wall: &mut Wall) {
    wall.process().kill();
    wall.restart(lab);
}

fn change_configuration(lab: &Lab, from: &str, to: &str) {
    let file = lab.path("cedarwall.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(&file, text.replacen(from, to, 1)).unwrap();
}

/// Leases by address and port, with their names, and the seconds left.
fn leases(wall: &Wall) -> BTreeMap<String, (Value, u64)> {
    let rows = wall.operator(&["leases"]).unwrap();
    let row = |row: &Value| {
        let place = format!("{} {} {} {}", row["client"], row["address"], row["protocol"], row["ports"]);
        (place, (row["names"].clone(), row["seconds_left"].as_u64().unwrap()))
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

/// The handle of a set: another one, if the rules were loaded anew.
fn handle() -> String {
    assert_eq!(run("nft", &["list", "tables"]), "table inet cedarwall\n", "something was left beside the table");
    let listing: Value =
        serde_json::from_str(&run("nft", &["-j", "-t", "list", "table", "inet", "cedarwall"])).unwrap();
    let mut sets = listing["nftables"].as_array().unwrap().iter().filter_map(|object| object.get("set"));
    sets.find(|set| set["name"] == "denied4").unwrap()["handle"].to_string()
}

fn everything() -> Vec<Element> {
    let sets = ["lease4", "lease6", "lease4_all_ports", "lease6_all_ports", "lease4_port_range", "lease6_port_range"];
    let sets = sets.iter().chain(&["static4", "static6"]);
    let mut found: Vec<_> = sets.flat_map(|set| elements(set)).collect();
    found.sort_by_key(|element| element.key.clone());
    found
}

#[test]
fn flows_leases_and_counters_outlive_a_daemon_that_is_killed() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, by_name(300));
        let mut wall = with_both(lab);
        let mut flow = Conversation::begin(lab, "agent", API);
        assert!(!connects(lab, "203.0.113.9:443"));
        let (before, table, asked) = (leases(&wall), handle(), upstream.asked().len());
        let (permitted, denied) = (counter("permitted"), elements("denied4"));
        assert!(permitted > 0 && !denied.is_empty());

        wall.process().kill();
        let dead = Instant::now();
        assert!(flow.goes_on(SECOND));
        assert!(connects(lab, API), "a live lease opens while the daemon is dead");
        wall.restart(lab);

        assert!(connects(lab, API), "a live lease opens without asking again");
        assert!(flow.goes_on(SECOND));
        assert!(!connects(lab, "203.0.113.9:443"));
        assert_eq!(upstream.asked().len(), asked);
        assert_eq!(handle(), table, "the same rules were loaded again");
        assert!(counter("permitted") > permitted);
        assert!(elements("denied4").iter().any(|element| element.key == denied[0].key));
        let after = leases(&wall);
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        let passed = dead.elapsed().as_secs();
        for (place, (names, left)) in &after {
            let (known, was) = &before[place];
            assert_eq!(names, known, "{place}");
            assert!(left + passed + 1 >= *was && left <= was, "{place}: {was} s, {passed} s later {left} s");
        }
        let adopted = wall.events("table.adopted", 1);
        assert_eq!((&adopted[0]["leases"], &adopted[0]["unexplained"]), (&before.len().into(), &0.into()));
        assert_eq!(adopted[0]["flows"], 0);
        assert!(wall.events("table.restored", 0).is_empty());
    });
}

#[test]
fn a_flow_that_outlived_lease_and_daemon_goes_on_until_a_policy_forbids_it() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(1));
        greeter(443);
        let lease = "min = \"1s\"\ngrace = \"1s\"";
        let mut wall = Wall::start(lab, &Setup { policy: BOTH, lease, ..Setup::default() });
        for name in ["api.example.com", "registry.example.com"] {
            resolve(lab, name);
        }
        let mut api = Conversation::begin(lab, "agent", API);
        let mut registry = Conversation::begin(lab, "agent", "203.0.113.8:443");
        eventually("the leases end", 10 * SECOND, || elements("lease4").is_empty());

        start_again(lab, &mut wall);
        assert!(api.goes_on(SECOND) && registry.goes_on(SECOND));
        change(lab, &format!("{BOTH}// The same once more.\n"));
        assert!(api.goes_on(SECOND) && registry.goes_on(SECOND));
        start_again(lab, &mut wall);
        change(lab, REGISTRY);
        assert!(!api.goes_on(SECOND), "nobody knew any more what the flow rested on");
        assert!(registry.goes_on(SECOND));
        assert!(wall.events("table.adopted", 0).iter().all(|event| event["flows"] == 0));
    });
}

#[test]
fn what_the_policy_at_the_start_forbids_is_closed_before_the_daemon_is_ready() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        let mut wall = with_both(lab);
        let mut revoked = Conversation::begin(lab, "agent", API);
        let mut stays = Conversation::begin(lab, "agent", "203.0.113.8:443");
        wall.process().kill();
        lab.write("policies/wall.cedar", REGISTRY);
        wall.restart(lab);
        let open: Vec<_> = elements("lease4").into_iter().map(|element| element.comment.unwrap()).collect();
        assert_eq!(open, ["registry.example.com", "registry.example.com"]);
        assert!(!revoked.goes_on(SECOND), "a flow that is permitted no longer goes on");
        assert!(!connects(lab, API));
        assert!(stays.goes_on(SECOND));
        let events = wall.events("policy.revoked", 1);
        assert_eq!((&events[0]["count"], &events[0]["flows"]), (&2.into(), &1.into()));
    });
}

#[test]
fn an_alias_that_the_policy_at_the_start_forbids_closes_the_lease_it_led_to() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |_: &Asked, query: &Message| {
            let alias = hickory_proto::rr::Name::from_ascii("cdn.example.net.").unwrap();
            let name = query.queries[0].name().clone();
            let records = vec![
                support::upstream::alias(name, 300, "cdn.example.net."),
                support::upstream::address_of(alias, 300, "203.0.113.7"),
            ];
            wire(&answer(query, records))
        });
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { policy: BOTH, ..Setup::default() });
        resolve(lab, "api.example.com");
        let mut flow = Conversation::begin(lab, "agent", API);
        start_again(lab, &mut wall);
        assert!(flow.goes_on(SECOND));
        wall.process().kill();
        let forbid = r#"forbid(principal, action == Action::"net.connect", resource in Domain::"example.net");"#;
        lab.write("policies/wall.cedar", &format!("{BOTH}{forbid}"));
        wall.restart(lab);
        assert_eq!(elements("lease4"), []);
        assert!(!flow.goes_on(SECOND));
    });
}

#[test]
fn other_rules_replace_the_former_with_no_instant_open_and_none_closed() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        let mut wall = with_both(lab);
        let (done, through, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _guard = Done(&done);
            scope.spawn(|| {
                lab.within("agent", || {
                    while !done.load(Ordering::SeqCst) {
                        let began = Instant::now();
                        let stream = std::net::TcpStream::connect_timeout(&API.parse().unwrap(), 5 * SECOND);
                        stream.expect("a permitted connection");
                        // A SYN is sent again after a second.
                        assert!(began.elapsed() < SECOND, "a permitted SYN was dropped");
                        through.fetch_add(1, Ordering::SeqCst);
                        // One of its ports must not come round too soon.
                        std::thread::sleep(SECOND / 500);
                    }
                });
            });
            scope.spawn(|| {
                lab.within("agent", || {
                    let elsewhere: SocketAddr = "203.0.113.9:443".parse().unwrap();
                    while !done.load(Ordering::SeqCst) {
                        let outcome = std::net::TcpStream::connect_timeout(&elsewhere, SECOND / 100);
                        assert!(outcome.is_err(), "open to an address that nobody permitted");
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                });
            });
            let changes = [
                ("[wall]", "[wall]\nverdict = \"reject\""),
                ("\"veth-agent\", \"veth-other\"", "\"veth-agent\""),
                ("verdict = \"reject\"", "verdict = \"drop\""),
                ("[lease]", "[lease]\nset_size = 9999"),
            ];
            for (from, to) in changes {
                let (before, table) = (leases(&wall), handle());
                let counts = [through.load(Ordering::SeqCst), refused.load(Ordering::SeqCst)];
                wall.process().kill();
                change_configuration(lab, from, to);
                wall.restart(lab);
                assert_ne!(handle(), table, "{to:?} is not in force");
                let after = leases(&wall);
                assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "after {to:?}");
                eventually("probes go on", 10 * SECOND, || {
                    through.load(Ordering::SeqCst) > counts[0] && refused.load(Ordering::SeqCst) > counts[1]
                });
            }
        });
        assert!(wall.events("table.restored", 0).is_empty());
    });
}

/// Every kind of element, with comments longer than `nft` takes.
#[test]
fn every_kind_of_element_is_carried_over_as_it_was() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let label = "x".repeat(60);
        let long = format!("{label}.{label}.{label}.wide.example.com");
        let policy = r#"
            permit(principal, action == Action::"net.connect", resource in Domain::"every.example.com");
            permit(principal, action == Action::"net.connect", resource in Domain::"wide.example.com")
                when { resource.port >= 1000 && resource.port <= 2000 };
            permit(principal, action == Action::"net.connect", resource in Domain::"one.example.com")
                when { resource.port == 443 };
            permit(principal, action == Action::"net.connect", resource == Resource::"10.20.0.0/16:5432");
            permit(principal, action == Action::"net.connect", resource == Resource::"[2001:db8:9::1]:443")
                when { context.now > datetime("2020-01-01T00:00:00Z") };
        "#;
        let mut wall = Wall::start(lab, &Setup { policy, ..Setup::default() });
        for name in ["a.every.example.com", &long, "b.wide.example.com", "a.one.example.com", "b.one.example.com"] {
            for kind in [RecordType::A, RecordType::AAAA] {
                let reply = lab.within("agent", || ask(WALL, name, kind)).unwrap();
                assert_eq!(addresses(&reply).len(), 1, "{name}");
            }
        }
        let (before, told) = (everything(), leases_with_statics(&wall));
        assert!(before.iter().any(|element| element.comment.as_ref().is_some_and(|comment| comment.len() > 200)));
        for change in [None, Some(("[wall]", "[wall]\nverdict = \"reject\""))] {
            wall.process().kill();
            if let Some((from, to)) = change {
                change_configuration(lab, from, to);
            }
            wall.restart(lab);
            let after = everything();
            assert_eq!(after.len(), before.len());
            for (after, before) in after.iter().zip(&before) {
                assert_eq!((&after.key, &after.comment), (&before.key, &before.comment));
                let was_static = before.comment.as_deref() == Some("policy");
                assert!(was_static || after.expires <= before.expires, "{before:?} was prolonged: {after:?}");
            }
            assert_eq!(leases_with_statics(&wall), told);
        }
        assert!(wall.events("table.adopted", 2).iter().all(|event| event["unexplained"] == 0));
    });
}

fn leases_with_statics(wall: &Wall) -> Vec<(String, Value)> {
    let rows = wall.operator(&["leases"]).unwrap();
    let row = |row: &Value| {
        (format!("{} {} {} {}", row["client"], row["address"], row["protocol"], row["ports"]), row["names"].clone())
    };
    let mut rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    rows
}

#[test]
fn an_element_that_nothing_explains_is_gone_and_so_is_its_flow() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        let mut wall = with_both(lab);
        let before = leases(&wall);
        wall.process().kill();
        for (set, element) in [
            ("lease4", "10.77.0.2 . 203.0.113.66 . tcp . 443 timeout 1h"),
            ("lease4", "10.77.0.2 . 203.0.113.67 . tcp . 443 timeout 1h comment \"by hand\""),
            ("lease4_all_ports", "10.77.0.2 . 203.0.113.68 . tcp comment \"api.example.com\""),
            ("static4", "10.77.0.2 . 203.0.113.69 . tcp . 443"),
        ] {
            run("nft", &[&format!("add element inet cedarwall {set} {{ {element} }}")]);
        }
        let mut by_hand: Vec<_> =
            (66..70).map(|host| Conversation::begin(lab, "agent", &format!("203.0.113.{host}:443"))).collect();
        let mut api = Conversation::begin(lab, "agent", API);
        wall.restart(lab);
        assert_eq!(leases(&wall).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for flow in &mut by_hand {
            assert!(!flow.goes_on(SECOND / 4));
        }
        assert!(api.goes_on(SECOND));
        assert!((66..70).all(|host| !connects(lab, &format!("203.0.113.{host}:443"))));
        let adopted = wall.events("table.adopted", 1);
        assert_eq!((&adopted[0]["unexplained"], &adopted[0]["flows"]), (&3.into(), &3.into()), "{adopted:?}");
        // "by hand" may be two names; the policy permits neither.
        let revoked = wall.events("policy.revoked", 1);
        assert_eq!((&revoked[0]["count"], &revoked[0]["flows"]), (&1.into(), &1.into()), "{revoked:?}");
    });
}

#[test]
fn rules_that_somebody_changed_while_no_daemon_ran_are_put_right() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        let mut wall = with_both(lab);
        // In whatever order sets and chains were made.
        let rules = || {
            let text = run("nft", &["-s", "-t", "list", "ruleset"]);
            text.trim_start_matches("table inet cedarwall {\n")
                .split("\n\n")
                .map(|block| block.trim_end_matches(['}', '\n']).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let before = rules();
        let deeds: [&[&str]; 5] = [
            &["insert", "rule", "inet", "cedarwall", "leaving", "accept"],
            &["delete", "element", "inet", "cedarwall", "walled", "{ \"veth-agent\" }"],
            &["add", "table", "inet", "cedarwall", "{ flags dormant; }"],
            &["add", "element", "inet", "cedarwall", "dns4", "{ 203.0.113.9 . tcp . 443 }"],
            &["delete", "table", "inet", "cedarwall"],
        ];
        for deed in deeds {
            wall.process().kill();
            run("nft", deed);
            wall.restart(lab);
            assert_eq!(rules(), before, "after {deed:?}");
            assert!(!connects(lab, "203.0.113.9:443"), "after {deed:?}");
            let is_gone = deed[0] == "delete" && deed[1] == "table";
            assert_eq!(connects(lab, API), !is_gone, "after {deed:?}");
        }
    });
}

#[test]
fn without_its_memory_a_daemon_keeps_what_is_open_and_ends_what_nobody_knows() {
    in_lab(|lab| {
        let short = |asked: &Asked, query: &Message| {
            let (host, ttl) = if asked.name.starts_with("api") { (7, 300) } else { (8, 1) };
            wire(&answer(query, vec![address(query, ttl, &format!("203.0.113.{host}"))]))
        };
        Upstream::start(UPSTREAM, short);
        greeter(443);
        let lease = "min = \"1s\"\ngrace = \"1s\"";
        let mut wall = Wall::start(lab, &Setup { policy: BOTH, lease, ..Setup::default() });
        let memory = lab.path("control.leases");
        let spoil: [&dyn Fn(); 4] = [
            &|| {
                let text = fs::read_to_string(&memory).unwrap();
                fs::write(&memory, &text[..text.len() - 7]).unwrap();
            },
            &|| fs::remove_file(&memory).unwrap(),
            &|| fs::write(&memory, "\u{0}\u{1}garbage\n{}\n").unwrap(),
            &|| {
                fs::remove_file(&memory).unwrap();
                fs::create_dir(&memory).unwrap();
            },
        ];
        for (index, spoil) in spoil.iter().enumerate() {
            let is_torn = index == 0;
            resolve(lab, "registry.example.com");
            let mut unknown = Conversation::begin(lab, "agent", "203.0.113.8:443");
            eventually("a lease ends", 10 * SECOND, || {
                elements("lease4").iter().all(|element| element.comment.as_deref() != Some("registry.example.com"))
            });
            resolve(lab, "api.example.com");
            let mut known = Conversation::begin(lab, "agent", API);
            wall.process().kill();
            spoil();
            wall.restart(lab);
            assert!(known.goes_on(SECOND), "{index}");
            assert!(connects(lab, API), "{index}");
            assert_eq!(unknown.goes_on(SECOND / 2), is_torn, "{index}");
            let adopted = wall.events("table.adopted", index + 1);
            // Entries of connections that were closed a moment ago count, too.
            assert_eq!(adopted[index]["flows"] == 0, is_torn, "{adopted:?}");
        }
        // A folder is in its way now: nothing can be remembered, all else goes on.
        assert_eq!(addresses(&resolve(lab, "registry.example.com")), ["203.0.113.8"]);
        assert!(connects(lab, "203.0.113.8:443"));
    });
}

#[test]
fn an_answer_after_a_restart_is_never_good_for_longer_than_its_lease() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(4));
        greeter(443);
        let lease = "min = \"4s\"\ngrace = \"1s\"";
        let mut wall = Wall::start(lab, &Setup { policy: BOTH, lease, ..Setup::default() });
        resolve(lab, "api.example.com");
        for _ in 0..3 {
            start_again(lab, &mut wall);
            let reply = resolve(lab, "api.example.com");
            let ttl = reply.answers[0].ttl;
            let left = elements("lease4").iter().map(|element| element.expires.unwrap()).min().unwrap();
            assert!(u64::from(ttl) <= left, "a TTL of {ttl} s, and {left} s left");
            std::thread::sleep(2 * SECOND);
        }
        // No answer lengthened anything that it did not need to.
        eventually("the lease ends", 8 * SECOND, || elements("lease4").is_empty());
    });
}

#[test]
fn down_forgets_what_was_remembered() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, by_name(300));
        let mut wall = with_both(lab);
        assert_eq!(wall.process().terminate(), Some(0));
        assert!(lab.path("control.leases").exists());
        let down = std::process::Command::new(binary())
            .args(["down", "--socket"])
            .arg(lab.path("control.sock"))
            .output()
            .unwrap();
        assert!(down.status.success());
        assert!(!lab.path("control.leases").exists());
        wall.restart(lab);
        assert!(wall.events("table.adopted", 0).is_empty());
        assert_eq!(everything(), []);
    });
}

/// The calls of a daemon while it opens a lease and answers: what is written
/// down, what goes to the kernel and comes back, what goes to the client.
const CALLS: [&str; 5] = ["write", "sendto", "recvfrom", "sendmsg", "recvmsg"];
/// No thread makes more calls of one kind for one answer.
const MOST: usize = 16;

/// Whatever the daemon was about to do when it was killed.
#[test]
fn killed_at_any_step_a_daemon_leaves_only_what_the_next_one_can_explain() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked: &Asked, query: &Message| {
            let host = asked.name.strip_prefix('n')?.split('.').next()?.to_owned();
            wire(&answer(query, vec![address(query, 300, &format!("203.0.113.{host}"))]))
        });
        greeter(443);
        let policy = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
            when { resource.port == 443 && context.protocol == Protocol::"tcp" };"#;
        let mut wall = Wall::start(lab, &Setup { policy, ..Setup::default() });
        let (mut host, mut killed) = (0, BTreeMap::new());
        for call in CALLS {
            for nth in 1..=MOST {
                host += 1;
                let step = format!("{call} {nth}");
                let (name, place) = (format!("n{host}.example.com"), format!("203.0.113.{host}"));
                let tracer = attach(lab, wall.process().id(), call, nth);
                let wire = support::client::question(&name, RecordType::A).to_vec().unwrap();
                let reply = lab.within("agent", || support::client::exchange(WALL, &wire, 2 * SECOND));
                let reply = reply.map(|octets| addresses(&Message::from_vec(&octets).unwrap()));
                let is_dead = !wall.process().is_running();
                drop(tracer);

                let open = elements("lease4");
                let of_this: Vec<_> = open.iter().filter(|element| element.key[1] == place).collect();
                if let Some(told) = &reply {
                    assert!(told.is_empty() || of_this.len() == 1, "{step}: {told:?} is told, and not open");
                }
                let memory = fs::read_to_string(lab.path("control.leases")).unwrap();
                for element in &of_this {
                    assert!(memory.contains(&name), "{step}: nothing is remembered of what is open");
                    assert_eq!(element.comment.as_deref(), Some(name.as_str()), "{step}");
                }
                assert!(!connects(lab, "203.0.113.250:443"), "{step}");
                if !is_dead {
                    assert_eq!(reply, Some(vec![place]), "{step}");
                    break;
                }
                *killed.entry(call).or_insert(0) += 1;
                wall.restart(lab);
                assert_eq!(elements("lease4").len(), open.len(), "{step}: what was open is adopted");
                assert_eq!(addresses(&resolve(lab, &name)), [place.as_str()], "{step}");
                assert!(connects(lab, &format!("{place}:443")), "{step}");
            }
        }
        let adopted = wall.events("table.adopted", 1);
        assert!(adopted.iter().all(|event| event["unexplained"] == 0 && event["flows"] == 0), "{adopted:?}");
        // Without these, nothing was put to the test.
        for (call, least) in [("write", 1), ("sendto", 2), ("recvfrom", 2)] {
            assert!(killed.get(call).is_some_and(|count| *count >= least), "{killed:?}");
        }
    });
}

/// Has each thread of a daemon killed over its `nth` call of this kind.
fn attach(lab: &Lab, daemon: u32, call: &str, nth: usize) -> support::lab::Process {
    let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
    let (trace, pid) = (format!("trace={call}"), daemon.to_string());
    let arguments = ["-f", "-q", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &pid];
    let tracer = lab.start(None, std::path::Path::new("strace"), &arguments);
    eventually("every thread is traced", 5 * SECOND, || {
        let tasks = fs::read_dir(format!("/proc/{daemon}/task"));
        // It may have died over its first call.
        tasks.is_ok_and(|tasks| tasks.flatten().all(|task| is_traced(&task.path())))
            || !std::path::Path::new(&format!("/proc/{daemon}/status")).exists()
            || is_zombie(daemon)
    });
    tracer
}

fn is_traced(task: &std::path::Path) -> bool {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).is_none_or(|tracer| tracer.trim() != "0")
}

fn is_zombie(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}
