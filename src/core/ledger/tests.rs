use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::core::decision::Opening;
use crate::core::lease::{Generation, Grant};
use crate::core::query::{PortRange, Protocol};

const SETTINGS: LeaseSettings = LeaseSettings {
    min: Duration::from_secs(30),
    max: Duration::from_secs(3600),
    grace: Duration::from_secs(15),
    per_client: 100,
    set_size: 1000,
    per_name: 100,
    total: 1000,
};

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn client(text: &str) -> Client {
    Client::new(text.parse().unwrap())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(port(first), port(last)).unwrap()
}

fn wanted(name: &str, ports: PortRange, ttl: u32) -> Wanted {
    let client = client("10.0.0.2");
    let address: IpAddr = "198.51.100.7".parse().unwrap();
    let openings = Arc::from([Opening { protocol: Protocol::Tcp, ports }]);
    Wanted {
        client,
        name: Name::parse(name).unwrap(),
        grants: vec![Grant { client, address, openings }],
        ttl: Ttl::from_wire(ttl),
        at_most: None,
        aliases: Aliases::default(),
        generation: Generation::FIRST,
    }
}

fn open(ledger: &mut Ledger, now: Moment, wanted: &Wanted) -> (Vec<Change>, Ttl) {
    let mut plan = Plan::default();
    let ttl = ledger.plan(&mut plan, now, wanted).unwrap();
    let changes = plan.changes(now);
    ledger.commit(plan);
    (changes, ttl)
}

fn until(ledger: &Ledger) -> Vec<Moment> {
    ledger.leases().map(|(_, lease)| lease.until()).collect()
}

#[test]
fn a_lease_outlives_its_answer_by_the_grace_period() {
    let mut ledger = Ledger::new(SETTINGS);
    let (changes, ttl) = open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 300));
    assert_eq!(ttl.as_secs(), 300);
    assert!(matches!(&changes[..], [Change::Set { lifetime, comment, .. }]
        if *lifetime == Duration::from_secs(315) + KEPT && comment == "a.example.com"));
}

#[test]
fn a_short_ttl_is_kept_in_the_answer_and_lengthened_in_the_lease() {
    let mut ledger = Ledger::new(SETTINGS);
    let (_, ttl) = open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 5));
    assert_eq!(ttl.as_secs(), 5);
    assert_eq!(until(&ledger), [at(45)]);
}

#[test]
fn a_long_ttl_is_capped_in_both() {
    let mut ledger = Ledger::new(SETTINGS);
    let (_, ttl) = open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 1_000_000));
    assert_eq!(ttl.as_secs(), 3600);
    assert_eq!(until(&ledger), [at(3615)]);
}

#[test]
fn an_answer_that_an_existing_lease_outlives_asks_nothing_of_the_kernel() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 300));
    let (changes, ttl) = open(&mut ledger, at(100), &wanted("a.example.com", port(443).into(), 200));
    assert_eq!(changes, []);
    assert_eq!(ttl.as_secs(), 200);
}

#[test]
fn a_refresh_extends_and_never_shortens() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 300));
    open(&mut ledger, at(100), &wanted("a.example.com", port(443).into(), 300));
    assert_eq!(until(&ledger), [at(415)]);
    open(&mut ledger, at(101), &wanted("b.example.com", port(443).into(), 1));
    assert_eq!(until(&ledger), [at(415)]);
}

#[test]
fn a_lease_that_two_names_need_ends_with_the_later_and_names_both() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 60));
    let (changes, _) = open(&mut ledger, at(10), &wanted("b.example.com", port(443).into(), 600));
    assert!(matches!(&changes[..], [Change::Set { comment, .. }] if comment == "a.example.com b.example.com"));
    ledger.expire(at(76));
    assert_eq!(ledger.len(), 1);
    ledger.expire(at(625));
    assert!(ledger.is_empty());
}

#[test]
fn a_plan_that_is_not_committed_changes_nothing() {
    let ledger = Ledger::new(SETTINGS);
    let mut plan = Plan::default();
    ledger.plan(&mut plan, at(0), &wanted("a.example.com", port(443).into(), 60)).unwrap();
    assert!(ledger.is_empty());
}

