//! `cedarwall run` by a user who is not root, on a host that is a network and
//! mount namespace made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::lab::eventually;
use support::{cannot, in_new_namespace, run};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both programs that carry packets.
const UPLINKS: [&str; 2] = ["pasta", "slirp4netns"];

/// A host with an uplink to an internet, and a user nobody else is.
struct Host {
    user: u32,
    _internet: Ending,
}

/// Each test has a user of its own, so that their processes are told apart.
static USERS: AtomicU32 = AtomicU32::new(0);

/// Where the tests keep what the user can read: nothing of it is below /run.
const PLACE: &str = "/opt";

fn on_a_host(test: impl FnOnce(&Host) + Send + 'static) {
    in_new_namespace(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            return cannot(&format!("make a mount namespace: {error}"));
        }
        for program in UPLINKS {
            if !Path::new("/usr/bin").join(program).exists() {
                return cannot(&format!("find {program}; on Debian: apt-get install passt slirp4netns"));
            }
        }
        // Two test programs may run at once.
        let user = 200_000 + std::process::id() % 1000 * 20 + USERS.fetch_add(1, Ordering::SeqCst);
        furnish(user);
        test(&Host { user, _internet: internet() });
    });
}

fn furnish(user: u32) {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for path in ["/run", PLACE, "/dev/net"] {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    }
    // As udev makes it; here it may be root's alone.
    run("mknod", &["-m", "666", "/dev/net/tun", "c", "10", "200"]);
    fs::write("/opt/cedarwall", "").unwrap();
    mount(Some(env!("CARGO_BIN_EXE_cedarwall")), "/opt/cedarwall", none, MsFlags::MS_BIND, none).unwrap();
    for folder in ["/opt/home", "/opt/policies"] {
        fs::create_dir(folder).unwrap();
        chown(folder, Some(user), Some(user)).unwrap();
    }
    write_policy(user, r#"resource == Resource::"registry.example.com:443""#);
    resolvers(&["203.0.113.53"]);

    run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "beyond"]);
    run("ip", &["address", "add", "192.0.2.2/24", "dev", "uplink"]);
    run("ip", &["address", "add", "2001:db8:ffff::2/64", "dev", "uplink", "nodad"]);
    run("ip", &["link", "set", "uplink", "up"]);
    run("ip", &["route", "add", "default", "via", "192.0.2.1"]);
    run("ip", &["route", "add", "default", "via", "2001:db8:ffff::1"]);
}

fn write_policy(user: u32, condition: &str) {
    let policy = format!("permit(principal == Agent::\"claude\", action == Action::\"net.connect\", {condition});\n");
    fs::write("/opt/policies/wall.cedar", policy).unwrap();
    chown("/opt/policies/wall.cedar", Some(user), Some(user)).unwrap();
}

