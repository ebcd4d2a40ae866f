//! Each cap, on the real daemon: once it is reached there is a denial that
//! says so, an event and a count, others are served as before, and when it is
//! over the client is served again (G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, question, verdict};
use support::lab::{Lab, UPSTREAM, WALL, eventually, in_lab};
use support::nft::{counter, elements};
use support::run;
use support::upstream::{Asked, Upstream, address, answer, wire};
use support::wall::{Setup, Wall};

const OTHER_WALL: &str = "10.77.1.1:53";
const POLICY: &str = r#"
permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
permit(principal, action == Action::"dns.query", resource in Domain::"example.com");
permit(principal, action == Action::"net.connect", resource == Resource::"exact.example.com:443")
    when { context.protocol == Protocol::"tcp" };
"#;
/// Leases that end within seconds.
const SHORT: &str = "min = \"1s\"\ngrace = \"1s\"\n";
const SOON: Duration = Duration::from_secs(15);

/// `h7.example.com` has the address 203.0.113.7; `h7-3.example.com` has three
/// from there on.
fn script(asked: &Asked, query: &Message) -> Option<Vec<u8>> {
    let label = asked.name.split('.').next()?.trim_start_matches(|character: char| !character.is_ascii_digit());
    let (first, count) = label.split_once('-').unwrap_or((label, "1"));
    let (first, count): (u8, u8) = (first.parse().unwrap_or(1), count.parse().unwrap_or(1));
    let records = match asked.kind {
        RecordType::A => (first..first + count).map(|host| address(query, 1, &format!("203.0.113.{host}"))).collect(),
        _ => Vec::new(),
    };
    wire(&answer(query, records))
}

fn asked(lab: &Lab, namespace: &str, name: &str) -> Message {
    let server = if namespace == "agent" { WALL } else { OTHER_WALL };
    lab.within(namespace, || ask(server, name, RecordType::A)).unwrap_or_else(|| panic!("silence about {name}"))
}

/// Whether `name` is answered with an address.
fn is_answered(lab: &Lab, namespace: &str, name: &str) -> bool {
    !addresses(&asked(lab, namespace, name)).is_empty()
}

/// What is told of a cap that `client` has met: the answer's words, the event,
/// the count.
fn expect_cap(wall: &Wall, reply: &Message, client: &str, cap: &str, code: ResponseCode, words: &str) {
    assert_eq!(addresses(reply), Vec::<String>::new());
    let (told, extended) = verdict(reply);
    assert_eq!((told, extended.map(|(_, text)| text).as_deref()), (code, Some(words)));
    expect_event(wall, client, cap);
}

fn expect_event(wall: &Wall, client: &str, cap: &str) {
    let event = wall.event("cap.reached", |event| event["cap"] == cap);
    assert_eq!((event["client"].as_str(), event["agent"].as_str()), (Some(client), Some("claude")), "{event}");
    assert!(event["count"].as_u64() >= Some(1), "{event}");
    assert!(wall.metric(&format!("cap_reached_total{{cap=\"{cap}\"}}")) >= 1);
}

#[test]
fn leases_of_one_client() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let lease = format!("{SHORT}per_client = 2");
        let wall = Wall::start(lab, &Setup { policy: POLICY, lease: &lease, ..Setup::default() });
        assert!(is_answered(lab, "agent", "h1.example.com") && is_answered(lab, "agent", "h2.example.com"));
        let third = asked(lab, "agent", "h3.example.com");
        let words = "this client holds too many leases";
        expect_cap(&wall, &third, "10.77.0.2", "leases_per_client", ResponseCode::NoError, words);
        assert!(is_answered(lab, "other", "h3.example.com"), "another client has its own");
        eventually("the leases end", SOON, || is_answered(lab, "agent", "h3.example.com"));
    });
}

#[test]
fn names_of_one_address_are_leases_too() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let lease = format!("{SHORT}per_client = 2");
        let wall = Wall::start(lab, &Setup { policy: POLICY, lease: &lease, ..Setup::default() });
        assert!(is_answered(lab, "agent", "a7.example.com") && is_answered(lab, "agent", "b7.example.com"));
        let third = asked(lab, "agent", "c7.example.com");
        let words = "this client holds too many leases";
        expect_cap(&wall, &third, "10.77.0.2", "leases_per_client", ResponseCode::NoError, words);
    });
}

