//! DNS over TCP from the real daemon (RFC 7766): pipelined and answered out of
//! order, whatever the segments; idle connections end, and no client can take
//! them all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};
use support::client::{addresses, question, verdict};
use support::lab::{Lab, UPSTREAM, WALL, eventually, in_lab};
use support::run;
use support::upstream::{Upstream, address, answer, plain, wire};
use support::wall::{Setup, Wall};

const WALL6: &str = "[fd77::1]:53";
const OTHER_WALL: &str = "10.77.1.1:53";
const PATIENCE: Duration = Duration::from_secs(8);

const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;

fn setup(dns: &str) -> Setup<'_> {
    Setup { policy: POLICY, dns, ..Setup::default() }
}

/// One connection of a client.
struct Connection(TcpStream);

impl Connection {
    fn open(lab: &Lab, namespace: &str, server: &str) -> Self {
        lab.within(namespace, || Self::of(TcpStream::connect(server).unwrap()))
    }

    /// From one of the client's addresses in particular.
    fn open_from(lab: &Lab, namespace: &str, source: &str, server: &str) -> Self {
        let [source, server]: [SocketAddr; 2] = [source, server].map(|text| text.parse().unwrap());
        lab.within(namespace, || {
            let socket = Socket::new(Domain::for_address(source), Type::STREAM, None).unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect(&server.into()).unwrap();
            Self::of(socket.into())
        })
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).unwrap();
    }

    /// The next message; `None` when the wall has closed the connection.
    fn receive(&mut self) -> Option<Message> {
        let mut length = [0; 2];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.0.read_exact(&mut message).unwrap();
        Some(Message::from_vec(&message).unwrap())
    }

    /// Whether it is one of those that the wall serves.
    fn is_served(&mut self) -> bool {
        // A connection that was closed meanwhile may refuse to be written to.
        let _ = self.0.write_all(&framed(1, "api.example.com"));
        self.receive().is_some()
    }
}

/// A question with its length in front.
fn framed(id: u16, name: &str) -> Vec<u8> {
    let mut message = question(name, RecordType::A);
    message.metadata.id = id;
    let octets = message.to_vec().unwrap();
    [u16::try_from(octets.len()).unwrap().to_be_bytes().as_slice(), &octets].concat()
}

fn id(message: &Message) -> u16 {
    message.metadata.id
}

#[test]
fn an_answer_that_is_held_upstream_does_not_hold_the_next() {
    in_lab(|lab| {
        let released = Arc::new(AtomicBool::new(false));
        let is_released = Arc::clone(&released);
        Upstream::start(UPSTREAM, move |asked, query| {
            let held = asked.name.starts_with("slow") && !is_released.load(Ordering::Relaxed);
            (!held).then(|| wire(&answer(query, vec![address(query, 300, "203.0.113.7")])))?
        });
        let _wall = Wall::start(lab, &setup(""));
        for (server, slow) in [(WALL, "slow4.example.com"), (WALL6, "slow6.example.com")] {
            released.store(false, Ordering::Relaxed);
            let mut connection = Connection::open(lab, "agent", server);
            connection.send(&framed(1, slow));
            for id in 2..=20 {
                connection.send(&framed(id, &format!("fast{id}.example.com")));
            }
            let mut ids: Vec<_> = (2..=20).map(|_| id(&connection.receive().unwrap())).collect();
            ids.sort_unstable();
            assert!(ids.iter().copied().eq(2..=20), "{ids:?}");
            // Only now may the first be answered, when it is asked again.
            released.store(true, Ordering::Relaxed);
            let last = connection.receive().unwrap();
            assert_eq!((id(&last), addresses(&last)), (1, vec!["203.0.113.7".into()]));
        }
    });
}

#[test]
fn a_thousand_questions_at_once_are_each_answered_once() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &setup(""));
        let mut connection = Connection::open(lab, "agent", WALL);
        let questions: Vec<_> = (0..1000).flat_map(|id| framed(id, &format!("host{}.example.com", id % 50))).collect();
        connection.send(&questions);
        let replies: Vec<_> = (0..1000).map(|_| connection.receive().unwrap()).collect();
        assert!(replies.iter().all(|reply| addresses(reply) == ["203.0.113.7"]));
        let mut ids: Vec<_> = replies.iter().map(id).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..1000));
        assert!(wall.process().is_running());
    });
}