/// Has the host's resolv.conf name these.
fn resolvers(addresses: &[&str]) {
    let text: String = addresses.iter().map(|address| format!("nameserver {address}\n")).collect();
    fs::write("/opt/resolv.conf", text).unwrap();
    let none = None::<&str>;
    mount(Some("/opt/resolv.conf"), "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
}

/// The demo's internet, beyond the uplink.
fn internet() -> Ending {
    let inside = |arguments: &[&str]| run("ip", &[["-n", "internet"].as_slice(), arguments].concat());
    run("ip", &["netns", "add", "internet"]);
    run("ip", &["link", "set", "beyond", "netns", "internet"]);
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
        .spawn();
    let child = Ending(child.unwrap());
    eventually("the internet", PATIENCE, || fs::exists("/run/demo/internet.ready").unwrap());
    eventually("the uplink", PATIENCE, || run("ip", &["-brief", "link", "show", "uplink"]).contains(" UP "));
    // pasta carries IPv6 for a host that has one, and it comes in its own time.
    eventually("a link-local address", PATIENCE, || {
        let address = run("ip", &["-6", "address", "show", "dev", "uplink", "scope", "link"]);
        address.contains("fe80::") && !address.contains("tentative")
    });
    child
}

/// What says that it runs, and goes on.
const KEEPS_RUNNING: [&str; 3] = ["sh", "-c", "> /opt/home/up; exec sleep 1000"];

/// Where it says so.
const UP: &str = "/opt/home/up";

/// Has the host lack a program.
fn take_away(program: &str) {
    let path = Path::new("/usr/bin").join(program);
    let none = None::<&str>;
    mount(Some("/dev/null"), &path, none, MsFlags::MS_BIND, none).unwrap();
}

impl Host {
    /// A program run by the user, with the `PATH` that Debian gives users.
    fn user(&self, program: &str) -> Command {
        let user = self.user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", program]);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/opt/home").env_remove("SUDO_UID");
        command.current_dir("/opt/home").stdin(Stdio::null());
        command
    }

    fn cedarwall(&self, options: &[&str], command: &[&str]) -> Command {
        let mut cedarwall = self.user("/opt/cedarwall");
        cedarwall.args(["run", "--policy", "/opt/policies", "--allow-range", "203.0.113.0/24"]);
        cedarwall.args(["--allow-range", "2001:db8::/32"]).args(options).arg("--").args(command);
        cedarwall
    }

    /// What the user's processes are called.
    fn processes(&self) -> Vec<String> {
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let theirs = entries.filter(|path| {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            status.contains(&format!("\nUid:\t{}\t", self.user))
        });
        theirs.filter_map(|path| fs::read_to_string(path.join("comm")).ok()).collect()
    }

    fn has_no_process(&self) {
        eventually("the end of all processes", PATIENCE, || self.processes().is_empty());
    }
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}\n--- standard error:\n{err}")
}

/// All that a run by root changes on its host.
fn what_the_host_is() -> String {
    let runtime: Vec<_> = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let (links, rules) = (run("ip", &["-brief", "link"]), run("nft", &["list", "ruleset"]));
    let forwarding = fs::read_to_string("/proc/sys/net/ipv4/conf/uplink/forwarding").unwrap();
    format!("{links}{}{rules}{forwarding}{runtime:?}", run("ip", &["route", "show", "table", "all"]))
}

/// A program that ends with its test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command that makes this file, and waits until it has.
fn started(command: &mut Command, file: &str) -> Ending {
    let child = Ending(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("a command that runs", PATIENCE, || Path::new(file).exists());
    child
}

#[test]
fn the_command_is_its_user_without_any_capability_and_its_exit_code_is_the_runs_own() {
    on_a_host(|host| {
        let said = output(&mut host.cedarwall(&[], &["sh", "-c", "cat /proc/self/status; exit 7"]));
        assert_eq!(said.status.code(), Some(7), "{}", text(&said));
        let (said, user) = (text(&said), host.user);
        for line in [
            &format!("Uid:\t{user}\t{user}\t{user}\t{user}"),
            &format!("Gid:\t{user}\t{user}\t{user}\t{user}"),
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "SigBlk:\t0000000000000000",
        ] {
            assert!(said.contains(line), "no {line:?} in\n{said}");
        }
        let missing = output(&mut host.cedarwall(&[], &["/no/such/program"]));
        assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
        assert!(text(&missing).contains("/no/such/program"), "{}", text(&missing));
        host.has_no_process();
    });
}

fn a_permitted_name_is_reached_and_nothing_else(uplink: &'static str) {
    on_a_host(move |host| {
        UPLINKS.into_iter().filter(|other| *other != uplink).for_each(take_away);
        for family in ["-4", "-6"] {
            let script = format!(
                "curl {family} -sS -m 20 http://registry.example.com:443/left-pad-1.0.0.tgz; echo; \
                 curl {family} -sS -m 20 http://telemetry.example.com:443/ && echo telemetry reached; \
                 curl -sS -m 1 http://203.0.113.66:443/ && echo its address reached; \
                 curl -g -sS -m 1 'http://[2001:db8::66]:443/' && echo its IPv6 address reached; \
                 getent ahosts blocked.example.net"
            );
            let said = text(&output(&mut host.cedarwall(&[], &["sh", "-c", &script])));
            assert!(said.starts_with("the package\n"), "{uplink} {family}: {said}");
            assert!(!said.contains("reached\n"), "{uplink} {family}: {said}");
            assert!(said.contains("denied    telemetry.example.com"), "{uplink} {family}: {said}");
            assert!(said.contains("denied    blocked.example.net"), "{uplink} {family}: {said}");
        }
        host.has_no_process();
    });
}

/// The client's own addresses have no route back from there, over IPv4 and IPv6.
#[test]
fn a_permitted_name_is_reached_and_nothing_else_by_pasta() {
    a_permitted_name_is_reached_and_nothing_else("pasta");
}

#[test]
fn a_permitted_name_is_reached_and_nothing_else_by_slirp4netns() {
    a_permitted_name_is_reached_and_nothing_else("slirp4netns");
}

/// A server on the host that says `secret` to whoever connects.
fn secret(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"secret\n");
        }
    });
}

