//! The battery of `tests/battery/` against a wall: a container to run it in,
//! sinks where its packets would arrive, and the judgement of what did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, Record, RecordType};
use serde_json::Value;

use super::lab::{Lab, Process, UPSTREAM, eventually, greeter};
use super::run;
use super::upstream::{Asked, Upstream, address, address_of, alias, answer, wire};

/// Docker's default capabilities.
const CAPABILITIES: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,\
    +setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";

/// The policy of every wall here: what the scripts of [`internet`] answer.
pub const POLICY: &str = r#"
@id("scripted")
permit(principal, action == Action::"net.connect", resource) when {
    context.port == 443 && context.protocol == Protocol::"tcp" &&
    ["api.example.com", "other.example.com", "short.example.com", "zero.example.com", "many.example.com",
     "rebind.example.com", "alias.example.com", "beside.example.com", "forge.example.com"].contains(context.host)
};
@id("no-tracking")
forbid(principal, action == Action::"net.connect", resource in Domain::"tracking.example.net");
"#;

/// Leases as short as they can be.
pub const LEASE: &str = "min = \"1s\"\ngrace = \"1s\"";

/// Where the permitted names live.
const PERMITTED: [&str; 5] = ["203.0.113.7", "2001:db8:2::7", "203.0.113.30", "203.0.113.31", "203.0.113.32"];

/// What the battery is aimed at in the laboratory, but for where DNS is asked.
const AIM: &str = "--interface eth0 --target 203.0.113.9 --target 2001:db8:2::9 --resolver 198.51.100.54 \
    --resolver 2001:db8:2::53 --elsewhere 169.254.169.254 --elsewhere fd00:ec2::254 --elsewhere 64:ff9b::cb00:7109 \
    --upstream 198.51.100.53:53 --host 10.77.0.1 --host fd77::1 --host 198.51.100.1 --host 2001:db8:1::1 \
    --host 10.77.1.1 --lease-of-other 203.0.113.8:443 --lease-of-other [2001:db8:2::8]:443 \
    --refused 203.0.113.66:443 --refused 203.0.113.67:443 --permitted api.example.com:443 --scripted example.com \
    --denied sink.example.net --user 65353 --user 5353";

/// As whom the battery runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Root with Docker's default capabilities.
    Root,
    /// An ordinary user.
    User,
}

/// The program, built as one static file.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("target/battery");
        // Where its configuration is found, which links it statically.
        let mut build = Command::new(env!("CARGO"));
        build
            .current_dir(root.join("tests/battery"))
            .args(["build", "--locked", "--quiet"])
            .arg("--target-dir")
            .arg(&folder);
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_TARGET_DIR"] {
            build.env_remove(variable);
        }
        assert!(build.status().expect("cargo").success(), "the battery is built");
        folder.join("debug/battery")
    })
}

/// The internet of the battery: an upstream server that answers names as they
/// are called, servers that greet, and routes to where nobody should get.
pub fn internet() -> Upstream {
    run(
        "sh",
        &[
            "-c",
            "
        set -e
        for address in 169.254.169.254/32; do
            ip -n internet route add local $address dev lo; ip route add $address via 198.51.100.10
        done
        for address in fd00:ec2::254/128 64:ff9b::/96; do
            ip -n internet route add local $address dev lo; ip route add $address via 2001:db8:1::10
        done
        # As the host of a container engine does, whose containers inherit it.
        ip netns exec agent sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
        ",
        ],
    );
    for port in [80, 443, 853] {
        greeter(port);
    }
    Upstream::start(UPSTREAM, scripted)
}

fn scripted(asked: &Asked, query: &Message) -> Option<Vec<u8>> {
    let label = asked.name.strip_suffix(".example.com").unwrap_or_default();
    let records = match asked.kind {
        RecordType::A => of_ipv4(label, query),
        RecordType::AAAA => of_ipv6(label, query),
        _ => Vec::new(),
    };
    let mut message = answer(query, records);
    if label == "many" && !asked.over_tcp {
        // 200 addresses do not fit into a datagram (RFC 7766).
        message.answers.clear();
        message.metadata.truncation = true;
    }
    wire(&message)
}

