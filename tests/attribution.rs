//! Who did it: a denied query names its process, exactly or not at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cedarwall::attribution::Tracer;
use cedarwall::core::event::Flow;
use cedarwall::core::process::{Traced, Untraced};
use cedarwall::core::query::Client;
use hickory_proto::rr::RecordType;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::client::{ask, ask_tcp, question};
use support::lab::{Lab, Process, UPSTREAM, eventually, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::{STORY, Setup, Wall, binary};

/// Processes of each of the two modes, one denied query each.
const PROCESSES: usize = 1000;
/// The port of those who share one.
const SHARED_PORT: u16 = 40_053;
/// Where the wall answers the agent over IPv6.
const WALL6: &str = "[fd77::1]:53";
const WALL4: &str = "10.77.0.1:53";
/// A denial waits for longer than it has to, so that other tests at the same
/// time do not make this one fail.
const PATIENT: &str = "hold = \"1s\"";

fn patient() -> Setup<'static> {
    Setup { evidence: PATIENT, ..Setup::default() }
}

/// What a short-lived process does: it asks once, and ends as soon as it has
/// its answer. It is this very program, started anew.
#[test]
#[ignore = "it is started by the other tests"]
fn asker() {
    let (Ok(server), Ok(way), Ok(name)) = (env::var("ASK_SERVER"), env::var("ASK_WAY"), env::var("ASK_NAME")) else {
        return;
    };
    let answered = match way.as_str() {
        "connect" => connect(server.parse().unwrap(), name.parse().unwrap()),
        "tcp" => ask_tcp(&server, &name, RecordType::A).is_some(),
        _ => ask_udp(&way, server.parse().unwrap(), &name),
    };
    std::process::exit(if answered { 0 } else { 3 });
}

/// Asks from a connected socket, from one that is not, or from one that speaks
/// both families.
fn ask_udp(way: &str, server: SocketAddr, name: &str) -> bool {
    let wire = question(name, RecordType::A).to_vec().unwrap();
    let any: SocketAddr = if server.is_ipv4() && way != "mapped" { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = Socket::new(Domain::for_address(any), Type::DGRAM, None).unwrap();
    if any.is_ipv6() {
        socket.set_only_v6(false).unwrap();
    }
    let mut any = any;
    if way == "shared" {
        socket.set_reuse_port(true).unwrap();
        any.set_port(SHARED_PORT);
    }
    socket.bind(&any.into()).unwrap();
    let mut heir = None;
    if way == "inherited" {
        socket.set_cloexec(false).unwrap();
        heir = Some(Command::new("sleep").arg("60").spawn().unwrap());
        socket.set_cloexec(true).unwrap();
    }
    let socket: UdpSocket = socket.into();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let server = match server {
        SocketAddr::V4(four) if way == "mapped" => SocketAddr::new(four.ip().to_ipv6_mapped().into(), four.port()),
        other => other,
    };
    if way == "connected" || way == "shared" {
        socket.connect(server).unwrap();
        socket.send(&wire).unwrap();
    } else {
        socket.send_to(&wire, server).unwrap();
    }
    let answered = way == "silent" || socket.recv(&mut [0; 4096]).is_ok();
    if let Some(mut heir) = heir {
        heir.kill().unwrap();
        heir.wait().unwrap();
    }
    answered
}

/// Begins to connect from a port, and waits.
fn connect(server: SocketAddr, port: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into()).unwrap();
    socket.connect_timeout(&server.into(), Duration::from_secs(60)).is_ok()
}