/// By default pasta and slirp4netns lead from the gateway's address to the
/// host's loopback, and any address of the host leads to what listens there.
/// The policy permits them all, as it may by mistake or by a range.
fn the_host_itself_is_out_of_reach(uplink: &'static str) {
    on_a_host(move |host| {
        UPLINKS.into_iter().filter(|other| *other != uplink).for_each(take_away);
        run("ip", &["address", "add", "198.51.100.7/32", "dev", "lo"]);
        for address in
            ["127.0.0.1:8080", "[::1]:8080", "192.0.2.2:8081", "198.51.100.7:8081", "[2001:db8:ffff::2]:8081"]
        {
            secret(address);
        }
        fs::write(
            "/opt/policies/wall.cedar",
            ["0.0.0.0/0:8080", "0.0.0.0/0:8081", "[2000::/3]:8080", "[2000::/3]:8081", "[fc00::/6]:8080"]
                .map(|range| {
                    format!(
                        "permit(principal == Agent::\"claude\", action == Action::\"net.connect\", \
                         resource == Resource::\"{range}\");\n"
                    )
                })
                .concat(),
        )
        .unwrap();
        let script = r#"
            wall=$(sed -n 's/^nameserver //p' /etc/resolv.conf)
            try() { timeout 2 bash -c "cat < /dev/tcp/$1/$2" 2> /dev/null; }
            for host in 192.0.2.1 192.0.2.2 198.51.100.7 10.0.2.2 10.0.2.3 127.0.0.1 0.0.0.0 $wall \
                        2001:db8:ffff::1 2001:db8:ffff::2 fd00::2 fe80::2 ::1; do
                for port in 8080 8081; do try $host $port && echo "at $host $port"; done
            done
            echo tried"#;
        let said = text(&output(&mut host.cedarwall(&[], &["bash", "-c", script])));
        assert!(said.contains("tried\n"), "{uplink}: {said}");
        assert!(!said.contains("secret"), "{uplink}: {said}");
    });
}

#[test]
fn the_host_itself_is_out_of_reach_by_pasta() {
    the_host_itself_is_out_of_reach("pasta");
}

#[test]
fn the_host_itself_is_out_of_reach_by_slirp4netns() {
    the_host_itself_is_out_of_reach("slirp4netns");
}

/// Tries what a process can do to others of its user, and to the namespaces
/// around it. Prints a line for each attempt that comes off. `/opt/proc` shows
/// every process of the host, as a procfs that somebody left mounted would.
/// `$host_user` is the user; `$walled` is set behind a wall.
const ATTACKS: &str = r#"
came_off() { echo "CAME OFF: $*"; }
# A way out of whatever network we are in.
leads_out() { "$@" timeout 2 bash -c 'exec 3<> /dev/tcp/203.0.113.66/443' 2> /dev/null; }

