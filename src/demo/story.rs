//! The story itself, scene by scene.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::probe::Probe;
use super::report::Report;
use super::stage::{AGENT, API, FOLDER, OPEN_DNS, Place, TELEMETRY, UPSTREAM, WALL, outcome, path, start, write};
use super::{Error, Settings, evidence, kernel, package, stage};
use crate::control;
use crate::core::config::CatchAllForbid;
use crate::core::policy::{Policy, Sources};

/// The story's policy, as shipped.
const POLICY_FILE: &str = "policies/story/story.cedar";
const POLICY: &str = include_str!("../../policies/story/story.cedar");

/// How long a part may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

const LAST_WORDS: &str = "
Your own container behind a wall of its own (cedarwall.toml: listen on
10.88.0.1:53, interfaces = [\"agents\"], client 10.88.0.2):

  docker network create --subnet 10.88.0.0/24 \\
      -o com.docker.network.bridge.name=agents agents
  sudo cedarwall serve --config cedarwall.toml
  docker run --network agents --ip 10.88.0.2 --dns 10.88.0.1 YOUR-IMAGE";

/// Tells the story in the namespaces we are in. True when every step went as
/// told.
///
/// # Errors
/// When the stage cannot be built.
pub fn tell(settings: &Settings, out: &mut dyn Write) -> Result<bool, Error> {
    let mut report = Report::new(out, settings.json);
    let written = || Error::io("cannot write the output");

    report.scene("The stage").map_err(written())?;
    stage::build()?;
    let package = package::build()?;
    let mut internet = Place::Internet.ourselves()?;
    internet.arg("demo-internet").arg(&package.archive);
    start_part(&mut internet, "internet", || path("internet.ready").exists())?;
    kernel::count_arrivals()?;
    report.show("agent [npm, node] -- wall [cedarwall] -- internet [dns, api,").map_err(written())?;
    report.show("registry, telemetry]: three network namespaces, one kernel").map_err(written())?;

    report.scene("Without a wall, every way out is open").map_err(written())?;
    without_a_wall(&mut report)?;

    report.scene("The wall goes up").map_err(written())?;
    for warning in doubts(settings.catch_all_forbid) {
        report.show(&warning).map_err(written())?;
    }
    raise_the_wall(settings.catch_all_forbid)?;
    let leases = kernel::lease_set()?;
    report
        .check("nft list set inet cedarwall lease4: empty", &leases.join(", "), leases.is_empty())
        .map_err(written())?;
    let before = kernel::arrivals()?;

    report.scene("The agent installs a package from the registry").map_err(written())?;
    install(&mut report, &package.install)?;

    report.scene("The agent tries the other ways out, with one connection held").map_err(written())?;
    other_ways(&mut report, before)?;

    report.scene("Afterwards").map_err(written())?;
    evidence::counted(&mut report, before)?;
    report.scene("Where did that endpoint come from?").map_err(written())?;
    evidence::traced(&mut report)?;
    report.scene("What it would take to permit it").map_err(written())?;
    evidence::suggested(&mut report, settings.catch_all_forbid)?;
    report.end(LAST_WORDS).map_err(written())
}

/// Starts a part that goes on, and waits until it is up.
fn start_part(command: &mut Command, name: &str, is_up: impl Fn() -> bool) -> Result<(), Error> {
    let log_path = path(&format!("{name}.log"));
    let failed = || Error::io(format!("cannot start {name}"));
    let log = File::create(&log_path).map_err(failed())?;
    let mut part = start(command.stdout(Stdio::null()).stderr(log))?;
    let deadline = Instant::now() + PATIENCE;
    while !is_up() {
        if part.try_wait().map_err(failed())?.is_some() || Instant::now() > deadline {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            return Err(Error::Part(format!("{name} did not come up:\n{}", said.trim())));
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A way out that does not begin with a permitted name.
struct WayOut {
    name: &'static str,
    probe: Probe,
    target: SocketAddr,
}

fn ways_out() -> Vec<WayOut> {
    let way = |name, probe, address: IpAddr, port| WayOut { name, probe, target: SocketAddr::new(address, port) };
    let (telemetry, telemetry6) = (TELEMETRY.ipv4.into(), TELEMETRY.ipv6.into());
    let (dns, dns6) = (OPEN_DNS.ipv4.into(), OPEN_DNS.ipv6.into());
    vec![
        way("telemetry's address, TCP", Probe::Tcp, telemetry, 443),
        way("telemetry's address, UDP", Probe::Udp, telemetry, 443),
        way("telemetry's address, IPv6 TCP", Probe::Tcp, telemetry6, 443),
        way("telemetry's address, IPv6 UDP", Probe::Udp, telemetry6, 443),
        way("ICMP echo", Probe::Echo, telemetry, 0),
        way("ICMPv6 echo", Probe::Echo, telemetry6, 0),
        way("a TCP segment that is no SYN", Probe::Ack, telemetry, 443),
        way("another DNS server, UDP", Probe::DnsUdp, dns, 53),
        way("another DNS server, TCP", Probe::DnsTcp, dns, 53),
        way("another DNS server, IPv6 UDP", Probe::DnsUdp, dns6, 53),
        way("DNS over TLS, port 853", Probe::Tcp, dns, 853),
    ]
}

impl WayOut {
    /// Whether it is a question, which the wall captures.
    const fn asks_dns(&self) -> bool {
        matches!(self.probe, Probe::DnsUdp | Probe::DnsTcp)
    }

    /// Lets the agent try. True when something came back.
    fn is_open(&self) -> Result<bool, Error> {
        let mut probe = Place::Agent.ourselves()?;
        probe.arg("demo-probe").arg(word(self.probe)).arg(self.target.to_string());
        let output = outcome(&mut probe)?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(3) => Ok(false),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(Error::Part(format!("cannot try {}: {said}", self.name)))
            }
        }
    }
}

fn word(probe: Probe) -> String {
    probe.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn without_a_wall(report: &mut Report<'_>) -> Result<(), Error> {
    let ways = ways_out();
    let mut closed = Vec::new();
    for way in &ways {
        let before = kernel::arrivals()?;
        if !(way.is_open()? && kernel::arrivals()? > before) {
            closed.push(way.name);
        }
    }
    let told = format!("{} ways out tried, all answered and counted on arrival", ways.len());
    report
        .check(&told, &format!("not answered: {}", closed.join(", ")), closed.is_empty())
        .map_err(Error::io("cannot write the output"))
}

/// What `check` would say of the story's policy, read this way.
fn doubts(reading: CatchAllForbid) -> Vec<String> {
    let sources = Sources { policies: vec![(POLICY_FILE.into(), POLICY.into())], ..Sources::default() };
    let problems = match Policy::load(&sources, reading) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    problems.iter().flat_map(|problem| problem.to_string().lines().map(ToOwned::to_owned).collect::<Vec<_>>()).collect()
}

fn raise_the_wall(catch_all: CatchAllForbid) -> Result<(), Error> {
    let policy = path("policy");
    fs::create_dir(&policy).map_err(Error::io("cannot make the policy's folder"))?;
    write(&policy.join("story.cedar"), POLICY)?;
    let catch_all = catch_all_word(catch_all);
    let configuration = format!(
        "[dns]\nlisten = [\"{wall}:53\", \"[{wall6}]:53\"]\nupstream = [\"udp://{upstream}:53\"]\n\
         [policy]\npath = \"{FOLDER}/policy\"\ncatch_all_forbid = \"{catch_all}\"\n\
         [wall]\nmode = \"gateway\"\ninterfaces = [\"veth-agent\"]\n\
         allow_ranges = [\"203.0.113.0/24\", \"2001:db8::/32\"]\n\
         [[client]]\naddress = [\"{agent}\", \"{agent6}\"]\nagent = \"claude\"\n\
         [control]\nsocket = \"{FOLDER}/control.sock\"\n\
         [journal]\npath = \"{FOLDER}/events.jsonl\"\n",
        wall = WALL.0,
        wall6 = WALL.1,
        upstream = UPSTREAM.ipv4,
        agent = AGENT.0,
        agent6 = AGENT.1,
    );
    let file = path("cedarwall.toml");
    write(&file, configuration)?;
    let mut daemon = Place::Wall.ourselves()?;
    daemon.arg("serve").arg("--config").arg(&file);
    start_part(&mut daemon, "cedarwall", || control::is_ready(&path("control.sock")))
}

/// How the configuration and the command line name this reading.
pub(super) const fn catch_all_word(reading: CatchAllForbid) -> &'static str {
    match reading {
        CatchAllForbid::Strict => "strict",
        CatchAllForbid::DefaultDeny => "default-deny",
    }
}

fn install(report: &mut Report<'_>, script: &Path) -> Result<(), Error> {
    let written = || Error::io("cannot write the output");
    let output = outcome(Place::Agent.command("sh").arg(script))?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let status = |step: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(step)?.strip_prefix(": "));
        found.unwrap_or("never got there").to_owned()
    };
    let complaint = complained.lines().last().unwrap_or_default().trim();

    for (step, told) in [
        ("install", "npm install http://registry.example.com:443/left-pad-1.0.0.tgz"),
        ("use", "require('left-pad') works"),
    ] {
        let status = status(step);
        report.check(told, &format!("exit status {status}: {complaint}"), status == "0").map_err(written())?;
    }
    let post_install = status("post-install");
    let told = "its post-install script: one clean error, no time-out";
    report.check(told, &post_install, is_prompt(&post_install)).map_err(written())?;
    report.show(&format!("post-install: {post_install}")).map_err(written())?;
    let api = status("api");
    let went_on = api == "0" && said.contains("pong");
    report.check("the agent goes on: curl http://api.example.com:443/", &api, went_on).map_err(written())?;

    let leases = kernel::lease_set()?;
    let permitted = ["registry.example.com", "api.example.com"].map(|name| format!("\"{name}\""));
    let all_held = permitted.iter().all(|name| leases.iter().any(|lease| lease.ends_with(name)));
    let no_other =
        leases.iter().all(|lease| lease.contains(" . 443 ") && permitted.iter().any(|name| lease.ends_with(name)));
    let as_told = all_held && no_other;
    let told = "nft list set inet cedarwall lease4: the two permitted names, port 443";
    report.check(told, &leases.join(", "), as_told).map_err(written())?;
    for lease in &leases {
        report.show(lease).map_err(written())?;
    }
    Ok(())
}

/// Whether the post-install script says that the name does not exist, sooner
/// than any resolver gives up on an answer.
fn is_prompt(said: &str) -> bool {
    let millis = said.strip_prefix("ENOTFOUND after ").and_then(|rest| rest.strip_suffix(" ms"));
    millis.and_then(|millis| millis.parse::<u64>().ok()).is_some_and(|millis| millis < 4000)
}

fn other_ways(report: &mut Report<'_>, before: u64) -> Result<(), Error> {
    let written = || Error::io("cannot write the output");
    let mut talk = Place::Agent.ourselves()?;
    talk.args(["demo-probe", "talk", &SocketAddr::new(API.ipv4.into(), 443).to_string()]).stdin(Stdio::piped());
    let talk = start(&mut talk)?;

    for way in ways_out() {
        let open = way.is_open()?;
        let arrived = kernel::arrivals()?.saturating_sub(before);
        let is_captured = way.asks_dns();
        let expected = if is_captured { "the wall answers" } else { "no answer" };
        let told = format!("{}: {expected}, and nothing arrived", way.name);
        let seen = format!("{}, {arrived} packets arrived", if open { "an answer" } else { "no answer" });
        report.check(&told, &seen, open == is_captured && arrived == 0).map_err(written())?;
    }

    // Waiting closes its standard input, which ends the conversation.
    let output = talk.wait_with_output().map_err(Error::io("cannot wait for the held connection"))?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    report
        .check("the connection to api.example.com worked all along", &complaint, output.status.success())
        .map_err(written())
}