/// The asker's command; `marker` is one of its arguments.
fn asker_command(program: &Path, server: &str, way: &str, name: &str, marker: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "asker", "--ignored", "--nocapture", "--quiet", marker]);
    command.envs([("ASK_SERVER", server), ("ASK_WAY", way), ("ASK_NAME", name)]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn this_program() -> PathBuf {
    env::current_exe().unwrap()
}

/// Starts [`PROCESSES`] askers in the agent's namespace, a few at a time, and
/// returns the number that each had, by name.
fn ask_from_many(lab: &Lab, ways: &'static [(&'static str, &'static str)]) -> HashMap<String, u32> {
    let ask = |first: usize| {
        lab.within("agent", move || {
            let mut asked = Vec::new();
            for index in (first..PROCESSES).step_by(3) {
                let (server, way) = ways[index % ways.len()];
                let name = format!("m{index}.example.net");
                let mut child =
                    asker_command(&this_program(), server, way, &name, &format!("marker-{index}-")).spawn().unwrap();
                let pid = child.id();
                assert_eq!(child.wait().unwrap().code(), Some(0), "{way} {server}");
                asked.push((name, pid));
            }
            asked
        })
    };
    thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|first| scope.spawn(move || ask(first))).collect();
        asked.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn all_are_right(events: &[Value], asked: &HashMap<String, u32>) {
    let program = this_program();
    let mut right = 0;
    let mut wrong = Vec::new();
    for event in events {
        let name = event["hostname"].as_str().unwrap();
        let Some(&pid) = asked.get(name) else { continue };
        let index = name.strip_prefix('m').and_then(|name| name.split('.').next()).unwrap();
        let process = &event["process"];
        let is_right = process["pid"] == pid
            && process["path"].as_str().map(Path::new) == Some(&program)
            && process["cmd_line"].as_str().is_some_and(|line| line.contains(&format!("marker-{index}-")))
            && process["uid"] == 0
            && process["parent_process"].is_null()
            && process["socket_holders"].is_null();
        if is_right {
            right += 1;
        } else {
            wrong.push(event);
        }
    }
    assert_eq!((right, wrong.len()), (PROCESSES, 0), "{:#?}", wrong.first());
}

#[test]
fn a_thousand_short_lived_processes_of_a_gateways_client_are_each_named() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        let asked = ask_from_many(
            lab,
            &[
                (WALL4, "connected"),
                (WALL6, "connected"),
                (WALL4, "tcp"),
                (WALL6, "tcp"),
                (WALL4, "unconnected"),
                (WALL6, "unconnected"),
                (WALL4, "mapped"),
            ],
        );
        all_are_right(&wall.events("query.denied", PROCESSES), &asked);
        assert_eq!(wall.operator(&["status"]).unwrap()["processes"], "on");
    });
}

/// A sidecar in the agent's namespace, its journal and its socket.
fn sidecar(lab: &Lab) -> (Process, PathBuf) {
    lab.write("policies/wall.cedar", STORY);
    let (socket, journal) = (lab.path("control.sock"), lab.path("events.jsonl"));
    let configuration = format!(
        r#"
[dns]
listen = ["127.0.0.1:53", "[::1]:53"]
upstream = ["udp://198.51.100.53:53"]
[policy]
path = "policies"
[wall]
mode = "sidecar"
[[client]]
address = ["127.0.0.1", "::1"]
agent = "claude"
[evidence]
{PATIENT}
[control]
socket = "{}"
[journal]
path = "{}"
"#,
        socket.display(),
        journal.display()
    );
    let file = lab.write("sidecar.toml", &configuration);
    let process = lab.start(Some("agent"), binary(), &["serve", "--config", file.to_str().unwrap()]);
    eventually("the sidecar answers", Duration::from_secs(20), || cedarwall::control::is_ready(&socket));
    (process, journal)
}

fn denied_in(journal: &Path, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    eventually("the journal tells of all", Duration::from_secs(10), || {
        let text = fs::read_to_string(journal).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events = lines.filter(|event| event["event"] == "query.denied").collect();
        events.len() >= count
    });
    events
}

#[test]
fn a_thousand_short_lived_processes_beside_a_sidecar_are_each_named() {
    in_lab(|lab| {
        let (_daemon, journal) = sidecar(lab);
        let asked = ask_from_many(
            lab,
            &[
                ("127.0.0.1:53", "connected"),
                ("[::1]:53", "connected"),
                ("127.0.0.1:53", "tcp"),
                ("[::1]:53", "tcp"),
                ("127.0.0.1:53", "unconnected"),
                ("127.0.0.1:53", "mapped"),
            ],
        );
        all_are_right(&denied_in(&journal, PROCESSES), &asked);
    });
}

/// Runs a command in the agent's namespace to its end.
fn run_in_agent(lab: &Lab, command: &mut Command) {
    let status = lab.within("agent", || command.stdin(Stdio::null()).status().unwrap());
    assert!(status.success(), "{command:?}: {status}");
}

/// The asker within a shell's script.
fn script(way: &str, name: &str) -> String {
    let program = this_program();
    let ask = format!("ASK_SERVER={WALL4} ASK_WAY={way} ASK_NAME={name} {}", program.display());
    format!("{ask} --exact asker --ignored --quiet marker-in-script > /dev/null; exit $?")
}

fn denied(wall: &Wall, name: &str) -> Value {
    wall.event("query.denied", |event| event["hostname"] == name)
}

