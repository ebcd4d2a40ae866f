//! The kernel says no, or nothing, or late, on the firewall's own socket: no
//! address is told that is not open, nothing new gets out, and when the kernel
//! is well again so is the wall (G1, G8, G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use support::client::{addresses, ask, verdict};
use support::lab::{Lab, UPSTREAM, WALL, eventually, greeter, in_lab};
use support::nft::elements;
use support::released::asked_by_agent;
use support::run;
use support::trouble::{Injection, processor_during};
use support::upstream::{Upstream, address, answer, wire};
use support::wall::{Setup, Wall};

const SECOND: Duration = Duration::from_secs(1);
/// Everything below example.com, on one port: one lease for each address.
const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;

fn host(index: usize) -> String {
    format!("h{index}.example.com")
}

fn address_of(index: usize) -> String {
    format!("203.0.113.{index}")
}

/// An upstream server that has an address for each of the hosts.
fn upstream() -> Upstream {
    Upstream::start(UPSTREAM, |asked, query| {
        let index = asked.name.trim_start_matches('h').split('.').next()?.parse().ok()?;
        wire(&answer(query, vec![address(query, 300, &address_of(index))]))
    })
}

fn connects(lab: &Lab, index: usize) -> bool {
    let address: SocketAddr = format!("{}:443", address_of(index)).parse().unwrap();
    lab.connects("agent", address, SECOND / 4)
}

/// A wall whose firewall suffers `fault`; then one that does not.
fn suffers(fault: &'static str) {
    in_lab(move |lab| {
        upstream();
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        asked_by_agent(lab, &mut wall, &host(1));
        let daemon = wall.process().id();

        let injection = Injection::begin(lab, daemon, "firewall", fault);
        for index in 2..6 {
            // Whatever is told here was held against the kernel's sets.
            let (reply, _) = asked_by_agent(lab, &mut wall, &host(index));
            assert_eq!(verdict(&reply).0, ResponseCode::ServFail, "{fault}");
            assert_eq!(addresses(&reply), Vec::<String>::new(), "{fault}");
        }
        // What needs no kernel goes on, and what was open stays so.
        let denied = lab.within("agent", || ask(WALL, "example.org", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).0, ResponseCode::NXDomain, "{fault}");
        assert!(connects(lab, 1), "{fault}");
        assert!(!connects(lab, 7), "{fault}");
        assert!(processor_during(daemon, SECOND) < SECOND / 2, "{fault}: it spins");
        injection.end();

        eventually("the wall answers again", 5 * SECOND, || {
            addresses(&asked_by_agent(lab, &mut wall, &host(7)).0) == [address_of(7)]
        });
        for index in 1..6 {
            let (reply, _) = asked_by_agent(lab, &mut wall, &host(index));
            assert_eq!(addresses(&reply), [address_of(index)], "{fault}");
            assert!(connects(lab, index), "{fault}");
        }
        assert!(!wall.events("query.failed", 4).is_empty());
        assert_eq!(wall.process().terminate(), Some(0), "{fault}");
        assert!(!connects(lab, 9), "{fault}");
    });
}

#[test]
fn a_socket_without_buffers_is_no_acknowledgement() {
    suffers("sendto:error=ENOBUFS");
}

#[test]
fn a_lost_capability_is_no_acknowledgement() {
    suffers("sendto:error=EPERM");
}

#[test]
fn a_table_of_files_that_is_full_is_no_acknowledgement() {
    suffers("sendto:error=ENFILE");
}

#[test]
fn an_acknowledgement_that_was_dropped_is_none() {
    // The kernel has done it, and says that it had no room to say so.
    suffers("recvfrom:error=ENOBUFS");
}

#[test]
fn an_acknowledgement_that_does_not_come_is_none() {
    suffers("recvfrom:error=EAGAIN");
}

#[test]
fn an_acknowledgement_that_cannot_be_read_is_none() {
    suffers("recvfrom:error=EIO");
}

#[test]
fn calls_that_are_interrupted_now_and_then_release_nothing_that_is_not_open() {
    in_lab(|lab| {
        upstream();
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        for fault in ["sendto:error=EINTR:when=2+3", "recvfrom:error=EINTR:when=3+5", "sendto:error=ENOBUFS:when=3+2"] {
            let injection = Injection::begin(lab, wall.process().id(), "firewall", fault);
            let mut told = 0;
            for index in 1..25 {
                let (reply, _) = asked_by_agent(lab, &mut wall, &host(index));
                told += addresses(&reply).len();
                let code = verdict(&reply).0;
                assert!(matches!(code, ResponseCode::NoError | ResponseCode::ServFail), "{fault}: {code}");
            }
            injection.end();
            assert!(told > 0, "{fault}: nothing is told, though most calls succeed");
            wall.process().terminate();
            wall.restart(lab);
        }
    });
}