leads_out env && came_off direct connection
for folder in /opt/proc/[0-9]*; do
    grep -q "^Uid:.$host_user" $folder/status 2> /dev/null || continue
    name=$(cat $folder/comm 2> /dev/null)
    case $name in cedarwall|exe|janitor|pasta*|slirp4netns|sleep) ;; *) continue ;; esac
    # Our own init can do no more than we.
    [ "$walled" ] && [ "$(readlink $folder/ns/pid)" = "$(readlink /proc/self/ns/pid)" ] && continue
    ls $folder/root/ > /dev/null 2>&1 && came_off root of $name
    [ -n "$(readlink $folder/fd/0 $folder/fd/1 $folder/fd/2 2> /dev/null)" ] && came_off files of $name
    ls $folder/cwd/ > /dev/null 2>&1 && came_off folder of $name
    head -c 1 $folder/environ > /dev/null 2>&1 && came_off environment of $name
    ( exec 3<> $folder/mem ) 2> /dev/null && came_off memory of $name
    for kind in net user mnt pid ipc; do
        ( exec 3< $folder/ns/$kind ) 2> /dev/null && came_off namespace $kind of $name
    done
    leads_out nsenter --net=$folder/ns/net && came_off network of $name
    leads_out nsenter --user=$folder/ns/user --net=$folder/ns/net --preserve-credentials &&
        came_off user namespace and network of $name
    leads_out unshare --user --map-root-user nsenter --net=$folder/ns/net && came_off network of $name from a new one
    # By its number, which means the same in its own PID namespace alone.
    pid=${folder##*/}
    if [ "$(cat /proc/$pid/comm 2> /dev/null)" = "$name" ]; then
        came_off sight of $name
        kill -0 $pid 2> /dev/null && came_off signal to $name
        timeout 1 strace -p $pid 2>&1 | grep -q attached && came_off trace of $name
    fi
done

# The namespaces around us, with and without a user namespace of our own.
for with in "env" "unshare --user --map-root-user" "unshare --user --map-root-user --mount"; do
    $with nft list ruleset > /dev/null 2>&1 && came_off rules read with $with
    $with ip link set eth0 down 2> /dev/null && came_off link changed with $with
    $with ip address add 192.0.2.77/24 dev eth0 2> /dev/null && came_off address added with $with
    $with sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward' 2> /dev/null && came_off switch turned with $with
    $with umount /run 2> /dev/null && came_off /run uncovered with $with
    $with umount --lazy /run 2> /dev/null && came_off /run uncovered lazily with $with
    $with umount --lazy /proc 2> /dev/null && came_off /proc uncovered with $with
    $with umount --lazy /etc/resolv.conf 2> /dev/null && came_off resolv.conf uncovered with $with
    $with sh -c 'mkdir -p /opt/home/below && mount --bind / /opt/home/below && ls /opt/home/below/run/demo' \
        > /dev/null 2>&1 && came_off /run seen from below with $with
    $with nsenter --net=/run/netns/internet true 2> /dev/null && came_off named namespace with $with
    leads_out $with && came_off direct connection with $with
done
find /run -type s 2> /dev/null | grep -q . && came_off socket below /run
ls /run | grep -q demo && came_off the /run of the host
( echo 0 $host_user 1 > /proc/self/uid_map ) 2> /dev/null && came_off numbers mapped anew
setpriv --reuid 0 true 2> /dev/null && came_off another user
echo tried
"#;

#[test]
fn no_process_and_no_namespace_of_the_wall_is_within_the_commands_reach() {
    on_a_host(|host| {
        fs::create_dir("/opt/proc").unwrap();
        mount(Some("proc"), "/opt/proc", Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
        fs::write("/opt/free", format!("host_user={}\n{ATTACKS}", host.user)).unwrap();
        fs::write("/opt/walled", format!("walled=yes\nhost_user={}\n{ATTACKS}", host.user)).unwrap();
        // A process of the same user, with a way out.
        let bystander = Ending(host.user("sleep").arg("1000").spawn().unwrap());
        // The wall of another run of theirs.
        let other = started(&mut host.cedarwall(&[], &KEEPS_RUNNING), UP);

        // Without a wall they come off: they are worth something.
        let free = text(&output(host.user("bash").arg("/opt/free")));
        for attempt in [
            "direct connection",
            "root of exe",
            "memory of exe",
            "user namespace and network of exe",
            "namespace net of sleep",
            "signal to sleep",
            "trace of sleep",
            "the /run of the host",
        ] {
            assert!(free.contains(&format!("CAME OFF: {attempt}")), "{attempt} in\n{free}");
        }

        let walled = text(&output(&mut host.cedarwall(&[], &["bash", "/opt/walled"])));
        assert!(walled.starts_with("tried\n"), "{walled}\n--- without the wall:\n{free}");
        drop((other, bystander));
        host.has_no_process();
    });
}

#[test]
fn nothing_is_made_on_the_host_and_nothing_is_left_after_kill_9() {
    on_a_host(|host| {
        let before = what_the_host_is();
        let mut run = started(&mut host.cedarwall(&[], &KEEPS_RUNNING), UP);
        assert_eq!(what_the_host_is(), before);
        assert!(host.processes().len() > 4, "{:?}", host.processes());
        run.0.kill().unwrap();
        assert_eq!(run.0.wait().unwrap().signal(), Some(9));
        host.has_no_process();
        assert_eq!(what_the_host_is(), before);
    });
}

/// The command's process group is the run's, and a signal to it asks nobody for
/// a number.
#[test]
fn a_command_that_kills_all_it_can_ends_with_the_wall() {
    on_a_host(|host| {
        for signal in ["KILL", "TERM"] {
            let script =
                format!("curl -s -m 1 http://203.0.113.66:443/ && echo out; kill -{signal} 0; kill -{signal} -1");
            // Or the test would be among those it kills.
            let ended = output(host.cedarwall(&[], &["sh", "-c", &script]).process_group(0));
            assert!(!ended.status.success(), "{}", text(&ended));
            assert!(!text(&ended).contains("out\n"), "{}", text(&ended));
            host.has_no_process();
        }
    });
}

#[test]
fn a_signal_to_the_run_reaches_the_command() {
    on_a_host(|host| {
        let mut run = started(&mut host.cedarwall(&[], &KEEPS_RUNNING), UP);
        // The run passes signals on once it knows that the command has started.
        eventually("an ended run", PATIENCE, || {
            kill(Pid::from_raw(i32::try_from(run.0.id()).unwrap()), Signal::SIGTERM).unwrap();
            run.0.try_wait().unwrap().is_some()
        });
        let status = run.0.wait().unwrap();
        assert!(status.code() == Some(143) || status.signal() == Some(15), "{status:?}");
        host.has_no_process();
    });
}

#[test]
fn a_denial_names_its_process_and_the_journal_is_kept() {
    on_a_host(|host| {
        // A busy machine may be too slow to name each one.
        let script = "for try in $(seq 30); do sh -c 'getent hosts blocked.example.net; true'; done
                      curl -sm1 http://203.0.113.66:443/; true";
        let ran = output(&mut host.cedarwall(&["--journal", "kept.jsonl"], &["bash", "-c", script, "the-command"]));
        let journal = fs::read_to_string("/opt/home/kept.jsonl").unwrap_or_else(|_| panic!("{}", text(&ran)));
        assert_eq!(fs::metadata("/opt/home/kept.jsonl").unwrap().uid(), host.user);
        let events: Vec<serde_json::Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let is_named = |event: &&serde_json::Value| {
            event["hostname"] == "blocked.example.net"
                && event["process"]["cmd_line"] == "getent hosts blocked.example.net"
        };
        let denied = events.iter().find(is_named).expect(&journal);
        let first = &denied["process"]["parent_process"]["parent_process"];
        assert!(first["cmd_line"].as_str().unwrap().ends_with("the-command"), "{denied:#}");
        // What the kernel refused without a question is told, too: the
        // netfilter log works in here.
        let packet = events.iter().find(|event| event["address"] == "203.0.113.66").expect(&journal);
        assert!(packet["event"].as_str().unwrap().starts_with("packet."), "{packet:#}");
    });
}

/// The policy is a file of the user's, and so the command can write it.
#[test]
fn a_policy_that_the_command_rewrites_opens_nothing() {
    on_a_host(|host| {
        let script = "
            sed -i 's/registry/telemetry/' /opt/policies/wall.cedar
            grep -q telemetry /opt/policies/wall.cedar && echo rewritten
            for second in 1 2 3 4; do
                curl -sS -m 5 http://telemetry.example.com:443/ && echo out
                sleep 1
            done
            curl -sS -m 20 http://registry.example.com:443/left-pad-1.0.0.tgz";
        let said = text(&output(&mut host.cedarwall(&[], &["sh", "-c", script])));
        assert!(said.starts_with("rewritten\n") && said.contains("the package"), "{said}");
        assert!(!said.contains("out\n") && !said.contains("thank you"), "{said}");
    });
}

/// A resolver on the host's loopback, as systemd-resolved is: it passes
/// questions to the internet's.
fn resolver_on_loopback() {
    let relay = UdpSocket::bind("127.0.0.53:53").unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, asker)) = relay.recv_from(&mut buffer) {
            let way = UdpSocket::bind("0.0.0.0:0").unwrap();
            way.set_read_timeout(Some(PATIENCE)).unwrap();
            way.send_to(&buffer[..length], "203.0.113.53:53").unwrap();
            let length = way.recv(&mut buffer).unwrap();
            relay.send_to(&buffer[..length], asker).unwrap();
        }
    });
}

