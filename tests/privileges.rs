//! The daemon need not be root: the two capabilities of its executable's file
//! are enough, and a file that has them still runs where they are withheld.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use nix::unistd::{Gid, Uid, chown};
use support::client::{addresses, ask};
use support::lab::{Lab, UPSTREAM, WALL, greeter, in_lab};
use support::nft::elements;
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall, binary};

/// Somebody who is not root.
const USER: u32 = 5353;
/// What the wall itself takes.
const BASE: &str = "cap_net_admin,cap_net_bind_service";
/// Becomes that user and keeps no capability.
const AS_USER: [&str; 4] = ["--reuid=5353", "--regid=5353", "--clear-groups", "--"];

#[test]
fn a_daemon_that_is_not_root_stands_on_the_capabilities_of_its_file() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let api: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let program = capable_binary(lab);
        let arguments = [AS_USER.as_slice(), &[program.to_str().unwrap()]].concat();
        let mut wall = Wall::start_through(lab, &Setup::default(), Path::new("setpriv"), &arguments);

        let status = std::fs::read_to_string(format!("/proc/{}/status", wall.process().id())).unwrap();
        assert!(status.contains(&format!("Uid:\t{USER}\t")), "{status}");
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        assert_eq!(elements("lease4").len(), 1);
        assert!(lab.connects("agent", api, Duration::from_secs(1)));

        let processes = wall.operator(&["status"]).unwrap()["processes"].as_str().unwrap().to_owned();
        assert!(processes.contains("CAP_SYS_PTRACE") && processes.ends_with("missing"), "{processes}");
        lab.within("agent", || ask(WALL, "blocked.example.net", RecordType::A)).unwrap();
        assert_eq!(wall.events("query.denied", 1)[0]["process_missing"], "not_allowed");

        assert_eq!(wall.process().terminate(), Some(0));
        let socket = lab.path("control.sock");
        let down = [program.to_str().unwrap(), "down", "--socket", socket.to_str().unwrap()];
        run("setpriv", &[AS_USER.as_slice(), &down].concat());
        assert!(run("nft", &["list", "tables"]).is_empty());
    });
}

#[test]
fn what_it_takes_to_name_a_process_is_one_threads_alone() {
    in_lab(|lab| {
        let program = binary_with(lab, &format!("{BASE},cap_dac_read_search,cap_sys_ptrace,cap_sys_admin+p"));
        let arguments = [AS_USER.as_slice(), &[program.to_str().unwrap()]].concat();
        let setup = Setup { evidence: "hold = \"1s\"", ..Setup::default() };
        let mut wall = Wall::start_through(lab, &setup, Path::new("setpriv"), &arguments);
        assert_eq!(wall.operator(&["status"]).unwrap()["processes"], "on");
        lab.within("agent", || ask(WALL, "blocked.example.net", RecordType::A)).unwrap();
        let event = &wall.events("query.denied", 1)[0];
        // This very process, which is root.
        assert_eq!(event["process"]["pid"], std::process::id(), "{event:#}");

        // SYS_ADMIN, SYS_PTRACE and DAC_READ_SEARCH (linux/capability.h).
        let looking: u64 = 1 << 21 | 1 << 19 | 1 << 2;
        let mut witnesses = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", wall.process().id())).unwrap() {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let set = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                u64::from_str_radix(line.trim(), 16).unwrap()
            };
            if status.starts_with("Name:\twitness\n") {
                witnesses += 1;
                assert_eq!((set("CapEff:"), set("CapPrm:"), set("CapInh:")), (looking, looking, 0), "{status}");
            } else {
                assert_eq!((set("CapEff:") | set("CapPrm:") | set("CapInh:")) & looking, 0, "{status}");
            }
        }
        assert_eq!(witnesses, 1);
    });
}

#[test]
fn without_its_capabilities_the_program_runs_and_says_what_the_daemon_lacks() {
    in_lab(|lab| {
        let program = capable_binary(lab);
        let withheld = ["--bounding-set=-net_admin,-net_bind_service"];
        let program = [withheld.as_slice(), &AS_USER, &[program.to_str().unwrap()]].concat();
        assert!(run("setpriv", &[program.as_slice(), &["--version"]].concat()).starts_with("cedarwall "));

        let mut wall = Wall::start(lab, &Setup::default());
        assert_eq!(wall.process().terminate(), Some(0));
        let config = lab.path("cedarwall.toml");
        let serve = [program.as_slice(), &["serve", "--config", config.to_str().unwrap()]].concat();
        let output = Command::new("setpriv").args(serve).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("CAP_NET_ADMIN is missing"), "{told}");
    });
}

/// A copy of the program, set up as the image sets it up, in a folder that the
/// user may write to.
fn capable_binary(lab: &Lab) -> PathBuf {
    binary_with(lab, &format!("{BASE}+p"))
}

fn binary_with(lab: &Lab, capabilities: &str) -> PathBuf {
    let program = lab.path("cedarwall");
    std::fs::copy(binary(), &program).unwrap();
    run("setcap", &[capabilities, program.to_str().unwrap()]);
    let folder = program.parent().unwrap();
    chown(folder, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER))).unwrap();
    program
}
