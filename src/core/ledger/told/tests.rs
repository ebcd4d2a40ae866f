//! What is told of leases.

use std::time::Duration;

use super::*;
use crate::core::config::LeaseSettings;
use crate::core::lease::{Generation, Grant};
use crate::core::ledger::Ledger;
use crate::core::ledger::revision::Verdict;
use crate::core::query::{Port, PortRange, Protocol};
use crate::core::time::Ttl;

const SETTINGS: LeaseSettings = LeaseSettings {
    min: Duration::from_secs(30),
    max: Duration::from_secs(3600),
    grace: Duration::from_secs(15),
    per_client: 1000,
    set_size: 1000,
    per_name: 1000,
    total: 1000,
};

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn client() -> Client {
    Client::new("10.77.0.2".parse().unwrap())
}

/// What is wanted under `name`: ports 8000 to 8009 of each of `addresses`.
fn wanted(name: &str, addresses: &[&str], ttl: u64) -> Wanted {
    let ports = PortRange::new(Port::new(8000).unwrap(), Port::new(8009).unwrap()).unwrap();
    let openings = [Opening { protocol: Protocol::Tcp, ports }];
    let grant =
        |address: &&str| Grant { client: client(), address: address.parse().unwrap(), openings: openings.into() };
    Wanted {
        client: client(),
        name: Name::parse(name).unwrap(),
        grants: addresses.iter().map(grant).collect(),
        ttl: Ttl::within(Duration::from_secs(ttl)),
        at_most: None,
        aliases: [].into(),
        generation: Generation::FIRST,
    }
}

fn open(ledger: &mut Ledger, now: Moment, wanted: &[Wanted]) -> Vec<LeaseTurn> {
    let mut plan = Plan::default();
    for wanted in wanted {
        ledger.plan(&mut plan, now, wanted).unwrap();
    }
    ledger.commit(plan)
}

/// In short: the turn, the name, and its addresses.
fn short(turns: &[LeaseTurn]) -> Vec<(Turn, &str, Vec<String>)> {
    let short = |turn: &LeaseTurn| turn.addresses.iter().map(ToString::to_string).collect();
    turns.iter().map(|turn| (turn.turn, turn.name.as_str(), short(turn))).collect()
}

fn told(turn: Turn, name: &'static str, addresses: &[&str]) -> (Turn, &'static str, Vec<String>) {
    (turn, name, addresses.iter().map(|&address| address.to_owned()).collect())
}

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

#[test]
fn a_name_is_told_once_for_a_commit_not_once_for_each_element() {
    let mut ledger = Ledger::new(SETTINGS);
    let both = [wanted("a.example.com", &[A], 60), wanted("a.example.com", &[A, B], 60)];
    let turns = open(&mut ledger, at(0), &both);
    assert_eq!(ledger.len(), 20, "elements");
    assert_eq!(short(&turns), [told(Turn::Opened, "a.example.com", &[A, B])]);
    assert_eq!((turns[0].openings.len(), turns[0].until), (1, at(75)));
    let Event::LeaseOpened(event) = turns[0].clone().event(at(0)) else { panic!() };
    assert_eq!((event.seconds, event.client), (75, client()));
}

#[test]
fn a_refresh_is_told_only_when_it_prolongs() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &[wanted("a.example.com", &[A], 60)]);
    assert_eq!(short(&open(&mut ledger, at(0), &[wanted("a.example.com", &[A], 30)])), []);
    // Permitted anew, by another policy, and for no longer.
    let anew = Wanted { generation: Generation::FIRST.next(), ..wanted("a.example.com", &[A], 30) };
    assert_eq!(short(&open(&mut ledger, at(0), &[anew])), []);
    let longer = open(&mut ledger, at(40), &[wanted("a.example.com", &[A], 60)]);
    assert_eq!(short(&longer), [told(Turn::Refreshed, "a.example.com", &[A])]);
    // The same addresses under another name are another lease.
    let other = open(&mut ledger, at(40), &[wanted("b.example.com", &[A], 60)]);
    assert_eq!(short(&other), [told(Turn::Opened, "b.example.com", &[A])]);
}

#[test]
fn a_lease_is_told_to_have_run_out_once_and_by_its_own_term() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &[wanted("a.example.com", &[A, B], 60), wanted("b.example.com", &[A], 600)]);
    open(&mut ledger, at(40), &[wanted("a.example.com", &[B], 60)]);
    assert_eq!(ledger.expired_names(at(74)), []);
    assert_eq!(short(&ledger.expired_names(at(75))), [told(Turn::Expired, "a.example.com", &[A])]);
    assert!(ledger.is_live(&wanted("b.example.com", &[A], 1).keys().next().unwrap(), at(75)), "b holds it still");
    assert_eq!(short(&ledger.expired_names(at(115))), [told(Turn::Expired, "a.example.com", &[B])]);
    assert_eq!(ledger.expired_names(at(115)), []);
    // Opened again it is a new lease.
    let again = open(&mut ledger, at(120), &[wanted("a.example.com", &[A], 60)]);
    assert_eq!(short(&again), [told(Turn::Opened, "a.example.com", &[A])]);
}

#[test]
fn what_a_policy_ends_is_told_by_name_and_what_it_keeps_is_not() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &[wanted("a.example.com", &[A, B], 60), wanted("b.example.com", &[A], 60)]);
    let next = Generation::FIRST.next();
    let every = vec![PortRange::ALL];
    let verdicts = ledger.holdings(next).into_iter().map(|holding| {
        let permitted = if holding.name.as_str() == "a.example.com" { Vec::new() } else { every.clone() };
        Verdict { holding, permitted }
    });
    let revision = ledger.revise(next, verdicts.collect(), at(10));
    let ended = ledger.commit_revision(revision);
    assert_eq!(short(&ended), [told(Turn::Revoked, "a.example.com", &[A, B])]);
    assert_eq!(short(&ledger.expired_names(at(75))), [told(Turn::Expired, "b.example.com", &[A])], "nothing twice");
}