#[test]
fn messages_may_lie_across_segments_in_any_way() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let _wall = Wall::start(lab, &setup(""));
        for server in [WALL, WALL6] {
            let mut connection = Connection::open(lab, "agent", server);
            // Two in one segment.
            connection.send(&[framed(1, "api.example.com"), framed(2, "registry.example.com")].concat());
            let mut ids = [connection.receive(), connection.receive()].map(|message| id(&message.unwrap()));
            ids.sort_unstable();
            assert_eq!(ids, [1, 2]);
            // Each octet in a segment of its own: the length is split, too.
            for octet in framed(3, "api.example.com") {
                connection.send(&[octet]);
                std::thread::yield_now();
            }
            assert_eq!(id(&connection.receive().unwrap()), 3);
            // One and a half, the length of the third split, and the rest.
            let all =
                [framed(4, "api.example.com"), framed(5, "api.example.com"), framed(6, "api.example.com")].concat();
            let one = framed(4, "api.example.com").len();
            let mut received = Vec::new();
            for (part, answers) in [(&all[..one + 9], 1), (&all[one + 9..2 * one + 1], 1), (&all[2 * one + 1..], 1)] {
                connection.send(part);
                received.extend((0..answers).map(|_| id(&connection.receive().unwrap())));
            }
            assert_eq!(received, [4, 5, 6]);
            // Who has nothing more to ask still gets what it asked.
            connection.send(&framed(7, "last.example.com"));
            connection.0.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(id(&connection.receive().unwrap()), 7);
            assert!(connection.receive().is_none(), "nothing more to say");
        }
    });
}

#[test]
fn noise_on_a_connection_ends_at_worst_that_connection() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &setup(""));
        let mut healthy = Connection::open(lab, "agent", WALL);
        let mut noisy = Connection::open(lab, "agent", WALL);
        // Empty, too short, an answer, a header that promises more.
        let mut loose_answer = framed(9, "api.example.com");
        loose_answer[4] |= 0x80;
        noisy.send(&[[0, 0].as_slice(), &[0, 5, 1, 2, 3, 4, 5], &loose_answer].concat());
        noisy.send(&[0, 12, 0, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let reply = noisy.receive().unwrap();
        assert_eq!((id(&reply), verdict(&reply).0), (8, ResponseCode::FormErr), "the only one to get an answer");
        assert!(noisy.is_served());
        // A length of 65,535 that is never filled, and then nobody there.
        noisy.send(&[0xff, 0xff, 1]);
        drop(noisy);
        assert!(healthy.is_served());
        assert!(wall.process().is_running());
    });
}

#[test]
fn an_idle_connection_is_closed_and_one_that_is_owed_an_answer_is_not() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| match asked.name.as_str() {
            "silent.example.com" => None,
            _ => wire(&answer(query, vec![address(query, 300, "203.0.113.7")])),
        });
        let _wall = Wall::start(lab, &setup("idle_timeout = \"1s\"\nupstream_timeout = \"2500ms\""));
        let start = Instant::now();
        let mut idle = Connection::open(lab, "agent", WALL);
        let mut owed = Connection::open(lab, "agent", WALL);
        owed.send(&framed(1, "silent.example.com"));
        let mut half = Connection::open(lab, "agent", WALL);
        assert!(half.is_served());
        half.send(&[0]);

        assert!(idle.receive().is_none());
        let took = start.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "idle for {took:?}");
        assert_eq!(verdict(&owed.receive().unwrap()).0, ResponseCode::ServFail, "the answer that was owed");
        assert!(start.elapsed() >= Duration::from_millis(2500));
        assert!(owed.is_served(), "its owner may go on asking");
        assert!(owed.receive().is_none(), "and then it is idle as well");
        // A message that is begun and never ended does not hold a connection.
        assert!(half.receive().is_none());
        assert!(start.elapsed() < PATIENCE);
    });
}

