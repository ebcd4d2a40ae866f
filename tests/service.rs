//! As a service: the manager hears that the wall is ready only when it is,
//! and that the daemon is alive only while it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use support::client::{addresses, ask};
use support::lab::{Lab, UPSTREAM, WALL, enter, in_lab};
use support::nft::elements;
use support::upstream::{Upstream, answer, plain};
use support::wall::{STORY, Setup, Wall, binary};

const SECOND: Duration = Duration::from_secs(1);

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_a_path(lab: &Lab) -> Self {
        let path = lab.path("notify.sock");
        let name = path.to_str().unwrap().to_owned();
        Self { socket: UnixDatagram::bind(path).unwrap(), name }
    }

    fn in_the_abstract() -> Self {
        let address = SocketAddr::from_abstract_name("cedarwall-test").unwrap();
        Self { socket: UnixDatagram::bind_addr(&address).unwrap(), name: "@cedarwall-test".to_owned() }
    }

    /// Starts a wall that knows of it, without waiting.
    fn start(&self, lab: &Lab, setup: &Setup<'_>, environment: &[&str]) -> Wall {
        let socket = format!("NOTIFY_SOCKET={}", self.name);
        let program = binary().to_str().unwrap();
        let words: Vec<_> = [socket.as_str()].into_iter().chain(environment.iter().copied()).chain([program]).collect();
        Wall::begin_through(lab, setup, Path::new("/usr/bin/env"), &words)
    }

    /// The next message, if one comes within `patience`.
    fn hears(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line, others left out.
    fn expect(&self, line: &str) -> String {
        let start = Instant::now();
        while start.elapsed() < 20 * SECOND {
            if let Some(message) = self.hears(SECOND)
                && message.lines().any(|said| said == line)
            {
                return message;
            }
        }
        panic!("{line} never came");
    }
}

/// An upstream server that says when it was probed, and answers when it is
/// told to.
fn hesitant() -> (Receiver<()>, Sender<()>) {
    let (tell, probed) = channel();
    let (go, may_answer) = channel();
    let (ready, bound) = channel();
    thread::spawn(move || {
        enter("internet");
        let socket = UdpSocket::bind(UPSTREAM).unwrap();
        ready.send(()).unwrap();
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            assert!(query.queries[0].name().is_root() && query.queries[0].query_type() == RecordType::NS, "{query}");
            let _ = tell.send(());
            if may_answer.recv().is_ok() {
                let _ = socket.send_to(&answer(&query, Vec::new()).to_vec().unwrap(), from);
            }
        }
    });
    bound.recv().unwrap();
    (probed, go)
}

fn is_ready(lab: &Lab) -> bool {
    cedarwall::control::is_ready(&lab.path("control.sock"))
}

#[test]
fn ready_is_told_once_the_wall_stands_and_an_upstream_server_has_answered() {
    in_lab(|lab| {
        let (probed, answer_now) = hesitant();
        let manager = Manager::at_a_path(lab);
        let policy = r#"permit(principal, action == Action::"net.connect", resource == Resource::"192.0.2.7:5432");"#;
        let setup = Setup { policy, dns: "upstream_timeout = \"30s\"", ..Setup::default() };
        let wall = manager.start(lab, &setup, &[]);
        probed.recv_timeout(20 * SECOND).expect("the server is probed");
        assert_eq!(manager.hears(SECOND / 2), None, "nothing is told while the server has not answered");
        assert!(!is_ready(lab));
        assert!(cedarwall::control::is_alive(&lab.path("control.sock")), "the wall stands all the same");

        answer_now.send(()).unwrap();
        let ready = manager.hears(5 * SECOND).expect("it is ready");
        assert!(ready.starts_with("READY=1\nSTATUS=answering on 10.77.0.1:53"), "{ready}");
        assert_eq!(elements("static4").len(), 4, "the policy is in force: two clients, TCP and UDP");
        assert!(is_ready(lab));
        assert!(lab.within("agent", || ask(WALL, "x.example.com", RecordType::A)).is_some(), "questions are answered");
        drop(wall);
    });
}

#[test]
fn a_dead_upstream_server_delays_ready_by_one_timeout_at_most() {
    in_lab(|lab| {
        let (probed, _never) = hesitant();
        let manager = Manager::at_a_path(lab);
        let _wall = manager.start(lab, &Setup { dns: "upstream_timeout = \"1s\"", ..Setup::default() }, &[]);
        probed.recv_timeout(20 * SECOND).expect("the server is probed");
        let asked = Instant::now();
        manager.expect("READY=1");
        assert!(asked.elapsed() > SECOND / 2 && asked.elapsed() < 4 * SECOND, "{:?}", asked.elapsed());
    });
}

#[test]
fn a_manager_in_the_abstract_namespace_hears_of_reloads_and_of_the_end() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let manager = Manager::in_the_abstract();
        let mut wall = manager.start(lab, &Setup::default(), &[]);
        manager.expect("READY=1");
        lab.write("policies/wall.cedar", "permit(");
        let id = Pid::from_raw(i32::try_from(wall.process().id()).unwrap());
        for status in ["; a newer policy is refused", ""] {
            kill(id, Signal::SIGHUP).unwrap();
            let reloading = manager.expect("RELOADING=1");
            assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
            let ready = manager.expect("READY=1");
            assert!(ready.trim_end().ends_with(status), "{ready}");
            assert_eq!(ready.contains("refused"), !status.is_empty(), "{ready}");
            lab.write("policies/wall.cedar", STORY);
        }
        assert_eq!(wall.process().terminate(), Some(0));
        manager.expect("STOPPING=1");
    });
}

/// The daemon's threads of this name.
fn threads(process: u32, name: &str) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let named = tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    named.map(|task| Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap())).collect()
}

#[test]
fn the_watchdog_is_fed_only_while_the_firewall_answers() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let manager = Manager::at_a_path(lab);
        let mut wall = manager.start(lab, &Setup::default(), &["WATCHDOG_USEC=400000"]);
        manager.expect("READY=1");
        for _ in 0..3 {
            assert_eq!(manager.hears(SECOND).as_deref(), Some("WATCHDOG=1\n"));
        }

        // A debugger holds this one thread; every other goes on.
        let firewall = threads(wall.process().id(), "firewall")[0];
        ptrace::seize(firewall, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(firewall).unwrap();
        waitpid(firewall, Some(WaitPidFlag::__WALL)).unwrap();
        while manager.hears(SECOND / 10).is_some() {}
        assert_eq!(manager.hears(2 * SECOND), None, "the watchdog was fed with the firewall's thread stuck");

        ptrace::detach(firewall, None).unwrap();
        manager.expect("WATCHDOG=1");
        let reply = lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
    });
}

#[test]
fn the_unit_is_one_that_systemd_takes_without_a_word() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return support::cannot("find systemd-analyze");
    }
    let unit = fs::read_to_string("packaging/cedarwall.service").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("cedarwall.service");
    fs::write(&copy, unit.replace("/usr/bin/cedarwall", binary().to_str().unwrap())).unwrap();
    let more = folder.path().join("cedarwall.service.d");
    fs::create_dir(&more).unwrap();
    fs::copy("packaging/processes.conf", more.join("processes.conf")).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
