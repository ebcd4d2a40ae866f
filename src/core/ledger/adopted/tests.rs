use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::core::decision::Opening;
use crate::core::lease::{Grant, Wanted};
use crate::core::ledger::Plan;
use crate::core::ledger::revision::Verdict;
use crate::core::query::{Port, PortRange, Protocol};
use crate::core::time::Ttl;

const SETTINGS: LeaseSettings = LeaseSettings {
    min: Duration::ZERO,
    max: Duration::from_secs(3600),
    grace: Duration::from_secs(15),
    per_client: 100,
    per_name: 100,
    total: 1000,
    set_size: 1000,
};

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn asker() -> Client {
    Client::new("127.0.0.1".parse().unwrap())
}

fn client() -> Client {
    Client::new("10.0.0.2".parse().unwrap())
}

fn address() -> IpAddr {
    "198.51.100.7".parse().unwrap()
}

fn key(ports: Ports) -> Key {
    Key { client: client(), address: address(), protocol: Protocol::Tcp, ports }
}

fn wanted(name: &str, ports: PortRange, ttl: u32) -> Wanted {
    let openings = Arc::from([Opening { protocol: Protocol::Tcp, ports }]);
    Wanted {
        client: asker(),
        name: Name::parse(name).unwrap(),
        grants: vec![Grant { client: client(), address: address(), openings }],
        ttl: Ttl::from_wire(ttl),
        at_most: None,
        aliases: [Name::parse("alias.example.net").unwrap()].into_iter().collect(),
        generation: Generation::FIRST,
    }
}

/// Opens it, and writes down what is written down of it.
fn open(ledger: &mut Ledger, memory: &mut Vec<String>, now: Moment, wanted: &Wanted) {
    let mut plan = Plan::default();
    ledger.plan(&mut plan, now, wanted).unwrap();
    memory.extend(plan.lines());
    ledger.commit(plan);
}

fn remembered(lines: &[String]) -> Remembered {
    let mut remembered = Remembered::default();
    assert!(lines.iter().all(|line| remembered.read(line)));
    remembered
}

/// What the kernel holds of `ledger`.
fn standing(ledger: &Ledger) -> Vec<Standing> {
    let element = |(key, lease): (Key, &Lease)| Standing { key, until: lease.until() + KEPT, comment: lease.comment() };
    ledger.leases().map(element).collect()
}

fn named(until: Moment, comment: &str) -> Standing {
    Standing { key: key(Ports::One(port(443))), until: until + KEPT, comment: comment.to_owned() }
}

#[test]
fn a_ledger_comes_back_from_the_kernel_and_the_memory_as_it_was() {
    let (mut ledger, mut memory) = (Ledger::new(SETTINGS), Vec::new());
    let range = |first, last| PortRange::new(port(first), port(last)).unwrap();
    open(&mut ledger, &mut memory, at(0), &wanted("a.example.com", range(443, 443), 100));
    open(&mut ledger, &mut memory, at(1), &wanted("b.example.com", range(443, 443), 300));
    open(&mut ledger, &mut memory, at(2), &wanted("a.example.com", range(1000, 2000), 100));
    // Cuts the run before.
    open(&mut ledger, &mut memory, at(3), &wanted("b.example.com", range(1500, 2500), 100));
    let (adopted, strange) = Ledger::adopt(SETTINGS, standing(&ledger), remembered(&memory), at(4));
    assert_eq!(strange, []);
    let held = |ledger: &Ledger| -> BTreeSet<_> {
        let leases = ledger.leases();
        leases.map(|(key, lease)| (key, lease.account, lease.until(), lease.comment())).collect()
    };
    assert_eq!(held(&adopted), held(&ledger));
    let holdings = |ledger: &Ledger, live: bool| -> BTreeSet<_> {
        let holdings = ledger.holdings(Generation::FIRST.next()).into_iter();
        let holdings = holdings.filter(|holding| !live || ledger.leases.contains_key(&holding.key));
        holdings.map(|holding| (holding.key, holding.name, holding.asked_by, holding.aliases)).collect()
    };
    assert_eq!(holdings(&adopted, true), holdings(&ledger, true));
    assert_eq!(adopted.holdings(Generation::FIRST).len(), adopted.holdings(Generation::FIRST.next()).len());
    // Each holder's own term is known, too: the first name's ends first.
    let lease = adopted.leases.get(&key(Ports::One(port(443)))).unwrap();
    assert_eq!(lease.holders.iter().map(|holder| holder.until).collect::<Vec<_>>(), [at(115), at(316)]);
    assert_eq!(adopted.accounts.of(asker()), ledger.accounts.of(asker()));
}