#[test]
fn a_kernel_that_is_busy_for_too_long_holds_only_the_answers_that_need_it() {
    in_lab(|lab| {
        upstream();
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        let daemon = wall.process().id();
        // Each call takes three seconds, a query waits for two.
        let injection = Injection::begin(lab, daemon, "firewall", "sendto:delay_enter=3s");
        let start = Instant::now();
        let (reply, took) = asked_by_agent(lab, &mut wall, &host(1));
        assert_eq!(verdict(&reply).0, ResponseCode::ServFail);
        assert!((SECOND..6 * SECOND).contains(&took), "it took {took:?}");
        let start_of_denied = Instant::now();
        let denied = lab.within("agent", || ask(WALL, "example.org", RecordType::A)).unwrap();
        assert_eq!(verdict(&denied).0, ResponseCode::NXDomain);
        assert!(start_of_denied.elapsed() < SECOND, "a denial waited for the kernel");
        injection.end();
        eventually("the wall answers again", 15 * SECOND, || {
            addresses(&asked_by_agent(lab, &mut wall, &host(2)).0) == [address_of(2)]
        });
        eprintln!("busy and well again within {:?}", start.elapsed());
    });
}

#[test]
fn what_a_new_policy_closes_is_closed_although_the_kernel_refuses() {
    in_lab(|lab| {
        upstream();
        greeter(443);
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        asked_by_agent(lab, &mut wall, &host(1));
        asked_by_agent(lab, &mut wall, &host(2));
        assert!(connects(lab, 1) && connects(lab, 2));
        let injection = Injection::begin(lab, wall.process().id(), "firewall", "sendto:error=ENOBUFS");
        let only_two = POLICY.replace("in Domain::\"example.com\"", "== Resource::\"h2.example.com:443\"");
        lab.write("policies/wall.cedar", &only_two);
        wall.operator(&["reload"]);
        eventually("what is revoked is closed", 5 * SECOND, || !connects(lab, 1));
        let (reply, _) = asked_by_agent(lab, &mut wall, &host(2));
        assert_eq!(verdict(&reply).0, ResponseCode::ServFail, "nobody gets an answer until the kernel is well");
        injection.end();
        eventually("what is permitted is open again", 5 * SECOND, || connects(lab, 2));
        assert_eq!(addresses(&asked_by_agent(lab, &mut wall, &host(2)).0), [address_of(2)]);
        assert!(!connects(lab, 1));
        assert_eq!(elements("lease4").len(), 1);
    });
}

#[test]
fn without_the_program_nft_a_changed_table_means_servfail_until_it_is_back() {
    in_lab(|lab| {
        upstream();
        greeter(443);
        // A copy that can be taken away, before the one of the system.
        let program = lab.path("bin/nft");
        lab.write("bin/nft", "#!/bin/sh\nexec /usr/sbin/nft \"$@\"\n");
        run("chmod", &["+x", program.to_str().unwrap()]);
        let path = format!("PATH={}", program.parent().unwrap().display());
        let binary = support::wall::binary().to_str().unwrap();
        let setup = Setup { policy: POLICY, ..Setup::default() };
        let mut wall = Wall::start_through(lab, &setup, std::path::Path::new("env"), &[&path, binary]);
        asked_by_agent(lab, &mut wall, &host(1));
        std::fs::remove_file(&program).unwrap();
        run("nft", &["add", "rule", "inet", "cedarwall", "forward", "accept"]);
        for _ in 0..3 {
            let (reply, _) = asked_by_agent(lab, &mut wall, &host(2));
            assert_eq!(verdict(&reply).0, ResponseCode::ServFail);
        }
        lab.write("bin/nft", "#!/bin/sh\nexec /usr/sbin/nft \"$@\"\n");
        run("chmod", &["+x", program.to_str().unwrap()]);
        eventually("the table is as it was", 5 * SECOND, || {
            !run("nft", &["list", "chain", "inet", "cedarwall", "forward"]).contains("\t\taccept\n")
        });
        assert_eq!(addresses(&asked_by_agent(lab, &mut wall, &host(2)).0), [address_of(2)]);
        assert!(connects(lab, 1) && connects(lab, 2) && !connects(lab, 3));
    });
}
