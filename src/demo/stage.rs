//! The stage: three network namespaces, two links, and programs in them.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::Error;

/// Where all files of the demo are, on a file system of its own.
pub(super) const FOLDER: &str = "/run/demo";

/// The agent's addresses.
pub(super) const AGENT: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 77, 0, 2), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));
/// The wall's, on the agent's side.
pub(super) const WALL: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 77, 0, 1), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));

/// A host of the demo's internet, in the ranges for documentation (RFC 5737,
/// RFC 3849).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) ipv4: Ipv4Addr,
    pub(super) ipv6: Ipv6Addr,
}

impl Host {
    const fn numbered(number: u16) -> Self {
        let [_, last] = number.to_be_bytes();
        Self { ipv4: Ipv4Addr::new(203, 0, 113, last), ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number) }
    }

    pub(super) const fn addresses(self) -> [IpAddr; 2] {
        [IpAddr::V4(self.ipv4), IpAddr::V6(self.ipv6)]
    }
}

pub(super) const API: Host = Host::numbered(10);
pub(super) const REGISTRY: Host = Host::numbered(20);
pub(super) const TELEMETRY: Host = Host::numbered(66);
/// The authoritative server that the wall asks.
pub(super) const UPSTREAM: Host = Host::numbered(53);
/// A DNS server that answers everybody.
pub(super) const OPEN_DNS: Host = Host::numbered(99);

/// A network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Agent,
    Wall,
    Internet,
}

impl Place {
    const ALL: [Self; 3] = [Self::Agent, Self::Wall, Self::Internet];

    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Wall => "wall",
            Self::Internet => "internet",
        }
    }

    /// A program here. Standard input is empty, output is captured.
    pub(super) fn command(self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name(), program]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Ourselves here.
    pub(super) fn ourselves(self) -> Result<Command, Error> {
        let executable = env::current_exe().map_err(Error::io("cannot tell our own path"))?;
        Ok(self.command(&executable.to_string_lossy()))
    }
}

/// Builds the stage in the namespaces we are in.
pub(super) fn build() -> Result<(), Error> {
    // The caller may be killed: we are PID 1, and with us all of this goes.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::kernel("a signal at the caller's death", ""))?;
    private_file_systems()?;
    name_the_resolver()?;
    for place in Place::ALL {
        run("ip", &["netns", "add", place.name()])?;
        // Nobody else is on the links, and looking for duplicate addresses takes
        // seconds.
        finish(place.command("sh").args(["-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"]))?;
        run("ip", &["-n", place.name(), "link", "set", "lo", "up"])?;
    }
    link(Place::Agent, "eth0", Place::Wall, "veth-agent")?;
    link(Place::Wall, "uplink", Place::Internet, "eth0")?;

    let (agent, wall) = (Place::Agent, Place::Wall);
    address(agent, "eth0", &format!("{}/24", AGENT.0))?;
    address(agent, "eth0", &format!("{}/64", AGENT.1))?;
    address(wall, "veth-agent", &format!("{}/24", WALL.0))?;
    address(wall, "veth-agent", &format!("{}/64", WALL.1))?;
    address(wall, "uplink", "198.51.100.1/24")?;
    address(wall, "uplink", "2001:db8:ffff::1/64")?;
    address(Place::Internet, "eth0", "198.51.100.2/24")?;
    address(Place::Internet, "eth0", "2001:db8:ffff::2/64")?;
    for host in [API, REGISTRY, TELEMETRY, UPSTREAM, OPEN_DNS] {
        address(Place::Internet, "lo", &format!("{}/32", host.ipv4))?;
        address(Place::Internet, "lo", &format!("{}/128", host.ipv6))?;
    }

    route(agent, "default", &WALL.0.to_string())?;
    route(agent, "default", &WALL.1.to_string())?;
    route(wall, "default", "198.51.100.2")?;
    route(wall, "default", "2001:db8:ffff::2")?;
    route(Place::Internet, "default", "198.51.100.1")?;
    route(Place::Internet, "default", "2001:db8:ffff::1")?;
    for switch in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        finish(wall.command("sh").args(["-c", &format!("echo 1 > /proc/sys/{switch}")]))?;
    }
    Ok(())
}

fn private_file_systems() -> Result<(), Error> {
    let none = None::<&str>;
    let refused = |path: &str| {
        let what = format!("cannot mount on {path}");
        move |cause: nix::errno::Errno| Error::Io { what, cause: cause.into() }
    };
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(refused("/"))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).map_err(refused("/run"))?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).map_err(refused("/proc"))?;
    fs::create_dir(FOLDER).map_err(Error::io(format!("cannot make {FOLDER}")))
}

/// The agent's `resolv.conf` names the wall. It is everybody's here; nobody
/// else looks at it.
fn name_the_resolver() -> Result<(), Error> {
    let source = path("resolv.conf");
    write(&source, format!("nameserver {}\n", WALL.0))?;
    let real = Path::new("/etc/resolv.conf");
    let target = fs::read_link(real).map_or_else(|_| real.to_owned(), |link| Path::new("/etc").join(link));
    if !target.exists() {
        // A link into the /run that we have just covered.
        let folder = target.parent().unwrap_or(Path::new("/run"));
        fs::create_dir_all(folder).map_err(Error::io(format!("cannot make {}", folder.display())))?;
        write(&target, "")?;
    }
    let none = None::<&str>;
    mount(Some(&source), &target, none, MsFlags::MS_BIND, none)
        .map_err(|cause| Error::Io { what: format!("cannot mount on {}", target.display()), cause: cause.into() })
}

fn link(one: Place, one_name: &str, other: Place, other_name: &str) -> Result<(), Error> {
    let peer = ["type", "veth", "peer", "name", other_name, "netns", other.name()];
    run("ip", &[["link", "add", "name", one_name, "netns", one.name()].as_slice(), peer.as_slice()].concat())?;
    run("ip", &["-n", one.name(), "link", "set", one_name, "up"])?;
    run("ip", &["-n", other.name(), "link", "set", other_name, "up"]).map(drop)
}

fn address(place: Place, link: &str, address: &str) -> Result<(), Error> {
    run("ip", &["-n", place.name(), "address", "add", address, "dev", link]).map(drop)
}

fn route(place: Place, to: &str, via: &str) -> Result<(), Error> {
    let family = if via.contains(':') { "-6" } else { "-4" };
    run("ip", &["-n", place.name(), family, "route", "add", to, "via", via]).map(drop)
}

fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    finish(Command::new(program).args(arguments).stdin(Stdio::null()))
}

/// Runs a command to its end; what it printed.
pub(super) fn finish(command: &mut Command) -> Result<String, Error> {
    let output = outcome(command)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Tool { command: told(command), output });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, whatever that is.
pub(super) fn outcome(command: &mut Command) -> Result<Output, Error> {
    command.output().map_err(|error| not_started(command, error))
}

/// Starts a command that goes on.
pub(super) fn start(command: &mut Command) -> Result<Child, Error> {
    command.spawn().map_err(|error| not_started(command, error))
}

fn not_started(command: &Command, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::Missing(command.get_program().to_string_lossy().into_owned());
    }
    Error::Tool { command: told(command), output: error.to_string() }
}

fn told(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A file of the demo.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(format!("cannot write {}", path.display())))
}