#[test]
fn the_chain_of_a_container_ends_at_its_first_process() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        let mut container = Command::new("unshare");
        container.args(["--pid", "--mount", "--user", "--map-root-user", "--fork", "--mount-proc"]);
        let inner = format!("sh -c '{}'; true", script("connected", "contained.example.net"));
        run_in_agent(lab, container.args(["sh", "-c", &inner, "first-of-container"]));

        let event = denied(&wall, "contained.example.net");
        let asker = &event["process"];
        assert!(asker["cmd_line"].as_str().unwrap().contains("marker-in-script"), "{event:#}");
        let shell = &asker["parent_process"];
        assert_eq!((shell["name"].as_str(), shell["path"].is_string()), (Some("sh"), true), "{event:#}");
        let first = &shell["parent_process"];
        assert!(first["cmd_line"].as_str().unwrap().ends_with("first-of-container"), "{event:#}");
        assert!(first["parent_process"].is_null(), "{event:#}");
    });
}

#[test]
fn a_chain_ends_where_the_clients_namespace_does() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script("connected", "plain.example.net"), "first-of-namespace"]).uid(4242);
        run_in_agent(lab, &mut shell);
        let event = denied(&wall, "plain.example.net");
        let shell = &event["process"]["parent_process"];
        assert!(shell["cmd_line"].as_str().unwrap().ends_with("first-of-namespace"), "{event:#}");
        assert_eq!((&event["process"]["uid"], &shell["uid"]), (&4242.into(), &4242.into()), "{event:#}");
        assert!(event["process"]["user"].is_null() && shell["parent_process"].is_null(), "{event:#}");
    });
}

#[test]
fn a_process_that_is_gone_is_said_to_be_gone() {
    in_lab(|lab| {
        let mut wall = Wall::start(lab, &patient());
        // Who asks first has the namespace looked for.
        run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "connected", "here.example.net", "x"));
        assert!(denied(&wall, "here.example.net")["process"].is_object());

        let pid = wall.process().id().to_string();
        support::run("kill", &["-STOP", &pid]);
        run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "silent", "gone.example.net", "x"));
        support::run("kill", &["-CONT", &pid]);
        let event = denied(&wall, "gone.example.net");
        assert_eq!(event["process_missing"], "gone", "{event:#}");
        assert!(event["process"].is_null(), "{event:#}");
    });
}

#[test]
fn a_denial_is_held_no_longer_than_it_may_be_and_an_answer_not_at_all() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &Setup::default());
        let threads = fs::read_dir(format!("/proc/{}/task", wall.process().id())).unwrap().flatten();
        let is_witness = |name: String| name.trim() == "witness";
        let mut witness = threads.filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(is_witness));
        let witness = witness.next().unwrap().file_name().to_str().unwrap().parse().unwrap();
        // A debugger holds this one thread; every other goes on.
        let witness = Pid::from_raw(witness);
        ptrace::seize(witness, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(witness).unwrap();
        waitpid(witness, Some(WaitPidFlag::__WALL)).unwrap();

        for name in ["slow.example.net", "api.example.com"] {
            let begun = Instant::now();
            assert!(lab.within("agent", || ask(WALL4, name, RecordType::A)).is_some());
            assert!(begun.elapsed() < Duration::from_secs(2), "{name}: {:?}", begun.elapsed());
        }
        let event = denied(&wall, "slow.example.net");
        assert_eq!(event["process_missing"], "too_slow", "{event:#}");
        ptrace::detach(witness, None).unwrap();
        eventually("it goes on", Duration::from_secs(10), || {
            run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "connected", "again.example.net", "x"));
            let events = wall.events("query.denied", 1);
            events.iter().any(|event| event["hostname"] == "again.example.net" && event["process"].is_object())
        });
    });
}

#[test]
fn an_address_that_moves_to_another_namespace_is_followed() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        let ask_there = |namespace: &str, name: &str| {
            let mut command = asker_command(&this_program(), WALL4, "connected", name, name);
            let status = lab.within(namespace, || command.status().unwrap());
            assert!(status.success());
            let event = denied(&wall, name);
            assert!(event["process"]["cmd_line"].as_str().is_some_and(|line| line.contains(name)), "{event:#}");
        };
        ask_there("agent", "before.example.net");
        // As an engine does for the next container of the same address.
        support::run(
            "sh",
            &[
                "-ec",
                "
            ip link delete veth-agent
            ip netns add next; ip -n next link set lo up
            ip link add veth-agent type veth peer name eth0 netns next
            ip addr add 10.77.0.1/24 dev veth-agent; ip link set veth-agent up
            ip -n next addr add 10.77.0.2/24 dev eth0; ip -n next link set eth0 up
            ip -n next route add default via 10.77.0.1",
            ],
        );
        ask_there("next", "after.example.net");
    });
}