#[test]
fn leases_of_one_name() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let lease = format!("{SHORT}per_name = 2");
        let wall = Wall::start(lab, &Setup { policy: POLICY, lease: &lease, ..Setup::default() });
        let three = asked(lab, "agent", "h10-3.example.com");
        let words = "this name holds too many leases";
        expect_cap(&wall, &three, "10.77.0.2", "leases_per_name", ResponseCode::NoError, words);
        assert_eq!(elements("lease4"), []);
        assert!(is_answered(lab, "agent", "h10-2.example.com"), "two it may");
    });
}

#[test]
fn leases_of_all_clients() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let lease = format!("{SHORT}per_client = 3\ntotal = 3");
        let wall = Wall::start(lab, &Setup { policy: POLICY, lease: &lease, ..Setup::default() });
        assert!(is_answered(lab, "agent", "h10-3.example.com"));
        let fourth = asked(lab, "other", "h1.example.com");
        let words = "all clients together hold too many leases";
        expect_cap(&wall, &fourth, "10.77.1.2", "leases_total", ResponseCode::NoError, words);
        eventually("the leases end", SOON, || is_answered(lab, "other", "h1.example.com"));
    });
}

/// Asks for names below a permitted domain until the budget is spent.
fn spend(names: &'static str, cap: &'static str, words: &'static str, name: fn(usize) -> String) {
    in_lab(move |lab| {
        let upstream = Upstream::start(UPSTREAM, script);
        let wall = Wall::start(lab, &Setup { policy: POLICY, names, ..Setup::default() });
        let begin = Instant::now();
        let spent = (1..200).find(|index| !is_answered(lab, "agent", &name(*index))).expect("an end");
        assert!(spent > 1, "the first is permitted");
        let reply = asked(lab, "agent", &name(spent));
        expect_cap(&wall, &reply, "10.77.0.2", cap, ResponseCode::NoError, words);
        assert_eq!(upstream.count(&name(spent)), 0, "what is denied is not asked upstream");
        let by_other_way = lab.within("agent", || ask("[fd77::1]:53", &name(spent), RecordType::A)).unwrap();
        assert_eq!(addresses(&by_other_way), Vec::<String>::new(), "all addresses of a client have one budget");
        let text = lab.within("agent", || ask(WALL, &name(spent), RecordType::TXT)).unwrap();
        assert_eq!(verdict(&text).1.map(|(_, text)| text).as_deref(), Some(words), "nor for another type");
        for _ in 0..3 {
            assert!(is_answered(lab, "agent", "exact.example.com"), "a name that a permit names is free");
        }
        assert!(is_answered(lab, "other", &name(spent)), "another client has a budget of its own");
        // Not for luck: it is the minute that is promised.
        std::thread::sleep(Duration::from_secs(55).saturating_sub(begin.elapsed()));
        assert!(!is_answered(lab, "agent", &name(spent)));
        eventually("a minute passes", Duration::from_secs(20), || {
            std::thread::sleep(Duration::from_millis(200));
            is_answered(lab, "agent", &name(spent))
        });
        assert!(begin.elapsed() >= Duration::from_secs(59), "after {:?}", begin.elapsed());
    });
}

/// Three walls at once: each takes its minute.
#[test]
fn names_below_a_domain_their_octets_and_their_bits() {
    let names = || {
        let words = "this client asks for too many names a minute";
        spend("per_minute = 5", "names_per_minute", words, |index| format!("n{index}.example.com"));
    };
    let octets = || {
        let words = "this client asks for names that are too long, taken together, a minute";
        let name = |index| format!("n{index}.{}.example.com", "long".repeat(8));
        spend("octets_per_minute = 150", "name_octets_per_minute", words, name);
    };
    let bits = || {
        let words = "this client asks for names that can tell too much a minute";
        let name = |index| format!("mfrggzdf{index}my4tqmjrgi3dinzv.example.com");
        spend("bits_per_minute = 500", "name_bits_per_minute", words, name);
    };
    std::thread::scope(|scope| {
        for spent in [scope.spawn(names), scope.spawn(octets), scope.spawn(bits)] {
            spent.join().unwrap();
        }
    });
}