#[test]
fn a_resolver_on_the_hosts_loopback_answers_the_wall_and_not_the_command() {
    on_a_host(|host| {
        resolvers(&["127.0.0.53"]);
        resolver_on_loopback();
        let script = "curl -sS -m 20 http://registry.example.com:443/left-pad-1.0.0.tgz; echo; \
                      for port in 1 2 3 53; do timeout 1 bash -c \"cat < /dev/tcp/127.0.0.$port/53\" && echo open; done; \
                      sed -n 's/^nameserver //p' /etc/resolv.conf";
        let said = text(&output(&mut host.cedarwall(&[], &["bash", "-c", script])));
        assert!(said.starts_with("the package\n"), "{said}");
        assert!(!said.contains("open\n"), "{said}");
        assert!(!said.contains("\n127.0.0."), "{said}");
    });
}

/// Never an unwalled command, and always what to do.
#[test]
fn what_is_missing_is_named_and_nothing_is_run() {
    on_a_host(|host| {
        let refused = |command: &mut Command, words: &[&str]| {
            let refused = output(command);
            assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
            for word in words {
                assert!(text(&refused).contains(word), "no {word:?} in {}", text(&refused));
            }
            assert!(!Path::new("/opt/home/ran").exists(), "{}", text(&refused));
            host.has_no_process();
        };
        let touch = ["touch", "/opt/home/ran"];

        // As root of a user namespace that may have no more of them.
        let mut none = Command::new("unshare");
        none.args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-c"]);
        none.arg(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all \
             /opt/cedarwall run --policy /opt/policies --upstream 203.0.113.53 touch /opt/home/ran",
        );
        refused(
            none.stdin(Stdio::null()),
            &["user namespace", "sysctl -w user.max_user_namespaces=", "sudo cedarwall run"],
        );

        fs::create_dir("/run/policies").unwrap();
        fs::copy("/opt/policies/wall.cedar", "/run/policies/wall.cedar").unwrap();
        let mut hidden = host.user("/opt/cedarwall");
        refused(hidden.args(["run", "--policy", "/run/policies"]).args(touch), &["/run/policies", "keep it elsewhere"]);

        fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(0o600)).unwrap();
        refused(&mut host.cedarwall(&[], &touch), &["/dev/net/tun", "modprobe tun", "sudo cedarwall run"]);
        fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(0o666)).unwrap();

        run("ip", &["route", "delete", "default"]);
        run("ip", &["-6", "route", "delete", "default"]);
        refused(&mut host.cedarwall(&[], &touch), &["`pasta` does not carry the wall's packets"]);

        UPLINKS.into_iter().for_each(take_away);
        refused(&mut host.cedarwall(&[], &touch), &["apt install passt", "sudo cedarwall run"]);
    });
}
