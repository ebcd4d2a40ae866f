//! Clients that are slow, many, or send what makes no sense: others are
//! answered meanwhile, and nothing is left of it afterwards (G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::{Domain, Socket, Type};
use support::client::{addresses, ask, question, verdict};
use support::lab::{Lab, SECOND_UPSTREAM, UPSTREAM, WALL, enter, eventually, greeter, in_lab};
use support::nft::elements;
use support::released::asked_by_agent;
use support::run;
use support::trouble::{memory, open_files, processor_during};
use support::upstream::{Upstream, address, answer, plain, wire};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
const OTHER_WALL: &str = "10.77.1.1:53";
const TRUE: &str = "203.0.113.7";
/// Everything below example.com, on one port: one lease for each address.
const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;

fn setup() -> Setup<'static> {
    Setup { policy: POLICY, dns: "idle_timeout = \"2s\"", ..Setup::default() }
}

/// The other client is answered, and how quickly.
fn other_is_answered(lab: &Lab, name: &str) -> Duration {
    let start = Instant::now();
    let reply = lab.within("other", || ask(OTHER_WALL, name, RecordType::A)).expect("an answer");
    assert_eq!(addresses(&reply), [TRUE], "{name}");
    start.elapsed()
}

fn connect_from(source: &str) -> TcpStream {
    let [source, server]: [SocketAddr; 2] = [source, WALL].map(|text| text.parse().unwrap());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Whether the wall has closed it.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_thousand_clients_that_send_an_octet_a_second_are_closed_and_hold_nobody_else() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, TRUE, "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &setup());
        let daemon = wall.process().id();
        for host in 100..110 {
            run("ip", &["-n", "agent", "addr", "add", &format!("10.77.0.{host}/24"), "dev", "eth0"]);
        }
        let before = open_files(daemon);
        // Half from the agent, half from ten strangers.
        let source = |index: usize| if index < 500 { "10.77.0.2:0".to_owned() } else { stranger(index) };
        let mut open: Vec<_> =
            lab.within("agent", || (0..1000).map(|index| connect_from(&source(index))).collect::<Vec<_>>());
        let start = Instant::now();
        // A length of 65,535, and nothing but the beginning of what follows.
        let mut slowest = Duration::ZERO;
        let mut most = 0;
        while !open.is_empty() {
            for stream in &mut open {
                let _ = stream.write_all(&[0xff]);
            }
            for index in 0..5 {
                let name = format!("h{}-{index}.example.com", start.elapsed().as_millis());
                slowest = slowest.max(other_is_answered(lab, &name));
                std::thread::sleep(SECOND / 10);
            }
            most = most.max(open_files(daemon));
            open.retain_mut(|stream| !is_closed(stream));
            assert!(start.elapsed() < 20 * SECOND, "{} are still open", open.len());
        }
        eprintln!("all closed after {:?}; the slowest answer took {slowest:?}; {most} descriptors", start.elapsed());
        // A quarter of 256 for the agent, and as many for all strangers.
        assert!(most <= before + 2 * 64 + 16, "{most} descriptors");
        assert!(slowest < SECOND, "{slowest:?}");
        assert_eq!(addresses(&asked_by_agent(lab, &mut wall, "api.example.com").0), [TRUE]);
        eventually("their descriptors are given back", 5 * SECOND, || open_files(daemon) <= before + 8);
    });
}

fn stranger(index: usize) -> String {
    format!("10.77.0.{}:0", 100 + index % 10)
}

/// Datagrams that are no questions: too short, responses, noise, questions cut
/// short or with a bit turned over.
fn malformed(random: &mut SmallRng) -> Vec<u8> {
    let mut octets = question("h.example.com", RecordType::A).to_vec().unwrap();
    match random.random_range(0..5) {
        0 => octets.truncate(random.random_range(0..13)),
        1 => octets[2] |= 0x80,
        2 => octets = (0..random.random_range(0..1400)).map(|_| random.random()).collect(),
        3 => octets.truncate(random.random_range(12..octets.len())),
        _ => {
            let at = random.random_range(2..octets.len());
            octets[at] ^= 1 << random.random_range(0..8);
        }
    }
    octets
}