#[test]
fn queries_in_flight() {
    in_lab(|lab| {
        let released = Arc::new(AtomicBool::new(false));
        let is_released = Arc::clone(&released);
        let upstream = Upstream::start(UPSTREAM, move |asked, query| {
            let held = asked.name.starts_with("held") && !is_released.load(Ordering::Relaxed);
            (!held).then(|| script(asked, query))?
        });
        let dns = "max_in_flight = 3\nin_flight_per_client = 2\nupstream_timeout = \"20s\"";
        let wall = Wall::start(lab, &Setup { policy: POLICY, dns, ..Setup::default() });
        let hold = |namespace: &str, server: &str, names: [&str; 2]| {
            let socket = lab.within(namespace, || UdpSocket::bind("0.0.0.0:0").unwrap());
            for name in names {
                socket.send_to(&question(name, RecordType::A).to_vec().unwrap(), server).unwrap();
            }
            eventually("they are asked", SOON, || names.iter().any(|name| upstream.count(name) > 0));
            socket
        };
        let _held = hold("agent", WALL, ["held1.example.com", "held2.example.com"]);
        eventually("both are asked", SOON, || upstream.count("held2.example.com") > 0);
        let third = asked(lab, "agent", "h1.example.com");
        let words = "this client has too many queries in flight";
        expect_cap(&wall, &third, "10.77.0.2", "in_flight_per_client", ResponseCode::ServFail, words);
        assert!(is_answered(lab, "other", "h1.example.com"), "there is one left for another client");

        let _held = hold("other", OTHER_WALL, ["held3.example.com", "held3.example.com"]);
        let fourth = asked(lab, "other", "h2.example.com");
        let words = "too many queries are in flight";
        expect_cap(&wall, &fourth, "10.77.1.2", "in_flight_total", ResponseCode::ServFail, words);
        released.store(true, Ordering::Relaxed);
        for namespace in ["agent", "other"] {
            eventually("slots come back", Duration::from_secs(25), || is_answered(lab, namespace, "h3.example.com"));
        }
    });
}

/// Sends `wire` so many times at once, and counts the answers by their code.
fn pour(lab: &Lab, namespace: &str, wire: &[u8], times: usize) -> Vec<Message> {
    lab.within(namespace, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(if namespace == "agent" { WALL } else { OTHER_WALL }).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let mut replies = Vec::new();
        let mut buffer = [0; 4096];
        for _ in 0..times {
            socket.send(wire).unwrap();
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            replies.push(Message::from_vec(&buffer[..length]).unwrap());
        }
        replies
    })
}

#[test]
fn queries_of_a_second() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let dns = "queries_per_second = 10\nburst = 20";
        let wall = Wall::start(lab, &Setup { policy: POLICY, dns, ..Setup::default() });
        let wire = question("h1.example.com", RecordType::A).to_vec().unwrap();
        let replies = pour(lab, "agent", &wire, 1000);
        let with = |code| replies.iter().filter(|reply| verdict(reply).0 == code).count();
        let (answered, refused) = (with(ResponseCode::NoError), with(ResponseCode::Refused));
        assert!((20..60).contains(&answered), "{answered} answered");
        assert!((20..200).contains(&refused), "{refused} refused");
        let refusal = replies.iter().find(|reply| verdict(reply).0 == ResponseCode::Refused).unwrap();
        let words = "this client asks too many questions a second";
        expect_cap(&wall, refusal, "10.77.0.2", "queries_per_second", ResponseCode::Refused, words);
        assert!(is_answered(lab, "other", "h1.example.com"));
        eventually("the bucket fills", SOON, || is_answered(lab, "agent", "h1.example.com"));
        let lines = wall.events("cap.reached", 1);
        assert!(lines.len() <= 6, "a flood is one line a second: {}", lines.len());
        eventually("nothing is missing from the count", SOON, || {
            wall.metric("cap_reached_total{cap=\"queries_per_second\"}") >= 1000 - 60
        });
        // Over TCP the same.
        pour(lab, "agent", &wire, 100);
        let mut stream = lab.within("agent", || TcpStream::connect(WALL).unwrap());
        stream.set_read_timeout(Some(SOON)).unwrap();
        let framed = [u16::try_from(wire.len()).unwrap().to_be_bytes().as_slice(), &wire].concat();
        stream.write_all(&framed.repeat(30)).unwrap();
        let mut next = || {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut reply).unwrap();
            verdict(&Message::from_vec(&reply).unwrap()).0
        };
        // The bucket may have got a few more meanwhile.
        assert!((0..20).any(|_| next() == ResponseCode::Refused), "over TCP, too");
    });
}

