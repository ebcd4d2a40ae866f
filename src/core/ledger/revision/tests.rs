use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::config::LeaseSettings;
use crate::core::decision::Opening;
use crate::core::lease::{Grant, Wanted};
use crate::core::query::Protocol;
use crate::core::time::Ttl;

const SETTINGS: LeaseSettings = LeaseSettings {
    min: Duration::ZERO,
    max: Duration::from_secs(3600),
    grace: Duration::from_secs(15),
    per_client: 100_000,
    set_size: 1000,
    per_name: 100_000,
    total: 100_000,
};
const OLD: Generation = Generation::FIRST;

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap()
}

fn wanted(name: &str, ports: PortRange, generation: Generation) -> Wanted {
    let client = Client::new("10.0.0.2".parse().unwrap());
    let address: IpAddr = "198.51.100.7".parse().unwrap();
    let openings = Arc::from([Opening { protocol: Protocol::Tcp, ports }]);
    Wanted {
        client,
        name: Name::parse(name).unwrap(),
        grants: vec![Grant { client, address, openings }],
        ttl: Ttl::from_wire(300),
        at_most: None,
        aliases: Aliases::default(),
        generation,
    }
}

fn open(ledger: &mut Ledger, now: Moment, wanted: &Wanted) -> Vec<Change> {
    let mut plan = Plan::default();
    ledger.plan(&mut plan, now, wanted).unwrap();
    let changes = plan.changes(now);
    ledger.commit(plan);
    changes
}

/// Judges everything: each name is permitted on the ports that `permitted`
/// says, and on none if it says nothing.
fn revise(ledger: &mut Ledger, now: Moment, permitted: &[(&str, PortRange)]) -> (Vec<Change>, Vec<PortRange>) {
    let judge = |holding: Holding| {
        let of_name = permitted.iter().filter(|(name, _)| *name == holding.name.as_str());
        Verdict { permitted: of_name.map(|(_, ports)| *ports).collect(), holding }
    };
    let verdicts = ledger.holdings(OLD.next()).into_iter().map(judge).collect();
    let revision = ledger.revise(OLD.next(), verdicts, now);
    let changes = revision.changes(now);
    let closed = revision.closed().iter().map(|grant| grant.ports).collect();
    ledger.commit_revision(revision);
    (changes, closed)
}

fn held(ledger: &Ledger) -> Vec<(Ports, Vec<&str>)> {
    let mut held: Vec<_> =
        ledger.leases().map(|(key, lease)| (key.ports, lease.names().map(Name::as_str).collect())).collect();
    held.sort();
    held
}

#[test]
fn what_is_permitted_still_is_not_touched_and_asks_nothing_of_the_kernel_afterwards() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD));
    let (changes, closed) = revise(&mut ledger, at(0), &[("a.example.com", PortRange::ALL)]);
    assert_eq!((changes, closed), (Vec::new(), Vec::new()));
    assert_eq!(open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD.next())), []);
    assert_eq!(ledger.holdings(OLD.next()), []);
}

#[test]
fn what_is_permitted_no_longer_is_closed() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD));
    let (changes, closed) = revise(&mut ledger, at(0), &[]);
    assert!(matches!(&changes[..], [Change::Remove(_)]));
    assert_eq!(closed, [range(443, 443)]);
    assert!(ledger.is_empty());
}

#[test]
fn a_lease_that_two_names_share_stays_while_one_is_permitted() {
    let mut ledger = Ledger::new(SETTINGS);
    for name in ["a.example.com", "b.example.com"] {
        open(&mut ledger, at(0), &wanted(name, range(443, 443), OLD));
    }
    let (changes, closed) = revise(&mut ledger, at(0), &[("b.example.com", PortRange::ALL)]);
    assert!(matches!(&changes[..], [Change::Set { comment, relabelled: true, .. }] if comment == "b.example.com"));
    assert_eq!(closed, []);
}

#[test]
fn what_the_new_policy_opened_meanwhile_is_not_judged_by_the_old_list() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD));
    let verdicts = ledger.holdings(OLD.next()).into_iter();
    let verdicts = verdicts.map(|holding| Verdict { holding, permitted: Vec::new() }).collect();
    open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD.next()));
    let revision = ledger.revise(OLD.next(), verdicts, at(0));
    assert_eq!((revision.changes(at(0)), revision.closed()), (Vec::new(), &[][..]));
}

#[test]
fn of_every_port_one_stays_open_where_one_is_permitted() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", PortRange::ALL, OLD));
    let (changes, closed) = revise(&mut ledger, at(0), &[("a.example.com", range(443, 443))]);
    assert!(matches!(&changes[..], [Change::Remove(_), Change::Set { .. }]), "in one transaction: {changes:?}");
    assert_eq!(closed, [range(1, 442), range(444, 65535)]);
    assert_eq!(held(&ledger), [(Ports::One(Port::new(443).unwrap()), vec!["a.example.com"])]);
}

#[test]
fn a_lease_that_has_run_out_is_judged_for_the_flows_that_outlived_it() {
    let mut ledger = Ledger::new(SETTINGS);
    for name in ["a.example.com", "b.example.com"] {
        let port = if name == "a.example.com" { 443 } else { 80 };
        open(&mut ledger, at(0), &wanted(name, range(port, port), OLD));
    }
    ledger.expire(at(1000));
    assert!(ledger.is_empty());
    let (changes, closed) = revise(&mut ledger, at(1000), &[("b.example.com", PortRange::ALL)]);
    assert_eq!((changes, closed), (Vec::new(), vec![range(443, 443)]));
    assert_eq!(ledger.holdings(OLD.next().next()).len(), 1, "the other one is remembered");
}

