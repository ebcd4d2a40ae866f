//! `cedarwall docker run`: the real program, the real kernel, and a real Docker
//! engine on a host that is made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::engine::{Engine, SOCKET, with_engine};
use support::lab::{Lab, eventually, greeter, in_lab};
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{STORY, binary};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where `api.example.com` is, and everything else.
const ADDRESS: &str = "203.0.113.10";

/// A host with an engine, busybox as the only image, a server that resolves
/// every name, and one that greets on port 443.
fn on_a_host(test: impl FnOnce(&Lab, &Engine) + Send + 'static) {
    in_lab(|lab| {
        with_engine(|engine| {
            engine.import_busybox();
            lab.write("policies/story.cedar", STORY);
            let _upstream = Upstream::start(support::lab::UPSTREAM, plain(60, ADDRESS, "2001:db8:2::10"));
            greeter(443);
            // The engine makes its chains with the first network.
            engine.docker(&["run", "--rm", "busybox", "true"]);
            test(lab, engine);
        });
    });
}

/// `cedarwall docker run OURS -- DOCKERS`.
fn cedarwall(lab: &Lab, engine: &Engine, ours: &[&str], dockers: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["docker", "run", "--upstream", "198.51.100.53", "--allow-range", "203.0.113.0/24", "--policy"]);
    command.arg(lab.path("policies")).args(ours).arg("--").args(dockers).stdin(Stdio::null());
    engine.furnish(&mut command);
    command
}

fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}\n--- standard error:\n{err}")
}

/// All that a run changes on its host; counters left out.
fn what_the_host_is(engine: &Engine) -> String {
    let mut runtime: Vec<_> = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    runtime.sort();
    let networks = engine.docker(&["network", "ls", "--format", "{{.Name}}"]);
    let containers = engine.docker(&["ps", "-a", "--format", "{{.Names}}"]);
    let rules = run("nft", &["-s", "list", "ruleset"]);
    // The engine's own bridge goes down some time after its last container.
    let without_its_own = |text: String| -> Vec<String> {
        text.lines().filter(|line| !line.contains("docker0")).map(str::to_owned).collect()
    };
    let links = without_its_own(run("ip", &["-brief", "link"]));
    let routes = without_its_own(run("ip", &["route", "show", "table", "all"]));
    format!("{networks}\n{containers}\n{links:#?}{routes:#?}{rules}{runtime:?}")
}

fn running(engine: &Engine) -> Vec<String> {
    engine.docker(&["ps", "--no-trunc", "--format", "{{.ID}}"]).lines().map(str::to_owned).collect()
}

/// Starts one in the foreground, and waits until its container runs.
fn started(engine: &Engine, mut command: Command) -> Child {
    let before = running(engine).len();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the container runs", PATIENCE, || running(engine).len() > before);
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn a_container_reaches_what_the_policy_permits_and_nothing_else() {
    on_a_host(|lab, engine| {
        let script = format!(
            "reach() {{ echo $1: $(nc -w 2 $2 443 < /dev/null 2>&1 | head -n 1); }}
            reach before {ADDRESS}
            nslookup api.example.com | tail -n 2
            reach after {ADDRESS}
            reach elsewhere 203.0.113.66
            nslookup telemetry.example.com
            nc -w 2 $(sed -n 's/nameserver //p' /etc/resolv.conf) 22 < /dev/null && echo host reached
            cat /etc/resolv.conf
            exit 7"
        );
        let ran = output(cedarwall(lab, engine, &[], &["busybox", "sh", "-c", &script]));
        let said = text(&ran);
        assert_eq!(ran.status.code(), Some(7), "{said}");
        assert!(said.contains("after: hello"), "{said}");
        assert!(!said.contains("before: hello") && !said.contains("elsewhere: hello"), "{said}");
        assert!(said.contains("NXDOMAIN") && !said.contains("host reached"), "{said}");
        assert!(said.contains("nameserver 10.213.") && !said.contains("search"), "{said}");
        let (_, review) = said.split_once("--- standard error:").unwrap();
        assert!(review.contains("telemetry.example.com") && review.contains("api.example.com"), "{said}");
        assert!(review.contains("nslookup telemetry.example.com"), "the review names the process: {said}");
    });
}

#[test]
fn nothing_is_left_of_it() {
    on_a_host(|lab, engine| {
        let before = what_the_host_is(engine);
        let ran = output(cedarwall(lab, engine, &[], &["--name", "agent", "busybox", "true"]));
        assert!(ran.status.success(), "{}", text(&ran));
        assert_eq!(what_the_host_is(engine), before);
        let failed = output(cedarwall(lab, engine, &[], &["busybox", "/no/such/program"]));
        assert_eq!(failed.status.code(), Some(127), "{}", text(&failed));
        assert_eq!(what_the_host_is(engine), before);
    });
}

#[test]
fn nothing_is_left_of_it_after_kill_9() {
    on_a_host(|lab, engine| {
        let before = what_the_host_is(engine);
        let mut child = started(engine, cedarwall(lab, engine, &[], &["busybox", "sleep", "1000"]));
        assert_ne!(what_the_host_is(engine), before);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        eventually("a clean host", PATIENCE, || what_the_host_is(engine) == before);
    });
}

#[test]
fn a_signal_reaches_the_container_and_its_exit_code_comes_back() {
    on_a_host(|lab, engine| {
        let script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done";
        let child = started(engine, cedarwall(lab, engine, &[], &["busybox", "sh", "-c", script]));
        let container = running(engine).remove(0);
        eventually("the trap is set", PATIENCE, || engine.docker(&["logs", &container]).contains("up"));
        signal(&child, Signal::SIGTERM);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(5), "{}", text(&ended));
    });
}

