//! What goes nowhere is told with its names, floods as counts; what goes
//! through is counted; and other names of what is open are known.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use serde_json::{Value, json};

use support::client::ask;
use support::lab::{Conversation, Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::counter;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

const PATIENCE: Duration = Duration::from_secs(5);

/// The control socket's answer to a POST.
fn post(lab: &Lab, route: &str) -> Value {
    let mut socket = UnixStream::connect(lab.path("control.sock")).unwrap();
    write!(socket, "POST {route} HTTP/1.1\r\nhost: wall\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The event of a packet to this port, once there is one; there has to be one
/// only.
fn dropped(wall: &Wall, port: u16) -> Value {
    let mut found = Vec::new();
    eventually(&format!("the packet to port {port} is told"), PATIENCE, || {
        found = wall.events("packet.dropped", 0);
        found.retain(|event| event["port"] == port);
        !found.is_empty()
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_dropped_packet_is_told_once_with_its_ends_and_the_names_of_its_address() {
    in_lab(|lab| {
        let _upstream = Upstream::start(UPSTREAM, plain(60, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &Setup::default());
        lab.within("agent", || {
            ask(WALL, "registry.example.com", RecordType::A).unwrap();
            ask(WALL, "api.example.com", RecordType::A).unwrap();
            ask(WALL, "api.example.com", RecordType::AAAA).unwrap();
        });

        // Long enough for the first packet to be sent once more.
        let tried = Instant::now();
        assert!(!lab.connects("agent", "203.0.113.7:81".parse().unwrap(), Duration::from_millis(1300)));
        let told = dropped(&wall, 81);
        assert!(told["time"].is_string() && tried.elapsed() < Duration::from_secs(10));
        assert!(told["source_port"].as_u64().unwrap() > 0, "{told}");
        let fields = ["client", "agent", "address", "protocol", "tcp_flags", "hostnames", "hostnames_of_others"];
        assert_eq!(
            fields.map(|field| told[field].clone()),
            [
                json!("10.77.0.2"),
                json!("claude"),
                json!("203.0.113.7"),
                json!("tcp"),
                json!("S"),
                json!(["api.example.com", "registry.example.com"]),
                Value::Null
            ]
        );

        // Another client never asked.
        assert!(!lab.connects("other", "203.0.113.7:82".parse().unwrap(), Duration::from_millis(100)));
        let told = dropped(&wall, 82);
        assert_eq!((&told["client"], &told["hostnames"]), (&json!("10.77.1.2"), &Value::Null));
        assert_eq!(told["hostnames_of_others"], json!(["api.example.com", "registry.example.com"]));

        // Nobody knows that address; and other protocols, and IPv6.
        lab.within("agent", || {
            UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", "203.0.113.99:83").unwrap();
            UdpSocket::bind("[::]:0").unwrap().send_to(b"x", "[2001:db8:2::7]:84").unwrap();
            let _ = std::process::Command::new("ping").args(["-c", "1", "-W", "1", "203.0.113.98"]).output();
        });
        let told = dropped(&wall, 83);
        assert_eq!(
            ["protocol", "tcp_flags", "hostnames"].map(|field| told[field].clone()),
            [json!("udp"), Value::Null, Value::Null]
        );
        let told = dropped(&wall, 84);
        assert_eq!((&told["client"], &told["hostnames"]), (&json!("fd77::2"), &json!(["api.example.com"])));
        let pings = wall.events("packet.dropped", 5);
        assert!(pings.iter().any(|event| event["protocol"] == "icmp" && event["port"].is_null()), "{pings:?}");

        // To the wall's own host, too.
        assert!(!lab.connects("agent", "10.77.0.1:85".parse().unwrap(), Duration::from_millis(100)));
        assert_eq!(dropped(&wall, 85)["address"], "10.77.0.1");

        // What was sent once more is told in sum, at the end at the latest.
        wall.process().terminate();
        wall.events("daemon.stopped", 1);
        let summed: u64 =
            wall.events("packets.summarised", 1).iter().map(|event| event["packets"].as_u64().unwrap()).sum();
        let single = u64::try_from(wall.events("packet.dropped", 6).len()).unwrap();
        let counted: u64 = ["denied_syn", "denied_other", "denied_host"].map(counter).iter().sum();
        assert_eq!(single + summed, counted);
    });
}

/// Processor time of a process, in hundredths of a second (proc_pid_stat(5)).
fn processor_time(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Sends so many datagrams as fast as it goes, to ever other ports.
fn flood(packets: usize) {
    const BATCH: usize = 200;
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let slices: Vec<[IoSlice<'_>; 1]> = (0..BATCH).map(|_| [IoSlice::new(b"x")]).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut sent = 0;
    while sent < packets {
        let to = |number: usize| match format!("203.0.113.66:{}", 1 + (sent + number) % 60_000).parse().unwrap() {
            SocketAddr::V4(address) => Some(SockaddrIn::from(address)),
            SocketAddr::V6(_) => None,
        };
        let to: Vec<_> = (0..BATCH).map(to).collect();
        let done = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty());
        sent += done.map_or(0, Iterator::count);
    }
}

#[test]
fn a_million_drops_cost_the_daemon_next_to_nothing_and_a_line_a_second() {
    in_lab(|lab| {
        let mut wall = Wall::start(lab, &Setup::default());
        let process = wall.process().id();
        let (before, began) = (processor_time(process), Instant::now());
        lab.within("agent", || flood(1_000_000));
        let (took, used) = (began.elapsed(), processor_time(process) - before);
        // `nft` takes seconds to list a counter beside such sets.
        let so_far = || wall.metric("kernel_packets_total{counter=\"denied_other\"}");
        eventually("the last of them is told", PATIENCE, || {
            let told: u64 =
                wall.events("packets.summarised", 0).iter().map(|event| event["packets"].as_u64().unwrap()).sum();
            told + 100 >= so_far()
        });
        let share = f64::from(u32::try_from(used).unwrap()) / 100.0 / took.as_secs_f64();
        wall.process().terminate();
        wall.events("daemon.stopped", 1);
        let refused = counter("denied_other");
        let single = wall.events("packet.dropped", 1).len();
        let summaries = wall.events("packets.summarised", 1);
        eprintln!(
            "{} packets in {took:.1?}: {:.2} % of a core, {single} lines of single packets, {} of sums, {} losses",
            refused,
            share * 100.0,
            summaries.len(),
            wall.events("packets.lost", 0).len(),
        );
        assert!(refused > 900_000, "{refused} packets are no flood");
        assert!(share < 0.05, "{share} of a core");
        assert!(single <= 25, "{single} lines of single packets");
        let seconds = usize::try_from(took.as_secs()).unwrap();
        assert!(summaries.len() <= seconds + 2, "{} lines in {seconds} s", summaries.len());
        let summed: u64 = summaries.iter().map(|event| event["packets"].as_u64().unwrap()).sum();
        assert_eq!(u64::try_from(single).unwrap() + summed, refused, "to the digit");
        assert_eq!((&summaries[0]["client"], &summaries[0]["address"]), (&json!("10.77.0.2"), &json!("203.0.113.66")));
    });
}

#[test]
fn what_went_through_is_counted_by_name_and_told_when_asked_and_at_the_end() {
    in_lab(|lab| {
        let _upstream = Upstream::start(UPSTREAM, plain(60, "203.0.113.7", "2001:db8:2::7"));
        greeter(443);
        let mut wall = Wall::start(lab, &Setup::default());
        lab.within("agent", || {
            ask(WALL, "api.example.com", RecordType::A).unwrap();
            ask(WALL, "api.example.com", RecordType::AAAA).unwrap();
        });
        let mut first = Conversation::begin(lab, "agent", "203.0.113.7:443");
        assert!(first.goes_on(PATIENCE));
        let rows = post(lab, "/traffic");
        let row = &rows.as_array().unwrap()[0];
        assert_eq!((&row["client"], &row["agent"], &row["port"]), (&json!("10.77.0.2"), &json!("claude"), &json!(443)));
        assert_eq!((&row["names"], &row["connections"]), (&json!(["api.example.com"]), &json!(1)));
        let told = wall.events("traffic.counted", 1);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((&told[0]["hostnames"], &told[0]["connections"]), (&json!(["api.example.com"]), &json!(1)));
        assert_eq!((&told[0]["packets"], &told[0]["bytes"]), (&row["packets"], &row["bytes"]));
        // A handshake alone is three packets, and the greeting comes back.
        assert!(told[0]["packets"].as_u64().unwrap() >= 6, "{told:?}");

        // 64 KiB there and back, over IPv6.
        let mut second = Conversation::begin(lab, "agent", "[2001:db8:2::7]:443");
        second.echo(64 << 10);
        assert!(first.goes_on(PATIENCE));
        wall.process().terminate();
        wall.events("daemon.stopped", 1);
        let told = wall.events("traffic.counted", 3);
        let six = told.iter().find(|event| event["address"] == "2001:db8:2::7").unwrap();
        assert!(six["bytes"].as_u64().unwrap() >= 2 * (64 << 10), "{six}");
        assert_eq!(
            (&six["client"], &six["hostnames"], &six["connections"]),
            (&json!("fd77::2"), &json!(["api.example.com"]), &json!(1))
        );
        let four: Vec<_> = told.iter().filter(|event| event["address"] == "203.0.113.7").collect();
        assert_eq!(four.len(), 2, "what was told is not told again");
        assert_eq!(four[1]["connections"], 0);
        let elements = support::run("nft", &["list", "set", "inet", "cedarwall", "traffic4"]);
        assert!(elements.contains("10.77.0.2 . 203.0.113.7 . tcp . 443"), "{elements}");
        assert_eq!(counter("uncounted"), 0);
        drop((first, second));
    });
}

#[test]
fn a_name_that_shares_an_open_address_is_exposed() {
    in_lab(|lab| {
        let _upstream = Upstream::start(UPSTREAM, plain(60, "203.0.113.7", "2001:db8:2::7"));
        let permit = |host: &str| {
            format!("permit(principal, action == Action::\"net.connect\", resource == Resource::\"{host}:443\");\n")
        };
        let both = permit("api.example.com") + &permit("telemetry.example.com");
        let wall = Wall::start(lab, &Setup { policy: &both, ..Setup::default() });
        lab.within("agent", || ask(WALL, "api.example.com", RecordType::A).unwrap());
        assert_eq!(wall.operator(&["exposure"]), Some(json!([])), "it has one name");
        assert_eq!(wall.metric("exposed_names{verdict=\"denied\"}"), 0);

        lab.within("other", || ask("10.77.1.1:53", "telemetry.example.com", RecordType::A).unwrap());
        let agents = |exposure: &Value| -> Value {
            exposure.as_array().unwrap().iter().find(|row| row["client"] == "10.77.0.2").unwrap().clone()
        };
        let row = agents(&wall.operator(&["exposure"]).unwrap());
        assert_eq!((&row["address"], &row["names"]), (&json!("203.0.113.7"), &json!(["api.example.com"])));
        assert_eq!(
            (&row["others"][0]["name"], &row["others"][0]["denied"]),
            (&json!("telemetry.example.com"), &json!(false))
        );
        assert_eq!(row["others"][0]["told_to_client"], false);
        assert_eq!(wall.metric("exposed_names{verdict=\"permitted\"}"), 2, "each for the other's client");

        lab.write("policies/wall.cedar", &permit("api.example.com"));
        assert!(wall.operator(&["reload"]).is_some());
        let row = agents(&wall.operator(&["exposure"]).unwrap());
        assert_eq!(
            (&row["others"][0]["name"], &row["others"][0]["denied"]),
            (&json!("telemetry.example.com"), &json!(true))
        );
        assert_eq!(row["others"][0]["reason"], "not_permitted");
        assert_eq!(wall.metric("exposed_names{verdict=\"denied\"}"), 1);
    });
}
