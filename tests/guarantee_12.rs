//! G12: the control interface cannot be reached from a walled client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::lab::{UPSTREAM, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// Connections tried at once.
const AT_ONCE: usize = 4096;

/// The ports of `host` that take a TCP connection from this namespace.
fn open_ports(host: [u8; 4]) -> BTreeSet<u16> {
    let mut open = BTreeSet::new();
    let all: Vec<u16> = (1..=u16::MAX).collect();
    for ports in all.chunks(AT_ONCE) {
        let tried: Vec<_> = ports
            .iter()
            .map(|&port| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                // Under way, or refused at once: what counts is who is there.
                let _ = socket.connect(&std::net::SocketAddr::from((host, port)).into());
                (port, socket)
            })
            .collect();
        let start = Instant::now();
        while start.elapsed() < SECOND / 4 {
            open.extend(tried.iter().filter(|(_, socket)| socket.peer_addr().is_ok()).map(|(port, _)| port));
            std::thread::sleep(SECOND / 50);
        }
    }
    open
}

/// The inodes of the daemon's sockets.
fn sockets_of(daemon: u32) -> BTreeSet<String> {
    let links = std::fs::read_dir(format!("/proc/{daemon}/fd"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.path().read_link().ok());
    links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())).collect()
}

/// The columns of each of the daemon's sockets in a table of /proc/net.
fn table(daemon: u32, name: &str) -> Vec<Vec<String>> {
    let inodes = sockets_of(daemon);
    let text = std::fs::read_to_string(format!("/proc/{daemon}/net/{name}")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
    rows.filter(|row| row.iter().any(|column| inodes.contains(column))).collect()
}

#[test]
fn a_client_reaches_no_port_of_any_of_the_hosts_addresses_but_the_walls_dns() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        // What a host may have besides: where a metrics port or a proxy would be.
        let _others: Vec<_> = [1, 80, 2019, 8080, 9177, 65_535]
            .map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap())
            .into_iter()
            .collect();
        let hosts = [[10, 77, 0, 1], [10, 77, 1, 1], [198, 51, 100, 1]];
        assert!(lab.within("agent", || open_ports(hosts[0])).len() >= 6, "the search finds nothing");
        let _wall = Wall::start(lab, &Setup::default());
        // Port 53 of anywhere is the wall's; where what was captured arrives is nobody's.
        for host in hosts {
            let open = lab.within("agent", || open_ports(host));
            assert_eq!(open, BTreeSet::from([53]), "{host:?}");
        }
    });
}

#[test]
fn the_daemon_listens_for_dns_and_on_one_unix_socket_that_has_a_path_and_nowhere_else() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &Setup::default());
        let daemon = wall.process().id();
        // 0A: listening (include/net/tcp_states.h). 0035: port 53.
        let listening: Vec<_> =
            ["tcp", "tcp6"].iter().flat_map(|name| table(daemon, name)).filter(|row| row[3] == "0A").collect();
        assert_eq!(listening.len(), 5, "{listening:?}");
        // 07: open to whoever sends. One that is connected hears its peer alone:
        // the way to an upstream server.
        let udp = ["udp", "udp6"].iter().flat_map(|name| table(daemon, name));
        let (bound, connected): (Vec<_>, Vec<_>) = udp.partition(|row| row[3] == "07");
        assert!(connected.iter().all(|row| row[2] == "356433C6:0035"), "{connected:?}");
        assert_eq!(bound.len(), 5, "{bound:?}");
        // 041E: port 1054, where what was captured arrives, of each family.
        for (rows, captured) in [(&listening, 2), (&bound, 2)] {
            assert_eq!(rows.iter().filter(|row| row[1].ends_with(":041E")).count(), captured, "{rows:?}");
        }
        for row in listening.iter().chain(&bound) {
            let is_dns = row[1].ends_with(":0035") || row[1].ends_with(":041E");
            assert!(is_dns && !row[1].starts_with("00000000:"), "{row:?}");
        }
        // 00010000: accepts connections.
        let unix: Vec<_> = table(daemon, "unix").into_iter().filter(|row| row[3] == "00010000").collect();
        let socket = lab.path("control.sock");
        assert_eq!(unix.iter().map(|row| row.last().unwrap().as_str()).collect::<Vec<_>>(), [socket.to_str().unwrap()]);
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    });
}

#[test]
fn from_the_clients_namespace_the_control_socket_is_out_of_reach() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let wall = Wall::start(lab, &Setup::default());
        assert!(wall.operator(&["status"]).is_some(), "the operator reaches it");
        let socket = lab.path("control.sock");
        let path = socket.to_str().unwrap();
        // An abstract name is looked up in a namespace of the network's own:
        // somebody of the host's who listens under the very name is not found.
        let name = UnixAddress::from_abstract_name(path.as_bytes()).unwrap();
        let _listener = UnixListener::bind_addr(&name).unwrap();
        assert!(UnixStream::connect_addr(&name).is_ok());
        assert!(lab.within("agent", || UnixStream::connect_addr(&name).is_err()), "an abstract socket is reached");

        // A container has files of its own; even one that shares the host's, as
        // here, needs the right to the socket's file.
        let status = |before: &[&str]| {
            let program = support::wall::binary().to_str().unwrap();
            let words = [before, &[program, "status", "--json", "--socket", path]].concat();
            Command::new(words[0]).args(&words[1..]).output().unwrap().status.success()
        };
        assert!(status(&["setpriv", "--"]), "the right way of asking works");
        let container =
            ["ip", "netns", "exec", "agent", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
        assert!(!status(&container), "a user of the client's reaches the file");
        let own_files = [
            "ip",
            "netns",
            "exec",
            "agent",
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /run && exec \"$@\"",
            "sh",
        ];
        assert!(!status(&own_files), "it is found among files that are not the host's");
    });
}

#[test]
fn the_port_of_dns_speaks_no_http() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &Setup::default());
        for request in [
            "GET /v1/status HTTP/1.1\r\nHost: wall\r\n\r\n",
            "POST /reload HTTP/1.0\r\n\r\n",
            "GET /metrics HTTP/1.0\r\n\r\n",
        ] {
            let said = lab.within("agent", || {
                let mut stream = TcpStream::connect("10.77.0.1:53").unwrap();
                stream.set_read_timeout(Some(8 * SECOND)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said);
                said
            });
            assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
        }
        assert!(wall.process().is_running());
    });
}
