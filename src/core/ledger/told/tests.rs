//! What is told of leases.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::config::LeaseSettings;
use crate::core::lease::{Aliases, Generation, Grant};
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
        aliases: Aliases::default(),
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
    assert_eq!(ledger.expire(at(74)).turns, []);
    assert_eq!(short(&ledger.expire(at(75)).turns), [told(Turn::Expired, "a.example.com", &[A])]);
    assert!(ledger.is_live(&wanted("b.example.com", &[A], 1).keys().next().unwrap(), at(75)), "b holds it still");
    assert_eq!(short(&ledger.expire(at(115)).turns), [told(Turn::Expired, "a.example.com", &[B])]);
    assert_eq!(ledger.expire(at(115)).turns, []);
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
    assert_eq!(short(&ledger.expire(at(75)).turns), [told(Turn::Expired, "b.example.com", &[A])], "nothing twice");
}

#[test]
fn of_a_shared_address_each_name_is_told_when_its_own_term_ends() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &[wanted("b.example.com", &[A], 60), wanted("a.example.com", &[A, B], 600)]);
    assert_eq!(short(&ledger.expire(at(75)).turns), [told(Turn::Expired, "b.example.com", &[A])]);
    assert_eq!(ledger.expire(at(76)).turns, [], "once");
    // It is told again of a term that began later.
    let again = open(&mut ledger, at(80), &[wanted("b.example.com", &[A], 30)]);
    assert_eq!(short(&again), [told(Turn::Opened, "b.example.com", &[A])]);
    assert_eq!(short(&ledger.expire(at(125)).turns), [told(Turn::Expired, "b.example.com", &[A])]);
    assert_eq!(ledger.len(), 20);
    // What has ended is not revoked as well.
    let next = Generation::FIRST.next();
    let verdicts = ledger.holdings(next).into_iter().map(Verdict::nothing_for).collect();
    let revision = ledger.revise(next, verdicts, at(130));
    assert_eq!(short(&ledger.commit_revision(revision)), [told(Turn::Revoked, "a.example.com", &[A, B])]);
    assert_eq!(ledger.expire(at(10_000)).turns, []);
}

proptest! {
    /// However names come and share addresses: each is told to be open when it
    /// was not, and to have run out when its longest term is over.
    #[test]
    fn what_is_told_is_what_is_held(
        asks in prop::collection::vec((0..3_u8, 1..8_u8, 0..90_u64, 0..70_u64), 1..40)
    ) {
        let mut ledger = Ledger::new(SETTINGS);
        let mut held: HashMap<(String, String), Moment> = HashMap::new();
        let mut seconds = 0;
        for (name, addresses, ttl, pause) in asks {
            seconds += pause;
            let expired = ledger.expire(at(seconds)).turns;
            prop_assert!(expired.iter().all(|turn| turn.turn == Turn::Expired && turn.until <= at(seconds)));
            let ended: HashSet<_> = held.iter().filter(|(_, until)| **until <= at(seconds)).map(|(key, _)| key.clone()).collect();
            held.retain(|_, until| *until > at(seconds));
            prop_assert_eq!(pairs(&expired), ended);

            let name = format!("n{name}.example.com");
            let addresses: Vec<_> = (0..3).filter(|bit| addresses >> bit & 1 == 1).map(|bit| format!("192.0.2.{bit}")).collect();
            let texts: Vec<_> = addresses.iter().map(String::as_str).collect();
            let turns = open(&mut ledger, at(seconds), &[wanted(&name, &texts, ttl)]);
            let is_new = |address: &&String| !held.contains_key(&(name.clone(), (*address).clone()));
            let opened = turns.iter().any(|turn| turn.turn == Turn::Opened);
            prop_assert_eq!(opened, addresses.iter().any(|address| is_new(&address)));
            for address in &addresses {
                let (least, long) = (at(seconds + ttl + 15), at(seconds + ttl.max(30) + 15));
                let until = held.entry((name.clone(), address.clone())).or_insert(long);
                *until = if *until >= least { *until } else { long };
            }
        }
    }
}

/// Each name with each of its addresses.
fn pairs(turns: &[LeaseTurn]) -> HashSet<(String, String)> {
    let of = |turn: &LeaseTurn| {
        let name = turn.name.as_str().to_owned();
        turn.addresses.iter().map(move |address| (name.clone(), address.to_string())).collect::<Vec<_>>()
    };
    turns.iter().flat_map(of).collect()
}
