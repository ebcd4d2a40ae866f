//! Leases as set elements on the wire: keys, comments, messages.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use crate::core::config::TableName;
use crate::core::lease::{Key, Ports};
use crate::core::ledger::Change;
use crate::core::query::Port;

/// `NFNL_SUBSYS_NFTABLES`: whom a batch is for (linux/netfilter/nfnetlink.h).
const NFTABLES: u16 = 10;
/// `NFTA_DATA_VALUE` (linux/netfilter/nf_tables.h).
const DATA_VALUE: u16 = 1;
/// `NFTNL_UDATA_SET_ELEM_COMMENT`: how `nft` marks a comment in user data.
const COMMENT: u8 = 0;

/// How an element that may be there already is given a new lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Adding it again with timeout and expiration (Linux 6.12 and later). The
    /// comment stays as it was.
    InPlace,
    /// Add, delete, add in one batch: the deletion cannot miss, and the last
    /// addition counts. Works everywhere.
    Replace,
}

/// One batch: everything in it takes effect at once, or nothing does. The last
/// change asks for an acknowledgement, under sequence number `last`.
pub struct Batch {
    /// The messages, end to end.
    pub bytes: Vec<u8>,
    /// Sequence number of the last change.
    pub last: u32,
}

/// Encodes `changes` as one batch on `table`; the first message has sequence
/// number `first`.
pub fn batch(table: &TableName, changes: &[Change], renewal: Renewal, first: u32) -> Batch {
    let mut operations: Vec<NfTablesMessage> = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            Change::Set { key, lifetime, comment, relabelled } => {
                let set = || SetElementMessage { attributes: attributes(table, key, Some((*lifetime, comment))) };
                if *relabelled || renewal == Renewal::Replace {
                    operations.push(NfTablesMessage::NewSetElement(set()));
                    operations.push(NfTablesMessage::DeleteSetElement(SetElementMessage {
                        attributes: attributes(table, key, None),
                    }));
                }
                operations.push(NfTablesMessage::NewSetElement(set()));
            }
            // Adding first makes sure that there is something to delete: a
            // missing element would abort the whole batch.
            Change::Remove(key) => {
                let brief = Some((Duration::from_secs(1), ""));
                operations.push(NfTablesMessage::NewSetElement(SetElementMessage {
                    attributes: attributes(table, key, brief),
                }));
                operations.push(NfTablesMessage::DeleteSetElement(SetElementMessage {
                    attributes: attributes(table, key, None),
                }));
            }
        }
    }
    encode(operations, first)
}

fn encode(operations: Vec<NfTablesMessage>, first: u32) -> Batch {
    let mut bytes = Vec::with_capacity(256 * operations.len());
    let mut sequence = first;
    let mut push = |flags: u16, message: NetfilterMessage| {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = sequence;
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        if let Some(space) = bytes.get_mut(start..) {
            message.serialize(space);
        }
        sequence += 1;
        sequence - 1
    };
    let of_batch = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
    let of_table = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    push(NLM_F_REQUEST, NetfilterMessage::new(of_batch.clone(), ControlMessage::BatchBegin));
    let count = operations.len();
    let mut last = first;
    for (index, operation) in operations.into_iter().enumerate() {
        let create = if matches!(operation, NfTablesMessage::NewSetElement(_)) { NLM_F_CREATE } else { 0 };
        let acknowledge = if index + 1 == count { NLM_F_ACK } else { 0 };
        last = push(NLM_F_REQUEST | create | acknowledge, NetfilterMessage::new(of_table.clone(), operation));
    }
    push(NLM_F_REQUEST, NetfilterMessage::new(of_batch, ControlMessage::BatchEnd));
    Batch { bytes, last }
}

fn attributes(table: &TableName, key: &Key, life: Option<(Duration, &str)>) -> Vec<SetElementList> {
    let mut element =
        vec![SetElementAttribute::Key(DataAttribute::Value(concatenation(key, key.ports.range().first())))];
    if matches!(key.ports, Ports::Run(_)) {
        let end = concatenation(key, key.ports.range().last());
        element.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(DATA_VALUE, end)]));
    }
    if let Some((lifetime, comment)) = life {
        // Without the expiration, adding it again with the same timeout would
        // change nothing. Zero would mean for ever.
        let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
        element.push(SetElementAttribute::Timeout(millis));
        element.push(SetElementAttribute::Expiration(millis));
        element.push(SetElementAttribute::UserData(user_data(comment)));
    }
    vec![
        SetElementList::Table(table.as_str().to_owned()),
        SetElementList::Set(set_of(key).to_owned()),
        SetElementList::Elements(vec![ListAttribute::Element(element)]),
    ]
}

/// The set an element lives in.
pub fn set_of(key: &Key) -> &'static str {
    match (key.address, key.ports) {
        (IpAddr::V4(_), Ports::One(_)) => "lease4",
        (IpAddr::V6(_), Ports::One(_)) => "lease6",
        (IpAddr::V4(_), Ports::All) => "lease4_all_ports",
        (IpAddr::V6(_), Ports::All) => "lease6_all_ports",
        (IpAddr::V4(_), Ports::Run(_)) => "lease4_port_range",
        (IpAddr::V6(_), Ports::Run(_)) => "lease6_port_range",
    }
}

/// client . address . protocol . port, each field padded to 32 bits as the
/// kernel's registers are. Client and address are of one family: a client
/// reaches an address only from an address of the same family.
fn concatenation(key: &Key, port: Port) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for address in [key.client.address(), key.address] {
        match address {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
    }
    bytes.extend_from_slice(&[key.protocol.number(), 0, 0, 0]);
    if key.ports != Ports::All {
        bytes.extend_from_slice(&port.number().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
    }
    bytes
}

/// A comment as `nft` writes it: type, length, text, NUL.
fn user_data(comment: &str) -> Vec<u8> {
    let text = comment.as_bytes();
    let mut bytes = Vec::with_capacity(text.len() + 3);
    bytes.push(COMMENT);
    bytes.push(u8::try_from(text.len() + 1).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}