fn of_ipv4(label: &str, query: &Message) -> Vec<Record> {
    let name = |text: &str| Name::from_ascii(text).expect("a name");
    match label {
        "api" => vec![address(query, 300, "203.0.113.7")],
        "other" => vec![address(query, 300, "203.0.113.8")],
        "short" => vec![address(query, 1, "203.0.113.30")],
        "zero" => vec![address(query, 0, "203.0.113.31")],
        "many" => (1..=200).map(|number| address(query, 300, &format!("100.70.1.{number}"))).collect(),
        "rebind" => ["10.77.0.1", "10.77.1.2", "127.0.0.1", "169.254.169.254", "198.51.100.1"]
            .map(|private| address(query, 300, private))
            .into(),
        "alias" => vec![
            alias(query.queries[0].name().clone(), 300, "x.tracking.example.net."),
            address_of(name("x.tracking.example.net."), 300, "203.0.113.66"),
        ],
        "beside" => {
            vec![address(query, 300, "203.0.113.32"), address_of(name("victim.example.com."), 300, "203.0.113.67")]
        }
        "forge" => {
            // Slow, so that somebody else may be faster.
            thread::sleep(Duration::from_millis(1200));
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn of_ipv6(label: &str, query: &Message) -> Vec<Record> {
    match label {
        "api" => vec![address(query, 300, "2001:db8:2::7")],
        "other" => vec![address(query, 300, "2001:db8:2::8")],
        "rebind" => {
            ["fd77::1", "fd77:1::2", "::1", "::ffff:10.77.0.1"].map(|private| address(query, 300, private)).into()
        }
        _ => Vec::new(),
    }
}

/// In place of a wall: what is asked of it goes to the upstream server as it is.
pub fn relay() {
    for listen in ["10.77.0.1:53", "[fd77::1]:53", "10.77.1.1:53"] {
        let socket = UdpSocket::bind(listen).expect("to bind");
        thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Some(reply) = relayed(&buffer[..length]) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        let listener = TcpListener::bind(listen).expect("to listen");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || relay_stream(client));
            }
        });
    }
}

fn relayed(question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(UPSTREAM).ok()?;
    socket.send(question).ok()?;
    // What is no question gets no answer, and is not waited for.
    Message::from_vec(question).ok().filter(|message| message.queries.len() == 1)?;
    socket.set_read_timeout(Some(Duration::from_millis(1400))).ok()?;
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

fn relay_stream(mut client: TcpStream) -> Option<()> {
    let mut server = TcpStream::connect(UPSTREAM).ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        server.write_all(&buffer[..length]).ok()?;
    }
    server.shutdown(std::net::Shutdown::Both).ok()
}

/// Listens for what arrives at one place.
pub struct Sink {
    place: &'static str,
    file: PathBuf,
    _process: Process,
}

/// The runs that a laboratory listens for: digits, and the first port.
const RUNS: [(Who, &str, &str); 2] = [(Who::Root, "0a110a11", "20000"), (Who::User, "05e205e2", "21000")];

impl Sink {
    /// Starts one in `namespace`, where it listens as `words` say.
    pub fn start(lab: &Lab, place: &'static str, namespace: Option<&str>, words: &str) -> Self {
        let file = lab.path(&format!("arrived-{place}"));
        let runs: Vec<String> = RUNS.iter().map(|(_, digits, port)| format!("--run {digits}:{port}")).collect();
        let script = format!("exec {} sink {words} {} > {}", program().display(), runs.join(" "), file.display());
        let process = lab.start(namespace, Path::new("sh"), &["-c", &script]);
        eventually("the sink listens", Duration::from_secs(20), || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.contains("ready"))
        });
        Self { place, file, _process: process }
    }

    fn arrivals(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).expect("what arrived");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// The sinks of a wall that is a gateway, or of none: beyond it, at the other
/// client, and on the host itself.
pub fn around(lab: &Lab) -> Vec<Sink> {
    vec![
        Sink::start(lab, "internet", Some("internet"), "--interface eth0 --not-from 198.51.100.1"),
        Sink::start(lab, "other", Some("other"), "--interface eth0"),
        Sink::start(lab, "host", None, "--raw --not-from 198.51.100.53 --not-from 198.51.100.10 --dns-port 1054"),
    ]
}

