//! Sidecar mode: the workload shares the namespace of the daemon, which runs
//! as a user of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, verdict};
use support::lab::{Conversation, Lab, Process, UPSTREAM, enter, eventually, greeter, in_lab};
use support::nft::{counter, elements};
use support::upstream::{Upstream, plain};
use support::wall::{STORY, binary};
use support::{run, ways};

const SECOND: Duration = Duration::from_secs(1);
const LOCAL: &str = "127.0.0.1:53";
/// The daemon's own user; the workload of these tests is root.
const DAEMON: &str = "65353";

/// Counts what arrives from the agent: packets, and frames of a type that no
/// network layer knows.
const TALLY: &str = "
    table inet tally {
        counter arrived { }
        chain arriving {
            type filter hook prerouting priority -500; policy accept;
            iifname veth-agent icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
            iifname veth-agent counter name arrived
        }
    }
    table netdev tally {
        counter frames { }
        chain frames {
            type filter hook ingress device veth-agent priority 0; policy accept;
            ether type 0x88b5 counter name frames
        }
    }";

/// Counts what only a kernel has to send, and what it would pass on, where
/// somebody else has made it.
const FORGERIES: &str = "
    table netdev forgeries {
        counter solicitations { }
        counter resolutions { }
        counter forwarded { }
        chain arriving {
            type filter hook ingress device veth-agent priority 0; policy accept;
            ip6 daddr 2001:db8:2::9 icmpv6 type nd-neighbor-solicit counter name solicitations
            ether saddr 02:00:00:00:00:01 ether type arp counter name resolutions
            ip saddr 192.0.2.98 counter name forwarded
        }
    }";

/// Starts a sidecar in the agent's namespace and waits until it answers.
fn sidecar(lab: &Lab) -> Process {
    sidecar_with(lab, "")
}

/// The same, with lines added to `[wall]`.
fn sidecar_with(lab: &Lab, wall: &str) -> Process {
    set_up(lab, STORY, wall);
    serve(lab)
}

fn set_up(lab: &Lab, policy: &str, wall: &str) {
    lab.write("policies/wall.cedar", policy);
    let folder = lab.path("daemon");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(65353), Some(65353)).unwrap();
    run("chmod", &["-R", "a+rX", lab.path("").to_str().unwrap()]);
    let configuration = format!(
        r#"
[dns]
listen = ["127.0.0.1:53", "[::1]:53"]
upstream = ["udp://198.51.100.53:53"]
[policy]
path = "policies"
[wall]
mode = "sidecar"
allow_ranges = ["203.0.113.0/24", "2001:db8:2::/64"]
{wall}
[[client]]
address = ["127.0.0.1", "::1"]
agent = "claude"
[control]
socket = "{folder}/control.sock"
[journal]
path = "{folder}/events.jsonl"
"#,
        folder = folder.display()
    );
    lab.write("sidecar.toml", &configuration);
    // Where tests are built, the user may not look; a copy it may.
    std::fs::copy(binary(), lab.path("cedarwall")).unwrap();
}

fn serve(lab: &Lab) -> Process {
    let (file, program, folder) = (lab.path("sidecar.toml"), lab.path("cedarwall"), lab.path("daemon"));
    let capabilities = "+net_admin,+net_bind_service";
    let as_daemon = [
        "--reuid",
        DAEMON,
        "--regid",
        DAEMON,
        "--clear-groups",
        "--inh-caps",
        capabilities,
        "--ambient-caps",
        capabilities,
        "--",
    ];
    let command = [program.to_str().unwrap(), "serve", "--config", file.to_str().unwrap()];
    let arguments: Vec<&str> = as_daemon.into_iter().chain(command).collect();
    let process = lab.start(Some("agent"), Path::new("setpriv"), &arguments);
    let socket = folder.join("control.sock");
    eventually("the sidecar answers", Duration::from_secs(20), || {
        std::process::Command::new(binary())
            .args(["status", "--socket"])
            .arg(&socket)
            .output()
            .unwrap()
            .status
            .success()
    });
    process
}

fn leases(lab: &Lab, set: &'static str) -> Vec<Vec<String>> {
    lab.within("agent", || elements(set)).into_iter().map(|element| element.key).collect()
}

