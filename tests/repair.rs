//! G8: whatever somebody does to the table is noticed and undone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::client::{addresses, ask};
use support::lab::{Conversation, Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::{Element, counter, elements};
use support::run;
use support::upstream::{Upstream, address, answer, wire};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// Every set that holds what is open.
const SETS: [&str; 8] = [
    "lease4",
    "lease6",
    "lease4_all_ports",
    "lease6_all_ports",
    "lease4_port_range",
    "lease6_port_range",
    "static4",
    "static6",
];
/// Something in each of them.
const POLICY: &str = r#"
permit(principal, action == Action::"net.connect", resource in Domain::"one.example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
permit(principal, action == Action::"net.connect", resource in Domain::"all.example.com")
    when { context.protocol == Protocol::"tcp" };
permit(principal, action == Action::"net.connect", resource in Domain::"run.example.com")
    when { context.port >= 1000 && context.port < 2000 && context.protocol == Protocol::"tcp" };
permit(principal, action == Action::"net.connect", resource == Resource::"203.0.113.20:443");
permit(principal, action == Action::"net.connect", resource == Resource::"[2001:db8:2::20]:443");
"#;

/// A wall with an element in every set.
fn wall(lab: &Lab) -> Wall {
    // A name that begins with a number has an address of its own.
    Upstream::start(UPSTREAM, |asked, query| {
        let number = asked.name.split('.').next().and_then(|label| label.parse::<u8>().ok());
        let records = match asked.kind {
            RecordType::A => vec![address(query, 3000, &format!("203.0.113.{}", number.unwrap_or(7)))],
            _ => vec![address(query, 3000, "2001:db8:2::7")],
        };
        wire(&answer(query, records))
    });
    greeter(443);
    let wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
    for name in ["one.example.com", "all.example.com", "run.example.com"] {
        for (server, kind) in [(WALL, RecordType::A), ("[fd77::1]:53", RecordType::AAAA)] {
            let reply = lab.within("agent", || ask(server, name, kind)).unwrap();
            assert_eq!(addresses(&reply).len(), 1, "{name}");
        }
    }
    wall
}

/// What a set holds, without the time that is left.
fn held(set: &str) -> Vec<(Vec<String>, Option<String>)> {
    let mut held: Vec<_> = elements(set).into_iter().map(|element| (element.key, element.comment)).collect();
    held.sort();
    held
}

fn everything() -> Vec<Vec<(Vec<String>, Option<String>)>> {
    SETS.iter().map(|set| held(set)).collect()
}

/// An element of `set` of the agent's, to the host with this number.
fn element(set: &str, host: u8) -> String {
    let ends = if set.contains('4') {
        format!("10.77.0.2 . 203.0.113.{host} . tcp")
    } else {
        format!("fd77::2 . 2001:db8:2::{host} . tcp")
    };
    match set {
        _ if set.ends_with("all_ports") => ends,
        _ if set.ends_with("port_range") => format!("{ends} . 1000-1999"),
        _ => format!("{ends} . 443"),
    }
}

/// The number of the host to which an element of `set` is open.
fn host_of(set: &str) -> u8 {
    if set.starts_with("static") { 20 } else { 7 }
}

fn deed(verb: &str, set: &str, element: &str) -> String {
    format!("{verb} element inet cedarwall {set} {{ {element} }}")
}

/// Each way to meddle with one set.
fn deeds(set: &str) -> Vec<String> {
    let ours = element(set, host_of(set));
    vec![
        deed("add", set, &format!("{} timeout 1h", element(set, 99))),
        deed("add", set, &element(set, 98)),
        deed("delete", set, &ours),
        format!("flush set inet cedarwall {set}"),
        // Another term and another comment.
        format!("{}; {}", deed("delete", set, &ours), deed("add", set, &format!("{ours} timeout 5s comment \"x\""))),
        format!("{}; {}", deed("delete", set, &ours), deed("add", set, &ours)),
    ]
}

fn time_of(look: impl FnOnce() -> bool) -> Duration {
    let start = Instant::now();
    assert!(look());
    start.elapsed()
}

fn nft(text: &str) {
    run("nft", &[text]);
}

/// Whether `set` holds `before` again, for about as long.
fn is_as_before(set: &str, before: &[(Vec<String>, Option<String>)]) -> bool {
    let lasting = set.starts_with("static");
    let is_right =
        |element: &Element| element.expires.is_none_or(|left| left > 2000) && element.expires.is_none() == lasting;
    held(set) == before && elements(set).iter().all(is_right)
}

#[test]
fn a_deed_to_an_element_is_undone_at_once_with_nobody_asking_and_nothing_else_is_touched() {
    in_lab(|lab| {
        let wall = wall(lab);
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
        let counted = counter("permitted");
        assert!(counted > 0);
        let before = everything();
        assert!(before.iter().all(|held| !held.is_empty()), "{before:?}");
        // On a busy machine looking takes its time, too.
        let cost = time_of(|| is_as_before("lease4", &before[0]));
        let mut times = Vec::new();
        for (set, before) in SETS.iter().zip(&before) {
            for deed in deeds(set) {
                nft(&deed);
                let start = Instant::now();
                eventually(&format!("undone: {deed}"), 5 * SECOND, || is_as_before(set, before));
                times.push(start.elapsed());
            }
        }
        times.sort();
        // The round is a second; without the notifications that is the mean.
        assert!(times[times.len() * 9 / 10] < SECOND / 5 + 2 * cost, "{times:?}, looking takes {cost:?}");
        assert_eq!(everything(), before);
        assert!(wall.events("table.restored", 0).is_empty(), "the table was loaded anew");
        assert!(counter("permitted") >= counted, "the counters are gone");
        let repaired = wall.events("table.repaired", times.len());
        assert_eq!(repaired.len(), times.len());
        assert_eq!((&repaired[0]["elements_removed"], &repaired[0]["elements_restored"]), (&1.into(), &0.into()));
        assert_eq!((&repaired[2]["elements_removed"], &repaired[2]["elements_restored"]), (&0.into(), &1.into()));
        assert_eq!(wall.operator(&["status"]).unwrap()["undone"]["repaired"], times.len());
    });
}

#[test]
fn a_deed_to_an_element_is_undone_before_the_next_answer() {
    in_lab(|lab| {
        let _wall = wall(lab);
        let before = everything();
        for (set, before) in SETS.iter().zip(&before) {
            for deed in deeds(set) {
                nft(&deed);
                // It is in the cache and open: nothing would have to reach the
                // kernel.
                let reply = lab.within("agent", || ask(WALL, "one.example.com", RecordType::A)).unwrap();
                assert_eq!(addresses(&reply), ["203.0.113.7"], "after {deed}");
                assert!(is_as_before(set, before), "after {deed}: {:?}", elements(set));
            }
        }
    });
}

#[test]
fn what_nobody_may_change_and_no_repair_covers_brings_the_whole_table_back() {
    in_lab(|lab| {
        let wall = wall(lab);
        let look = || (run("nft", &["-t", "list", "ruleset"]), everything(), held("walled"), held("dns4"));
        let before = look();
        let cost = time_of(|| look() == before);
        let deeds = [
            "flush ruleset",
            "delete table inet cedarwall",
            "add table inet cedarwall { flags dormant; }",
            "flush chain inet cedarwall forward",
            "flush table inet cedarwall",
            "insert rule inet cedarwall leaving accept",
            "add rule inet cedarwall verdict accept",
            "add chain inet cedarwall input { policy drop; }",
            "flush chain inet cedarwall prerouting; flush chain inet cedarwall arriving; delete chain inet cedarwall arriving",
            "add counter inet cedarwall another",
            "add set inet cedarwall another { type ipv4_addr; }",
            "add element inet cedarwall walled { \"eth9\" }",
            "delete element inet cedarwall walled { \"veth-agent\" }",
            "flush set inet cedarwall walled",
            "add element inet cedarwall dns4 { 203.0.113.9 . tcp . 53 }",
            "flush set inet cedarwall dns6",
            // Everything, to everybody.
            "add element inet cedarwall lease4 { * timeout 1h }",
            "add element inet cedarwall static6 { * }",
        ];
        let mut times = Vec::new();
        for (index, deed) in deeds.iter().enumerate() {
            nft(deed);
            let start = Instant::now();
            eventually(&format!("undone: {deed}"), 5 * SECOND, || {
                let lists = Command::new("nft").args(["list", "set", "inet", "cedarwall", "static6"]).output().unwrap();
                lists.status.success()
                    && (run("nft", &["-t", "list", "ruleset"]), everything(), held("walled"), held("dns4")) == before
            });
            times.push(start.elapsed());
            assert_eq!(wall.events("table.restored", index + 1).len(), index + 1, "{deed}");
        }
        times.sort();
        assert!(times[times.len() / 2] < SECOND / 2 + 2 * cost, "{times:?}, looking takes {cost:?}");
        assert!(wall.events("table.repaired", 0).is_empty());
    });
}

/// While the daemon is stopped somebody opens something and uses it.
#[test]
fn a_flow_that_somebody_let_in_ends_and_no_other_does() {
    in_lab(|lab| {
        let mut wall = wall(lab);
        let mut permitted = Conversation::begin(lab, "agent", "203.0.113.7:443");
        // A daemon ends what nobody explains when it starts, too, and looks
        // twice; here the flows are to be ended for what was done to the table.
        std::thread::sleep(2 * SECOND);
        let deeds = [
            (91, deed("add", "lease4", &format!("{} timeout 1h", element("lease4", 91)))),
            (92, deed("add", "lease4_all_ports", &format!("{} timeout 1h", element("lease4_all_ports", 92)))),
            (93, deed("add", "static4", "10.77.0.0-10.77.0.9 . 203.0.113.93-203.0.113.94 . 0-255 . 1-1000")),
            (95, deed("add", "static4", &element("static4", 95))),
            (96, "add element inet cedarwall lease4 { * timeout 1h }".to_owned()),
            (97, "insert rule inet cedarwall leaving ip daddr 203.0.113.97 goto admit".to_owned()),
        ];
        for (host, deed) in deeds {
            let id = Pid::from_raw(i32::try_from(wall.process().id()).unwrap());
            let there = format!("203.0.113.{host}:443");
            kill(id, Signal::SIGSTOP).unwrap();
            nft(&deed);
            let mut foreign = Conversation::begin(lab, "agent", &there);
            assert!(foreign.goes_on(SECOND), "{deed}");
            if host == 95 {
                // Taken out again before anybody looks.
                nft(&deed.replacen("add", "delete", 1));
            }
            kill(id, Signal::SIGCONT).unwrap();
            eventually(&format!("the flow ends: {deed}"), 5 * SECOND, || !foreign.goes_on(SECOND / 10));
            assert!(permitted.goes_on(SECOND), "a permitted flow was cut: {deed}");
            assert!(!lab.connects("agent", there.parse().unwrap(), SECOND / 4), "{deed}");
        }
        let repaired = wall.events("table.repaired", 4);
        assert!(repaired.iter().all(|event| event["flows"] == 1), "{repaired:?}");
        assert_eq!(wall.events("table.restored", 2).len(), 2);
    });
}

#[test]
fn commits_to_other_tables_cost_no_reinstall_and_no_event() {
    in_lab(|lab| {
        let wall = wall(lab);
        let before = everything();
        nft("add table inet another");
        for number in 0..100 {
            nft(&format!("add set inet another s{number} {{ type ipv4_addr; elements = {{ 203.0.113.9 }}; }}"));
            nft(&format!("add table ip cedarwall; add chain ip cedarwall c{number}"));
            nft(&format!("delete set inet another s{number}"));
            let name = format!("n{number}.one.example.com");
            let reply = lab.within("agent", || ask(WALL, &name, RecordType::A)).unwrap();
            assert_eq!(addresses(&reply), ["203.0.113.7"]);
        }
        assert_eq!(everything()[1..], before[1..]);
        assert_eq!(wall.events("query.answered", 106).len(), 106);
        assert!(wall.events("table.restored", 0).is_empty() && wall.events("table.repaired", 0).is_empty());
    });
}

/// A shell that does it over and over, for as long as the test needs.
struct Storm(std::process::Child);

impl Storm {
    fn of(deeds: &[String]) -> Self {
        Self::with_lulls("0", deeds)
    }

    /// With a lull of so many seconds after each round.
    fn with_lulls(seconds: &str, deeds: &[String]) -> Self {
        let lines: Vec<_> = deeds.iter().map(|deed| format!("nft '{deed}' 2>/dev/null")).collect();
        let script = format!("while :; do {}; sleep {seconds}; done", lines.join("; "));
        Self(
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--", "sh", "-c", &script])
                .stdin(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn in_a_storm_of_commits_every_answer_is_open_and_in_the_end_the_table_is_right() {
    in_lab(|lab| {
        let wall = wall(lab);
        let before = everything();
        // Answers until the time is up, with a look at what each has opened.
        let answered = |first: u8, is_open: &dyn Fn(&str) -> bool| {
            let (start, mut answered) = (Instant::now(), 0);
            // In a storm an answer may take its time.
            while start.elapsed() < 2 * SECOND || (answered == 0 && start.elapsed() < 20 * SECOND) {
                let name = format!("{}.run.example.com", first + answered);
                let reply = lab.within("agent", || ask(WALL, &name, RecordType::A)).unwrap();
                if let [address] = addresses(&reply).as_slice() {
                    assert!(is_open(address), "{address} is not open");
                    answered += 1;
                }
                if answered == 60 {
                    break;
                }
            }
            usize::from(answered)
        };
        // Others' elements come and ours go; those of the answers are left alone.
        let mut storm = SETS.map(deeds).concat();
        storm.retain(|deed| !deed.contains("flush set inet cedarwall lease4_port_range"));
        let running = Storm::of(&storm);
        let is_open = |address: &str| held("lease4_port_range").iter().any(|(key, _)| key[1] == address);
        let count = answered(100, &is_open);
        drop(running);
        assert!(count > 10, "{count}");
        eventually("the elements are right", 5 * SECOND, || {
            let now = everything();
            now[..4] == before[..4] && now[5..] == before[5..] && now[4].len() == before[4].len() + count
        });

        // And the table itself goes, again and again; loading it takes a lull.
        let structure = run("nft", &["-t", "list", "ruleset"]);
        let deeds = ["delete table inet cedarwall".into(), "insert rule inet cedarwall leaving accept".into()];
        let running = Storm::with_lulls("0.2", &deeds);
        let again = answered(160, &|_| true);
        drop(running);
        eventually("the table is right", 5 * SECOND, || {
            let list = Command::new("nft").args(["-t", "list", "ruleset"]).output().unwrap();
            list.stdout == structure.as_bytes() && held("lease4_port_range").len() == before[4].len() + count + again
        });
        assert_eq!(everything()[..4], before[..4]);
        assert!(!wall.events("table.restored", 1).is_empty());
        assert!(again > 0, "nobody was answered");
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
        assert!(!lab.connects("agent", "203.0.113.99:443".parse().unwrap(), SECOND / 4));
    });
}
