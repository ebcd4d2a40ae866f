//! Questions to port 53 of any address are answered by the wall, and reach
//! nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};
use support::change::{change, reload};
use support::client::{addresses, ask, ask_over, ask_tcp, exchange, question, verdict};
use support::lab::{Lab, UPSTREAM, WALL, enter, eventually, greeter, in_lab};
use support::nft::{counter, elements};
use support::run;
use support::upstream::{Upstream, address, answer, plain, wire};
use support::wall::{STORY, Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// A resolver on the internet, which no wall knows.
const FOREIGN: &str = "203.0.113.99:53";
const FOREIGN6: &str = "[2001:db8:2::99]:53";
/// Where nobody is: the wall's host has no route there.
const NOWHERE: &str = "192.0.2.77:53";
/// Where the wall answers what it has captured.
const CAPTURE: &str = "10.77.0.1:1054";

/// Every packet that reaches a foreign resolver's port on the internet.
const TALLY: &str = "
    table inet tally {
        counter arrived { }
        chain arriving {
            type filter hook prerouting priority -500; policy accept;
            iifname eth0 ip saddr 198.51.100.1 accept
            iifname eth0 meta l4proto { tcp, udp } th dport 53 counter name arrived
        }
    }";

fn count_arrivals(lab: &Lab) {
    let rules = lab.write("tally.nft", TALLY);
    run("ip", &["netns", "exec", "internet", "nft", "-f", rules.to_str().unwrap()]);
}

fn arrived() -> u64 {
    let listing = run("ip", &["netns", "exec", "internet", "nft", "-j", "list", "counters"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let counters = listing["nftables"].as_array().unwrap();
    counters.iter().find_map(|object| object.get("counter")).unwrap()["packets"].as_u64().unwrap()
}

/// The wall's own upstream server, and two that would say something else.
fn internet() -> [Upstream; 2] {
    run("ip", &["-n", "internet", "address", "add", "2001:db8:2::99/128", "dev", "lo", "nodad"]);
    Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
    [FOREIGN, FOREIGN6].map(|address| Upstream::start(address, plain(300, "203.0.113.66", "2001:db8:2::66")))
}

fn ask_as(lab: &Lab, client: &str, server: &str, name: &str) -> Option<Message> {
    lab.within(client, || ask(server, name, RecordType::A))
}

fn is_answered(lab: &Lab, server: &str) -> bool {
    let reply = ask_as(lab, "agent", server, "api.example.com");
    reply.is_some_and(|reply| addresses(&reply) == ["203.0.113.7"])
}

#[test]
fn a_foreign_resolver_answers_as_the_wall_does_and_nothing_arrives_there() {
    in_lab(|lab| {
        let foreign = internet();
        greeter(443);
        count_arrivals(lab);
        for server in [FOREIGN, FOREIGN6] {
            let reply = ask_as(lab, "agent", server, "api.example.com").unwrap();
            assert_eq!(addresses(&reply), ["203.0.113.66"], "without a wall it answers itself");
        }
        let (asked, before) = (foreign.each_ref().map(|server| server.asked().len()), arrived());
        assert!(before > 0);

        let wall = Wall::start(lab, &Setup::default());
        let permitted: SocketAddr = "203.0.113.7:443".parse().unwrap();
        assert!(!lab.connects("agent", permitted, SECOND / 2));
        for server in [FOREIGN, FOREIGN6, NOWHERE, UPSTREAM] {
            for ask in [ask, ask_tcp] {
                // A connected socket takes nothing from anybody else.
                let reply = lab.within("agent", || ask(server, "api.example.com", RecordType::A)).unwrap();
                assert_eq!(addresses(&reply), ["203.0.113.7"], "{server}");
                let reply = lab.within("agent", || ask(server, "telemetry.example.com", RecordType::A)).unwrap();
                assert_eq!(verdict(&reply).0, ResponseCode::NXDomain, "{server}");
                assert_eq!(verdict(&reply).1.unwrap().0, 15, "{server}");
            }
        }
        // As many questions over one connection as one likes.
        let mut stream = lab.within("other", || TcpStream::connect(FOREIGN).unwrap());
        for _ in 0..3 {
            let reply = ask_over(&mut stream, "api.example.com", RecordType::A).unwrap();
            assert_eq!(addresses(&reply), ["203.0.113.7"]);
        }
        assert!(lab.connects("agent", permitted, SECOND), "what was answered is open");
        assert_eq!((arrived(), foreign.each_ref().map(|server| server.asked().len())), (before, asked));
        assert_eq!(counter("captured_dns"), 17);

        for server in [FOREIGN, FOREIGN6, NOWHERE] {
            let resolver = server.parse::<SocketAddr>().unwrap().ip().to_string();
            let denied = wall.event("query.denied", |event| event["resolver"] == resolver.as_str());
            assert_eq!(
                (denied["agent"].as_str(), denied["hostname"].as_str()),
                (Some("claude"), Some("telemetry.example.com"))
            );
            wall.event("query.answered", |event| event["resolver"] == resolver.as_str());
        }
        ask_as(lab, "agent", WALL, "direct.example.com").unwrap();
        let direct = wall.event("query.denied", |event| event["hostname"] == "direct.example.com");
        assert!(direct.get("resolver").is_none(), "{direct}");
    });
}

#[test]
fn two_resolvers_that_are_asked_from_one_port_both_answer_under_their_own_addresses() {
    in_lab(|lab| {
        internet();
        let wall = Wall::start(lab, &Setup::default());
        let servers = [FOREIGN, NOWHERE, "198.51.100.200:53"];
        let (mut heard, port) = lab.within("agent", || {
            let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
            socket.set_read_timeout(Some(8 * SECOND)).unwrap();
            let wire = question("telemetry.example.com", RecordType::A).to_vec().unwrap();
            for server in servers {
                socket.send_to(&wire, server).unwrap();
            }
            let hear = |_| socket.recv_from(&mut [0; 4096]).unwrap().1.to_string();
            (servers.map(hear), socket.local_addr().unwrap().port())
        });
        heard.sort();
        let mut expected = servers.map(ToOwned::to_owned);
        expected.sort();
        assert_eq!(heard, expected, "from port {port}");
        let mut resolvers: Vec<_> =
            wall.events("query.denied", 3).iter().map(|event| event["resolver"].to_string()).collect();
        resolvers.sort();
        resolvers.dedup();
        assert_eq!(resolvers.len(), 3, "{resolvers:?}");
    });
}

/// Asks from a shell with a socket connected to `server`, and waits.
fn ask_from_shell(lab: &Lab, transport: &str, server: &str, name: &str) -> u32 {
    let mut message = question(name, RecordType::A);
    // What a shell can read has no zero in it.
    message.metadata.id = 0x4141;
    let mut octets = message.to_vec().unwrap();
    if transport == "tcp" {
        let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
        octets.splice(0..0, length);
    }
    let escaped: String = octets.iter().map(|octet| format!("\\x{octet:02x}")).collect();
    let server: SocketAddr = server.parse().unwrap();
    let (host, port) = (server.ip(), server.port());
    let script = format!(
        "exec 3<>/dev/{transport}/{host}/{port} && printf '{escaped}' >&3 && read -t 8 -N 1 -u 3 heard; exit $?"
    );
    lab.within("agent", || {
        let mut shell =
            Command::new("bash").args(["-c", &script]).env("LC_ALL", "C").stdin(Stdio::null()).spawn().unwrap();
        let id = shell.id();
        assert!(shell.wait().unwrap().success(), "{transport} {server}: no answer");
        id
    })
}

#[test]
fn a_denial_names_the_process_that_asked_another_resolver() {
    in_lab(|lab| {
        internet();
        let wall = Wall::start(lab, &Setup { evidence: "hold = \"1s\"", ..Setup::default() });
        for (index, (transport, server)) in
            [("udp", FOREIGN), ("tcp", FOREIGN), ("udp", FOREIGN6), ("tcp", FOREIGN6)].into_iter().enumerate()
        {
            let name = format!("m{index}.example.net");
            let asker = ask_from_shell(lab, transport, server, &name);
            let denied = wall.event("query.denied", |event| event["hostname"] == name.as_str());
            assert_eq!(denied["process"]["pid"], asker, "{transport} {server}: {denied}");
            assert_eq!(denied["process"]["name"], "bash");
            assert_eq!(denied["process"].get("socket_holders"), None);
        }
    });
}

#[test]
fn a_server_that_the_policy_opens_is_asked_itself_by_who_may_and_captured_for_others() {
    let policy = r#"
        permit(principal, action == Action::"net.connect", resource == Resource::"203.0.113.99:53")
            when { context.protocol == Protocol::"udp" };
        permit(principal, action == Action::"net.connect", resource == Resource::"ns.example.com:53");"#;
    in_lab(move |lab| {
        let [foreign, _] = internet();
        Upstream::start("203.0.113.7:53", plain(300, "203.0.113.77", "2001:db8:2::77"));
        let _wall = Wall::start(lab, &Setup { policy, ..Setup::default() });
        let own = |reply: Option<Message>| addresses(&reply.unwrap());
        assert_eq!(own(ask_as(lab, "agent", FOREIGN, "x.example.com")), ["203.0.113.66"]);
        assert_eq!(foreign.count("x.example.com"), 1);
        // Not over TCP: that the policy does not open.
        let reply = lab.within("agent", || ask_tcp(FOREIGN, "x.example.com", RecordType::A)).unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::NXDomain);

        // The same by a lease, which is the agent's alone.
        let named = "203.0.113.7:53";
        let reply = ask_as(lab, "agent", named, "x.example.com").unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::NXDomain, "there is no lease yet");
        ask_as(lab, "agent", WALL, "ns.example.com").unwrap();
        assert_eq!(own(ask_as(lab, "agent", named, "x.example.com")), ["203.0.113.77"]);
        let reply = ask_as(lab, "other", named, "x.example.com").unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::NXDomain, "it is not the other's lease");

        // What the policy opens no longer is captured.
        change(lab, STORY);
        let reply = ask_as(lab, "agent", named, "x.example.com").unwrap();
        assert_eq!(verdict(&reply).0, ResponseCode::NXDomain);
        assert_eq!(foreign.count("x.example.com"), 1);
    });
}