#[test]
fn a_workload_reaches_what_it_resolved_and_nothing_else() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = sidecar(lab);
        let four: SocketAddr = "203.0.113.7:443".parse().unwrap();
        let six: SocketAddr = "[2001:db8:2::7]:443".parse().unwrap();
        assert!(!lab.connects("agent", four, SECOND / 2));

        let reply = lab.within("agent", || ask(LOCAL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        assert_eq!(leases(lab, "lease4"), [["10.77.0.2", "203.0.113.7", "tcp", "443"]]);
        assert!(lab.connects("agent", four, SECOND));
        let reply = lab.within("agent", || ask("[::1]:53", "api.example.com", RecordType::AAAA)).unwrap();
        assert_eq!(addresses(&reply), ["2001:db8:2::7"]);
        assert_eq!(leases(lab, "lease6"), [["fd77::2", "2001:db8:2::7", "tcp", "443"]]);
        assert!(lab.connects("agent", six, SECOND));

        let denied = lab.within("agent", || ask(LOCAL, "telemetry.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).1.map(|(code, _)| code), Some(15));
        for elsewhere in ["203.0.113.7:80", "203.0.113.8:443", "[2001:db8:2::9]:443"] {
            assert!(!lab.connects("agent", elsewhere.parse().unwrap(), SECOND / 2), "{elsewhere}");
        }

        // What it tried and what went through is told, and nothing of the
        // daemon's own.
        wall.terminate();
        let journal = std::fs::read_to_string(lab.path("daemon/events.jsonl")).unwrap();
        let events: Vec<serde_json::Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let dropped = events.iter().find(|event| event["event"] == "packet.dropped" && event["port"] == 80).unwrap();
        assert_eq!((&dropped["client"], &dropped["agent"]), (&"10.77.0.2".into(), &"claude".into()));
        assert_eq!((&dropped["address"], &dropped["hostnames"][0]), (&"203.0.113.7".into(), &"api.example.com".into()));
        let traffic: Vec<_> = events.iter().filter(|event| event["event"] == "traffic.counted").collect();
        assert_eq!(traffic.len(), 2, "{traffic:?}");
        for (client, address) in [("10.77.0.2", "203.0.113.7"), ("fd77::2", "2001:db8:2::7")] {
            let told = traffic.iter().find(|event| event["address"] == address).unwrap();
            assert_eq!((&told["client"], &told["agent"]), (&client.into(), &"claude".into()), "{told}");
            assert_eq!((&told["connections"], &told["hostnames"][0]), (&1.into(), &"api.example.com".into()), "{told}");
            // There and back: a handshake alone is three packets.
            assert!(told["packets"].as_u64().unwrap() >= 4, "{told}");
        }
    });
}

/// Nothing of the agent's arrives at the other end of its link while `attempt`
/// runs.
fn nothing_arrives(lab: &Lab, attempt: impl FnOnce()) {
    run("nft", &["-f", lab.write("tally.nft", TALLY).to_str().unwrap()]);
    attempt();
    let counted = run("nft", &["list", "counter", "inet", "tally", "arrived"]);
    assert!(counted.contains("packets 0 "), "{counted}");
}

#[test]
fn a_denied_name_in_the_sinkhole_is_refused_at_once_before_the_wire() {
    in_lab(|lab| {
        set_up(lab, STORY, "");
        let text = std::fs::read_to_string(lab.path("sidecar.toml")).unwrap();
        lab.write("sidecar.toml", &text.replacen("[policy]", "deny = \"sinkhole\"\n[policy]", 1));
        let _wall = serve(lab);
        nothing_arrives(lab, || {
            for kind in [RecordType::A, RecordType::AAAA] {
                let reply = lab.within("agent", || ask(LOCAL, "telemetry.example.com", kind)).unwrap();
                let address = reply.answers[0].data.ip_addr().unwrap();
                assert!(cedarwall::core::sinkhole::covers(address), "{address}");
                let start = Instant::now();
                let connect = || TcpStream::connect_timeout(&SocketAddr::new(address, 443), 2 * SECOND);
                assert_eq!(lab.within("agent", connect).unwrap_err().kind(), ErrorKind::ConnectionRefused);
                let send = || {
                    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                    socket.set_read_timeout(Some(2 * SECOND))?;
                    socket.connect((address, 443))?;
                    socket.send(b"x")?;
                    socket.recv(&mut [0; 1])
                };
                let refused = lab.within("agent", send).unwrap_err().kind();
                assert!([ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied].contains(&refused), "{refused:?}");
                assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
            }
        });
        assert_eq!(lab.within("agent", || counter("denied_sinkhole")), 4);
    });
}

#[test]
fn in_audit_mode_everything_gets_out_but_to_special_ranges() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        greeter(8080);
        set_up(lab, STORY, "");
        let text = std::fs::read_to_string(lab.path("sidecar.toml")).unwrap();
        lab.write("sidecar.toml", &text.replacen("[policy]", "[policy]\nmode = \"audit\"", 1));
        let wall = serve(lab);
        let reply = lab.within("agent", || ask(LOCAL, "telemetry.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        for open in ["203.0.113.7:8080", "203.0.113.9:443", "[2001:db8:2::9]:443"] {
            assert!(lab.connects("agent", open.parse().unwrap(), SECOND), "{open}");
        }
        let mut held = Conversation::begin(lab, "agent", "203.0.113.9:443");
        assert!(!lab.connects("agent", "100.70.0.9:443".parse().unwrap(), SECOND / 2), "a special range");
        assert!(!lab.connects("agent", UPSTREAM.parse().unwrap(), SECOND / 2), "another DNS server");
        assert!(held.goes_on(SECOND));
        drop(wall);
        lab.write("sidecar.toml", &text);
        std::fs::remove_file(lab.path("daemon/control.sock")).unwrap();
        let _wall = serve(lab);
        assert!(!held.goes_on(SECOND), "the next daemon enforces");
        assert!(!lab.connects("agent", "203.0.113.7:8080".parse().unwrap(), SECOND / 2));
    });
}

