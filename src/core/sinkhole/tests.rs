use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::decision::PolicyId;

const TTL: Duration = Duration::from_secs(10);
const START: Moment = Moment::from_millis(1_000_000);

fn client(last: u8) -> Client {
    Client::new([10, 77, 0, last].into())
}

fn name(number: usize) -> Name {
    Name::parse(&format!("n{number}.example.net")).unwrap()
}

fn denial() -> Denial {
    Denial { reason: Reason::Forbidden, policies: [PolicyId::new("no")].into() }
}

fn ask(sinkholes: &mut Sinkholes, client: Client, name: &Name, now: Moment) -> Option<IpAddr> {
    sinkholes.address_of(client, name, &denial(), Family::Ipv4, now + TTL, now)
}

#[test]
fn a_name_keeps_one_address_of_each_family_and_is_known_by_both() {
    let mut sinkholes = Sinkholes::new(7);
    let mut get = |family| sinkholes.address_of(client(2), &name(1), &denial(), family, START + TTL, START).unwrap();
    let (four, six) = (get(Family::Ipv4), get(Family::Ipv6));
    assert_eq!((four, six), (get(Family::Ipv4), get(Family::Ipv6)));
    assert_eq!((four.to_string(), six.to_string()), ("198.18.0.8".to_owned(), "100::8".to_owned()));
    for address in [four, six] {
        assert!(covers(address));
        assert_eq!(sinkholes.named(client(2), address), Some((&name(1), &denial())));
    }
    assert_eq!(sinkholes.len(), 1);
}

#[test]
fn what_one_client_was_told_means_nothing_to_another() {
    let mut sinkholes = Sinkholes::new(0);
    let address = ask(&mut sinkholes, client(2), &name(1), START).unwrap();
    assert_eq!(sinkholes.named(client(3), address), None);
    assert_eq!(sinkholes.named_to_anybody(address), Some((&name(1), &denial())));
    assert_eq!(ask(&mut sinkholes, client(3), &name(2), START), Some(address), "each client has a range of its own");
    assert_eq!(sinkholes.named(client(2), address).unwrap().0, &name(1));
    assert_eq!(sinkholes.named(client(3), address).unwrap().0, &name(2));
    assert_eq!(sinkholes.named_to_anybody(address), None, "nobody guesses");
}

#[test]
fn a_full_table_forgets_what_was_asked_longest_ago_and_never_what_is_remembered_outside() {
    let mut sinkholes = Sinkholes::new(0);
    let told: Vec<_> =
        (0..PER_CLIENT).map(|number| ask(&mut sinkholes, client(2), &name(number), START).unwrap()).collect();
    assert_eq!(ask(&mut sinkholes, client(2), &name(PER_CLIENT), START), None, "all of them are live");
    assert_eq!(sinkholes.named(client(2), told[0]).unwrap().0, &name(0));
    assert!(ask(&mut sinkholes, client(3), &name(0), START).is_some(), "another client has room");

    let later = START + TTL;
    ask(&mut sinkholes, client(2), &name(0), later);
    let fresh = ask(&mut sinkholes, client(2), &name(PER_CLIENT), later).unwrap();
    assert!(!told.contains(&fresh), "an address is given away again as late as can be");
    assert_eq!(sinkholes.named(client(2), told[1]), None, "asked for the longest ago");
    assert_eq!(sinkholes.named(client(2), told[0]).unwrap().0, &name(0), "asked for again");
    assert_eq!(sinkholes.len(), PER_CLIENT + 1);
}

#[test]
fn a_flood_of_names_stays_bounded_for_each_client_and_for_all() {
    let mut sinkholes = Sinkholes::new(130_000);
    let mut now = START;
    for number in 0..200_000 {
        now = now + Duration::from_millis(5);
        if let Some(address) = ask(&mut sinkholes, client(2), &name(number), now) {
            assert!(covers(address), "{address}");
            assert_eq!(sinkholes.named(client(2), address).unwrap().0, &name(number));
        }
        assert!(sinkholes.len() <= PER_CLIENT);
    }
    for last in 0..40 {
        for number in 0..PER_CLIENT {
            ask(&mut sinkholes, client(last), &name(number), now);
        }
    }
    assert_eq!(sinkholes.len(), TOTAL);
    assert!(ask(&mut sinkholes, client(99), &name(1), now + TTL).is_some(), "room for the next, once one is over");
    assert_eq!(sinkholes.len(), TOTAL);
}

#[test]
fn what_is_forgotten_is_known_no_longer() {
    let mut sinkholes = Sinkholes::new(0);
    let address = ask(&mut sinkholes, client(2), &name(1), START).unwrap();
    assert_eq!(sinkholes.names(), [(client(2), name(1))]);
    sinkholes.forget(client(2), &name(1));
    sinkholes.forget(client(2), &name(1));
    assert_eq!(sinkholes.named(client(2), address), None);
    assert!(sinkholes.is_empty() && sinkholes.names().is_empty());
}

#[test]
fn addresses_outside_the_ranges_or_at_their_ends_are_nobodys() {
    let mut sinkholes = Sinkholes::new(0);
    ask(&mut sinkholes, client(2), &name(1), START);
    for text in
        ["198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0", "100::", "100::1:0:0:1", "100:0:0:1::1"]
    {
        assert_eq!(sinkholes.named(client(2), text.parse().unwrap()), None, "{text}");
    }
    assert!(covers_all_of("198.18.0.0/15".parse().unwrap()) && covers_all_of("100::5/128".parse().unwrap()));
    assert!(!covers_all_of("198.16.0.0/13".parse().unwrap()) && !covers_all_of("::/0".parse().unwrap()));
}

proptest! {
    #[test]
    fn no_two_live_names_of_a_client_ever_share_an_address(
        seed: u32,
        asked in prop::collection::vec((0_u8..3, 0_usize..40, 0_u64..8_000), 1..300),
    ) {
        let mut sinkholes = Sinkholes::new(seed);
        let mut now = START;
        for (last, number, pause) in asked {
            now = now + Duration::from_millis(pause);
            let address = ask(&mut sinkholes, client(last), &name(number), now).unwrap();
            prop_assert_eq!(sinkholes.named(client(last), address).unwrap().0, &name(number));
            for table in sinkholes.clients.values() {
                let slots: HashSet<_> = table.slots.values().collect();
                prop_assert_eq!(slots.len(), table.slots.len());
                prop_assert_eq!((table.holders.len(), table.turns.len()), (slots.len(), slots.len()));
            }
            prop_assert_eq!(sinkholes.len(), sinkholes.clients.values().map(|table| table.slots.len()).sum::<usize>());
        }
    }
}
