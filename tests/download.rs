//! One download, from its first octet to the policy that ends it: nothing that
//! happens to lease and daemon in between is felt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use support::change::change;
use support::client::{addresses, ask};
use support::lab::{Lab, UPSTREAM, WALL, enter, eventually, in_lab};
use support::nft::{counter, elements};
use support::run;
use support::upstream::{Upstream, plain};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// Between two pieces of the download, and between two words of the client's.
const BEAT: Duration = Duration::from_millis(2);
/// What a policy no longer permits ends within this.
const AT_ONCE: Duration = Duration::from_millis(200);

const PERMITTED: &str = r#"
@id("api") permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
"#;
const PERMITTED_STILL: &str = r#"
@id("api") permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 };
"#;
const FORBIDDEN: &str = r#"
@id("registry") permit(principal, action == Action::"net.connect", resource == Resource::"registry.example.com:443");
"#;

/// A server that sends without end, and a client that takes it and answers.
struct Download {
    received: AtomicU64,
    /// When the client last received something.
    last: Mutex<Instant>,
    /// The longest wait for the next piece since it was last asked for.
    longest: Mutex<Duration>,
    over: AtomicBool,
}

impl Download {
    fn begin(lab: &Lab, address: SocketAddr) -> Arc<Self> {
        let stream = lab.within("agent", || TcpStream::connect_timeout(&address, SECOND)).unwrap();
        stream.set_nodelay(true).unwrap();
        let download = Arc::new(Self {
            received: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            longest: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let (mut talker, mut listener) = (stream.try_clone().unwrap(), stream);
        let (talks, hears) = (Arc::clone(&download), Arc::clone(&download));
        std::thread::spawn(move || {
            while !talks.over.load(Ordering::SeqCst) {
                // Once the flow is cut this fills the socket's buffer, and TCP
                // keeps trying to get it out.
                talker.set_write_timeout(Some(BEAT)).unwrap();
                let _ = talker.write(b"x");
                std::thread::sleep(BEAT);
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = listener.read(&mut buffer) {
                let now = Instant::now();
                let waited = now - std::mem::replace(&mut *hears.last.lock().unwrap(), now);
                let mut longest = hears.longest.lock().unwrap();
                *longest = waited.max(*longest);
                hears.received.fetch_add(u64::try_from(length).unwrap(), Ordering::SeqCst);
            }
        });
        download
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap()
    }

    /// That it goes on, and the longest wait since this was last asked.
    fn longest_wait(&self) -> Duration {
        let before = self.received.load(Ordering::SeqCst);
        eventually("the download goes on", 5 * SECOND, || self.received.load(Ordering::SeqCst) > before);
        std::mem::take(&mut *self.longest.lock().unwrap())
    }
}

fn sender() {
    std::thread::spawn(|| {
        enter("internet");
        let listener = TcpListener::bind("203.0.113.7:443").unwrap();
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                stream.set_nodelay(true).unwrap();
                let mut copy = stream.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut copy, &mut std::io::sink()));
                while stream.write_all(&[0; 1000]).is_ok() {
                    std::thread::sleep(BEAT);
                }
            });
        }
    });
}

/// Packets of the client's that reached the internet.
fn arrived() -> u64 {
    let listing = run("ip", &["netns", "exec", "internet", "nft", "-j", "list", "counter", "inet", "sink", "arrived"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    listing["nftables"][1]["counter"]["packets"].as_u64().unwrap()
}

#[test]
fn a_download_feels_nothing_until_the_policy_forbids_it_and_then_ends_at_once() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, plain(1, "203.0.113.7", "2001:db8:2::7"));
        sender();
        let sink = "add table inet sink; add counter inet sink arrived;
            add chain inet sink input { type filter hook input priority 0; };
            add rule inet sink input ip saddr 10.77.0.2 tcp dport 443 counter name arrived";
        run("ip", &["netns", "exec", "internet", "nft", sink]);
        let lease = "min = \"1s\"\ngrace = \"1s\"";
        let mut wall = Wall::start(lab, &Setup { policy: PERMITTED, lease, ..Setup::default() });
        let resolve = || addresses(&lab.within("agent", || ask(WALL, "api.example.com", RecordType::A)).unwrap());
        assert_eq!(resolve(), ["203.0.113.7"]);
        let download = Download::begin(lab, "203.0.113.7:443".parse().unwrap());
        let mut waits = vec![("undisturbed", download.longest_wait())];

        eventually("the lease ends", 10 * SECOND, || elements("lease4").is_empty());
        waits.push(("the lease's end", download.longest_wait()));
        change(lab, PERMITTED_STILL);
        waits.push(("a reload", download.longest_wait()));
        assert_eq!(resolve(), ["203.0.113.7"]);
        wall.process().kill();
        waits.push(("kill -9", download.longest_wait()));
        wall.restart(lab);
        waits.push(("a restart", download.longest_wait()));
        eventually("the lease ends", 10 * SECOND, || elements("lease4").is_empty());
        change(lab, PERMITTED);
        waits.push(("another reload", download.longest_wait()));
        eprintln!("the longest wait for the next piece: {waits:?}");
        // A lost segment costs its sender at least 200 ms (RFC 6298 asks for a
        // second, Linux takes a fifth).
        assert_eq!((counter("denied_syn"), counter("denied_other")), (0, 0), "a packet of the flow was dropped");

        let start = Instant::now();
        change(lab, FORBIDDEN);
        let reloaded = start.elapsed();
        std::thread::sleep(AT_ONCE.saturating_sub(reloaded));
        let (ended, sent) = (download.last() - start, arrived());
        // The client goes on trying.
        std::thread::sleep(2 * SECOND);
        eprintln!("forbidden: the reload took {reloaded:?}, the last piece came after {ended:?}");
        assert!(ended < AT_ONCE, "it went on for {ended:?}");
        assert_eq!(download.last() - start, ended, "it went on after all");
        assert_eq!(arrived(), sent, "packets of it got out afterwards");
        assert!(counter("denied_other") > 0, "nobody tried");
        download.over.store(true, Ordering::SeqCst);
    });
}