#[test]
fn the_memory_of_what_has_run_out_is_bounded_and_forgets_the_oldest() {
    let mut ledger = Ledger::new(LeaseSettings { set_size: 2, ..SETTINGS });
    for port in [1, 2, 3] {
        open(&mut ledger, at(u64::from(port)), &wanted("a.example.com", range(port, port), OLD));
    }
    ledger.expire(at(1000));
    let ports: BTreeSet<_> = ledger.holdings(OLD.next()).iter().map(|holding| holding.key.ports.range()).collect();
    assert_eq!(ports, BTreeSet::from([range(2, 2), range(3, 3)]));
}

#[test]
fn an_element_whose_term_has_just_ended_is_taken_out_in_case_the_kernel_still_holds_it() {
    for (passed, removals) in [(316, 1), (320, 0)] {
        let mut ledger = Ledger::new(SETTINGS);
        open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD));
        ledger.expire(at(passed));
        assert_eq!(held(&ledger), []);
        let (changes, closed) = revise(&mut ledger, at(passed), &[]);
        assert_eq!((changes.len(), closed.len()), (removals, 1), "{changes:?}");
    }
}

#[test]
fn what_stays_for_another_name_alone_says_so() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", range(443, 443), OLD));
    open(&mut ledger, at(0), &wanted("b.example.com", PortRange::ALL, OLD));
    let (changes, _) = revise(&mut ledger, at(1), &[("b.example.com", range(443, 443))]);
    let is_told =
        |change: &Change| matches!(change, Change::Set { comment, relabelled: true, .. } if comment == "b.example.com");
    assert!(changes.iter().any(is_told), "{changes:?}");
    // Likewise where the element of the other name has only just run out.
    ledger.expire(at(316));
    let changes = open(&mut ledger, at(316), &wanted("c.example.com", range(443, 443), OLD.next()));
    assert!(matches!(&changes[..], [Change::Set { relabelled: true, .. }]), "{changes:?}");
}

#[test]
fn what_stays_of_many_ports_is_no_more_than_a_set_holds() {
    let mut ledger = Ledger::new(LeaseSettings { set_size: 9, ..SETTINGS });
    open(&mut ledger, at(0), &wanted("a.example.com", PortRange::ALL, OLD));
    let (changes, closed) = revise(&mut ledger, at(1), &[("a.example.com", range(1, 20))]);
    let set = changes.iter().filter(|change| matches!(change, Change::Set { .. })).count();
    assert_eq!((set, ledger.len(), closed), (9, 9, vec![range(21, 65_535)]), "flows that are permitted go on");
}

proptest! {
    /// Whatever was opened and whatever is permitted afterwards: a port stays
    /// open exactly if a name that opened it may have it still, and what is
    /// closed is exactly the rest. Runs never overlap in part.
    #[test]
    fn exactly_what_is_permitted_stays(
        asks in prop::collection::vec((0usize..3, 1u16..300, 0u16..200), 1..8),
        permits in prop::collection::vec((0usize..3, 1u16..300, 0u16..200), 0..5),
    ) {
        const NAMES: [&str; 3] = ["a.example.com", "b.example.com", "c.example.com"];
        let mut ledger = Ledger::new(SETTINGS);
        let mut opened: HashMap<u16, BTreeSet<usize>> = HashMap::new();
        for (name, first, more) in asks {
            let ports = range(first, first + more);
            open(&mut ledger, at(0), &wanted(NAMES[name], ports, OLD));
            for port in ports.ports() {
                opened.entry(port.number()).or_default().insert(name);
            }
        }
        let permitted: Vec<_> =
            permits.iter().map(|&(name, first, more)| (NAMES[name], range(first, first + more))).collect();
        let may = |name: usize, port: u16| {
            permitted.iter().any(|(known, ports)| *known == NAMES[name] && ports.contains(Port::new(port).unwrap()))
        };

        let (_, closed) = revise(&mut ledger, at(0), &permitted);

        let mut open_now: HashMap<u16, usize> = HashMap::new();
        let mut in_runs: HashMap<u16, usize> = HashMap::new();
        for (key, _) in ledger.leases() {
            for port in key.ports.range().ports() {
                *open_now.entry(port.number()).or_default() += 1;
                if matches!(key.ports, Ports::Run(_)) {
                    *in_runs.entry(port.number()).or_default() += 1;
                }
            }
        }
        prop_assert!(in_runs.values().all(|count| *count == 1), "two runs overlap");
        let closed: BTreeSet<u16> = closed.iter().flat_map(|run| run.ports()).map(Port::number).collect();
        for (port, names) in &opened {
            let stays = names.iter().any(|name| may(*name, *port));
            prop_assert_eq!(open_now.contains_key(port), stays, "port {}", port);
            // A port may be in several elements; closed says one of them went.
            prop_assert!(stays || closed.contains(port), "port {} was closed in silence", port);
        }
        prop_assert!(open_now.keys().all(|port| opened.contains_key(port)));
    }
}