#[test]
fn a_flood_of_what_makes_no_sense_leaves_nothing_behind() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, plain(300, TRUE, "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &setup());
        let daemon = wall.process().id();
        let flood = |seed: u64, count: usize| {
            enter("agent");
            let mut random = SmallRng::seed_from_u64(seed);
            let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
            socket.connect(WALL).unwrap();
            (0..count).filter(|_| socket.send(&malformed(&mut random)).is_ok()).count()
        };
        // The first one fills what is filled once: buffers, the table of denials.
        std::thread::spawn(move || flood(1, 20_000)).join().unwrap();
        other_is_answered(lab, "first.example.com");
        let resident = memory(daemon, "VmRSS");
        let floods: Vec<_> = (2..6).map(|seed| std::thread::spawn(move || flood(seed, 50_000))).collect();
        let mut messages: Vec<_> = lab.within("agent", || (0..8).map(|_| TcpStream::connect(WALL).unwrap()).collect());
        for (index, stream) in messages.iter_mut().enumerate() {
            // Whole messages of 65,535 octets, one after the other.
            let octets = vec![u8::try_from(index).unwrap(); 65_535];
            for _ in 0..10 {
                let _ = stream.write_all(&[0xff, 0xff]).and_then(|()| stream.write_all(&octets));
            }
        }
        let sent: usize = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
        drop(messages);
        let grown = memory(daemon, "VmRSS").saturating_sub(resident);
        eprintln!("{sent} datagrams sent, {grown} KiB more");
        assert!(sent > 100_000);
        assert!(grown < 16 << 10, "it grew by {grown} KiB");
        assert!(wall.process().is_running());
        assert!(processor_during(daemon, SECOND) < SECOND / 4, "it is not at rest");
        other_is_answered(lab, "second.example.com");
        assert_eq!(addresses(&asked_by_agent(lab, &mut wall, "api.example.com").0), [TRUE]);
        assert!(upstream.asked().len() < 5000, "{} questions went upstream", upstream.asked().len());
    });
}

#[test]
fn a_storm_of_responses_and_of_datagrams_too_short_is_met_with_silence() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, TRUE, "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &setup());
        let answered = lab.within("agent", || {
            let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
            socket.set_read_timeout(Some(2 * SECOND)).unwrap();
            socket.connect(WALL).unwrap();
            let mut response = question("api.example.com", RecordType::A).to_vec().unwrap();
            response[2] |= 0x80;
            for round in 0..20_000 {
                // An octet less than a header at most, or a response, whole or cut.
                let storm =
                    if round % 2 == 0 { &response[..response.len() - round % 20] } else { &[0; 11][..round % 12] };
                let _ = socket.send(storm);
            }
            socket.recv(&mut [0; 1500]).is_ok()
        });
        assert!(!answered, "a response, or nothing at all, is answered");
        assert_eq!(addresses(&asked_by_agent(lab, &mut wall, "api.example.com").0), [TRUE]);
        assert!(wall.events("query.answered", 1).len() == 1);
    });
}

#[test]
fn what_is_in_flight_when_the_daemon_is_told_to_end_is_answered_first() {
    in_lab(|lab| {
        greeter(443);
        let slow = Sluggish::start(Duration::from_secs(1));
        let setup = Setup { upstream: &["udp://198.51.100.54:53"], ..setup() };
        let mut wall = Wall::start(lab, &setup);
        let ask_one = |index: usize| {
            std::thread::spawn(move || {
                enter("agent");
                let name = format!("h{index}.example.com");
                match index % 2 {
                    0 => ask(WALL, &name, RecordType::A),
                    _ => support::client::ask_tcp(WALL, &name, RecordType::A),
                }
            })
        };
        let asks: Vec<_> = (0..60).map(ask_one).collect();
        eventually("all are asked upstream", 5 * SECOND, || slow.asked() >= 60);
        let start = Instant::now();
        assert_eq!(wall.process().terminate(), Some(0));
        let took = start.elapsed();
        assert!(took < 6 * SECOND, "it took {took:?}");
        let open: Vec<_> = elements("lease4").into_iter().map(|lease| lease.key[1].clone()).collect();
        let answered = asks.into_iter().map(|ask| ask.join().unwrap().expect("an answer before the end"));
        for reply in answered {
            assert_eq!(verdict(&reply).0, ResponseCode::NoError);
            assert!(addresses(&reply).iter().all(|address| open.contains(address)), "told and not open");
        }
        assert!(lab.connects("agent", "203.0.113.7:443".parse().unwrap(), SECOND), "what was told stays open");
        assert!(!lab.connects("agent", "203.0.113.9:443".parse().unwrap(), SECOND / 2));
        assert!(lab.within("agent", || ask_briefly("late.example.com")).is_none(), "somebody still answers");
        assert_eq!(wall.events("daemon.stopped", 1).len(), 1);
    });
}

fn ask_briefly(name: &str) -> Option<Message> {
    let octets = question(name, RecordType::A).to_vec().unwrap();
    let reply = support::client::exchange(WALL, &octets, SECOND / 2)?;
    Message::from_vec(&reply).ok()
}

/// A server that answers each question after a while, however many wait.
struct Sluggish(Arc<AtomicUsize>);

impl Sluggish {
    fn start(delay: Duration) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (ready, bound) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            enter("internet");
            let socket = Arc::new(UdpSocket::bind(SECOND_UPSTREAM).unwrap());
            ready.send(()).unwrap();
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::Relaxed);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let socket = Arc::clone(&socket);
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    let reply = wire(&answer(&query, vec![address(&query, 300, TRUE)])).unwrap();
                    let _ = socket.send_to(&reply, from);
                });
            }
        });
        bound.recv().unwrap();
        Self(asked)
    }

    fn asked(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
