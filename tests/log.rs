//! The evidence as an operator reads it: the same line in the journal's file, in
//! `cedarwall log` and in the live stream; what leases did, by name; files that
//! gave way; readers that are slow or gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::client::ask;
use support::lab::{Lab, UPSTREAM, WALL, eventually, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::{ANY_NAMES, STORY, Setup, Wall, binary};

const SOON: Duration = Duration::from_secs(15);

fn ask_for(lab: &Lab, names: impl Iterator<Item = String> + Send) {
    lab.within("agent", || names.for_each(|name| drop(ask(WALL, &name, RecordType::A).expect("an answer"))));
}

/// `cedarwall log` with these words.
fn log(lab: &Lab, words: &[&str]) -> Output {
    command(lab, words).output().unwrap()
}

fn command(lab: &Lab, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("log").args(words);
    if !words.iter().any(|word| word.ends_with(".jsonl")) {
        command.arg("--socket").arg(lab.path("control.sock"));
    }
    command
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The answer to `GET /events`, of which nothing is read yet but its head.
fn events(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /events HTTP/1.0\r\n\r\n").unwrap();
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("200 OK") && head.contains("application/x-ndjson"), "{head}");
    stream
}

fn journal(lab: &Lab) -> String {
    fs::read_to_string(lab.path("events.jsonl")).unwrap_or_default()
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A following `cedarwall log`, whose output is in a file.
struct Following {
    child: Child,
    printed: std::path::PathBuf,
}

fn following(lab: &Lab, words: &[&str]) -> Following {
    let printed = lab.path("printed");
    let file = fs::File::create(&printed).unwrap();
    Following { child: command(lab, words).stdout(file).stderr(Stdio::null()).spawn().unwrap(), printed }
}

impl Following {
    fn printed(&self) -> String {
        fs::read_to_string(&self.printed).unwrap()
    }
}

#[test]
fn an_event_is_the_same_line_in_the_file_the_stream_and_the_log() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &Setup::default());
        ask_for(lab, ["before.example.net".to_owned()].into_iter());
        wall.events("query.denied", 1);

        let mut stream = events(&lab.path("control.sock"));
        ask_for(lab, ["api.example.com", "a_b.example.net", "last.example.net"].map(str::to_owned).into_iter());
        let socket = lab.path("control.sock");
        wall.events("query.denied", 3);
        let file = journal(lab);
        let shown = log(lab, &["--format", "json"]);
        assert_eq!(stdout(&shown), file, "the log shows the lines themselves");
        assert_eq!(wall.process().terminate(), Some(0));
        assert!(!socket.exists());

        let mut streamed = String::new();
        stream.read_to_string(&mut streamed).unwrap();
        let (_, live) = file.split_at(file.find(streamed.lines().next().unwrap()).unwrap());
        assert!(streamed.starts_with(live), "{streamed}\nis not\n{live}");
        let codes: Vec<_> = parsed(&streamed).iter().map(|event| event["event"].clone()).collect();
        assert!(codes.contains(&"query.answered".into()) && codes.contains(&"lease.opened".into()), "{codes:?}");
        assert!(!streamed.contains("before.example.net"), "what was before is not live");

        // Without a daemon: the files, by name or by configuration.
        let path = lab.path("events.jsonl");
        let named = log(lab, &["--format", "json", path.to_str().unwrap()]);
        assert_eq!(stdout(&named), journal(lab));
        let config = lab.path("cedarwall.toml");
        let text = stdout(&log(lab, &["--config", config.to_str().unwrap(), "--last", "1"]));
        assert!(text.contains("stopped by SIGTERM"), "{text}");
        let refused = log(lab, &[]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--config"));

        // Every id is there once, over two starts.
        wall.restart(lab);
        let events = parsed(&journal(lab));
        let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(ids.is_sorted(), "{ids:?}");
    });
}

#[test]
fn what_became_of_a_lease_is_told_once_by_name_with_its_agent() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(2, "203.0.113.7", "2001:db8:2::7"));
        let policy = r#"permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:8000")
            when { context.protocol == Protocol::"tcp" };
            permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
            when { context.port >= 8000 && context.port < 8020 };"#;
        let setup = Setup { policy, lease: "min = \"1s\"\ngrace = \"1s\"", ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        ask_for(lab, ["api.example.com".to_owned()].into_iter());
        let opened = wall.events("lease.opened", 1).remove(0);
        assert_eq!(opened["opened"], serde_json::json!(["203.0.113.7"]), "{opened}");
        assert_eq!((&opened["agent"], &opened["client"]), (&"claude".into(), &"10.77.0.2".into()), "{opened}");
        assert!(support::nft::elements("lease4").len() >= 20, "an element for each port");
        eventually("it is prolonged", SOON, || {
            ask_for(lab, ["api.example.com".to_owned()].into_iter());
            !wall.events("lease.refreshed", 0).is_empty()
        });
        let expired = wall.events("lease.expired", 1).remove(0);
        assert_eq!((&expired["hostname"], &expired["opened"]), (&opened["hostname"], &opened["opened"]), "{expired}");
        assert_eq!((expired.get("ports"), expired.get("seconds")), (None, None), "{expired}");
        eventually("the kernel has none", SOON, || support::nft::elements("lease4").is_empty());
        let told = |code: &str| wall.events(code, 0).len();
        assert_eq!((told("lease.opened"), told("lease.expired")), (1, 1), "once each, not for each element");
    });
}

