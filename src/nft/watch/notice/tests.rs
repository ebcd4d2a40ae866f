use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use proptest::prelude::*;

use super::*;
use crate::core::config::TableName;
use crate::core::lease::{Key, Ports};
use crate::core::ledger::Change;
use crate::core::query::{Client, Port, Protocol};
use crate::nft::element::{self, Renewal};

fn key(address: &str) -> Key {
    Key {
        client: Client::new("10.77.0.2".parse().unwrap()),
        address: address.parse().unwrap(),
        protocol: Protocol::Tcp,
        ports: Ports::One(Port::new(443).unwrap()),
    }
}

/// What we send to the kernel has the form of what it tells others.
fn batch() -> Vec<u8> {
    let table = TableName::default();
    let lifetime = std::time::Duration::from_secs(60);
    let set = |address| Change::Set { key: key(address), lifetime, comment: "a.example.com".into(), relabelled: false };
    let changes = [set("198.51.100.7"), Change::Remove(key("198.51.100.8"))];
    element::batch(element::leases(&table, &changes, Renewal::InPlace), 1, None).bytes
}

/// One message: header, family, attributes.
fn message(kind: u8, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    for (kind, value) in attributes {
        body.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut octets = u32::try_from(body.len() + 16).unwrap().to_ne_bytes().to_vec();
    octets.extend(u16::from_le_bytes([kind, NFTABLES]).to_ne_bytes());
    octets.extend([0; 10]);
    octets.extend(body);
    octets
}

fn told(kind: u8, family: u8, attributes: &[(u16, &[u8])]) -> Vec<Notice> {
    decode(&message(kind, family, attributes), "cedarwall").unwrap()
}

#[test]
fn elements_are_told_apart_by_key_and_in_their_order() {
    let notice = |address, is_there| Notice::Element { place: Place::of_lease(&key(address)), is_there };
    let expected = [notice("198.51.100.7", true), notice("198.51.100.8", true), notice("198.51.100.8", false)];
    assert_eq!(decode(&batch(), "cedarwall").unwrap(), expected);
    assert_eq!(decode(&batch(), "another").unwrap(), []);
}

#[test]
fn what_is_no_element_of_a_lease_is_told_for_what_it_is() {
    let table: (u16, &[u8]) = (1, b"cedarwall\0");
    assert_eq!(told(NEW_GENERATION, 0, &[(1, &[0, 0, 1, 2])]), [Notice::Committed { generation: 258 }]);
    assert_eq!(told(NEW_TABLE, INET, &[table]), [Notice::Table]);
    assert_eq!(told(DELETE_TABLE, INET, &[table]), [Notice::Table]);
    let rule = |may_admit| [Notice::Structure { may_admit, chain: None }];
    assert_eq!(told(NEW_RULE, INET, &[table]), rule(true));
    assert_eq!(told(8, INET, &[table]), rule(false));
    let chain = Notice::Structure { may_admit: true, chain: Some("leaving".into()) };
    assert_eq!(told(NEW_CHAIN, INET, &[table, (3, b"leaving\0")]), [chain]);
    assert_eq!(told(NEW_TABLE, 2, &[table]), [], "a table of another family");
    assert_eq!(told(NEW_ELEMENT, INET, &[table, (2, b"denied4\0")]), []);
    assert_eq!(told(NEW_ELEMENT, INET, &[table, (2, b"walled\0")]), [Notice::OddElement]);
    // `*`: an element without a key, which matches everything.
    let everything = [8_u8, 0, 3, 0, 0, 0, 0, 2];
    let mut list = vec![12, 0, 1, 0];
    list.extend(everything);
    assert_eq!(told(NEW_ELEMENT, INET, &[table, (2, b"lease4\0"), (3, &list)]), [Notice::OddElement]);
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&octets, "cedarwall");
    }

    /// What is nearly right gets deeper than what is random.
    #[test]
    fn no_damage_makes_it_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), cut in any::<prop::sample::Index>()) {
        let mut octets = batch();
        for (index, octet) in damage {
            let index = index.index(octets.len());
            octets[index] = octet;
        }
        octets.truncate(cut.index(octets.len()));
        let _ = decode(&octets, "cedarwall");
    }
}

/// The batch above is what the netlink crate itself reads.
#[test]
fn the_octets_the_tests_use_are_well_formed() {
    let octets = batch();
    let first = NetlinkMessage::<netlink_packet_netfilter::NetfilterMessage>::deserialize(&octets).unwrap();
    assert!(matches!(first.payload, NetlinkPayload::InnerMessage(_)));
}
