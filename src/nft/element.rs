//! Leases and statics as set elements on the wire: keys, comments, messages.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use crate::core::config::TableName;
use crate::core::lease::{Key, Ports, StaticGrant};
use crate::core::ledger::Change;
use crate::core::query::{Client, Port, Protocol};
use crate::core::statics::StaticChange;

/// `NFNL_SUBSYS_NFTABLES`: whom a batch is for (linux/netfilter/nfnetlink.h).
const NFTABLES: u16 = 10;
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

impl Renewal {
    /// Linux renews an element in place since 6.12.
    pub fn of_this_kernel() -> Self {
        let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
        let version = release.unwrap_or_default();
        let mut numbers =
            version.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse::<u32>());
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 12) => Self::InPlace,
            _ => Self::Replace,
        }
    }
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
                Element::of_lease(table, key).set(Some(*lifetime), comment, anew, &mut operations);
            }
            Change::Remove(key) => Element::of_lease(table, key).remove(Some(BRIEFLY), &mut operations),
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
                Element::of_static(table, grant).set(*lifetime, NAMED_BY_POLICY, false, &mut operations);
            }
            StaticChange::Renew(grant, lifetime) => {
                let anew = renewal == Renewal::Replace;
                Element::of_static(table, grant).set(Some(*lifetime), NAMED_BY_POLICY, anew, &mut operations);
            }
            StaticChange::Remove(grant, was_timed) => {
                Element::of_static(table, grant).remove(was_timed.then_some(BRIEFLY), &mut operations);
            }
        }
    }
    operations
}

/// Encodes `operations` as one batch; its first message has sequence number
/// `first`.
pub fn batch(operations: Vec<NfTablesMessage>, first: u32) -> Batch {
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

/// An element: where it is and what it is called by.
pub(super) struct Element<'a> {
    table: &'a TableName,
    pub(super) set: &'static str,
    pub(super) key: Vec<u8>,
    /// The other end, in an interval set.
    pub(super) end: Option<Vec<u8>>,
}

impl<'a> Element<'a> {
    pub(super) fn of_lease(table: &'a TableName, key: &Key) -> Self {
        let point =
            |port| concatenation(key.client, key.address, key.protocol, (key.ports != Ports::All).then_some(port));
        let range = key.ports.range();
        let end = matches!(key.ports, Ports::Run(_)).then(|| point(range.last()));
        Self { table, set: set_of(key), key: point(range.first()), end }
    }

    pub(super) fn of_static(table: &'a TableName, grant: &StaticGrant) -> Self {
        let point = |address, port| concatenation(grant.client, address, grant.protocol, Some(port));
        Self {
            table,
            set: if grant.first.is_ipv4() { "static4" } else { "static6" },
            key: point(grant.first, grant.ports.first()),
            end: Some(point(grant.last, grant.ports.last())),
        }
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
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(self.key.clone()))];
        if let Some(end) = &self.end {
            attributes.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(DATA_VALUE, end.clone())]));
        }
        attributes
    }

    fn message(&self, attributes: Vec<SetElementAttribute>) -> SetElementMessage {
        SetElementMessage {
            attributes: vec![
                SetElementList::Table(self.table.as_str().to_owned()),
                SetElementList::Set(self.set.to_owned()),
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

/// client . address . protocol . port, each field padded to 32 bits as the
/// kernel's registers are. Client and address are of one family: a client
/// reaches an address only from an address of the same family.
fn concatenation(client: Client, address: IpAddr, protocol: Protocol, port: Option<Port>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for address in [client.address(), address] {
        match address {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
    }
    bytes.extend_from_slice(&[protocol.number(), 0, 0, 0]);
    if let Some(port) = port {
        bytes.extend_from_slice(&port.number().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
    }
    bytes
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
