//! A wall: the real binary, on the real kernel, in the laboratory.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, Process, eventually};

/// How a wall is set up, where it is not the usual one.
pub struct Setup<'a> {
    /// The policy's text.
    pub policy: &'a str,
    /// Lines added to `[dns]`.
    pub dns: &'a str,
    /// Lines added to `[policy]`. Unless told otherwise files are not watched,
    /// so that a test says itself when they are read.
    pub policy_lines: &'a str,
    /// Lines added to `[wall]`.
    pub wall: &'a str,
    /// Special-purpose ranges that answers may carry.
    pub allow_ranges: &'a [&'a str],
    /// Lines added to `[lease]`.
    pub lease: &'a str,
    /// The upstream servers.
    pub upstream: &'a [&'a str],
    /// Lines of `[names]`.
    pub names: &'a str,
    /// Lines added to `[journal]`.
    pub journal: &'a str,
    /// Lines of `[evidence]`.
    pub evidence: &'a str,
}

/// The two permits of the story, and the catch-all forbid left out: the
/// default denies.
pub const STORY: &str = r#"
@id("api")
permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"api.example.com:443")
    when { context.protocol == Protocol::"tcp" };
@id("registry")
permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"registry.example.com:443")
    when { context.protocol == Protocol::"tcp" };
"#;

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            policy: STORY,
            dns: "",
            policy_lines: "watch = false",
            wall: "",
            allow_ranges: &["203.0.113.0/24", "100.70.0.0/15", "2001:db8:2::/64"],
            lease: "",
            upstream: &["udp://198.51.100.53:53"],
            names: "",
            journal: "",
            evidence: "",
        }
    }
}

/// More than any test asks for, for tests of something else.
pub const ANY_NAMES: &str = "per_minute = 10000000\noctets_per_minute = 1000000000\nbits_per_minute = 1000000000";

/// A running wall.
pub struct Wall {
    process: Process,
    config: PathBuf,
    socket: PathBuf,
    journal: PathBuf,
}

/// The program under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cedarwall"))
}

impl Wall {
    /// Starts a wall in the laboratory's own namespace and waits until it is
    /// ready.
    pub fn start(lab: &Lab, setup: &Setup<'_>) -> Self {
        Self::start_through(lab, setup, binary(), &[])
    }

    /// Starts it as `program`, which executes its `arguments` and then
    /// `serve --config …`.
    pub fn start_through(lab: &Lab, setup: &Setup<'_>, program: &Path, arguments: &[&str]) -> Self {
        let wall = Self::begin_through(lab, setup, program, arguments);
        wall.wait();
        wall
    }

    /// Starts it on a configuration that says otherwise than `setup`.
    pub fn start_on(lab: &Lab, setup: &Setup<'_>, text: &str) -> Self {
        let config = lab.write("cedarwall.toml", text);
        lab.write("policies/wall.cedar", setup.policy);
        let process = Self::spawn(lab, &config, binary(), &[]);
        let wall = Self { process, config, socket: lab.path("control.sock"), journal: lab.path("events.jsonl") };
        wall.wait();
        wall
    }

    /// The same without waiting until it is ready.
    pub fn begin_through(lab: &Lab, setup: &Setup<'_>, program: &Path, arguments: &[&str]) -> Self {
        let config = lab.write("cedarwall.toml", &configuration(lab, setup));
        lab.write("policies/wall.cedar", setup.policy);
        let process = Self::spawn(lab, &config, program, arguments);
        Self { process, config, socket: lab.path("control.sock"), journal: lab.path("events.jsonl") }
    }

    /// Starts the daemon again on the same configuration.
    pub fn restart(&mut self, lab: &Lab) {
        self.process = Self::spawn(lab, &self.config, binary(), &[]);
        self.wait();
    }

    fn spawn(lab: &Lab, config: &Path, program: &Path, arguments: &[&str]) -> Process {
        let serve = ["serve", "--config", config.to_str().expect("plain text")];
        lab.start(None, program, &[arguments, &serve].concat())
    }

    fn wait(&self) {
        eventually("the wall is ready", Duration::from_secs(20), || {
            self.socket.exists() && self.operator(&["status"]).is_some()
        });
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What an operator's command prints as JSON; `None` if it fails.
    pub fn operator(&self, command: &[&str]) -> Option<Value> {
        let socket = self.socket.to_str().expect("plain text");
        let output = std::process::Command::new(binary())
            .args(command)
            .args(["--json", "--socket", socket])
            .stderr(std::process::Stdio::null())
            .output()
            .expect("the program starts");
        if !output.status.success() {
            return None;
        }
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Empties the journal, as a log rotation does.
    pub fn truncate_journal(&self) {
        let journal = std::fs::OpenOptions::new().write(true).open(&self.journal).expect("the journal");
        journal.set_len(0).expect("to empty it");
    }

    /// What `GET /metrics` says of one series, `cap_reached_total{cap="datagrams"}`.
    pub fn metric(&self, series: &str) -> u64 {
        let mut socket = UnixStream::connect(&self.socket).expect("the control socket");
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: wall\r\nconnection: close\r\n\r\n").expect("to ask");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("an answer");
        let line =
            text.lines().find_map(|line| line.strip_prefix("cedarwall_")?.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series}: {text}")).parse().expect("a number")
    }

    /// The journal's events with this code, once there are at least `count`.
    pub fn events(&self, code: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        eventually(&format!("{count} x {code} in the journal"), Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            found = lines.filter(|event| event["event"] == code).collect();
            found.len() >= count
        });
        found
    }

    /// The first event with this code that is the one meant, once it is there.
    pub fn event(&self, code: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(&format!("the {code} meant"), Duration::from_secs(10), || {
            found = self.events(code, 0).into_iter().find(&is_meant);
            found.is_some()
        });
        found.expect("it was there")
    }
}

/// The text of the configuration.
pub fn configuration(lab: &Lab, setup: &Setup<'_>) -> String {
    let upstream: Vec<_> = setup.upstream.iter().map(|server| format!("{server:?}")).collect();
    format!(
        r#"
[dns]
listen = ["10.77.0.1:53", "[fd77::1]:53", "10.77.1.1:53"]
upstream = [{upstream}]
{dns}
[policy]
path = "policies"
{policy}
[wall]
mode = "gateway"
interfaces = ["veth-agent", "veth-other"]
allow_ranges = {ranges:?}
{wall}
[lease]
{lease}
[[client]]
address = ["10.77.0.2", "fd77::2"]
agent = "claude"
[[client]]
address = ["10.77.1.2", "fd77:1::2"]
agent = "claude"
[names]
{names}
[evidence]
{evidence}
[control]
socket = "{socket}"
[journal]
path = "{journal}"
{journal_lines}
"#,
        upstream = upstream.join(", "),
        dns = setup.dns,
        policy = setup.policy_lines,
        ranges = setup.allow_ranges,
        wall = setup.wall,
        lease = setup.lease,
        names = setup.names,
        journal_lines = setup.journal,
        evidence = setup.evidence,
        socket = lab.path("control.sock").display(),
        journal = lab.path("events.jsonl").display(),
    )
}
