//! Where all is measured: namespaces of its own, and nothing of the host's.
//!
//! ```text
//! client 10.77.0.2 --- 10.77.0.1 the servers 198.51.100.1 --- internet 198.51.100.53
//! ```
//!
//! A virtual link is received on by whoever sends: the server's core pays for an
//! answer's whole way into the client's socket, and the generator's for a
//! question's into the server's, with what the rules take of it. Handing packets
//! over to another core was tried, by interrupts (RPS) and by threads (NAPI): in
//! a virtual machine each handing over costs more than what is measured.
//!
//! The program starts itself anew as the first process of new network, mount and
//! process namespaces. Whatever ends it, Ctrl-C or `kill -9`, ends every process
//! in there, and the kernel takes the namespaces away with the last of them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Where every server answers.
pub const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 53);
/// The upstream server of all.
pub const UPSTREAM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 53), 53);
/// The client.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The first of many clients; they are behind the same interface.
pub const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// The client's side of the servers' host.
pub const INTERFACE: &str = "veth-agent";

const INSIDE: &str = "CEDARWALL_BENCH_INSIDE";

/// Does `work` in namespaces of its own.
pub fn inside(work: impl FnOnce(&Lab) -> io::Result<()>) -> io::Result<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        return work(&Lab::build()?).map(|()| ExitCode::SUCCESS);
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        .map_err(|error| io::Error::other(format!("no namespaces, which takes root: {error}")))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(std::env::current_exe()?);
    let status = command.args(std::env::args_os().skip(1)).env(INSIDE, "1").status()?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// The namespaces, and a folder in memory that goes with them.
pub struct Lab {
    folder: PathBuf,
}

impl Lab {
    fn build() -> io::Result<Self> {
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
        let folder = PathBuf::from("/run/bench");
        fs::create_dir_all(&folder)?;
        let lab = Self { folder };
        lab.shell(LINKS)?;
        Ok(lab)
    }

    /// Takes away whatever rules a server has left here.
    pub fn clear_rules(&self) -> io::Result<()> {
        self.shell("nft flush ruleset")
    }

    /// A file or folder that goes with the laboratory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes such a file.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs a script here.
    pub fn shell(&self, script: &str) -> io::Result<()> {
        let output = Command::new("sh").args(["-ec", script]).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{}\n{script}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Does something in a named namespace, on a thread of its own.
    pub fn within<T: Send>(&self, namespace: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let handle = fs::File::open(Path::new("/run/netns").join(namespace))?;
        let there = || {
            setns(handle, CloneFlags::CLONE_NEWNET)?;
            work()
        };
        thread::scope(|scope| scope.spawn(there).join().unwrap_or(Err(io::ErrorKind::Other.into())))
    }
}

const LINKS: &str = "
    mkdir -p /run/netns
    for name in client internet; do
        ip netns add $name
        ip -n $name link set lo up
    done
    ip link set lo up
    ip link add veth-agent type veth peer name eth0 netns client
    ip link add uplink type veth peer name eth0 netns internet
    ip addr add 10.77.0.1/24 dev veth-agent
    ip addr add 198.51.100.1/24 dev uplink
    for link in veth-agent uplink; do ip link set $link up; done
    ip -n client addr add 10.77.0.2/24 dev eth0
    ip -n internet addr add 198.51.100.53/24 dev eth0
    for name in client internet; do ip -n $name link set eth0 up; done
    ip -n client route add default via 10.77.0.1
    ip -n client route add local 10.78.0.0/16 dev lo
    ip route add 10.78.0.0/16 via 10.77.0.2
    ip -n internet route add default via 198.51.100.1
    ip -n internet route add local 203.0.113.0/24 dev lo
    ip -n internet route add local 100.64.0.0/10 dev lo
    ip route add 203.0.113.0/24 via 198.51.100.53
    ip route add 100.64.0.0/10 via 198.51.100.53
    echo 1 > /proc/sys/net/ipv4/ip_forward
    # As many connections as the row on packets opens, from one address.
    ip netns exec client sh -c 'echo 10000 65000 > /proc/sys/net/ipv4/ip_local_port_range'
";