#[test]
fn no_client_takes_more_than_a_quarter_of_the_connections() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        let mut wall = Wall::start(lab, &setup("max_connections = 8\nidle_timeout = \"1m\""));
        let mut open: Vec<_> = (0..2).map(|_| Connection::open(lab, "agent", WALL)).collect();
        assert!(open.iter_mut().all(Connection::is_served));
        for _ in 0..20 {
            assert!(!Connection::open(lab, "agent", WALL).is_served(), "a third");
        }
        assert!(open.iter_mut().all(Connection::is_served), "those that were there stay");
        assert!(Connection::open(lab, "other", OTHER_WALL).is_served(), "others have theirs");
        // Whoever closes one may open one.
        open.pop();
        eventually("a slot comes back", PATIENCE, || Connection::open(lab, "agent", WALL).is_served());
        assert!(wall.process().is_running());
    });
}

#[test]
fn many_addresses_are_no_way_to_more_connections() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        for host in 90..93 {
            run("ip", &["-n", "agent", "addr", "add", &format!("10.77.0.{host}/24"), "dev", "eth0"]);
        }
        let mut wall = Wall::start(lab, &setup("max_connections = 8\nidle_timeout = \"1m\""));
        // Strangers get no names, and could hold connections.
        let from = |host: u8| Connection::open_from(lab, "agent", &format!("10.77.0.{host}:0"), WALL);
        let mut strangers = [from(90), from(91)];
        assert!(strangers.iter_mut().all(Connection::is_served));
        assert!(!from(92).is_served(), "a third stranger");
        // Both addresses of one client.
        let mut own = [Connection::open(lab, "agent", WALL), Connection::open(lab, "agent", WALL6)];
        assert!(own.iter_mut().all(Connection::is_served));
        assert!(!Connection::open(lab, "agent", WALL6).is_served(), "a third of the agent's");
        assert!(Connection::open(lab, "other", OTHER_WALL).is_served());
        assert!(wall.process().is_running());
    });
}

#[test]
fn beyond_the_cap_of_all_connections_none_is_served() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"));
        run("ip", &["-n", "agent", "addr", "add", "10.77.0.99/24", "dev", "eth0"]);
        let mut wall = Wall::start(lab, &setup("max_connections = 2\nidle_timeout = \"1m\""));
        let stranger = || Connection::open_from(lab, "agent", "10.77.0.99:0", WALL);
        let mut open = [stranger(), Connection::open(lab, "agent", WALL)];
        assert!(open.iter_mut().all(Connection::is_served));
        assert!(!Connection::open(lab, "other", OTHER_WALL).is_served(), "a third");
        // UDP does not depend on it.
        let reply = lab.within("other", || support::client::ask(OTHER_WALL, "api.example.com", RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), ["203.0.113.7"]);
        drop(open);
        eventually("a slot comes back", PATIENCE, || Connection::open(lab, "other", OTHER_WALL).is_served());
        assert!(wall.process().is_running());
    });
}

#[test]
fn no_client_takes_more_than_half_of_the_questions_in_flight() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, |asked, query| match asked.name.starts_with("silent") {
            true => None,
            false => wire(&answer(query, vec![address(query, 300, "203.0.113.7")])),
        });
        let _wall = Wall::start(lab, &setup("max_in_flight = 4"));
        let mut connection = Connection::open(lab, "agent", WALL);
        connection.send(&[framed(1, "silent1.example.com"), framed(2, "silent2.example.com")].concat());
        eventually("both are asked", PATIENCE, || {
            upstream.count("silent1.example.com") * upstream.count("silent2.example.com") > 0
        });
        // Nor by its other address.
        for server in [WALL, WALL6] {
            let mut third = Connection::open(lab, "agent", server);
            third.send(&framed(3, "api.example.com"));
            assert_eq!(
                verdict(&third.receive().unwrap()),
                (ResponseCode::ServFail, Some((0, "this client has too many queries in flight".into())))
            );
        }
        assert!(Connection::open(lab, "other", OTHER_WALL).is_served());
        assert_eq!(
            [connection.receive(), connection.receive()].map(|message| verdict(&message.unwrap()).0),
            [ResponseCode::ServFail; 2]
        );
        assert!(connection.is_served(), "slots come back");
    });
}
