//! What was denied is counted in five places, and all of them say the same, to
//! the digit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use support::client::question;
use support::lab::{Lab, WALL, enter, eventually, in_lab};
use support::nft::counter;
use support::wall::{Setup, Wall};

const POLICY: &str = r#"
permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
@id("no-ads")
forbid(principal, action == Action::"net.connect", resource in Domain::"ads.example.net");
"#;
/// Nothing is in the way of questions.
const DNS: &str = "queries_per_second = 1000000\nburst = 1000000";
const QUESTIONS: usize = 20_000;
const DATAGRAMS: usize = 10_000;

/// Asks so many questions, one after the other, and returns how many of them
/// were sent once more because no answer came.
fn ask_in_turn(server: &str, names: &[&str], count: usize) -> usize {
    let server: SocketAddr = server.parse().unwrap();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let wires: Vec<_> = names.iter().map(|name| question(name, RecordType::A).to_vec().unwrap()).collect();
    let mut again = 0;
    for wire in wires.iter().cycle().take(count) {
        socket.send(wire).unwrap();
        while socket.recv(&mut [0; 1500]).is_err() {
            again += 1;
            socket.send(wire).unwrap();
        }
    }
    again
}

/// Sends datagrams and first packets of TCP where nothing is open.
fn knock(family: &str, host: &str, count: usize) {
    let socket = UdpSocket::bind(if family == "4" { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    let place = |port: usize| -> SocketAddr {
        let base = if family == "4" { "203.0.113.66".to_owned() } else { "[2001:db8:2::66]".to_owned() };
        format!("{base}:{}", 1000 + port).parse().unwrap()
    };
    for number in 0..count {
        // A refused packet may come back as an error of the next call.
        while socket.send_to(b"x", place(number % 100)).is_err() {}
    }
    let host: SocketAddr = host.parse().unwrap();
    (0..10).for_each(|_| while socket.send_to(b"x", host).is_err() {});
    let domain = if family == "4" { Domain::IPV4 } else { Domain::IPV6 };
    for port in 0..50 {
        let socket = Socket::new(domain, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // It is under way, and is ended at once.
        let _ = socket.connect(&place(port).into());
    }
}

/// What a client is told of itself.
fn denied_to_me(server: &str) -> u64 {
    let mut message = Message::query();
    let mut query = Query::query(Name::from_ascii("denied.cedarwall.").unwrap(), RecordType::TXT);
    query.set_query_class(DNSClass::CH);
    message.add_query(query);
    let reply = support::client::exchange(server, &message.to_vec().unwrap(), Duration::from_secs(5)).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    let RData::TXT(text) = &reply.answers[0].data else { panic!("{reply:?}") };
    String::from_utf8(text.txt_data[0].to_vec()).unwrap().parse().unwrap()
}

/// The control socket's own words.
fn socket_says(lab: &Lab, route: &str) -> String {
    let mut socket = UnixStream::connect(lab.path("control.sock")).unwrap();
    write!(socket, "GET {route} HTTP/1.1\r\nhost: wall\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Packets by the elements of a set, as `nft` lists them.
fn listed(set: &str) -> u64 {
    let listing = support::run("nft", &["-j", "list", "set", "inet", "cedarwall", set]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let set = listing["nftables"].as_array().unwrap().iter().find_map(|object| object.get("set")).unwrap();
    let elements = set["elem"].as_array().into_iter().flatten();
    elements.map(|element| element["elem"]["counter"]["packets"].as_u64().unwrap()).sum()
}

fn sum<'a>(rows: impl IntoIterator<Item = &'a Value>, field: &str) -> u64 {
    rows.into_iter().map(|row| row[field].as_u64().unwrap()).sum()
}

/// Every series of a metric: its labels and its value.
fn series(metrics: &str, name: &str) -> Vec<(String, u64)> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("cedarwall_")?.strip_prefix(name));
    let split = lines.filter_map(|line| line.rsplit_once(' '));
    split.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn five_counters_agree_to_the_digit_after_a_hundred_thousand_mixed_denials() {
    in_lab(|lab| {
        let wall_lines = "dns_packets_per_second = 10000000";
        let journal = "max_size = \"1GB\"";
        let setup = Setup { policy: POLICY, dns: DNS, wall: wall_lines, journal, ..Setup::default() };
        let mut wall = Wall::start(lab, &setup);
        support::run("ip", &["-n", "agent", "addr", "add", "10.77.0.9/24", "dev", "eth0"]);

        let names = ["nobody.example.org", "x.ads.example.net", "*.example.org", "ads.example.net"];
        let again: usize = std::thread::scope(|scope| {
            let asking = |namespace: &'static str, server: &'static str| {
                scope.spawn(move || {
                    enter(namespace);
                    ask_in_turn(server, &names, QUESTIONS)
                })
            };
            let asked = [asking("agent", WALL), asking("other", "10.77.1.1:53")];
            let knocking = |namespace: &'static str, family: &'static str, host: &'static str| {
                scope.spawn(move || {
                    enter(namespace);
                    knock(family, host, DATAGRAMS);
                })
            };
            let knocked = [
                knocking("agent", "4", "10.77.0.1:80"),
                knocking("agent", "6", "[fd77::1]:80"),
                knocking("other", "4", "10.77.1.1:80"),
                knocking("other", "6", "[fd77:1::1]:80"),
            ];
            knocked.into_iter().for_each(|thread| thread.join().unwrap());
            asked.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // A stranger, who asks, knocks, and pings.
        let again = again
            + lab.within("agent", || {
                support::run("ip", &["route", "replace", "default", "via", "10.77.0.1", "src", "10.77.0.9"]);
                support::run("ip", &["route", "replace", "10.77.0.0/24", "dev", "eth0", "src", "10.77.0.9"]);
                let again = ask_in_turn(WALL, &["api.example.com"], QUESTIONS);
                knock("4", "10.77.0.1:80", 100);
                let _ = std::process::Command::new("ping")
                    .args(["-c", "3", "-i", "0.2", "-W", "1", "203.0.113.9"])
                    .output();
                support::run("ip", &["route", "replace", "10.77.0.0/24", "dev", "eth0", "src", "10.77.0.2"]);
                again
            });

        let operator = wall.operator(&["denials", "--top", "1000000"]).unwrap();
        let socket: Value = serde_json::from_str(&socket_says(lab, "/denials")).unwrap();
        let metrics = socket_says(lab, "/metrics");

        // Questions: the command, the socket, the metrics, and each asker.
        let questions = operator["count"].as_u64().unwrap();
        assert_eq!(questions, u64::try_from(3 * QUESTIONS + again).unwrap(), "each question is one denial");
        assert_eq!(socket["count"], questions);
        let totals = operator["totals"].as_array().unwrap();
        assert_eq!(sum(totals, "count"), questions);
        assert_eq!(
            sum(operator["names"].as_array().unwrap(), "count") + operator["other"].as_u64().unwrap(),
            questions
        );
        let denied = series(&metrics, "denied_total{");
        assert_eq!(denied.iter().map(|(_, count)| count).sum::<u64>(), questions);
        for total in totals {
            let agent = total["agent"].as_str().unwrap_or("(unknown)");
            let labels = format!("agent=\"{agent}\",reason=\"{}\"}}", total["reason"].as_str().unwrap());
            assert!(denied.contains(&(labels.clone(), total["count"].as_u64().unwrap())), "{labels}: {denied:?}");
        }
        assert_eq!(wall.metric("queries_total{outcome=\"denied\"}"), questions);
        let of_strangers: u64 =
            denied.iter().filter(|(labels, _)| labels.contains("(unknown)")).map(|(_, count)| count).sum();
        let told = lab.within("agent", || denied_to_me(WALL)) + lab.within("other", || denied_to_me("10.77.1.1:53"));
        assert_eq!(told + of_strangers, questions);
        let reasons: Vec<_> = totals.iter().map(|total| total["reason"].as_str().unwrap()).collect();
        for reason in ["not_permitted", "forbidden", "unusable_name", "unknown_client"] {
            assert!(reasons.contains(&reason), "{reason}: {reasons:?}");
        }

        // Packets: the kernel's counters and sets, the command, the socket and
        // the metrics.
        let [syn, other, host, sinkhole] =
            ["denied_syn", "denied_other", "denied_host", "denied_sinkhole"].map(counter);
        let packets = syn + other + host + sinkhole;
        assert!(syn >= 200 && host >= 40 && packets >= 40_000, "{syn} {other} {host}");
        let [portless, unlisted, strangers] =
            ["refused_portless", "refused_unlisted", "refused_strangers"].map(counter);
        assert!(portless >= 3 && strangers >= 100, "{portless} {strangers}");
        assert_eq!(listed("denied4") + listed("denied6") + portless + unlisted, packets);
        assert_eq!(listed("refused_by4") + listed("refused_by6") + strangers, packets);
        for report in [&operator, &socket] {
            let kernel = report["kernel"].as_array().unwrap();
            for name in ["denied_syn", "denied_other", "denied_host", "refused_portless", "permitted"] {
                let row = kernel.iter().find(|row| row["name"] == name).unwrap();
                assert_eq!(row["packets"], counter(name), "{name}");
            }
            assert_eq!(sum(report["refused"].as_array().unwrap(), "packets") + portless + unlisted, packets);
        }
        for name in ["denied_syn", "denied_other", "denied_host", "refused_strangers"] {
            assert_eq!(wall.metric(&format!("kernel_packets_total{{counter=\"{name}\"}}")), counter(name), "{name}");
        }

        // And what was told of them, one by one and in sum.
        wall.process().terminate();
        wall.events("daemon.stopped", 1);
        let single = u64::try_from(wall.events("packet.dropped", 1).len()).unwrap();
        let summed = sum(&wall.events("packets.summarised", 1), "packets");
        let now: u64 = ["denied_syn", "denied_other", "denied_host", "denied_sinkhole"].map(counter).iter().sum();
        assert_eq!(single + summed, now);
    });
}

#[test]
fn what_a_watcher_sees_is_renewed_until_nobody_looks() {
    in_lab(|lab| {
        let wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        let socket = lab.path("control.sock");
        let mut watcher = std::process::Command::new(support::wall::binary())
            .args(["denials", "--watch", "--json", "--socket", socket.to_str().unwrap()])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watcher.stdout.take().unwrap()));
        let count = |line: String| serde_json::from_str::<Value>(&line).unwrap()["count"].as_u64().unwrap();
        assert_eq!(count(lines.next().unwrap().unwrap()), 0);
        lab.within("agent", || ask_in_turn(WALL, &["ads.example.net"], 3));
        assert!(lines.by_ref().take(5).any(|line| count(line.unwrap()) == 3), "it is not renewed");
        drop(lines);
        let mut ended = None;
        eventually("the watcher ends with its reader", Duration::from_secs(10), || {
            ended = watcher.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "a closed pipe is no failure");
        drop(wall);
    });
}
