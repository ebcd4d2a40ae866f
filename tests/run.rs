//! `cedarwall run`, the real program on the real kernel, on a host that is a
//! network and mount namespace made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{cannot, in_new_namespace, run};

const FORWARDING: &str = "/proc/sys/net/ipv4/conf/uplink/forwarding";

/// A host with an uplink and a default route, and a /run of its own.
fn on_a_host(test: impl FnOnce() + Send + 'static) {
    in_new_namespace(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            return cannot(&format!("make a mount namespace: {error}"));
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "beyond"]);
        for end in ["uplink", "beyond"] {
            // No address that the kernel would still be trying out.
            run("ip", &["link", "set", end, "addrgenmode", "none"]);
        }
        run("ip", &["link", "set", "beyond", "up"]);
        run("ip", &["address", "add", "192.0.2.2/24", "dev", "uplink"]);
        run("ip", &["link", "set", "uplink", "up"]);
        run("ip", &["route", "add", "default", "via", "192.0.2.1"]);
        wait_for_the_uplink();
        test();
    });
}

/// The kernel adds routes when the other end is up, in its own time.
fn wait_for_the_uplink() {
    wait_until("the uplink", || run("ip", &["-brief", "link", "show", "uplink"]).contains(" UP "));
}

fn cedarwall(command: &[&str]) -> Command {
    let mut cedarwall = Command::new(env!("CARGO_BIN_EXE_cedarwall"));
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/story");
    cedarwall.args(["run", "--policy", policy, "--catch-all-forbid", "default-deny", "--upstream", "192.0.2.53", "--"]);
    cedarwall.args(command).env_remove("SUDO_UID").stdin(Stdio::null());
    cedarwall
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}\n--- standard error:\n{err}")
}

/// All that a run changes on its host.
fn what_the_host_is() -> String {
    let sysctls = fs::read_to_string(FORWARDING).unwrap();
    let runtime: Vec<_> = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let links = run("ip", &["-brief", "link"]);
    let (routes, rules) = (run("ip", &["route", "show", "table", "all"]), run("nft", &["list", "ruleset"]));
    format!("{links}{routes}{rules}{sysctls}{runtime:?}")
}

/// Starts a command that says `up`, and waits until it does.
fn started(command: &mut Command) -> Child {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(FORWARDING).unwrap().trim() != "1" {
        assert!(Instant::now() < deadline, "the run does not get ready");
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(300));
    child
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come true");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_commands_exit_code_is_the_runs_own() {
    on_a_host(|| {
        let exited = output(&mut cedarwall(&["sh", "-c", "exit 7"]));
        assert_eq!(exited.status.code(), Some(7), "{}", text(&exited));
        let killed = output(&mut cedarwall(&["sh", "-c", "kill -9 $$"]));
        assert_eq!(killed.status.code(), Some(137), "{}", text(&killed));
        let missing = output(&mut cedarwall(&["/no/such/program"]));
        assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    });
}

#[test]
fn root_keeps_only_the_short_list_of_capabilities() {
    on_a_host(|| {
        let said = text(&output(&mut cedarwall(&["cat", "/proc/self/status"])));
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
        for line in ["CapEff:\t00000000000004fb", "CapPrm:\t00000000000004fb", "CapBnd:\t00000000000004fb"] {
            assert!(said.contains(line), "no {line:?} in\n{said}");
        }
        for line in
            ["CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "SigBlk:\t0000000000000000"]
        {
            assert!(said.contains(line), "no {line:?} in\n{said}");
        }
    });
}

/// What leads past every namespace without a packet: the machine we are a guest
/// of, a program that the kernel starts for a key, and sockets made by io_uring.
#[test]
fn the_kernels_side_doors_are_closed() {
    let (request_key, io_uring_setup) = (nix::libc::SYS_request_key, nix::libc::SYS_io_uring_setup);
    let script = format!(
        "use Errno; my ($type, $name) = (qq{{user\\0}}, qq{{none\\0}}); my $room = qq{{\\0}} x 120;
        socket(my $vsock, 40, 1, 0); print q{{vsock }}, $!{{EPERM}} ? q{{refused}} : $!, qq{{\\n}};
        $! = 0; syscall({request_key}, $type, $name, 0, 0); print q{{key }}, $!{{EPERM}} ? q{{refused}} : $!, qq{{\\n}};
        $! = 0; syscall({io_uring_setup}, 1, $room); print q{{ring }}, $!{{EPERM}} ? q{{refused}} : $!, qq{{\\n}};"
    );
    let refused = "vsock refused\nkey refused\nring refused\n";
    on_a_host(move || {
        let free = output(Command::new("perl").args(["-e", &script]));
        assert!(!text(&free).contains("key refused"), "{}", text(&free));
        let walled = output(&mut cedarwall(&["perl", "-e", &script]));
        assert!(text(&walled).starts_with(refused), "{}", text(&walled));
    });
}

#[test]
fn under_sudo_the_command_is_the_invoking_user_without_any_capability() {
    on_a_host(|| {
        let mut command = cedarwall(&["cat", "/proc/self/status"]);
        let said = text(&output(command.env("SUDO_UID", "65534").env("SUDO_GID", "65534")));
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
        ] {
            assert!(said.contains(line), "no {line:?} in\n{said}");
        }
    });
}

