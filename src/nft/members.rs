//! What the configuration and an engine put into the sets of the ruleset: who
//! the clients are, and where their frames come from.
//!
//! The same members are text, for the day the whole ruleset is loaded, and
//! octets, for the containers that come and go while it stands.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};

use crate::core::config::{Config, InterfaceName, TableName};
use crate::core::roster::{Binding, Roster};

/// An element of a set, which stays until the daemon takes it out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The family of the table.
    pub(super) family: &'static str,
    set: &'static str,
    text: String,
    key: Vec<u8>,
}

/// The members of every set that `config` and `roster` fill.
pub fn of(config: &Config, roster: &Roster) -> BTreeSet<Member> {
    let clients = config.clients.iter().chain(roster.entries()).flat_map(|entry| entry.addresses.iter());
    let clients = clients.map(|client| known(client.address()));
    clients.chain(roster.bindings.iter().flat_map(bound)).collect()
}

/// Lines for `nft` that put `members` into the sets of `table`.
pub(super) fn text(table: &TableName, members: &BTreeSet<Member>) -> String {
    let mut lines = String::new();
    for Member { family, set, text, .. } in members {
        _ = writeln!(lines, "add element {family} {} {set} {{ {text} }}", table.as_str());
    }
    lines
}

impl Member {
    /// Puts it into its set; if it is there already, nothing happens.
    pub(super) fn addition(&self, table: &TableName) -> NfTablesMessage {
        NfTablesMessage::NewSetElement(self.message(table))
    }

    /// Takes it out; if it is not there, the batch is refused.
    pub(super) fn deletion(&self, table: &TableName) -> NfTablesMessage {
        NfTablesMessage::DeleteSetElement(self.message(table))
    }

    fn message(&self, table: &TableName) -> SetElementMessage {
        let key = SetElementAttribute::Key(DataAttribute::Value(self.key.clone()));
        SetElementMessage {
            attributes: vec![
                SetElementList::Table(table.as_str().to_owned()),
                SetElementList::Set(self.set.to_owned()),
                SetElementList::Elements(vec![ListAttribute::Element(vec![key])]),
            ],
        }
    }
}

fn known(address: IpAddr) -> Member {
    let set = if address.is_ipv4() { "client4" } else { "client6" };
    Member { family: "inet", set, text: address.to_string(), key: octets(address) }
}

fn bound(binding: &Binding) -> Vec<Member> {
    let Binding { port, hardware, address } = binding;
    let of_bridge = |set, text, key| Member { family: "bridge", set, text, key };
    let sender = [name(port), [hardware.octets().as_slice(), &[0; 2]].concat()].concat();
    let key = [sender, octets(*address)].concat();
    let port_text = format!("\"{}\"", port.as_str());
    let as_sender = format!("{port_text} . {hardware} . ");
    let mut members = vec![of_bridge("ports", port_text, name(port))];
    match address {
        IpAddr::V4(_) => members.push(of_bridge("bound4", format!("{as_sender}{address}"), key)),
        IpAddr::V6(address) => {
            members.push(of_bridge("bound6", format!("{as_sender}{address}"), key.clone()));
            let number = u128::from(*address);
            members.push(of_bridge("target6", format!("{as_sender}{number:#x}"), key));
        }
    }
    members
}

/// As the kernel keeps it: `IFNAMSIZ` octets.
fn name(interface: &InterfaceName) -> Vec<u8> {
    let mut octets = interface.as_str().as_bytes().to_vec();
    octets.resize(16, 0);
    octets
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
