//! Leases as the kernel holds them: what goes over netlink is what `nft`
//! reads back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cedarwall::core::config::TableName;
use cedarwall::core::lease::{Key, Ports};
use cedarwall::core::ledger::Change;
use cedarwall::core::query::{Client, Port, PortRange, Protocol};
use cedarwall::nft::listing;
use cedarwall::nft::transaction::Refused;
use support::nft::{elements, with_table};
use support::run;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn key(client: &str, address: &str, ports: Ports) -> Key {
    let address: IpAddr = address.parse().unwrap();
    Key { client: Client::new(client.parse().unwrap()), address, protocol: Protocol::Tcp, ports }
}

fn set(key: Key, seconds: u64, comment: &str) -> Change {
    Change::Set { key, lifetime: Duration::from_secs(seconds), comment: comment.into(), relabelled: false }
}

#[test]
fn every_kind_of_lease_reads_back_as_it_was_written() {
    with_table(|mut kernel| {
        let run = Ports::Run(PortRange::new(port(1000), port(2000)).unwrap());
        let v4 = |ports| set(key("10.0.0.2", "198.51.100.7", ports), 60, "a.example.com");
        let v6 = |ports| set(key("fd00::2", "2001:db8::7", ports), 60, "a.example.com");
        let all = [Ports::One(port(443)), Ports::All, run];
        let changes: Vec<_> = all.into_iter().map(v4).chain(all.into_iter().map(v6)).collect();
        kernel.apply(&changes).unwrap();
        let four = ["10.0.0.2", "198.51.100.7", "tcp"];
        let six = ["fd00::2", "2001:db8::7", "tcp"];
        let range = r#"{"range":[1000,2000]}"#;
        for (name, target, last) in [
            ("lease4", four, Some("443")),
            ("lease6", six, Some("443")),
            ("lease4_all_ports", four, None),
            ("lease6_all_ports", six, None),
            ("lease4_port_range", four, Some(range)),
            ("lease6_port_range", six, Some(range)),
        ] {
            let found = elements(name);
            let expected: Vec<_> = target.into_iter().chain(last).collect();
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].key, expected, "{name}");
            assert_eq!(found[0].comment.as_deref(), Some("a.example.com"), "{name}");
            assert!(found[0].expires.is_some_and(|left| (58..=60).contains(&left)), "{name}: {found:?}");
        }
    });
}

#[test]
fn a_refresh_really_extends() {
    with_table(|mut kernel| {
        for ports in [Ports::One(port(443)), Ports::All, Ports::Run(PortRange::new(port(1000), port(2000)).unwrap())] {
            let key = key("10.0.0.2", "198.51.100.7", ports);
            let name = cedarwall::nft::element::set_of(&key);
            kernel.apply(&[set(key, 30, "a.example.com")]).unwrap();
            for seconds in [600, 600, 900] {
                kernel.apply(&[set(key, seconds, "a.example.com")]).unwrap();
                let found = elements(name);
                assert!(found[0].expires.is_some_and(|left| left + 2 >= seconds), "{name}: {found:?}");
            }
        }
    });
}

#[test]
fn a_new_name_appears_in_the_comment() {
    with_table(|mut kernel| {
        let key = key("10.0.0.2", "198.51.100.7", Ports::One(port(443)));
        kernel.apply(&[set(key, 30, "a.example.com")]).unwrap();
        let both = "a.example.com b.example.com".to_owned();
        let change = Change::Set { key, lifetime: Duration::from_secs(30), comment: both.clone(), relabelled: true };
        kernel.apply(&[change]).unwrap();
        assert_eq!(elements("lease4")[0].comment, Some(both));
    });
}

#[test]
fn the_longest_comment_fits() {
    with_table(|mut kernel| {
        let key = key("10.0.0.2", "198.51.100.7", Ports::One(port(443)));
        let comment = "x".repeat(251);
        kernel.apply(&[set(key, 30, &comment)]).unwrap();
        assert_eq!(elements("lease4")[0].comment, Some(comment));
    });
}

#[test]
fn removing_what_is_there_or_not_never_fails() {
    with_table(|mut kernel| {
        let key = key("10.0.0.2", "198.51.100.7", Ports::One(port(443)));
        kernel.apply(&[Change::Remove(key)]).unwrap();
        kernel.apply(&[set(key, 30, "a.example.com")]).unwrap();
        kernel.apply(&[Change::Remove(key)]).unwrap();
        assert_eq!(elements("lease4"), []);
    });
}