#[test]
fn nothing_is_left_after_the_command_ends() {
    on_a_host(|| {
        let before = what_the_host_is();
        let finished = output(&mut cedarwall(&["sh", "-c", "sleep 1000 & exit 0"]));
        assert!(finished.status.success(), "{}", text(&finished));
        assert_eq!(what_the_host_is(), before);
    });
}

#[test]
fn nothing_is_left_after_kill_9() {
    on_a_host(|| {
        let before = what_the_host_is();
        let mut child = started(&mut cedarwall(&["sleep", "1000"]));
        assert_ne!(what_the_host_is(), before);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        wait_until("a clean host", || what_the_host_is() == before);
    });
}

#[test]
fn one_run_does_not_turn_off_the_forwarding_of_another() {
    on_a_host(|| {
        let before = what_the_host_is();
        let mut long = started(&mut cedarwall(&["sleep", "1000"]));
        let short = output(&mut cedarwall(&["true"]));
        assert!(short.status.success(), "{}", text(&short));
        assert_eq!(fs::read_to_string(FORWARDING).unwrap().trim(), "1");
        kill(Pid::from_raw(i32::try_from(long.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(long.wait().unwrap().code(), Some(143), "SIGTERM reaches the command");
        assert_eq!(what_the_host_is(), before);
    });
}

#[test]
fn a_denied_name_fails_at_once_and_the_summary_says_so() {
    on_a_host(|| {
        let script = "date +%s; getent ahosts telemetry.example.com; code=$?; date +%s; exit $code";
        let denied = output(&mut cedarwall(&["sh", "-c", script]));
        let said = text(&denied);
        assert_eq!(denied.status.code(), Some(2), "{said}");
        let seconds: Vec<u64> = said.lines().map_while(|line| line.parse().ok()).collect();
        // A resolver that hears nothing waits for five.
        assert!(matches!(seconds[..], [before, after] if after - before < 4), "{said}");
        assert!(said.contains("denied    telemetry.example.com"), "{said}");
    });
}

/// G12. Paths below /run are covered, the wall's address takes DNS only, and
/// what is written into /proc/sys or /sys is refused.
#[test]
fn the_control_socket_and_the_kernels_switches_are_out_of_reach() {
    on_a_host(|| {
        fs::write("/run/a-socket-of-the-host", "").unwrap();
        let script = "ls -A /run; wall=$(sed -n 's/^nameserver //p' /etc/resolv.conf); \
            timeout 1 bash -c \"echo > /dev/tcp/$wall/53\" && echo dns reached; \
            timeout 1 bash -c \"echo > /dev/tcp/$wall/9177\" && echo control reached; \
            echo 1 > /proc/sys/net/ipv4/ip_forward && echo sysctl written; \
            mount -t tmpfs none /mnt && echo mounted; umount /run && echo uncovered; \
            nft list ruleset && echo rules read; true";
        let said = text(&output(&mut cedarwall(&["bash", "-c", script])));
        assert!(said.contains("dns reached"), "{said}");
        for breach in [
            "a-socket-of-the-host",
            "cedarwall-run",
            "control reached",
            "sysctl written",
            "mounted",
            "uncovered",
            "rules read",
        ] {
            assert!(!said.lines().any(|line| line == breach), "{breach}:\n{said}");
        }
    });
}

#[test]
fn a_denial_names_the_process_and_its_ancestors_up_to_the_command() {
    on_a_host(|| {
        let kept = "/run/kept.jsonl";
        let script = "sh -c 'getent hosts blocked.example.net; true'; true";
        let mut command = Command::new(env!("CARGO_BIN_EXE_cedarwall"));
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/story");
        command.args(["run", "--policy", policy, "--catch-all-forbid", "default-deny", "--upstream", "192.0.2.53"]);
        command.args(["--journal", kept, "--", "bash", "-c", script, "the-command"]).env_remove("SUDO_UID");
        let ran = output(command.stdin(Stdio::null()));
        let journal = fs::read_to_string(kept).unwrap_or_else(|_| panic!("{}", text(&ran)));
        let events = journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let denied = events.into_iter().find(|event| event["hostname"] == "blocked.example.net").unwrap();
        let asker = &denied["process"];
        assert_eq!(asker["cmd_line"], "getent hosts blocked.example.net", "{denied:#}");
        let (shell, first) = (&asker["parent_process"], &asker["parent_process"]["parent_process"]);
        assert_eq!(shell["name"], "sh", "{denied:#}");
        assert!(first["cmd_line"].as_str().unwrap().ends_with("the-command"), "{denied:#}");
        assert!(first["parent_process"].is_null(), "{denied:#}");
    });
}

/// The demo's internet, beyond the uplink.
fn internet() -> Child {
    let inside = |arguments: &[&str]| run("ip", &[["-n", "internet"].as_slice(), arguments].concat());
    run("ip", &["netns", "add", "internet"]);
    run("ip", &["link", "set", "beyond", "netns", "internet"]);
    run("ip", &["address", "add", "2001:db8:ffff::2/64", "dev", "uplink", "nodad"]);
    run("ip", &["route", "add", "default", "via", "2001:db8:ffff::1"]);
    inside(&["link", "set", "lo", "up"]);
    inside(&["link", "set", "beyond", "up"]);
    inside(&["address", "add", "192.0.2.1/24", "dev", "beyond"]);
    inside(&["address", "add", "2001:db8:ffff::1/64", "dev", "beyond", "nodad"]);
    for number in [10, 20, 66, 53, 99] {
        inside(&["address", "add", &format!("203.0.113.{number}/32"), "dev", "lo"]);
        inside(&["address", "add", &format!("2001:db8::{number:x}/128"), "dev", "lo", "nodad"]);
    }
    fs::create_dir("/run/demo").unwrap();
    fs::write("/run/demo/package", "the package").unwrap();
    let child = Command::new("ip")
        .args(["netns", "exec", "internet", env!("CARGO_BIN_EXE_cedarwall"), "demo-internet", "/run/demo/package"])
        .spawn()
        .unwrap();
    wait_until("the internet", || fs::exists("/run/demo/internet.ready").unwrap());
    wait_for_the_uplink();
    child
}

/// The client's own addresses have no route back from there: what comes back
/// was translated and forwarded.
#[test]
fn a_permitted_name_is_reached_over_ipv4_and_ipv6_and_forwarding_is_off_again() {
    on_a_host(|| {
        let mut internet = internet();
        let before = what_the_host_is();
        let ipv6_forwarding = || fs::read_to_string("/proc/sys/net/ipv6/conf/uplink/force_forwarding").ok();
        let ipv6_before = ipv6_forwarding();
        let mut families = vec!["-4"];
        // Without this switch IPv6 would take making the whole host a router.
        if ipv6_before.is_some() {
            families.push("-6");
        }
        for family in families {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cedarwall"));
            let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/story");
            command.args([
                "run",
                "--policy",
                policy,
                "--catch-all-forbid",
                "default-deny",
                "--upstream",
                "203.0.113.53",
            ]);
            command.args([
                "--allow-range",
                "203.0.113.0/24",
                "--allow-range",
                "2001:db8::/32",
                "--",
                "curl",
                "-sS",
                "-m",
                "5",
            ]);
            let url = "http://registry.example.com:443/left-pad-1.0.0.tgz";
            let fetched = output(command.args([family, url]).env_remove("SUDO_UID"));
            assert!(text(&fetched).starts_with("the package"), "{family}: {}", text(&fetched));
        }
        internet.kill().unwrap();
        internet.wait().unwrap();
        assert_eq!(what_the_host_is(), before);
        assert_eq!(ipv6_forwarding(), ipv6_before);
    });
}