#[test]
fn strangers_share_one_rate_and_are_told_as_one() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        for host in 10..60 {
            run("ip", &["-n", "agent", "addr", "add", &format!("10.77.0.{host}/24"), "dev", "eth0"]);
        }
        let dns = "queries_per_second = 5\nburst = 10";
        let wall = Wall::start(lab, &Setup { policy: POLICY, dns, ..Setup::default() });
        let wire = question("h1.example.com", RecordType::A).to_vec().unwrap();
        let replies: usize = lab.within("agent", || {
            let sockets = (10..60).map(|host| UdpSocket::bind(format!("10.77.0.{host}:0")).unwrap());
            let sockets: Vec<_> = sockets.collect();
            for socket in sockets.iter().cycle().take(1000) {
                socket.send_to(&wire, WALL).unwrap();
            }
            std::thread::sleep(Duration::from_millis(700));
            let mut buffer = [0; 4096];
            let mut count = |socket: &UdpSocket| {
                socket.set_nonblocking(true).unwrap();
                std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
            };
            sockets.iter().map(&mut count).sum()
        });
        assert!((10..150).contains(&replies), "{replies} answers to strangers");
        let events = wall.events("cap.reached", 1);
        assert!(events.iter().all(|event| event.get("client").is_none() && event.get("agent").is_none()), "{events:?}");
        assert!(events.len() <= 4, "{events:?}");
        assert!(is_answered(lab, "agent", "h1.example.com"), "clients have their own");
    });
}

#[test]
fn connections() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let dns = "max_connections = 8\nidle_timeout = \"2s\"";
        let wall = Wall::start(lab, &Setup { policy: POLICY, dns, ..Setup::default() });
        let open = |namespace: &str, server: &str| lab.within(namespace, || TcpStream::connect(server).unwrap());
        let held: Vec<_> = (0..4).map(|_| open("agent", WALL)).collect();
        expect_event(&wall, "10.77.0.2", "connections_per_client");
        assert!(
            lab.within("other", || support::client::ask_tcp(OTHER_WALL, "h1.example.com", RecordType::A)).is_some()
        );
        // Idle connections end, and there is room again.
        eventually("room", SOON, || {
            lab.within("agent", || support::client::ask_tcp(WALL, "h1.example.com", RecordType::A)).is_some()
        });
        drop(held);
    });
}

#[test]
fn connections_of_all_clients() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        let dns = "max_connections = 1\nidle_timeout = \"4s\"";
        let wall = Wall::start(lab, &Setup { policy: POLICY, dns, ..Setup::default() });
        let mut held = lab.within("agent", || TcpStream::connect(WALL).unwrap());
        // Each address has a listener of its own: who was first is known by
        // being answered.
        assert!(support::client::ask_over(&mut held, "h0.example.com", RecordType::A).is_some());
        let _other = lab.within("other", || TcpStream::connect(OTHER_WALL).unwrap());
        expect_event(&wall, "10.77.1.2", "connections_total");
        eventually("room", SOON, || {
            lab.within("other", || support::client::ask_tcp(OTHER_WALL, "h1.example.com", RecordType::A)).is_some()
        });
    });
}

#[test]
fn packets_to_the_walls_own_dns() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, script);
        // The daemon itself would take them.
        let setup = Setup { policy: POLICY, wall: "dns_packets_per_second = 100", ..Setup::default() };
        let _wall = Wall::start(lab, &setup);
        let wire = question("h1.example.com", RecordType::A).to_vec().unwrap();
        let answered = pour(lab, "agent", &wire, 1000).len();
        assert!((20..150).contains(&answered), "{answered}");
        let dropped = counter("denied_flood");
        assert_eq!(dropped + u64::try_from(answered).unwrap(), 1000);
        assert!(is_answered(lab, "other", "h1.example.com"), "another client has its own");
        eventually("it recovers", SOON, || is_answered(lab, "agent", "h1.example.com"));

        // Whoever invents addresses gets one share for all of them, fills no
        // set, and takes no share of a client on the same interface.
        let before = counter("denied_flood");
        run("ip", &["netns", "exec", "agent", "sysctl", "-q", "-w", "net.ipv6.ip_nonlocal_bind=1"]);
        lab.within("agent", || {
            for host in 0x1000..0x1400 {
                let socket = UdpSocket::bind(format!("[fd77::{host:x}]:0")).unwrap();
                socket.send_to(&wire, "[fd77::1]:53").unwrap();
            }
        });
        eventually("most are dropped", SOON, || counter("denied_flood") - before > 700);
        assert_eq!((elements("asking6").len(), elements("asking_strangers").len()), (0, 1));
        assert!(is_answered(lab, "agent", "h1.example.com"));
    });
}
