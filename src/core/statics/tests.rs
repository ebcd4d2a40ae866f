use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::core::query::PortRange;

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn grant(client: &str, first: &str, last: &str, ports: (u16, u16)) -> StaticGrant {
    let ports = PortRange::new(Port::new(ports.0).unwrap(), Port::new(ports.1).unwrap()).unwrap();
    StaticGrant {
        client: Client::new(client.parse().unwrap()),
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        protocol: Protocol::Tcp,
        ports,
    }
}

fn lasting(grants: &[StaticGrant]) -> Statics {
    Statics { grants: grants.to_vec(), valid_for: None }
}

fn timed(grants: &[StaticGrant], seconds: u64) -> Statics {
    Statics { grants: grants.to_vec(), valid_for: Some(Duration::from_secs(seconds)) }
}

fn change(ledger: &mut StaticLedger, now: Moment, wanted: &[Statics]) -> Vec<StaticChange> {
    let plan = ledger.plan(now, wanted);
    let changes = plan.changes(now);
    ledger.commit(plan);
    changes
}

#[test]
fn only_the_difference_is_told_to_the_kernel() {
    let mut ledger = StaticLedger::default();
    let one = grant("10.0.0.2", "192.0.2.7", "192.0.2.7", (5432, 5432));
    let two = grant("10.0.0.2", "10.20.0.0", "10.20.255.255", (443, 443));
    assert_eq!(change(&mut ledger, at(0), &[lasting(&[one])]), [StaticChange::Add(one, None)]);
    assert_eq!(change(&mut ledger, at(0), &[lasting(&[one, two])]), [StaticChange::Add(two, None)]);
    assert_eq!(change(&mut ledger, at(0), &[lasting(&[one, two])]), []);
    assert_eq!(change(&mut ledger, at(0), &[lasting(&[two])]), [StaticChange::Remove(one, false)]);
    assert_eq!(change(&mut ledger, at(0), &[]), [StaticChange::Remove(two, false)]);
}

#[test]
fn an_element_that_is_wanted_in_smaller_pieces_is_left_alone() {
    let mut ledger = StaticLedger::default();
    let whole = grant("10.0.0.2", "10.20.0.0", "10.20.255.255", (443, 443));
    change(&mut ledger, at(0), &[lasting(&[whole])]);
    let pieces = [
        grant("10.0.0.2", "10.20.0.0", "10.20.2.255", (443, 443)),
        grant("10.0.0.2", "10.20.3.0", "10.20.3.255", (443, 444)),
        grant("10.0.0.2", "10.20.4.0", "10.20.255.255", (443, 443)),
    ];
    let new = grant("10.0.0.2", "10.20.3.0", "10.20.3.255", (444, 444));
    assert_eq!(change(&mut ledger, at(0), &[lasting(&pieces)]), [StaticChange::Add(new, None)]);
}

#[test]
fn what_looks_at_the_time_ends_soon_after_it_should_have_been_renewed() {
    let mut ledger = StaticLedger::default();
    let one = grant("fd00::2", "2001:db8::1", "2001:db8::1", (443, 443));
    let lifetime = Duration::from_secs(75);
    assert_eq!(change(&mut ledger, at(0), &[timed(&[one], 60)]), [StaticChange::Add(one, Some(lifetime))]);
    assert_eq!(change(&mut ledger, at(60), &[timed(&[one], 60)]), [StaticChange::Renew(one, lifetime)]);
    ledger.expire(at(134));
    assert_eq!(ledger.term(&one, at(134)).and_then(|term| term.left(at(134))), Some(Duration::from_secs(1)));
    assert_eq!(ledger.live(at(134)).count(), 1);
    ledger.expire(at(135));
    assert_eq!(ledger.grants().count(), 0);
}