#[test]
fn who_shares_a_port_is_not_guessed() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        let other = lab.within("agent", || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], SHARED_PORT)).into()).unwrap();
            socket
        });
        run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "shared", "shared.example.net", "x"));
        let event = denied(&wall, "shared.example.net");
        assert_eq!(event["process_missing"], "ambiguous", "{event:#}");

        drop(other);
        run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "shared", "alone.example.net", "x"));
        assert!(denied(&wall, "alone.example.net")["process"].is_object());
    });
}

#[test]
fn of_those_who_inherited_a_socket_the_one_they_have_it_from_is_named_and_they_are_counted() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "inherited", "heirs.example.net", "marker-heirs"));
        let event = denied(&wall, "heirs.example.net");
        assert!(event["process"]["cmd_line"].as_str().unwrap().contains("marker-heirs"), "{event:#}");
        assert_eq!(event["process"]["socket_holders"], 2, "{event:#}");
    });
}

#[test]
fn no_secret_of_a_command_line_gets_to_the_disk() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        let curl = "curl -H 'Authorization: Bearer hunter2aaaa' https://user:hunter2bbbb@example.com";
        let script = format!("{}; : {curl}", script("connected", "secret.example.net").replace("exit $?", "true"));
        run_in_agent(lab, Command::new("sh").args(["-c", &script, "--token", "hunter2cccc", "API_KEY=hunter2dddd"]));
        let event = denied(&wall, "secret.example.net");
        let shell = event["process"]["parent_process"]["cmd_line"].as_str().unwrap();
        assert!(shell.contains("--token *** API_KEY=***"), "{event:#}");
        let journal = fs::read_to_string(lab.path("events.jsonl")).unwrap();
        assert!(!journal.contains("hunter2"), "{journal}");
    });
}

#[test]
fn a_network_namespace_ends_soon_after_its_last_process() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &patient());
        run_in_agent(lab, &mut asker_command(&this_program(), WALL4, "connected", "last.example.net", "x"));
        assert!(denied(&wall, "last.example.net")["process"].is_object());
        assert!(links().contains("veth-agent"));
        support::run("ip", &["netns", "delete", "agent"]);
        // The kernel takes its time, too.
        eventually("its link is gone", Duration::from_secs(10), || !links().contains("veth-agent"));
    });
}

fn links() -> String {
    support::run("ip", &["-brief", "link"])
}

#[test]
fn who_waits_for_a_connection_is_named() {
    in_lab(|lab| {
        support::run("ip", &["route", "add", "blackhole", "192.0.2.0/24"]);
        let mut command = asker_command(&this_program(), "192.0.2.9:443", "connect", "40443", "x");
        let mut child = lab.within("agent", || command.spawn().unwrap());
        let pid = child.id();
        let flow = |source_port, protocol: &str| Flow {
            client: Client::new("10.77.0.2".parse().unwrap()),
            agent: None,
            source_port: Some(source_port),
            address: "192.0.2.9".parse().unwrap(),
            protocol: protocol.to_owned(),
            port: Some(443),
        };
        thread::scope(|scope| {
            // The thread gives up what this one needs.
            let looked = scope.spawn(|| {
                let tracer = Tracer::start(false, Duration::from_secs(5)).unwrap();
                assert_eq!(tracer.standing(), "on");
                let mut traced = Traced::Unasked;
                eventually("it connects", Duration::from_secs(10), || {
                    traced = tracer.trace_connect(&flow(40443, "tcp"));
                    matches!(traced, Traced::Found(_))
                });
                let Traced::Found(process) = traced else { unreachable!() };
                assert_eq!(process.pid, pid);
                assert_eq!(tracer.trace_connect(&flow(40444, "tcp")), Traced::Missing(Untraced::Gone));
                assert_eq!(tracer.trace_connect(&flow(40443, "udp")), Traced::Missing(Untraced::Gone));
                assert_eq!(tracer.trace_connect(&flow(40443, "icmp")), Traced::Unasked);
                let stranger = Flow { client: Client::new("10.9.9.9".parse().unwrap()), ..flow(40443, "tcp") };
                assert_eq!(tracer.trace_connect(&stranger), Traced::Missing(Untraced::NotHere));
            });
            let outcome = looked.join();
            child.kill().unwrap();
            child.wait().unwrap();
            outcome.unwrap();
        });
    });
}
