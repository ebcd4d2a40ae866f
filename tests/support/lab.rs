//! A laboratory: clients behind a wall, and an internet in front of it.
//!
//! ```text
//! agent 10.77.0.2, fd77::2 ---+
//!                             +--- wall ---+--- internet 198.51.100.0/24, 203.0.113.0/24,
//! other 10.77.1.2, fd77:1::2 -+                          2001:db8:1::/64
//! ```
//!
//! The wall is the test thread's own network namespace; agent, other and
//! internet are named ones, bound under a private /run. All of it is gone with
//! the thread and its children, however they end.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::{cannot, run};

/// Where the wall answers the agent.
pub const WALL: &str = "10.77.0.1:53";
/// The upstream server on the internet.
pub const UPSTREAM: &str = "198.51.100.53:53";
/// A second one.
pub const SECOND_UPSTREAM: &str = "198.51.100.54:53";

/// The three namespaces around the wall's own.
pub struct Lab {
    folder: tempfile::TempDir,
}

/// Builds a laboratory on a thread of its own and runs `test` in it.
pub fn in_lab(test: impl FnOnce(&Lab) + Send + 'static) {
    let outcome = thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            return cannot(&format!("make namespaces: {error}"));
        }
        test(&Lab::build());
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    fn build() -> Self {
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("a private mount tree");
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("a private /run");
        let folder = tempfile::Builder::new().prefix("lab").tempdir_in("/run").expect("a folder");
        let script = "
            set -e
            # Duplicate address detection would hold IPv6 up for a second.
            at_once='for knob in all default; do echo 0 > /proc/sys/net/ipv6/conf/$knob/accept_dad; done'
            sh -c \"$at_once\"
            for name in agent other internet; do
                ip netns add $name
                ip netns exec $name sh -c \"$at_once\"
                ip -n $name link set lo up
            done
            ip link set lo up
            ip link add veth-agent type veth peer name eth0 netns agent
            ip link add veth-other type veth peer name eth0 netns other
            ip link add uplink type veth peer name eth0 netns internet
            ip addr add 10.77.0.1/24 dev veth-agent; ip addr add fd77::1/64 dev veth-agent nodad
            ip addr add 10.77.1.1/24 dev veth-other; ip addr add fd77:1::1/64 dev veth-other nodad
            ip addr add 198.51.100.1/24 dev uplink; ip addr add 2001:db8:1::1/64 dev uplink nodad
            for link in veth-agent veth-other uplink; do ip link set $link up; done
            ip -n agent addr add 10.77.0.2/24 dev eth0; ip -n agent addr add fd77::2/64 dev eth0 nodad
            ip -n other addr add 10.77.1.2/24 dev eth0; ip -n other addr add fd77:1::2/64 dev eth0 nodad
            ip -n internet addr add 198.51.100.10/24 dev eth0; ip -n internet addr add 2001:db8:1::10/64 dev eth0 nodad
            for name in agent other internet; do ip -n $name link set eth0 up; done
            ip -n agent route add default via 10.77.0.1; ip -n agent -6 route add default via fd77::1
            ip -n other route add default via 10.77.1.1; ip -n other -6 route add default via fd77:1::1
            ip -n internet route add default via 198.51.100.1; ip -n internet -6 route add default via 2001:db8:1::1
            for address in 53 54; do ip -n internet addr add 198.51.100.$address/24 dev eth0; done
            ip -n internet route add local 203.0.113.0/24 dev lo
            ip -n internet route add local 100.70.0.0/15 dev lo
            ip -n internet route add local 2001:db8:2::/64 dev lo
            ip route add 203.0.113.0/24 via 198.51.100.10
            ip route add 100.70.0.0/15 via 198.51.100.10
            ip -6 route add 2001:db8:2::/64 via 2001:db8:1::10
            echo 1 > /proc/sys/net/ipv4/ip_forward
            echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
        ";
        run("sh", &["-c", script]);
        Self { folder }
    }

    /// A file of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the test's own.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// Does something inside a named namespace, on a thread of its own.
    pub fn within<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let joined = scope
                .spawn(|| {
                    enter(namespace);
                    work()
                })
                .join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether a TCP connection from `namespace` to `address` comes about
    /// within `patience`.
    pub fn connects(&self, namespace: &str, address: SocketAddr, patience: Duration) -> bool {
        self.within(namespace, || std::net::TcpStream::connect_timeout(&address, patience).is_ok())
    }

    /// Starts a program in a namespace; it ends with the test.
    pub fn start(&self, namespace: Option<&str>, program: &Path, arguments: &[&str]) -> Process {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(namespace) = namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        let child = command.arg(program).args(arguments).stdin(Stdio::null()).spawn();
        Process { child: child.expect("the program starts") }
    }
}

/// Moves the calling thread into a named namespace, for good.
pub fn enter(namespace: &str) {
    let handle = fs::File::open(Path::new("/run/netns").join(namespace)).expect("the namespace");
    setns(handle, CloneFlags::CLONE_NEWNET).expect("to enter the namespace");
}

/// A program that ends with the test.
pub struct Process {
    child: Child,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("to end it");
        self.child.wait().expect("its end");
    }

    /// Asks it to end, and waits for its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("to signal it");
        self.child.wait().expect("its end").code()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `condition` holds; panics after `patience`.
pub fn eventually(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A TCP server on the internet that accepts and greets, on every address.
pub fn greeter(port: u16) {
    let (listens, listening) = std::sync::mpsc::channel();
    thread::spawn(move || {
        enter("internet");
        let any: IpAddr = std::net::Ipv6Addr::UNSPECIFIED.into();
        let listener = std::net::TcpListener::bind(SocketAddr::new(any, port)).expect("to listen");
        listens.send(()).expect("the test waits");
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let _ = std::io::Write::write_all(&mut stream, b"hello\n");
                // Echoes until the other side has had enough.
                let mut copy = stream.try_clone().expect("a second handle");
                let _ = std::io::copy(&mut stream, &mut copy);
            });
        }
    });
    listening.recv().expect("a server that listens");
}

/// A TCP connection of the agent's to a [`greeter`], held open.
pub struct Conversation {
    stream: std::net::TcpStream,
}

impl Conversation {
    /// Connects from `namespace`, and reads the greeting.
    pub fn begin(lab: &Lab, namespace: &str, address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let patience = Duration::from_secs(2);
        let mut stream =
            lab.within(namespace, || std::net::TcpStream::connect_timeout(&address, patience).expect("a connection"));
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        std::io::Read::read_exact(&mut stream, &mut [0; 6]).expect("the greeting");
        Self { stream }
    }

    /// Says so many octets, and reads all of them back.
    pub fn echo(&mut self, octets: usize) {
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut speaker = self.stream.try_clone().expect("a second handle");
        let speaking = thread::spawn(move || std::io::Write::write_all(&mut speaker, &vec![b'x'; octets]));
        std::io::Read::read_exact(&mut self.stream, &mut vec![0; octets]).expect("the echo");
        speaking.join().expect("no panic").expect("to speak");
    }

    /// Whether what is said is echoed within `patience`.
    pub fn goes_on(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout");
        let said = std::io::Write::write_all(&mut self.stream, b"x").is_ok();
        said && std::io::Read::read_exact(&mut self.stream, &mut [0; 1]).is_ok()
    }
}
