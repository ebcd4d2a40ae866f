//! Upstream servers that come and go, or speak one octet at a time: each
//! question ends in time, with what is open or with SERVFAIL (G1, G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, verdict};
use support::lab::{SECOND_UPSTREAM, UPSTREAM, WALL, enter, eventually, in_lab};
use support::nft::elements;
use support::released::asked_by_agent;
use support::trouble::{memory, open_files, processor_during};
use support::upstream::{Upstream, address, answer, refusal, wire};
use support::wall::{ANY_NAMES, Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
const TRUE: &str = "203.0.113.7";
/// Everything below example.com, on one port: one lease for each address.
const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;

#[test]
fn while_a_server_comes_and_goes_each_question_ends_in_time_and_afterwards_all_are_answered() {
    in_lab(|lab| {
        let begun = Instant::now();
        let steady = Arc::new(AtomicBool::new(false));
        let is_steady = Arc::clone(&steady);
        // 150 ms each: right, silent, SERVFAIL, right but for the id, cut short, noise.
        Upstream::start(UPSTREAM, move |_, query| {
            let mut truth = wire(&answer(query, vec![address(query, 1, TRUE)]))?;
            match (begun.elapsed().as_millis() / 150 % 6, is_steady.load(Ordering::Relaxed)) {
                (_, true) | (0, _) => Some(truth),
                (1, _) => None,
                (2, _) => wire(&refusal(query, ResponseCode::ServFail)),
                (3, _) => {
                    truth[0] ^= 0x55;
                    Some(truth)
                }
                (4, _) => {
                    truth.truncate(truth.len() - 7);
                    Some(truth)
                }
                _ => Some(vec![0xe5; 300]),
            }
        });
        let dns = "upstream_timeout = \"500ms\"\nqueries_per_second = 1000000";
        let setup = Setup { policy: POLICY, dns, names: ANY_NAMES, ..Setup::default() };
        let mut wall = Wall::start(lab, &setup);
        let daemon = wall.process().id();
        let before = open_files(daemon);
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let ask_all = move || {
            enter("agent");
            let (mut good, mut slowest) = (0, Duration::ZERO);
            while begun.elapsed() < 8 * SECOND {
                let name = format!("h{}.example.com", NEXT.fetch_add(1, Ordering::Relaxed));
                let start = Instant::now();
                let reply = ask(WALL, &name, RecordType::A).expect("an answer of some kind");
                slowest = slowest.max(start.elapsed());
                match verdict(&reply).0 {
                    ResponseCode::NoError => good += usize::from(addresses(&reply) == [TRUE]),
                    code => assert_eq!((code, addresses(&reply)), (ResponseCode::ServFail, Vec::new())),
                }
            }
            (good, slowest)
        };
        let workers: Vec<_> = (0..8).map(|_| std::thread::spawn(ask_all)).collect();
        // What is told is open: one address, held here while it is told.
        while workers.iter().any(|worker| !worker.is_finished()) {
            asked_by_agent(lab, &mut wall, &format!("m{}.example.com", NEXT.fetch_add(1, Ordering::Relaxed)));
        }
        let told: Vec<(usize, Duration)> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        let good: usize = told.iter().map(|(good, _)| good).sum();
        let slowest = told.iter().map(|(_, slowest)| *slowest).max().unwrap();
        let asked = NEXT.load(Ordering::Relaxed);
        eprintln!("{asked} asked, {good} answered, the slowest after {slowest:?}");
        assert!(good > 0 && good < asked);
        assert!(slowest < 3 * SECOND, "{slowest:?}");

        steady.store(true, Ordering::Relaxed);
        for index in 0..20 {
            let (reply, _) = asked_by_agent(lab, &mut wall, &format!("after{index}.example.com"));
            assert_eq!(addresses(&reply), [TRUE]);
        }
        eventually("its sockets are closed", 15 * SECOND, || open_files(daemon) <= before + 40);
        assert!(elements("lease4").iter().all(|lease| lease.key[1] == TRUE));
        assert!(processor_during(daemon, SECOND) < SECOND / 4, "it is not at rest");
    });
}

/// A server over TCP that promises 65,535 octets and gives one every 50 ms to
/// names that begin with "drip", and the truth to others.
fn dripping(address_of_server: &'static str) {
    let (ready, bound) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        enter("internet");
        let listener = TcpListener::bind(address_of_server).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    bound.recv().unwrap();
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut octets).ok()?;
    let query = Message::from_vec(&octets).ok()?;
    let reply = wire(&answer(&query, vec![address(&query, 300, TRUE)]))?;
    if !query.queries[0].name().to_ascii().starts_with("drip") {
        stream.write_all(&u16::try_from(reply.len()).ok()?.to_be_bytes()).ok()?;
        return stream.write_all(&reply).ok();
    }
    for octet in [0xff, 0xff].into_iter().chain(reply.into_iter().cycle()) {
        stream.write_all(&[octet]).ok()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(())
}

#[test]
fn an_answer_that_drips_is_given_up_in_time_and_holds_no_other() {
    in_lab(|lab| {
        dripping(SECOND_UPSTREAM);
        let upstream = &["tcp://198.51.100.54:53"];
        let dns = "upstream_timeout = \"1500ms\"";
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, dns, upstream, ..Setup::default() });
        let daemon = wall.process().id();
        let (files, resident) = (open_files(daemon), memory(daemon, "VmRSS"));
        let drip = |index: usize| {
            std::thread::spawn(move || {
                enter("agent");
                let start = Instant::now();
                let reply = ask(WALL, &format!("drip{index}.example.com"), RecordType::A).unwrap();
                (verdict(&reply).0, start.elapsed())
            })
        };
        let drips: Vec<_> = (0..200).map(drip).collect();
        let (reply, took) = asked_by_agent(lab, &mut wall, "api.example.com");
        assert_eq!(addresses(&reply), [TRUE]);
        assert!(took < SECOND, "it waited for {took:?}");
        for drip in drips {
            let (code, took) = drip.join().unwrap();
            assert_eq!(code, ResponseCode::ServFail);
            assert!(took < 4 * SECOND, "{took:?}");
        }
        eventually("its connections are closed", 5 * SECOND, || open_files(daemon) <= files + 8);
        let grown = memory(daemon, "VmRSS").saturating_sub(resident);
        assert!(grown < 32 << 10, "it grew by {grown} KiB");
        assert_eq!(elements("lease4").len(), 1);
    });
}