#[test]
fn files_that_gave_way_are_read_in_order_and_no_line_is_missing_between_them() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let setup = Setup { journal: "max_size = \"100KB\"\nkeep = 2", names: ANY_NAMES, ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        ask_for(lab, (0..1800).map(|number| format!("n{number}.telemetry.example.net")));
        wall.events("query.denied", 1);
        eventually("the last is written", SOON, || journal(lab).contains("n1799."));
        for name in ["events.jsonl", "events.jsonl.1", "events.jsonl.2"] {
            let size = fs::metadata(lab.path(name)).unwrap().len();
            assert!((1..=100_000).contains(&size), "{name} has {size}");
        }
        assert!(!lab.path("events.jsonl.3").exists());

        let shown = parsed(&stdout(&log(lab, &["--format", "json"])));
        let number = |event: &Value| {
            let (_, number) = event["id"].as_str().unwrap().split_once('-').unwrap();
            u64::from_str_radix(number, 16).unwrap()
        };
        assert!(shown.windows(2).all(|pair| number(&pair[0]) + 1 == number(&pair[1])), "a line is missing");
        assert!(shown.len() > 50 && number(&shown[0]) > 1, "{} lines", shown.len());
        let last = stdout(&log(lab, &["--event", "query.denied", "--last", "2"]));
        assert!(last.contains("n1798.") && last.contains("n1799.") && !last.contains("n1797."), "{last}");
        assert!(last.lines().all(|line| line.chars().count() <= 80), "{last}");
        let none = stdout(&log(lab, &["--agent", "nobody", "--since", "1h"]));
        assert_eq!(none, "");
    });
}

#[test]
fn who_follows_sees_each_event_once_and_may_leave_at_any_time() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &Setup::default());
        ask_for(lab, ["first.example.net".to_owned()].into_iter());
        wall.events("query.denied", 1);

        let words = ["--follow", "--last", "3", "--event", "query.denied", "--format", "json"];
        let mut following = following(lab, &words);
        eventually("what was before is shown", SOON, || following.printed().contains("first.example.net"));
        ask_for(lab, ["second.example.net".to_owned()].into_iter());
        eventually("what happens is shown", SOON, || following.printed().contains("second.example.net"));
        let names: Vec<_> = parsed(&following.printed()).iter().map(|event| event["hostname"].clone()).collect();
        assert_eq!(names, ["first.example.net", "second.example.net"]);
        kill(Pid::from_raw(following.child.id().cast_signed()), Signal::SIGINT).unwrap();
        assert_eq!(following.child.wait().unwrap().code(), Some(0), "Ctrl-C is how it ends");

        // A reader that has enough ends it, though nothing happens.
        let pipe = format!(
            "{} log --follow --last 1 --socket {} | head -n 1",
            binary().display(),
            lab.path("control.sock").display()
        );
        let mut piped = Command::new("timeout").args(["10", "sh", "-c", &pipe]).stdout(Stdio::null()).spawn().unwrap();
        assert_eq!(piped.wait().unwrap().code(), Some(0), "it goes on with nobody there to read");

        // The daemon's end is no one's fault, and said.
        let mut child = command(lab, &["--follow"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(wall.process().terminate(), Some(0));
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.contains("the daemon has stopped"), "{told}");
        assert_eq!(child.wait().unwrap().code(), Some(1));
    });
}

#[test]
fn a_reader_that_does_not_read_holds_no_answer_and_is_told_what_it_missed() {
    const QUESTIONS: usize = 12_000;
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let limits = ("queries_per_second = 100000", "dns_packets_per_second = 1000000");
        let setup = Setup { policy: STORY, dns: limits.0, wall: limits.1, ..Setup::default() };
        let mut wall = Wall::start(lab, &setup);
        let mut stream = events(&lab.path("control.sock"));
        ask_for(lab, (0..QUESTIONS).map(|number| format!("n{number}.telemetry.example.net")));
        wall.events("query.denied", QUESTIONS);
        assert_eq!(wall.operator(&["status"]).unwrap()["journal_lost"], 0, "the journal does not wait for a reader");

        stream.set_read_timeout(Some(SOON)).unwrap();
        let (mut text, mut part) = (Vec::new(), [0; 65_536]);
        while !String::from_utf8_lossy(&text).contains(&format!("n{}.", QUESTIONS - 1)) || text.last() != Some(&b'\n') {
            let length = stream.read(&mut part).expect("the newest lines come");
            assert!(length > 0, "the stream ended");
            text.extend_from_slice(&part[..length]);
        }
        let events = parsed(&String::from_utf8(text).unwrap());
        let told = events.iter().filter(|event| event["event"] == "query.denied").count() as u64;
        let lost = events.iter().filter(|event| event["event"] == "stream.lost");
        let lost: u64 = lost.map(|event| event["count"].as_u64().unwrap()).sum();
        assert!(lost > 0 && told + lost >= QUESTIONS as u64, "{told} told, {lost} lost");
        assert_eq!(wall.process().terminate(), Some(0));
    });
}