#[test]
fn a_batch_takes_effect_whole_or_not_at_all() {
    with_table(|mut kernel| {
        let wide = |first, last| Ports::Run(PortRange::new(port(first), port(last)).unwrap());
        let good = set(key("10.0.0.2", "198.51.100.7", Ports::One(port(443))), 30, "a.example.com");
        let one = set(key("10.0.0.2", "198.51.100.7", wide(1000, 2000)), 30, "a.example.com");
        // An interval set refuses what overlaps in part.
        let clash = set(key("10.0.0.2", "198.51.100.7", wide(1500, 2500)), 30, "a.example.com");
        assert!(kernel.apply(&[good, one, clash]).is_err());
        assert_eq!(elements("lease4"), []);
        assert_eq!(elements("lease4_port_range"), []);
    });
}

#[test]
fn a_lost_table_is_told_apart_from_a_full_set() {
    with_table(|mut kernel| {
        let one = set(key("10.0.0.2", "198.51.100.7", Ports::One(port(443))), 30, "a.example.com");
        run("nft", &["delete", "table", "inet", "cedarwall"]);
        assert!(matches!(kernel.apply(std::slice::from_ref(&one)), Err(Refused::NoSuchTable)));
        run(
            "nft",
            &[
                "add table inet cedarwall; add set inet cedarwall lease4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags timeout; size 1; }",
            ],
        );
        kernel.apply(std::slice::from_ref(&one)).unwrap();
        let two = set(key("10.0.0.2", "198.51.100.8", Ports::One(port(443))), 30, "a.example.com");
        assert!(matches!(kernel.apply(&[two]), Err(Refused::Full)));
    });
}

/// Whatever somebody else commits between a look and a batch, the batch is not
/// carried out on what nobody has seen.
#[test]
fn a_batch_made_for_another_generation_is_refused_whole() {
    with_table(|mut kernel| {
        let one = set(key("10.0.0.2", "198.51.100.7", Ports::One(port(443))), 30, "a.example.com");
        let two = set(key("10.0.0.2", "198.51.100.8", Ports::One(port(443))), 30, "a.example.com");
        let generation = kernel.generation().unwrap();
        kernel.rest_on(generation);
        kernel.apply(std::slice::from_ref(&one)).unwrap();
        assert!(kernel.is_undisturbed().unwrap(), "our own commits are counted");
        run("nft", &["add", "table", "inet", "another"]);
        assert!(!kernel.is_undisturbed().unwrap());
        assert!(matches!(kernel.apply(std::slice::from_ref(&two)), Err(Refused::Overtaken)));
        assert_eq!(elements("lease4").len(), 1);
        let generation = kernel.generation().unwrap();
        kernel.rest_on(generation);
        kernel.apply(&[two]).unwrap();
        assert_eq!(elements("lease4").len(), 2);
    });
}

#[test]
fn five_hundred_changes_go_in_one_transaction() {
    with_table(|mut kernel| {
        let address = |index: usize| format!("198.51.{}.{}", index / 250, index % 250 + 1);
        let changes: Vec<_> = (0..500)
            .map(|index| {
                set(key("10.0.0.2", &address(index), Ports::One(port(443))), 60, &format!("n{index}.example.com"))
            })
            .collect();
        kernel.apply(&changes).unwrap();
        assert_eq!(elements("lease4").len(), 500);
    });
}

#[test]
fn a_listing_leaves_out_nothing_that_stays() {
    with_table(|mut kernel| {
        let named = |number: u32| {
            let address = format!("198.51.100.{number}");
            key("10.0.0.2", &address, Ports::One(port(443)))
        };
        let set = |number| set(named(number), 600, "one.example.com another.example.com");
        kernel.apply(&(0..40).map(set).collect::<Vec<_>>()).unwrap();
        let others: Vec<_> = (40..120).map(set).collect();
        let removals: Vec<_> = (40..120).map(|number| Change::Remove(named(number))).collect();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // So that the kernel gives the set another size again and again.
            scope.spawn(|| {
                while !is_done.load(Ordering::SeqCst) {
                    for changes in [&others, &removals] {
                        kernel.apply(changes).unwrap();
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            });
            let table = TableName::default();
            let mut seen = Vec::new();
            let end = Instant::now() + Duration::from_secs(12);
            while Instant::now() < end {
                // It may also say that the set never stands still.
                let Ok(listed) = listing::elements(&table, "lease4") else { continue };
                let listed = listed.unwrap();
                seen.push(listed.iter().filter(|listed| listed.key[7] < 40).count());
            }
            is_done.store(true, Ordering::SeqCst);
            assert!(seen.len() > 20, "{} listings", seen.len());
            assert_eq!(seen.iter().min(), Some(&40));
        });
    });
}