#[test]
fn a_container_in_the_background_keeps_its_wall_until_it_ends() {
    on_a_host(|lab, engine| {
        let before = what_the_host_is(engine);
        let kept = engine.path("kept.jsonl");
        let arguments = ["--journal", kept.to_str().unwrap()];
        let ran = output(cedarwall(lab, engine, &arguments, &["-d", "--name", "agent", "busybox", "sleep", "1000"]));
        assert!(ran.status.success(), "{}", text(&ran));
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), running(engine)[0]);
        let inside = |script: &str| text(&engine.attempt(&["exec", "agent", "sh", "-c", script]));
        let reach = format!("nc -w 2 {ADDRESS} 443 < /dev/null");
        assert!(!inside(&reach).contains("hello"));
        assert!(inside("nslookup telemetry.example.com").contains("NXDOMAIN"));
        let said = inside(&format!("nslookup api.example.com; {reach}"));
        assert!(said.contains("hello"), "{said}");
        engine.docker(&["stop", "--time", "0", "agent"]);
        eventually("a clean host", PATIENCE, || what_the_host_is(engine) == before);
        assert!(fs::read_to_string(&kept).unwrap().contains("telemetry.example.com"));
    });
}

#[test]
fn two_at_once_have_a_wall_each() {
    on_a_host(|lab, engine| {
        let before = what_the_host_is(engine);
        let script = format!("nslookup api.example.com > /dev/null; nc -w 5 {ADDRESS} 443 < /dev/null");
        let both = [0, 1].map(|_| {
            let mut command = cedarwall(lab, engine, &[], &["busybox", "sh", "-c", &script]);
            thread::spawn(move || command.output().unwrap())
        });
        for ran in both {
            let ran = ran.join().unwrap();
            assert!(String::from_utf8_lossy(&ran.stdout).contains("hello"), "{}", text(&ran));
        }
        assert_eq!(what_the_host_is(engine), before);
    });
}

#[test]
fn what_would_break_the_wall_is_refused_before_anything_is_made() {
    on_a_host(|lab, engine| {
        let before = what_the_host_is(engine);
        let listener = UnixListener::bind(engine.path("a-program.sock")).unwrap();
        let folder = format!("{}:/folder", engine.path("").display());
        engine.docker(&["volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/run", "hidden"]);
        engine.docker(&["volume", "create", "plain"]);
        let socket = format!("{SOCKET}:/docker.sock");
        let breaking: [(&[&str], &str); 9] = [
            (&["--network", "host"], "the wall makes the container's network"),
            (&["--privileged"], "change the host's network"),
            (&["--cap-add", "NET_ADMIN"], "reaches beyond the container"),
            (&["-v", &socket], "/run is the host's own"),
            (&["-v", "/var/run/docker.sock:/docker.sock:ro"], "/run is the host's own"),
            (&["-v", &folder], "a-program.sock is a socket"),
            (&["--mount", "type=bind,src=/etc,dst=/host"], "add `:ro`"),
            (&["-v", "hidden:/hidden"], "any part of the host"),
            (&["--from-tomorrow"], "no option of `docker run` that Cedarwall knows"),
        ];
        for (arguments, reason) in breaking {
            let refused = output(cedarwall(lab, engine, &[], &[arguments, &["busybox", "true"]].concat()));
            let said = text(&refused);
            assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains(reason), "{arguments:?}: {said}");
        }
        assert_eq!(what_the_host_is(engine), before);
        drop(listener);
        let harmless = ["-v", "plain:/plain", "-v", "/etc/ssl:/ssl:ro", "-e", "A=b", "busybox", "sh", "-c", "echo $A"];
        let ran = output(cedarwall(lab, engine, &[], &harmless));
        assert!(text(&ran).starts_with("b\n"), "{}", text(&ran));
    });
}

/// Nobody can say whether the container is gone, so the wall is not.
#[test]
fn the_wall_stays_when_the_engine_cannot_be_asked() {
    on_a_host(|lab, engine| {
        let mut child = started(engine, cedarwall(lab, engine, &[], &["busybox", "sleep", "1000"]));
        let container = running(engine).remove(0);
        let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", &container]);
        let tables = || run("nft", &["list", "tables", "inet"]).lines().filter(|line| line.contains("_run_")).count();
        let daemons = || fs::read_dir("/run/cedarwall-run").map_or(0, Iterator::count);
        assert_eq!((tables(), daemons()), (1, 1));
        engine.kill();
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the janitor is done", PATIENCE, || daemons() == 0);
        assert_eq!(tables(), 1, "the wall stands without its daemon");
        assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "the container runs on");
        let within = |command: &[&str]| {
            let mut all = vec!["-t", pid.as_str(), "-n"];
            all.extend(command);
            Command::new("nsenter").args(all).output().unwrap()
        };
        let tried = within(&["busybox", "nc", "-w", "2", ADDRESS, "443"]);
        assert!(!String::from_utf8_lossy(&tried.stdout).contains("hello"), "{}", text(&tried));
        engine.restart();
    });
}