#[test]
fn what_becomes_lasting_or_timed_is_replaced() {
    let mut ledger = StaticLedger::default();
    let one = grant("10.0.0.2", "192.0.2.7", "192.0.2.7", (5432, 5432));
    change(&mut ledger, at(0), &[lasting(&[one])]);
    let to_timed = [StaticChange::Remove(one, false), StaticChange::Add(one, Some(Duration::from_secs(75)))];
    assert_eq!(change(&mut ledger, at(0), &[timed(&[one], 60)]), to_timed);
    assert_eq!(
        change(&mut ledger, at(0), &[lasting(&[one])]),
        [StaticChange::Remove(one, true), StaticChange::Add(one, None)]
    );
    assert_eq!(change(&mut ledger, at(0), &[timed(&[one], 60), lasting(&[one])]), [], "the lasting one counts");
}

#[test]
fn a_grant_in_the_other_family_than_its_client_opens_nothing() {
    let mut ledger = StaticLedger::default();
    let odd = grant("10.0.0.2", "2001:db8::1", "2001:db8::1", (443, 443));
    assert_eq!(change(&mut ledger, at(0), &[lasting(&[odd])]), []);
}

/// A small world, so that areas meet: 32 addresses, 16 ports.
fn grants() -> impl Strategy<Value = Vec<StaticGrant>> {
    let one = (0u8..2, 0u8..32, 0u8..8, 1u16..16, 0u16..6).prop_map(|(client, first, more, port, ports)| {
        let client = format!("10.0.0.{client}");
        let last = first.saturating_add(more).min(31);
        grant(&client, &format!("192.0.2.{first}"), &format!("192.0.2.{last}"), (port, port + ports))
    });
    prop::collection::vec(one, 0..8)
}

/// Each flow that is open, and whether for a time only; no flow twice.
fn flows<'a>(held: impl Iterator<Item = (&'a StaticGrant, bool)>) -> HashMap<(Client, IpAddr, Port), bool> {
    let mut flows = HashMap::new();
    for (grant, timed) in held {
        for last in 0..32u8 {
            let address: IpAddr = [192, 0, 2, last].into();
            for port in grant.ports.ports().filter(|port| grant.covers(grant.client, address, grant.protocol, *port)) {
                let known = flows.entry((grant.client, address, port)).or_insert(timed);
                *known &= timed;
            }
        }
    }
    flows
}

proptest! {
    /// Whatever is wanted in whatever order: the elements are disjoint, they
    /// open what is wanted and nothing else, and none is touched that is
    /// still wanted.
    #[test]
    fn elements_are_disjoint_exact_and_left_alone_where_they_can_be(
        steps in prop::collection::vec((grants(), grants()), 1..6)
    ) {
        let mut ledger = StaticLedger::default();
        for (for_ever, for_a_time) in steps {
            let wanted = [lasting(&for_ever), timed(&for_a_time, 60)];
            let expected =
                flows(for_ever.iter().map(|grant| (grant, false)).chain(for_a_time.iter().map(|grant| (grant, true))));
            let before: Vec<_> = ledger.grants().map(|(grant, term)| (*grant, term != Term::Lasting)).collect();

            let changes = change(&mut ledger, at(0), &wanted);

            let held: Vec<_> = ledger.grants().map(|(grant, term)| (*grant, term != Term::Lasting)).collect();
            let opened = flows(held.iter().map(|(grant, timed)| (grant, *timed)));
            let sizes = held.iter().map(|(grant, timed)| flows(std::iter::once((grant, *timed))).len());
            prop_assert_eq!(sizes.sum::<usize>(), opened.len(), "two elements overlap");
            prop_assert_eq!(&opened, &expected);
            for (grant, is_timed) in before {
                let own = flows(std::iter::once((&grant, is_timed)));
                let is_wanted = own.keys().all(|flow| expected.get(flow) == Some(&is_timed));
                let is_removed = changes.contains(&StaticChange::Remove(grant, is_timed));
                prop_assert_eq!(is_removed, !is_wanted);
            }
        }
    }
}