/// The workload of these tests is root, and may change rules.
#[test]
fn a_protected_sidecar_is_changed_by_nobody_else_its_egress_chains_included() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = sidecar_with(lab, "protect = true");
        let does = |deed: &'static str| {
            lab.within("agent", || std::process::Command::new("nft").arg(deed).output().unwrap().status.success())
        };
        let deeds = [
            "delete table inet cedarwall",
            "delete table netdev cedarwall",
            "flush table netdev cedarwall",
            "insert rule inet cedarwall output accept",
            "add element inet cedarwall lease4 { * timeout 1h }",
        ];
        for deed in deeds {
            assert!(!does(deed), "{deed}");
        }
        assert!(does("flush ruleset"));
        assert_eq!(lab.within("agent", || run("nft", &["list", "tables"])).lines().count(), 2);
        let reply = lab.within("agent", || ask(LOCAL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND));
        assert!(!lab.connects("agent", "203.0.113.8:443".parse().unwrap(), SECOND / 4));
        wall.kill();
        assert!(does("delete table netdev cedarwall"), "a dead daemon's table is anybody's");
    });
}

#[test]
fn the_daemons_way_to_its_upstream_is_not_the_workloads() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let _wall = sidecar(lab);
        let direct = lab.within("agent", || {
            let wire = support::client::question("stolen.example.com", RecordType::A).to_vec().unwrap();
            support::client::exchange(UPSTREAM, &wire, SECOND / 2)
        });
        assert!(direct.is_none());
        assert!(!lab.connects("agent", UPSTREAM.parse().unwrap(), SECOND / 2));
        assert_eq!(upstream.asked(), []);
    });
}

#[test]
fn no_kind_of_packet_leaves_but_by_a_lease_not_even_past_the_output_hook() {
    in_lab(|lab| {
        let file = lab.write("tally.nft", TALLY);
        run("nft", &["-f", file.to_str().unwrap()]);
        let nothing = |family: &str, counter: &str| {
            run("nft", &["list", "counter", family, "tally", counter]).contains("packets 0")
        };
        lab.within("agent", || frame("eth0"));
        assert!(!nothing("netdev", "frames"), "a frame of AF_PACKET arrives without the wall");
        run("nft", &["reset", "counters"]);

        let _wall = sidecar(lab);
        run("nft", &["reset", "counters"]);
        for (name, attempt) in ways::all() {
            lab.within("agent", attempt);
            assert!(nothing("inet", "arrived"), "{name} left");
        }
        lab.within("agent", || frame("eth0"));
        assert!(nothing("netdev", "frames"), "a frame of AF_PACKET left");
    });
}

#[test]
fn nobody_solicits_or_resolves_by_hand_and_nothing_is_passed_on_from_loopback() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        run("nft", &["-f", lab.write("forgeries.nft", FORGERIES).to_str().unwrap()]);
        // As in a container on Docker's host.
        run("ip", &["netns", "exec", "agent", "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        let arrived = || {
            lab.within("agent", forge);
            ["solicitations", "resolutions", "forwarded"].map(|name| {
                let counted = run("nft", &["list", "counter", "netdev", "forgeries", name]);
                (name, !counted.contains("packets 0 "))
            })
        };
        assert!(arrived().iter().all(|(_, has)| *has), "without a wall each arrives: {:?}", arrived());
        let _wall = sidecar(lab);
        run("nft", &["reset", "counters"]);
        assert!(arrived().iter().all(|(_, has)| !has), "{:?}", arrived());
        assert!(lab.within("agent", || ask(LOCAL, "api.example.com", RecordType::A)).is_some());
        assert!(
            lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND),
            "its own kernel finds its neighbours"
        );
    });
}