#[test]
fn a_client_at_its_cap_is_refused_and_another_is_not() {
    let mut ledger = Ledger::new(LeaseSettings { per_client: 2, ..SETTINGS });
    open(&mut ledger, at(0), &wanted("a.example.com", range(1, 2), 60));
    let more = wanted("b.example.com", port(3).into(), 60);
    assert_eq!(ledger.plan(&mut Plan::default(), at(1), &more), Err(Reason::TooManyLeases));
    let other = Wanted { client: client("10.0.0.3"), ..more.clone() };
    assert!(ledger.plan(&mut Plan::default(), at(1), &other).is_ok());
    ledger.expire(at(100));
    assert!(ledger.plan(&mut Plan::default(), at(100), &more).is_ok());
}

#[test]
fn a_name_at_its_cap_is_refused_and_another_is_not() {
    let mut ledger = Ledger::new(LeaseSettings { per_name: 2, ..SETTINGS });
    let told = |ledger: &Ledger, name, ports| ledger.plan(&mut Plan::default(), at(1), &wanted(name, ports, 60));
    assert_eq!(told(&ledger, "a.example.com", range(1, 3)), Err(Reason::TooManyLeasesOfName));
    open(&mut ledger, at(0), &wanted("a.example.com", range(1, 2), 60));
    assert_eq!(told(&ledger, "a.example.com", port(3).into()), Err(Reason::TooManyLeasesOfName));
    assert!(told(&ledger, "a.example.com", range(1, 2)).is_ok(), "what it holds it may hold longer");
    assert!(told(&ledger, "b.example.com", range(1, 2)).is_ok());
    ledger.expire(at(100));
    assert!(told(&ledger, "a.example.com", port(3).into()).is_ok());
}

#[test]
fn all_clients_together_are_held_to_the_total() {
    let mut ledger = Ledger::new(LeaseSettings { total: 2, ..SETTINGS });
    let mut plan = Plan::default();
    ledger.plan(&mut plan, at(0), &wanted("a.example.com", port(1).into(), 60)).unwrap();
    let of_other = |ports| {
        let mut other = wanted("b.example.com", ports, 60);
        other.client = client("10.0.0.3");
        other.grants[0].client = other.client;
        other
    };
    assert_eq!(ledger.plan(&mut plan, at(0), &of_other(range(1, 2))), Err(Reason::TooManyLeasesInAll));
    ledger.commit(plan);
    open(&mut ledger, at(0), &of_other(port(1).into()));
    let third = ledger.plan(&mut Plan::default(), at(0), &of_other(port(2).into()));
    assert_eq!(third, Err(Reason::TooManyLeasesInAll));
    let same = ledger.plan(&mut Plan::default(), at(0), &wanted("c.example.com", port(1).into(), 60));
    assert!(same.is_ok(), "another name of an open address takes no room");
}

#[test]
fn many_names_of_one_address_do_not_pass_for_one_lease() {
    let mut ledger = Ledger::new(LeaseSettings { per_client: 3, ..SETTINGS });
    for name in ["a.example.com", "b.example.com", "c.example.com"] {
        open(&mut ledger, at(0), &wanted(name, port(443).into(), 60));
    }
    let fourth = wanted("d.example.com", port(443).into(), 60);
    assert_eq!(ledger.plan(&mut Plan::default(), at(1), &fourth), Err(Reason::TooManyLeases));
    assert_eq!(ledger.len(), 1);
    ledger.expire(at(100));
    assert_eq!(ledger.accounts.of(client("10.0.0.2")), 0);
    assert!(ledger.plan(&mut Plan::default(), at(100), &fourth).is_ok());
}

