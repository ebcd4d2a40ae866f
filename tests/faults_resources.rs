//! What the daemon lives on runs out: the disk, file descriptors, memory, its
//! control socket. It goes on closed, or ends closed, and recovers (G8, G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::mount::{MsFlags, mount};
use serde_json::Value;
use support::client::{addresses, ask, verdict};
use support::lab::{Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::released::asked_by_agent;
use support::run;
use support::trouble::{limit, memory, open_files, processor_during};
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// Everything below example.com, on one port: one lease for each address.
const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;

fn setup() -> Setup<'static> {
    Setup { policy: POLICY, ..Setup::default() }
}

fn connects(lab: &Lab, address: &str) -> bool {
    let address: SocketAddr = format!("{address}:443").parse().unwrap();
    lab.connects("agent", address, SECOND / 2)
}

/// The answer to a question of the agent's is right.
fn answers(lab: &Lab, wall: &mut Wall, name: &str) -> bool {
    addresses(&asked_by_agent(lab, wall, name).0) == ["203.0.113.7"]
}

#[test]
fn no_question_waits_for_a_huge_page_to_be_cleared() {
    in_lab(|lab| {
        let mut wall = Wall::start(lab, &setup());
        let status = std::fs::read_to_string(format!("/proc/{}/status", wall.process().id())).unwrap();
        assert!(status.contains("THP_enabled:\t0\n"), "{status}");
    });
}

#[test]
fn a_full_disk_costs_lines_of_the_journal_and_no_answer() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let disk = lab.path("disk");
        std::fs::create_dir(&disk).unwrap();
        mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        std::os::unix::fs::symlink(disk.join("events.jsonl"), lab.path("events.jsonl")).unwrap();
        let mut wall = Wall::start(lab, &setup());
        assert!(answers(lab, &mut wall, "h0.example.com"));

        // Whatever room there is, something else takes.
        let mut hog = std::fs::File::create(disk.join("hog")).unwrap();
        while hog.write_all(&[0x5a; 512]).is_ok() {}
        let lost = |wall: &Wall| wall.operator(&["status"]).unwrap()["journal_lost"].as_u64().unwrap();
        let mut asked = 1;
        eventually("lines are lost, and counted", 30 * SECOND, || {
            asked += 1;
            assert!(answers(lab, &mut wall, &format!("h{asked}.example.com")), "an answer waits for the disk");
            lost(&wall) >= 20
        });

        drop(hog);
        std::fs::remove_file(disk.join("hog")).unwrap();
        assert!(answers(lab, &mut wall, "last.example.com"));
        let told = wall.events("journal.lost", 1);
        let told: u64 = told.iter().map(|event| event["count"].as_u64().unwrap()).sum();
        assert!(told >= 20);
        let journal = std::fs::read_to_string(lab.path("events.jsonl")).unwrap();
        let whole = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let written = whole.filter(|event| event["event"] == "query.answered").count() as u64;
        assert!(written + told > asked, "{written} written and {told} told as lost, of {asked} asked");
        assert!(journal.contains("last.example.com"));
        assert_eq!(wall.process().terminate(), Some(0));
        nix::mount::umount(&disk).unwrap();
    });
}

#[test]
fn without_file_descriptors_there_is_servfail_and_no_spinning() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        // Over TCP each question takes a connection of its own.
        let mut wall = Wall::start(lab, &Setup { upstream: &["tcp://198.51.100.53:53"], ..setup() });
        let daemon = wall.process().id();
        let now = open_files(daemon);
        // Those it has stay; a new one would have a number above this.
        limit(daemon, "nofile=3");

        // No socket to ask upstream with.
        let (reply, _) = asked_by_agent(lab, &mut wall, "h1.example.com");
        assert_eq!(verdict(&reply).0, ResponseCode::ServFail);
        assert_eq!(elements("lease4"), []);
        // None to accept a connection with, and many who want one.
        let waiting: Vec<_> = lab.within("agent", || (0..20).map(|_| TcpStream::connect(WALL).unwrap()).collect());
        let spent = processor_during(daemon, 2 * SECOND);
        assert!(spent < SECOND, "it spins: {spent:?} in two seconds");
        // None to look after the table with.
        run("nft", &["add", "rule", "inet", "cedarwall", "forward", "accept"]);
        let (reply, _) = asked_by_agent(lab, &mut wall, "h2.example.com");
        assert_eq!(verdict(&reply).0, ResponseCode::ServFail);
        let denied = lab.within("agent", || ask(WALL, "example.org", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).0, ResponseCode::NXDomain, "a denial needs none");

        limit(daemon, "nofile=1024");
        drop(waiting);
        eventually("it answers again", 5 * SECOND, || answers(lab, &mut wall, "h1.example.com"));
        assert!(!run("nft", &["list", "chain", "inet", "cedarwall", "forward"]).contains("\t\taccept\n"));
        assert!(connects(lab, "203.0.113.7") && !connects(lab, "203.0.113.9"));
        let over_tcp = || support::client::ask_tcp(WALL, "h1.example.com", RecordType::A);
        eventually("TCP, too", 5 * SECOND, || lab.within("agent", over_tcp).is_some());
        eventually("its descriptors are given back", 15 * SECOND, || open_files(daemon) <= now + 8);
    });
}

#[test]
fn a_daemon_that_gets_no_more_memory_ends_closed_and_starts_again() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(2, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { lease: "min = \"2s\"\ngrace = \"1s\"", ..setup() });
        let daemon = wall.process().id();
        assert!(answers(lab, &mut wall, "h1.example.com"));
        limit(daemon, &format!("as={}", (memory(daemon, "VmSize") + 1024) * 1024));

        // A policy that takes far more than there is.
        let permits: String = (0..40_000)
            .map(|index| {
                format!(
                    "permit(principal == Agent::\"claude\", action == Action::\"net.connect\", \
                     resource == Resource::\"h{index}.example.com:443\") when {{ context.port != {} }};\n",
                    index + 1000
                )
            })
            .collect();
        lab.write("policies/wall.cedar", &permits);
        wall.operator(&["reload"]);
        if lab.within("agent", asked_briefly).is_some() {
            eprintln!("the daemon outlived it");
        } else {
            // Its end may take a moment.
            eventually("who does not answer has ended", 15 * SECOND, || !wall.process().is_running());
        }
        eventually("the leases end", 15 * SECOND, || elements("lease4").is_empty() || wall.process().is_running());
        assert!(!connects(lab, "203.0.113.9"));

        wall.process().kill();
        lab.write("policies/wall.cedar", POLICY);
        wall.restart(lab);
        assert!(answers(lab, &mut wall, "h1.example.com"));
        assert!(connects(lab, "203.0.113.7") && !connects(lab, "203.0.113.9"));
    });
}

/// What a question is answered within a second, if anything.
fn asked_briefly() -> Option<Vec<u8>> {
    let question = support::client::question("h1.example.com", RecordType::A);
    support::client::exchange(WALL, &question.to_vec().unwrap(), SECOND)
}

#[test]
fn without_its_control_socket_the_wall_answers_and_closes_as_before() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = Wall::start(lab, &setup());
        std::fs::remove_file(lab.path("control.sock")).unwrap();
        assert!(answers(lab, &mut wall, "h1.example.com"));
        run("nft", &["delete", "table", "inet", "cedarwall"]);
        assert!(answers(lab, &mut wall, "h2.example.com"), "the table is looked after");
        assert!(connects(lab, "203.0.113.7") && !connects(lab, "203.0.113.9"));
        assert_eq!(wall.process().terminate(), Some(0));
        assert!(!connects(lab, "203.0.113.9"));
    });
}