/// What came of a battery.
pub struct Outcome {
    /// The lines of the attempts.
    pub attempts: Vec<Value>,
    /// Where each attempt arrived, by number.
    arrived: BTreeMap<u64, BTreeSet<&'static str>>,
    /// What arrived and is nobody's.
    others: BTreeSet<String>,
}

/// Runs the battery in a container of the agent's, and waits for its last
/// words to arrive.
pub fn battery(lab: &Lab, who: Who, sinks: &[Sink], words: &str) -> Outcome {
    let (_, digits, port) = RUNS.into_iter().find(|(one, _, _)| *one == who).expect("a run for each");
    let words = format!("{AIM} {words} --json --run {digits} --ports-from {port}");
    let printed = in_container(lab, who, &format!("/battery run {words}"));
    let attempts: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = attempts.last().expect("attempts").clone();
    assert_eq!(last["id"], "control-end", "the battery came to its end");
    let mut outcome = Outcome { attempts, arrived: BTreeMap::new(), others: BTreeSet::new() };
    let number = last["number"].as_u64().expect("a number");
    let start = Instant::now();
    while !outcome.arrived.contains_key(&number) {
        let late = start.elapsed() > Duration::from_secs(20);
        assert!(!late, "the last words do not arrive:\n{}", outcome.report(|attempt| attempt["control"] == true));
        thread::sleep(Duration::from_millis(50));
        outcome.gather(digits, sinks);
    }
    outcome
}

impl Outcome {
    fn gather(&mut self, digits: &str, sinks: &[Sink]) {
        for sink in sinks {
            for line in sink.arrivals() {
                let number = line["number"].as_u64().filter(|_| line["run"] == digits);
                if let Some(number) = number {
                    self.arrived.entry(number).or_default().insert(sink.place);
                } else if line["how"] == "nobody" {
                    self.others.insert(format!("{}: {}", sink.place, line["packet"].as_str().unwrap_or_default()));
                }
            }
        }
    }

    /// The ids of the attempts that fit, which are no controls.
    pub fn ids(&self, fits: impl Fn(&Value) -> bool) -> BTreeSet<&str> {
        let attempts = self.attempts.iter().filter(|attempt| attempt["control"] != true && fits(attempt));
        attempts.filter_map(|attempt| attempt["id"].as_str()).collect()
    }

    /// Whether an attempt got out: something of it arrived, or it read or did
    /// what is not a container's.
    pub fn escaped(&self, attempt: &Value) -> bool {
        let did = attempt["did"].as_str().unwrap_or_default();
        let told = ["gained", "cedarwall_", "other.example.com"].iter().any(|sign| did.contains(sign));
        self.arrived_at(attempt).is_some() || told
    }

    fn arrived_at(&self, attempt: &Value) -> Option<&BTreeSet<&'static str>> {
        self.arrived.get(&attempt["number"].as_u64()?)
    }

    /// What is to be read when a test fails.
    pub fn report(&self, fits: impl Fn(&Value) -> bool) -> String {
        let attempts = self.attempts.iter().filter(|attempt| fits(attempt));
        let line = |attempt: &Value| {
            format!("{}: {}; arrived at {:?}", attempt["id"], attempt["did"], self.arrived_at(attempt))
        };
        attempts.map(line).collect::<Vec<_>>().join("\n")
    }

    /// What is permitted worked from the first to the last.
    pub fn assert_controls_worked(&self) {
        let controls: Vec<_> = self.attempts.iter().filter(|attempt| attempt["control"] == true).collect();
        assert_eq!(controls.len(), 3);
        for control in controls {
            let worked = control["could"] == true && self.arrived_at(control).is_some();
            assert!(worked, "{}: {}; arrived at {:?}", control["id"], control["did"], self.arrived_at(control));
        }
    }

    /// Nothing got out but what `may`.
    pub fn assert_walled(&self, may: impl Fn(&Value) -> bool) {
        self.assert_controls_worked();
        let out = self.ids(|attempt| self.escaped(attempt) && !may(attempt));
        assert!(
            out.is_empty(),
            "got out:\n{}",
            self.report(|attempt| out.contains(attempt["id"].as_str().expect("an id")))
        );
    }

    /// What arrived on the way out and is neither an attempt's nor explained.
    pub fn unexplained(&self, is_explained: impl Fn(&str) -> bool) -> Vec<&String> {
        let on_the_way =
            self.others.iter().filter(|packet| !packet.starts_with("other") && !packet.starts_with("host"));
        on_the_way.filter(|packet| !is_explained(packet)).collect()
    }
}

