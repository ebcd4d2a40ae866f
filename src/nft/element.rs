//! Leases and statics as set elements on the wire: keys, comments, messages.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::place::Place;
use crate::core::config::TableName;
use crate::core::lease::{Key, Ports};
use crate::core::ledger::Change;
use crate::core::statics::StaticChange;

/// `NFNL_SUBSYS_NFTABLES`: whom a batch is for (linux/netfilter/nfnetlink.h).
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_BATCH_GENID`.
const BATCH_BEGIN: u8 = 16;
const BATCH_GENERATION: u16 = 1;
/// `NFTA_DATA_VALUE` (linux/netfilter/nf_tables.h).
const DATA_VALUE: u16 = 1;
/// `NFTNL_UDATA_SET_ELEM_COMMENT`: how `nft` marks a comment in user data.
pub(super) const COMMENT: u8 = 0;
/// The comment of an element that a policy names, as a lease's is its name.
pub(super) const NAMED_BY_POLICY: &str = "policy";
/// How long an element lives that is added only to be deleted.
const BRIEFLY: Duration = Duration::from_secs(1);

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

/// What changes of leases are in nftables' words, for [`batch`].
pub fn leases(table: &TableName, changes: &[Change], renewal: Renewal) -> Vec<NfTablesMessage> {
    let mut operations = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            Change::Set { key, lifetime, comment, relabelled } => {
                let anew = *relabelled || renewal == Renewal::Replace;
                Element::at(table, Place::of_lease(key)).set(Some(*lifetime), comment, anew, &mut operations);
            }
            Change::Remove(key) => Element::at(table, Place::of_lease(key)).remove(Some(BRIEFLY), &mut operations),
        }
    }
    operations
}

/// What changes of statics are in nftables' words, for [`batch`].
pub fn statics(table: &TableName, changes: &[StaticChange], renewal: Renewal) -> Vec<NfTablesMessage> {
    let mut operations = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            // Nothing but what is really renewed is deleted: to an interval
            // set a deletion is dear.
            StaticChange::Add(grant, lifetime) => {
                Element::at(table, Place::of_static(grant)).set(*lifetime, NAMED_BY_POLICY, false, &mut operations);
            }
            StaticChange::Renew(grant, lifetime) => {
                let anew = renewal == Renewal::Replace;
                Element::at(table, Place::of_static(grant)).set(
                    Some(*lifetime),
                    NAMED_BY_POLICY,
                    anew,
                    &mut operations,
                );
            }
            StaticChange::Remove(grant, was_timed) => {
                Element::at(table, Place::of_static(grant)).remove(was_timed.then_some(BRIEFLY), &mut operations);
            }
        }
    }
    operations
}

/// How an element that somebody else has touched is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is none of ours: take it out.
    Remove(Place),
    /// It is a lease; the change says the rest.
    Lease(Change),
    /// The policy names it: set it for that long, or for ever. Whether there
    /// is anything to replace.
    Static(Place, Option<Duration>, bool),
}

/// What repairs are in nftables' words, for [`batch`]: removals first, so that
/// nothing is in the way of what comes back.
pub fn repairs(table: &TableName, repairs: &[Repair], renewal: Renewal) -> Vec<NfTablesMessage> {
    let mut operations = Vec::with_capacity(repairs.len());
    for repair in repairs {
        if let Repair::Remove(place) = repair {
            Element::at(table, place.clone()).remove(Some(BRIEFLY), &mut operations);
        }
    }
    for repair in repairs {
        match repair {
            Repair::Remove(_) => {}
            Repair::Lease(change) => operations.extend(leases(table, std::slice::from_ref(change), renewal)),
            Repair::Static(place, lifetime, anew) => {
                Element::at(table, place.clone()).set(*lifetime, NAMED_BY_POLICY, *anew, &mut operations);
            }
        }
    }
    operations
}

/// Encodes `operations` as one batch; its first message has sequence number
/// `first`. A batch that was `made_for` a generation of the ruleset is refused
/// if the ruleset has another one by then.
pub fn batch(operations: Vec<NfTablesMessage>, first: u32, made_for: Option<u32>) -> Batch {
    batch_for(NetfilterProtoFamily::Inet, operations, first, made_for)
}

/// The same for tables of another family.
pub fn batch_for(
    family: NetfilterProtoFamily,
    operations: Vec<NfTablesMessage>,
    first: u32,
    made_for: Option<u32>,
) -> Batch {
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
    let of_table = NetfilterHeader::new(family, 0, 0);
    let begin = made_for.map_or(ControlMessage::BatchBegin, |generation| ControlMessage::Other {
        message_type: BATCH_BEGIN,
        attributes: vec![DefaultNla::new(BATCH_GENERATION, generation.to_be_bytes().to_vec())],
    });
    push(NLM_F_REQUEST, NetfilterMessage::new(of_batch.clone(), begin));
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

/// An element of a table's.
struct Element<'a> {
    table: &'a TableName,
    place: Place,
}

impl<'a> Element<'a> {
    const fn at(table: &'a TableName, place: Place) -> Self {
        Self { table, place }
    }

    /// Adds it, or sets its time anew; `anew` replaces what is there, comment
    /// and all.
    fn set(&self, lifetime: Option<Duration>, comment: &str, anew: bool, operations: &mut Vec<NfTablesMessage>) {
        if anew {
            operations.push(self.addition(lifetime, comment));
            operations.push(self.deletion());
        }
        operations.push(self.addition(lifetime, comment));
    }

    /// Takes it out. Adding it first makes sure that there is something to
    /// delete: a missing element would abort the whole batch.
    fn remove(&self, lifetime: Option<Duration>, operations: &mut Vec<NfTablesMessage>) {
        operations.push(self.addition(lifetime, ""));
        operations.push(self.deletion());
    }

    fn addition(&self, lifetime: Option<Duration>, comment: &str) -> NfTablesMessage {
        let mut attributes = self.position();
        if let Some(lifetime) = lifetime {
            // Without the expiration, adding it again with the same timeout
            // would change nothing. Zero would mean for ever.
            let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
            attributes.push(SetElementAttribute::Timeout(millis));
            attributes.push(SetElementAttribute::Expiration(millis));
        }
        attributes.push(SetElementAttribute::UserData(user_data(comment)));
        NfTablesMessage::NewSetElement(self.message(attributes))
    }

    fn deletion(&self) -> NfTablesMessage {
        NfTablesMessage::DeleteSetElement(self.message(self.position()))
    }

    fn position(&self) -> Vec<SetElementAttribute> {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(self.place.key().to_vec()))];
        if let Some(end) = self.place.end() {
            attributes.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(DATA_VALUE, end.to_vec())]));
        }
        attributes
    }

    fn message(&self, attributes: Vec<SetElementAttribute>) -> SetElementMessage {
        SetElementMessage {
            attributes: vec![
                SetElementList::Table(self.table.as_str().to_owned()),
                SetElementList::Set(self.place.set().to_owned()),
                SetElementList::Elements(vec![ListAttribute::Element(attributes)]),
            ],
        }
    }
}

/// The set a lease lives in.
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

/// A comment as `nft` writes it: type, length, text, NUL.
pub(super) fn user_data(comment: &str) -> Vec<u8> {
    let text = comment.as_bytes();
    let mut bytes = Vec::with_capacity(text.len() + 3);
    bytes.push(COMMENT);
    bytes.push(u8::try_from(text.len() + 1).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}