/// A neighbour solicitation to far away, ARP of one's own making, and a packet
/// of another host's on loopback.
fn forge() {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(58))).unwrap();
    socket.set_unicast_hops_v6(255).unwrap();
    let far: std::net::SocketAddrV6 = "[2001:db8:2::9]:0".parse().unwrap();
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend_from_slice(&far.ip().octets());
    let _ = socket.send_to(&solicitation, &far.into());

    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 77, 0, 2];
    arp.extend_from_slice(&[0x5a; 28]);
    send_frame("eth0", [0xff; 6], [2, 0, 0, 0, 0, 1], 0x0806, &arp);

    let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 98, 203, 0, 113, 9];
    let sum = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&[0x9c, 0x40, 0x01, 0xbb, 0, 8, 0, 0]);
    send_frame("lo", [0; 6], [0; 6], 0x0800, &packet);
    // What is passed on passes through the kernel's own queue.
    std::thread::sleep(SECOND / 4);
}

/// In the output hook a packet that is dropped is an error of whoever sends
/// it: not one that leaves escapes notice.
#[test]
fn a_sidecar_takes_its_table_over_and_changes_its_rules_with_nothing_let_out() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        set_up(
            lab,
            r#"permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
            permit(principal, action == Action::"net.connect", resource == Resource::"203.0.113.20:443");"#,
            "",
        );
        let mut wall = serve(lab);
        assert!(lab.within("agent", || ask(LOCAL, "api.example.com", RecordType::A)).is_some());
        let mut flow = Conversation::begin(lab, "agent", "203.0.113.7:443");
        let done = AtomicBool::new(false);
        let sends = |address: &'static str, works: bool| {
            let (done, mut sent, mut lost) = (&done, 0_u64, 0_u64);
            move || {
                enter("agent");
                while !done.load(Ordering::SeqCst) {
                    // Each a flow of its own.
                    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                    let outcome = socket.send_to(b"x", address);
                    assert!(works || outcome.is_err(), "{address} after {sent}: it left");
                    sent += 1;
                    lost += u64::from(works && outcome.is_err());
                    // The table of flows has an end.
                    std::thread::sleep(Duration::from_micros(300));
                }
                // Single ones, over the instant of a change.
                assert!(lost < 10, "{lost} of {sent} to {address} were dropped");
                sent
            }
        };
        let counts: Vec<u64> = std::thread::scope(|scope| {
            let probes = [("203.0.113.7:443", true), ("203.0.113.20:443", true), ("203.0.113.9:443", false)];
            let probes = probes.map(|(address, works)| scope.spawn(sends(address, works)));
            let verdicts = ["", "verdict = \"reject\"\n", ""];
            for verdict in verdicts {
                wall.kill();
                let text = std::fs::read_to_string(lab.path("sidecar.toml")).unwrap();
                let text = text.replace("verdict = \"reject\"\n", "");
                lab.write("sidecar.toml", &text.replace("[wall]\n", &format!("[wall]\n{verdict}")));
                wall = serve(lab);
                let rejects = lab.within("agent", || run("nft", &["list", "chain", "inet", "cedarwall", "verdict"]));
                assert_eq!(rejects.contains("reject"), !verdict.is_empty());
            }
            done.store(true, Ordering::SeqCst);
            probes.map(|probe| probe.join().unwrap()).into()
        });
        assert!(counts.iter().all(|sent| *sent > 100), "{counts:?}");
        assert!(flow.goes_on(SECOND));
        assert_eq!(leases(lab, "lease4").len(), 2);
        let reply = lab.within("agent", || ask(LOCAL, "api.example.com", RecordType::AAAA)).unwrap();
        assert_eq!(addresses(&reply), ["2001:db8:2::7"], "its own way out is open");
    });
}

/// Sends an Ethernet frame of an experimental type.
fn frame(interface: &str) {
    send_frame(interface, [0xff; 6], [2, 0, 0, 0, 0, 1], 0x88b5, &[0x5a; 46]);
}

/// Sends an Ethernet frame, past every output hook.
fn send_frame(interface: &str, to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket};
    let mut links = nix::ifaddrs::getifaddrs().unwrap().filter(|link| link.interface_name == interface);
    let link = links.find_map(|link| link.address?.as_link_addr().copied()).unwrap();
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
    let bytes = [to.as_slice(), &from, &kind.to_be_bytes(), payload].concat();
    // The egress hook makes it fail; arrivals are what counts.
    let _ = sendto(std::os::fd::AsRawFd::as_raw_fd(&socket), &bytes, &link, MsgFlags::empty());
}