/// The kernel's table of flows, as this namespace has it.
fn flows() -> String {
    fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default()
}

fn flow_count() -> u64 {
    let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn a_flood_of_captured_flows_is_limited_and_fills_no_table() {
    in_lab(|lab| {
        let foreign = internet();
        let asked = foreign.each_ref().map(|server| server.asked().len());
        let _wall = Wall::start(lab, &Setup::default());
        assert!(is_answered(lab, FOREIGN));
        let before = flow_count();
        let begun = Instant::now();
        lab.within("agent", || {
            let wire = question("telemetry.example.com", RecordType::A).to_vec().unwrap();
            for port in 2000..8000 {
                let socket = UdpSocket::bind(("10.77.0.2", port)).unwrap();
                socket.send_to(&wire, FOREIGN).unwrap();
            }
        });
        let took = begun.elapsed();
        let allowed = 250 + 50 * (took.as_secs() + 2);
        let made = flow_count() - before;
        assert!((200..allowed).contains(&made), "{made} flows in {took:?}, not {allowed}");
        assert!(counter("denied_flood") >= 6000 - allowed, "{}", counter("denied_flood"));

        // TCP connections have a share of their own, and a smaller one.
        let begun = Instant::now();
        let before = flow_count();
        let connected = lab.within("agent", || {
            let connect = |_| TcpStream::connect_timeout(&FOREIGN.parse().unwrap(), SECOND / 20).ok();
            (0..120).filter_map(connect).count()
        });
        let allowed = 50 + 10 * (begun.elapsed().as_secs() + 2);
        assert!((40..allowed).contains(&u64::try_from(connected).unwrap()), "{connected} connections");
        assert!(flow_count() <= before + allowed, "{}", flow_count());

        // Neither the wall itself nor anybody else is the worse for it.
        assert!(is_answered(lab, WALL));
        let reply = ask_as(lab, "other", FOREIGN, "api.example.com").unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        eventually("it recovers", 10 * SECOND, || {
            let wire = question("api.example.com", RecordType::A).to_vec().unwrap();
            lab.within("agent", || exchange(FOREIGN, &wire, SECOND)).is_some()
        });
        // None of these flows was admitted to anywhere.
        let flows = flows();
        let captured: Vec<_> = flows.lines().filter(|line| line.contains("dport=53 ")).collect();
        assert!(captured.len() > 40, "{flows}");
        assert!(captured.iter().all(|flow| flow.contains("mark=0 ")), "{captured:?}");
        assert_eq!(foreign.each_ref().map(|server| server.asked().len()), asked);
    });
}

#[test]
fn strangers_behind_one_interface_share_one_limit() {
    in_lab(|lab| {
        internet();
        let _wall = Wall::start(lab, &Setup::default());
        // Neighbours are found once, so that the first packets do not wait.
        assert!(is_answered(lab, FOREIGN6));
        run("ip", &["netns", "exec", "agent", "sysctl", "-q", "-w", "net.ipv6.ip_nonlocal_bind=1"]);
        let before = flow_count();
        let begun = Instant::now();
        lab.within("agent", || {
            let wire = question("api.example.com", RecordType::A).to_vec().unwrap();
            for host in 0x1000..0x1800 {
                let socket = UdpSocket::bind(format!("[fd77::{host:x}]:0")).unwrap();
                socket.send_to(&wire, FOREIGN6).unwrap();
            }
        });
        eventually("the rest is dropped", 10 * SECOND, || counter("denied_flood") > 1000);
        let allowed = 250 + 50 * (begun.elapsed().as_secs() + 2);
        let made = flow_count() - before;
        assert!((200..=allowed).contains(&made), "{made} flows, not {allowed}");
        assert_eq!((elements("capturing6").len(), elements("capturing_strangers").len()), (1, 1));
        let reply = lab.within("agent", || ask(FOREIGN6, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"], "a client has its own");
    });
}

#[test]
fn where_the_captured_arrive_nobody_gets_by_asking_for_it() {
    in_lab(|lab| {
        internet();
        let _wall = Wall::start(lab, &Setup::default());
        let wire = question("api.example.com", RecordType::A).to_vec().unwrap();
        let before = counter("denied_host");
        for (server, address) in [(CAPTURE, "10.77.0.2:4053"), ("[fd77::1]:1054", "[fd77::2]:4053")] {
            let foreign = if server == CAPTURE { FOREIGN } else { FOREIGN6 };
            lab.within("agent", || {
                let socket = UdpSocket::bind(address).unwrap();
                socket.set_read_timeout(Some(8 * SECOND)).unwrap();
                // Not even from the very port of a flow that was captured.
                socket.send_to(&wire, foreign).unwrap();
                assert_eq!(socket.recv_from(&mut [0; 4096]).unwrap().1, foreign.parse().unwrap());
                socket.set_read_timeout(Some(SECOND / 2)).unwrap();
                socket.send_to(&wire, server).unwrap();
                assert!(socket.recv_from(&mut [0; 4096]).is_err(), "{server} answers");
                assert!(TcpStream::connect_timeout(&server.parse().unwrap(), SECOND / 2).is_err(), "{server}");
            });
        }
        for address in ["198.51.100.1:1054", "10.77.1.1:1054"] {
            assert!(!lab.connects("agent", address.parse().unwrap(), SECOND / 2), "{address}");
        }
        assert!(counter("denied_host") >= before + 6);
        // Nothing but a SYN begins a captured connection.
        let denied = counter("denied_other");
        lab.within("agent", || {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(6.into())).unwrap();
            let segment = [0x9c, 0x40, 0, 53, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];
            socket.send_to(&segment, &FOREIGN.parse::<SocketAddr>().unwrap().into()).unwrap();
        });
        eventually("it is refused", SECOND, || counter("denied_other") > denied);
    });
}

#[test]
fn where_it_is_off_or_the_wall_has_no_address_of_the_family_such_questions_stay_refused() {
    in_lab(|lab| {
        internet();
        count_arrivals(lab);
        let wire = question("api.example.com", RecordType::A).to_vec().unwrap();
        let answers = |server| lab.within("agent", || exchange(server, &wire, SECOND / 2)).is_some();
        let mut wall = Wall::start(lab, &Setup { wall: "dns_capture = false", ..Setup::default() });
        assert!(is_answered(lab, WALL) && !answers(FOREIGN) && !answers(FOREIGN6));
        assert!(!lab.connects("agent", FOREIGN.parse().unwrap(), SECOND / 2));
        assert!(counter("denied_other") >= 2 && counter("denied_syn") >= 1);
        let table = run("nft", &["list", "table", "inet", "cedarwall"]);
        assert!(!table.contains("type nat") && !table.contains("captured_dns"), "{table}");
        wall.process().terminate();

        // Turned on at the next start, which changes the table in place.
        let four = support::wall::configuration(lab, &Setup::default()).replace("\"[fd77::1]:53\", ", "");
        lab.write("cedarwall.toml", &four);
        wall.restart(lab);
        assert!(is_answered(lab, FOREIGN) && !answers(FOREIGN6));
        assert_eq!(arrived(), 0);
    });
}

#[test]
fn it_goes_on_over_reloads_restarts_and_others_deeds() {
    in_lab(|lab| {
        internet();
        let mut wall = Wall::start(lab, &Setup::default());
        assert!(is_answered(lab, FOREIGN));
        reload(lab);
        assert!(is_answered(lab, FOREIGN) && is_answered(lab, FOREIGN6));

        let counted = counter("captured_dns");
        assert_eq!(counted, 3);
        wall.process().kill();
        wall.restart(lab);
        assert_eq!(counter("captured_dns"), counted, "the table was left as it was");
        assert!(is_answered(lab, FOREIGN) && is_answered(lab, FOREIGN6));

        for deed in [
            "flush chain inet cedarwall capturing",
            "add rule inet cedarwall captured accept",
            "delete element inet cedarwall captured4 { 10.77.0.1 . udp . 1054 }",
        ] {
            run("nft", &[deed]);
            eventually(&format!("undone: {deed}"), 10 * SECOND, || {
                let table = run("nft", &["list", "table", "inet", "cedarwall"]);
                table.contains("dnat ip to 10.77.0.1:1054")
                    && table.contains("10.77.0.1 . udp . 1054")
                    && !table.contains("\tchain captured {\n\t\taccept")
                    && !table.contains("@captured6 accept\n\t\taccept")
            });
            assert!(is_answered(lab, FOREIGN), "{deed}");
        }
    });
}

#[test]
fn a_protected_table_and_an_auditing_one_capture_as_well() {
    in_lab(|lab| {
        let foreign = internet();
        let asked = foreign.each_ref().map(|server| server.asked().len());
        let setup =
            Setup { wall: "protect = true", policy_lines: "watch = false\nmode = \"audit\"", ..Setup::default() };
        let wall = Wall::start(lab, &setup);
        for server in [FOREIGN, FOREIGN6] {
            let reply = ask_as(lab, "agent", server, "telemetry.example.com").unwrap();
            assert_eq!(addresses(&reply), ["203.0.113.7"], "audit mode answers, by the wall's upstream");
        }
        assert_eq!(wall.events("query.answered", 2)[1]["would_deny"]["reason"], "not_permitted");
        assert_eq!(foreign.each_ref().map(|server| server.asked().len()), asked);
    });
}

/// A container engine's own resolver listens on loopback in the container's
/// namespace, and asks on from there.
#[test]
fn a_resolver_within_the_clients_own_namespace_asks_in_the_clients_name() {
    in_lab(|lab| {
        let foreign = internet();
        let asked = foreign.each_ref().map(|server| server.asked().len());
        let wall = Wall::start(lab, &Setup::default());
        for (index, upstream) in [WALL, FOREIGN].into_iter().enumerate() {
            let inner = format!("127.0.0.{}:53", 11 + index);
            let socket = lab.within("agent", || UdpSocket::bind(&inner).unwrap());
            thread::spawn(move || {
                enter("agent");
                let mut buffer = [0; 4096];
                while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    if let Some(reply) = exchange(upstream, &buffer[..length], 8 * SECOND) {
                        let _ = socket.send_to(&reply, client);
                    }
                }
            });
            assert!(is_answered(lab, &inner), "by way of {upstream}");
            let name = format!("m{index}.example.net");
            let reply = ask_as(lab, "agent", &inner, &name).unwrap();
            assert_eq!(verdict(&reply).0, ResponseCode::NXDomain);
            let denied = wall.event("query.denied", |event| event["hostname"] == name.as_str());
            assert_eq!((denied["client"].as_str(), denied["agent"].as_str()), (Some("10.77.0.2"), Some("claude")));
        }
        assert_eq!(foreign.each_ref().map(|server| server.asked().len()), asked);
    });
}

/// Where a bridge hands its packets to the IP hooks, as container engines have
/// it, and where it does not.
#[test]
fn clients_on_a_bridge_are_captured_whoever_runs_the_hooks() {
    in_lab(|lab| {
        internet();
        let mut wall = Wall::start(lab, &Setup::default());
        let script = "
            set -e
            ip netns add inner
            ip link add agents type bridge; ip addr add 10.77.2.1/24 dev agents; ip link set agents up
            ip link add port type veth peer name eth0 netns inner
            ip link set port master agents; ip link set port up
            ip -n inner link set lo up; ip -n inner addr add 10.77.2.2/24 dev eth0; ip -n inner link set eth0 up
            ip -n inner route add default via 10.77.2.1";
        run("sh", &["-c", script]);
        let config = support::wall::configuration(lab, &Setup::default())
            .replace("\"veth-agent\"", "\"agents\"")
            .replace("\"10.77.0.2\"", "\"10.77.2.2\"");
        lab.write("cedarwall.toml", &config);
        wall.process().terminate();
        wall.restart(lab);
        for hooks in ["0", "1"] {
            fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", hooks).unwrap();
            for ask in [ask, ask_tcp] {
                let reply = lab.within("inner", || ask(FOREIGN, "api.example.com", RecordType::A));
                let reply = reply.unwrap_or_else(|| panic!("no answer where the bridge runs {hooks} hooks"));
                assert_eq!(addresses(&reply), ["203.0.113.7"]);
            }
        }
        let answered = wall.events("query.answered", 4);
        assert!(answered.iter().all(|event| event["client"] == "10.77.2.2" && event["resolver"] == "203.0.113.99"));
    });
}

/// Whoever forges a source is found out before anything is sent on.
#[test]
fn a_forged_source_is_dropped_before_it_is_captured() {
    in_lab(|lab| {
        internet();
        let _wall = Wall::start(lab, &Setup::default());
        let (captured, spoofed, made) = (counter("captured_dns"), counter("denied_spoof"), flow_count());
        lab.within("agent", || {
            let wire = question("api.example.com", RecordType::A).to_vec().unwrap();
            for source in ["10.77.1.2:0", "203.0.113.50:0"] {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
                socket.set_ip_transparent_v4(true).unwrap();
                socket.bind(&source.parse::<SocketAddr>().unwrap().into()).unwrap();
                socket.send_to(&wire, &FOREIGN.parse::<SocketAddr>().unwrap().into()).unwrap();
            }
        });
        eventually("both are dropped", SECOND, || counter("denied_spoof") == spoofed + 2);
        assert_eq!((counter("captured_dns"), flow_count()), (captured, made));
    });
}

/// The answer itself, as a resolver of a program's own would take it: over UDP
/// from an address that is the wall's host's own.
#[test]
fn every_other_address_of_the_host_answers_too() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let records =
                if asked.kind == RecordType::A { vec![address(query, 300, "203.0.113.7")] } else { Vec::new() };
            wire(&answer(query, records))
        });
        let _wall = Wall::start(lab, &Setup::default());
        for server in ["198.51.100.1:53", "[2001:db8:1::1]:53"] {
            assert!(is_answered(lab, server), "{server}");
        }
    });
}
