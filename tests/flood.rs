//! G5, by numbers: 100,000 new flows to leased addresses while their leases are
//! renewed and relabelled 10,000 times, and no packet is dropped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cedarwall::core::decision::Opening;
use cedarwall::core::lease::{Aliases, Generation, Grant, Wanted};
use cedarwall::core::name::Name;
use cedarwall::core::query::{Client, Port, Protocol};
use cedarwall::core::time::Ttl;
use support::lab::{enter, eventually, in_lab};
use support::nft::{counter, elements};
use support::room::Room;
use support::run;

const PACKETS: usize = 100_000;
const REFRESHES: usize = 10_000;
/// Addresses that one answer leads to.
const ADDRESSES: usize = 20;
/// Every packet begins a flow: what an established one may do is not asked.
const PORTS: usize = PACKETS / ADDRESSES;

/// Counts what arrives, before a socket could lose it.
const SINK: &str = "table inet sink {
    counter arrived { }
    chain arriving { type filter hook prerouting priority -500; udp dport 443 counter name arrived drop; }
}";

fn address_of(index: usize) -> IpAddr {
    format!("203.0.113.{}", index + 1).parse().unwrap()
}

/// A refresh: another lifetime and another name each time.
fn refresh(round: usize) -> Wanted {
    let client = Client::new("10.77.0.2".parse().unwrap());
    let opening = Opening { protocol: Protocol::Udp, ports: Port::new(443).unwrap().into() };
    let openings: Arc<[Opening]> = [opening].into();
    let grants =
        (0..ADDRESSES).map(|index| Grant { client, address: address_of(index), openings: Arc::clone(&openings) });
    Wanted {
        client,
        name: Name::parse(&format!("h{}.example.com", round % 7)).unwrap(),
        grants: grants.collect(),
        ttl: Ttl::from_wire(u32::try_from(1 + round * 37 % 900).unwrap()),
        at_most: None,
        aliases: Aliases::default(),
        generation: Generation::FIRST,
    }
}

fn arrived() -> usize {
    let listing = run("ip", &["netns", "exec", "internet", "nft", "-j", "list", "counters"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let counters = listing["nftables"].as_array().unwrap();
    let counter = counters.iter().find_map(|object| object.get("counter")).unwrap();
    usize::try_from(counter["packets"].as_u64().unwrap()).unwrap()
}

#[test]
fn of_a_hundred_thousand_permitted_packets_none_is_dropped_during_ten_thousand_refreshes() {
    in_lab(|lab| {
        let sink = lab.write("sink.nft", SINK);
        run("ip", &["netns", "exec", "internet", "nft", "-f", sink.to_str().unwrap()]);
        // Flows are forgotten at once, so that their table holds all of them.
        std::fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", "1").unwrap();
        let room = Room::build();
        let _opened = room.open(refresh(0)).unwrap();

        static REFRESHED: AtomicUsize = AtomicUsize::new(0);
        static BROKEN: AtomicBool = AtomicBool::new(false);
        let sender = std::thread::spawn(|| {
            enter("agent");
            for port in 0..PORTS {
                // Spread over the refreshes, which are what is slow.
                while REFRESHED.load(Ordering::Relaxed) * PORTS < port * REFRESHES && !BROKEN.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                let source = u16::try_from(20_000 + port).unwrap();
                let socket = UdpSocket::bind(("10.77.0.2", source)).unwrap();
                for index in 0..ADDRESSES {
                    socket.send_to(b"x", (address_of(index), 443)).unwrap();
                }
            }
        });
        let start = Instant::now();
        for round in 1..=REFRESHES {
            if room.open(refresh(round)).is_err() {
                BROKEN.store(true, Ordering::Relaxed);
                panic!("refresh {round} is refused");
            }
            REFRESHED.store(round, Ordering::Relaxed);
        }
        let took = start.elapsed();
        sender.join().unwrap();
        eventually("what was sent has arrived", Duration::from_secs(5), || arrived() >= PACKETS);
        eprintln!("{} flows during {REFRESHES} refreshes of {ADDRESSES} leases in {took:?}", arrived());
        assert_eq!(arrived(), PACKETS);
        assert_eq!((counter("denied_other"), counter("denied_syn"), counter("denied_spoof")), (0, 0, 0));
        assert_eq!(counter("permitted"), u64::try_from(PACKETS).unwrap());
        assert_eq!(elements("lease4").len(), ADDRESSES);

        // The count counts: to an address that is not leased, nothing arrives.
        lab.within("agent", || {
            let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
            socket.send_to(b"x", ("203.0.113.200", 443)).unwrap();
        });
        eventually("it is dropped", Duration::from_secs(2), || counter("denied_other") == 1);
        assert_eq!(arrived(), PACKETS);
    });
}
