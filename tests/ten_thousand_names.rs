//! Ten thousand names, each connected to the moment its answer arrives; or as
//! many as are asked for: `CEDARWALL_NAMES=100000 cargo test --release --test
//! ten_thousand_names -- --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use support::client::{addresses, ask};
use support::lab::{UPSTREAM, WALL, enter, eventually, greeter, in_lab};
use support::nft::{counter, elements};
use support::upstream::{Upstream, address, answer, wire};
use support::wall::{ANY_NAMES, Setup, Wall};

const USUAL: usize = 10_000;
const THREADS: usize = 8;
/// Shorter than the second after which a lost SYN is sent again.
const BEFORE_A_SECOND_SYN: Duration = Duration::from_millis(900);

fn host(index: usize) -> String {
    format!("h{index}.example.com")
}

fn address_of(index: usize) -> String {
    format!("100.{}.{}.{}", 70 + index / 62_500, index / 250 % 250, index % 250 + 1)
}

/// How many names, and for how many seconds each is open: more names take
/// longer to ask for, and half of them are looked at in the end.
fn extent() -> (usize, u64) {
    let names = std::env::var("CEDARWALL_NAMES").map_or(USUAL, |names| names.parse().expect("a number"));
    (names, if names > USUAL { 150 } else { 25 })
}

fn connects(index: usize) -> bool {
    let address: SocketAddr = format!("{}:443", address_of(index)).parse().unwrap();
    TcpStream::connect_timeout(&address, BEFORE_A_SECOND_SYN).is_ok()
}

#[test]
fn no_first_syn_is_dropped_after_its_answer_and_every_one_after_its_lease() {
    in_lab(|lab| {
        let (names, seconds) = extent();
        Upstream::start(UPSTREAM, move |asked, query| {
            let index = asked.name.trim_start_matches('h').split('.').next()?.parse().ok()?;
            wire(&answer(query, vec![address(query, u32::try_from(seconds).unwrap(), &address_of(index))]))
        });
        greeter(443);
        let policy = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
            when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;
        let (per_client, set_size) = (2 * names, (4 * names).max(65_536));
        let lease = format!("per_client = {per_client}\nset_size = {set_size}\nmin = \"{seconds}s\"\ngrace = \"10s\"");
        let setup =
            Setup { policy, lease: &lease, dns: "queries_per_second = 100000", names: ANY_NAMES, ..Setup::default() };
        let _wall = Wall::start(lab, &setup);

        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let worker = move || {
            enter("agent");
            let mut lost = Vec::new();
            loop {
                let index = NEXT.fetch_add(1, Ordering::Relaxed);
                if index >= names {
                    return lost;
                }
                let reply = ask(WALL, &host(index), RecordType::A).unwrap();
                assert_eq!(addresses(&reply), [address_of(index)]);
                if !connects(index) {
                    lost.push(index);
                }
            }
        };
        let begun = Instant::now();
        let workers: Vec<_> = (0..THREADS).map(|_| std::thread::spawn(worker)).collect();
        // Meanwhile a client that never asked tries the same addresses.
        let mut strangers = 0;
        while !workers.iter().all(JoinHandle::is_finished) {
            let known = NEXT.load(Ordering::Relaxed).saturating_sub(1);
            assert!(!lab.within("other", || connects(known)), "{} is open to a client that never asked", host(known));
            strangers += 1;
        }
        let lost: Vec<usize> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        let rate = names as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{names} names, each connected to at once: {rate:.0} a second; {strangers} SYNs of a stranger");
        assert_eq!(lost, Vec::<usize>::new());
        assert_eq!(counter("denied_syn"), strangers, "only the other client's SYNs were dropped");

        let held = elements("lease4");
        assert!(held.len() > names / 2, "only {} leases are still held", held.len());
        for element in &held {
            let name = element.comment.as_deref().unwrap();
            let index: usize = name.trim_start_matches('h').split('.').next().unwrap().parse().unwrap();
            assert_eq!(element.key, ["10.77.0.2", &address_of(index), "tcp", "443"]);
        }

        eventually("the leases end", Duration::from_secs(seconds + 35), || elements("lease4").is_empty());
        for index in (0..names).step_by(names / 5) {
            assert!(!lab.within("agent", || connects(index)), "{} outlives its lease", host(index));
        }
    });
}