#[test]
fn the_kernel_alone_says_what_is_open_and_for_how_long() {
    let (mut ledger, mut memory) = (Ledger::new(SETTINGS), Vec::new());
    open(&mut ledger, &mut memory, at(0), &wanted("a.example.com", port(443).into(), 1000));
    open(&mut ledger, &mut memory, at(0), &wanted("a.example.com", port(80).into(), 1000));
    let (adopted, _) = Ledger::adopt(SETTINGS, vec![named(at(50), "a.example.com")], remembered(&memory), at(10));
    assert_eq!(
        adopted.leases().map(|(key, lease)| (key, lease.until())).collect::<Vec<_>>(),
        [(key(Ports::One(port(443))), at(50))]
    );
    // What is written down and not open opens nothing; a flow may rest on it.
    let covers = |number| adopted.covers(client(), address(), Protocol::Tcp, port(number), at(10));
    let explains = |number| adopted.remembers(client(), address(), Protocol::Tcp, port(number));
    assert_eq!((covers(443), covers(80), explains(80), explains(22)), (true, false, true, false));
}

#[test]
fn without_a_memory_the_comment_says_whose_lease_it_is() {
    let element = named(at(50), "a.example.com b.example.com");
    let (adopted, strange) = Ledger::adopt(SETTINGS, vec![element], Remembered::default(), at(10));
    assert_eq!(strange, []);
    let holdings = adopted.holdings(Generation::FIRST);
    let told: Vec<_> = holdings.iter().map(|holding| (holding.name.as_str(), holding.asked_by)).collect();
    assert_eq!(told, [("a.example.com", client()), ("b.example.com", client())]);
}

#[test]
fn an_element_without_a_name_of_ours_is_not_adopted_whatever_is_remembered() {
    let (mut ledger, mut memory) = (Ledger::new(SETTINGS), Vec::new());
    open(&mut ledger, &mut memory, at(0), &wanted("a.example.com", port(443).into(), 100));
    let long = "x".repeat(60);
    let cut_short = format!("{long}.{long}.{long}.{long}.{}", "y".repeat(7));
    assert_eq!(cut_short.len(), COMMENT_LENGTH);
    for comment in ["", " ", "A.example.com", "a.example.com, b", "a.example.com  b", "by hand;", cut_short.as_str()] {
        let (adopted, strange) = Ledger::adopt(SETTINGS, vec![named(at(50), comment)], remembered(&memory), at(10));
        assert_eq!((adopted.len(), strange.len()), (0, 1), "{comment:?}");
    }
}

#[test]
fn a_name_that_a_comment_cuts_short_is_known_from_the_memory() {
    let label = "x".repeat(62);
    let name = format!("{label}.{label}.{label}.{label}y");
    let (mut ledger, mut memory) = (Ledger::new(SETTINGS), Vec::new());
    open(&mut ledger, &mut memory, at(0), &wanted(&name, port(443).into(), 100));
    let (adopted, strange) = Ledger::adopt(SETTINGS, standing(&ledger), remembered(&memory), at(10));
    assert_eq!(strange, []);
    assert_eq!(
        adopted.leases.get(&key(Ports::One(port(443)))).unwrap().names().map(Name::as_str).collect::<Vec<_>>(),
        [name]
    );
}

#[test]
fn no_more_is_adopted_than_a_set_may_hold() {
    let settings = LeaseSettings { set_size: 2, ..SETTINGS };
    let element = |number: u16, until| Standing { key: key(Ports::One(port(number))), ..named(at(until), "a.example") };
    let found = vec![element(1, 20), element(2, 40), element(3, 30)];
    let (adopted, strange) = Ledger::adopt(settings, found, Remembered::default(), at(10));
    assert_eq!((adopted.len(), strange), (2, vec![key(Ports::One(port(1)))]));
}

#[test]
fn a_revision_is_remembered_once_it_is_done() {
    let (mut ledger, mut memory) = (Ledger::new(SETTINGS), Vec::new());
    open(&mut ledger, &mut memory, at(0), &wanted("a.example.com", PortRange::ALL, 100));
    let second = Generation::FIRST.next();
    let holding = ledger.holdings(second).remove(0);
    let verdict = Verdict { holding, permitted: vec![port(443).into()] };
    let revision = ledger.revise(second, vec![verdict], at(1));
    let (ahead, keys) = (revision.lines(&ledger).collect::<Vec<_>>(), revision.keys());
    memory.extend(ahead);
    // Now the kernel is told, and if it is not, all is known.
    let both = remembered(&memory).0.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(both, BTreeSet::from([key(Ports::All), key(Ports::One(port(443)))]));
    ledger.commit_revision(revision);
    memory.extend(keys.iter().map(|key| ledger.line(key)));
    assert_eq!(remembered(&memory).0.into_keys().collect::<Vec<_>>(), [key(Ports::One(port(443)))]);
}