proptest! {
    /// However leases come, are shared and run out: what is counted is what
    /// is there.
    #[test]
    fn the_accounts_are_those_of_the_leases(asks in prop::collection::vec((0u8..6, 1u16..8, 0u32..90, 0u64..60), 1..60)) {
        let mut ledger = Ledger::new(SETTINGS);
        let mut now = at(0);
        for (name, ports, ttl, pause) in asks {
            now = now + Duration::from_secs(pause);
            ledger.expire(now);
            open(&mut ledger, now, &wanted(&format!("n{name}.example.com"), range(1, ports), ttl));
            let mut names: HashMap<Name, u32> = HashMap::new();
            for holder in ledger.leases().flat_map(|(_, lease)| &lease.holders) {
                *names.entry(holder.name().clone()).or_default() += 1;
            }
            let asker = client("10.0.0.2");
            prop_assert_eq!(ledger.accounts.of(asker), names.values().sum::<u32>());
            for (name, count) in &names {
                prop_assert_eq!(ledger.accounts.of_name(asker, name).1, *count);
            }
        }
    }
}

#[test]
fn queries_of_one_batch_share_the_cap() {
    let ledger = Ledger::new(LeaseSettings { per_client: 1, ..SETTINGS });
    let mut plan = Plan::default();
    ledger.plan(&mut plan, at(0), &wanted("a.example.com", port(1).into(), 60)).unwrap();
    let second = ledger.plan(&mut plan, at(0), &wanted("b.example.com", port(2).into(), 60));
    assert_eq!(second, Err(Reason::TooManyLeases));
    assert_eq!(plan.changes(at(0)).len(), 1);
}

#[test]
fn few_ports_are_listed_many_are_a_run_and_all_are_one() {
    let keys = |first, last| wanted("a.example.com", range(first, last), 60).keys().collect::<Vec<_>>();
    assert_eq!(keys(1, 64).len(), 64);
    assert_eq!(keys(1, 65).iter().map(|key| key.ports).collect::<Vec<_>>(), [Ports::Run(range(1, 65))]);
    assert_eq!(keys(1, 65535).iter().map(|key| key.ports).collect::<Vec<_>>(), [Ports::All]);
}

#[test]
fn a_comment_fits_into_the_kernels_user_data() {
    let mut ledger = Ledger::new(SETTINGS);
    for number in 0..30 {
        open(&mut ledger, at(0), &wanted(&format!("name-{number}.example.com"), port(443).into(), 60));
    }
    assert!(ledger.leases().all(|(_, lease)| lease.comment().len() <= COMMENT_LENGTH));
}

#[test]
fn a_lost_table_gets_every_live_lease_back() {
    let mut ledger = Ledger::new(SETTINGS);
    open(&mut ledger, at(0), &wanted("a.example.com", port(443).into(), 60));
    open(&mut ledger, at(0), &wanted("b.example.com", port(80).into(), 600));
    assert_eq!(ledger.live(at(100)).count(), 1);
}

proptest! {
    /// Whatever is asked for in whatever order: runs never overlap in part,
    /// and each port is open exactly as long as the longest that asked for it.
    #[test]
    fn runs_are_disjoint_and_each_port_lives_as_long_as_needed(
        asks in prop::collection::vec((1u16..400, 65u16..300, 0u32..2000, 0u64..20), 1..12)
    ) {
        let mut ledger = Ledger::new(LeaseSettings { per_client: 10_000, per_name: 10_000, min: Duration::ZERO, ..SETTINGS });
        let mut expected: HashMap<u16, Moment> = HashMap::new();
        let mut now = at(0);
        for (index, (first, count, ttl, pause)) in asks.into_iter().enumerate() {
            now = now + Duration::from_secs(pause);
            let ports = range(first, first + count);
            open(&mut ledger, now, &wanted(&format!("n{index}.example.com"), ports, ttl));
            let until = now + Duration::from_secs(u64::from(ttl)) + SETTINGS.grace;
            for port in ports.ports() {
                let known = expected.entry(port.number()).or_default();
                *known = until.max(*known);
            }
            ledger.expire(now);
            let mut open_ports: HashMap<u16, Moment> = HashMap::new();
            for (key, lease) in ledger.leases() {
                for port in key.ports.range().ports() {
                    prop_assert!(open_ports.insert(port.number(), lease.until()).is_none(), "{port} is in two runs");
                }
            }
            expected.retain(|_, until| *until > now);
            prop_assert_eq!(&open_ports, &expected);
        }
    }
}