/// Whether a packet that is no attempt's belongs to what is permitted, or is
/// one by which machines on a link find each other.
pub fn is_ordinary(packet: &str, wall: &str) -> bool {
    let words: Vec<&str> = packet.split(' ').collect();
    let (from, to) = (words.get(1).copied().unwrap_or_default(), words.get(3).copied().unwrap_or_default());
    // ARP, neighbour discovery, group membership.
    let finding = packet.contains("frame type 0x0806")
        // Who listens to what is told to all who route that (RFC 3810 section 5.2.14).
        || (to == "ff02::16" && packet.ends_with("protocol 0"))
        || ["133", "134", "135", "136", "143"].iter().any(|kind| packet.ends_with(&format!("protocol 58 type {kind}")));
    let port = words.last().copied().unwrap_or_default();
    let may = PERMITTED.contains(&to) || to.starts_with("100.70.1.") || (to == "203.0.113.8" && from != "10.77.0.2");
    // Questions, and errors about answers that come late.
    let of_the_wall = from == wall && to == "198.51.100.53" && (port == "53" || packet.ends_with("protocol 1 type 3"));
    finding || (may && port == "443") || of_the_wall
}

/// Runs a command line as in a container: namespaces of its own but for the
/// agent's network, a root of its own, and no more capabilities than Docker
/// grants.
fn in_container(lab: &Lab, who: Who, line: &str) -> String {
    let root = lab.path("container");
    std::fs::create_dir_all(&root).expect("a folder");
    let user = match who {
        Who::Root => "",
        Who::User => "--reuid 1000 --regid 1000 --clear-groups",
    };
    let script = format!(
        "set -e
        mount -t tmpfs tmpfs {root}
        cd {root}
        mkdir usr etc proc dev tmp run old
        for folder in usr etc; do mount --bind /$folder $folder; mount -o remount,bind,ro $folder; done
        for folder in bin sbin lib lib64; do [ ! -e /$folder ] || ln -s usr/$folder $folder; done
        mount -t proc proc proc
        mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
        for file in null zero urandom; do touch dev/$file; mount --bind /dev/$file dev/$file; done
        install -m 0755 {program} battery
        pivot_root . old
        umount -l /old
        exec setpriv {user} --inh-caps -all --bounding-set {CAPABILITIES} -- {line}",
        root = root.display(),
        program = program().display(),
    );
    let file = lab.write(&format!("container-{who:?}.sh"), &script);
    let printed = lab.path(&format!("printed-{who:?}"));
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "ip", "netns", "exec", "agent"])
        .args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--ipc",
            "--uts",
            "--propagation",
            "private",
            "sh",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(File::create(&printed).expect("a file"))
        .stderr(Stdio::piped())
        .output()
        .expect("the container starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the container failed: {errors}");
    let mut text = String::new();
    File::open(&printed).expect("the file").read_to_string(&mut text).expect("text");
    text
}

/// The other client's own leases, which nobody else may use.
pub fn other_resolves(lab: &Lab, server: &str) {
    for kind in [RecordType::A, RecordType::AAAA] {
        let reply = lab.within("other", || super::client::ask(server, "other.example.com", kind)).expect("an answer");
        assert_eq!(super::client::addresses(&reply).len(), 1, "the other client has its lease");
    }
    let address: SocketAddr = "203.0.113.8:443".parse().expect("an address");
    assert!(lab.connects("other", address, Duration::from_secs(2)), "the other client uses its lease");
}
