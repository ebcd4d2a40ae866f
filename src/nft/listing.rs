//! What the sets of a table hold, read over netlink: `nft` shows whole seconds
//! only, and wants the names of what it shows.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementFlags, SetElementList,
    SetElementMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::transaction::number_of;
use crate::core::config::TableName;

/// `NFTA_DATA_VALUE` (linux/netfilter/nf_tables.h).
const DATA_VALUE: u16 = 1;
/// `NLM_F_DUMP_INTR`: the ruleset changed while it was dumped.
const INTERRUPTED: u16 = 0x10;
/// How often a dump is begun again before it is given up.
const ATTEMPTS: usize = 50;
/// By how much the kernel's clock may be coarser than ours.
const TICK: Duration = Duration::from_millis(20);
/// Room for one datagram of a dump; the kernel fills at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 << 10;

/// An element as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key, field by field, each padded to 32 bits; empty for a catch-all.
    pub key: Vec<u8>,
    /// The other end, in an interval set of concatenations.
    pub end: Option<Vec<u8>>,
    /// What is left of it; `None`: it has no timeout.
    pub left: Option<Duration>,
    /// What whoever added it wrote beside it, `nft`'s comment among it.
    pub user_data: Vec<u8>,
    /// `NFT_SET_ELEM_INTERVAL_END` and `NFT_SET_ELEM_CATCHALL`.
    pub flags: u32,
}

/// Every element of `set` in table `inet` `table` that has not run out, in the
/// order of their keys; `None` if there is no such set.
///
/// # Errors
/// When the kernel does not say, or the set never stands still.
pub fn elements(table: &TableName, set: &str) -> io::Result<Option<Vec<Listed>>> {
    elements_of("inet", table, set)
}

/// The same of a table of another `family`.
///
/// # Errors
/// When the kernel does not say, or the set never stands still.
pub fn elements_of(family: &str, table: &TableName, set: &str) -> io::Result<Option<Vec<Listed>>> {
    let mut before: Option<Reading> = None;
    for _ in 0..ATTEMPTS {
        let mut dump = Dump::open()?;
        dump.ask(number_of(family), table, set)?;
        match dump.read() {
            Ok(Some(reading)) if reading.is_whole() || before.is_some_and(|before| before.agrees_with(&reading)) => {
                return Ok(Some(reading.elements.into_values().collect()));
            }
            // Read once more.
            Ok(reading) => before = reading,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("set {set} of table {} changes faster than it can be read", table.as_str())))
}

/// What one dump showed.
struct Reading {
    elements: BTreeMap<(Vec<u8>, Option<Vec<u8>>), Listed>,
    began: Instant,
    ended: Instant,
    /// Datagrams with elements.
    parts: usize,
}

impl Reading {
    /// For each further part the kernel counts anew from the first element on,
    /// and where it has given a hash set another size meanwhile, as it does some
    /// time after a commit, it comes to others: some are left out, and nothing
    /// says so (Linux 6.18, `nft_rhash_walk`).
    const fn is_whole(&self) -> bool {
        self.parts <= 1
    }

    /// Whether a `later` one showed the same but for what ran out meanwhile.
    fn agrees_with(&self, later: &Self) -> bool {
        let between = later.ended.duration_since(self.began) + TICK;
        let is_gone = |listed: &Listed| listed.left.is_some_and(|left| left <= between);
        later.elements.keys().all(|key| self.elements.contains_key(key))
            && self.elements.iter().all(|(key, listed)| is_gone(listed) || later.elements.contains_key(key))
    }
}

/// One dump, on a socket of its own.
struct Dump(Socket);

impl Dump {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    fn ask(&mut self, family: NetfilterProtoFamily, table: &TableName, set: &str) -> io::Result<()> {
        let header = NetfilterHeader::new(family, 0, 0);
        let attributes = vec![SetElementList::Table(table.as_str().to_owned()), SetElementList::Set(set.to_owned())];
        let question = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
        let mut message = NetlinkMessage::from(NetfilterMessage::new(header, question));
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.header.sequence_number = 1;
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.0.send(&octets, 0).map(drop)
    }

    /// All of it; `None` if the set changed meanwhile.
    fn read(&self) -> io::Result<Option<Reading>> {
        let began = Instant::now();
        // A hash set that is resized may show an element twice.
        let (mut elements, mut parts) = (BTreeMap::new(), 0);
        loop {
            let mut has_elements = false;
            let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
            // The kernel dumps inside this call: where nothing waits, nothing
            // will come.
            self.0.recv(&mut buffer, nix::libc::MSG_DONTWAIT)?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
                if message.header.flags & INTERRUPTED != 0 {
                    return Ok(None);
                }
                match message.payload {
                    NetlinkPayload::Done(_) => {
                        parts += usize::from(has_elements);
                        return Ok(Some(Reading { elements, began, ended: Instant::now(), parts }));
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(NetfilterMessage {
                        inner: NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(told)),
                        ..
                    }) => {
                        has_elements = true;
                        let listed = told.attributes.into_iter().flat_map(elements_in).map(listed);
                        elements.extend(listed.map(|listed| ((listed.key.clone(), listed.end.clone()), listed)));
                    }
                    _ => {}
                }
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                match rest.get(length..) {
                    Some(next) if length > 0 => rest = next,
                    _ => break,
                }
            }
            parts += usize::from(has_elements);
        }
    }
}

fn elements_in(part: SetElementList) -> Vec<Vec<SetElementAttribute>> {
    let SetElementList::Elements(elements) = part else { return Vec::new() };
    let attributes = elements.into_iter().filter_map(|element| match element {
        ListAttribute::Element(attributes) => Some(attributes),
        _ => None,
    });
    attributes.collect()
}

fn listed(attributes: Vec<SetElementAttribute>) -> Listed {
    let mut listed = Listed { key: Vec::new(), end: None, left: None, user_data: Vec::new(), flags: 0 };
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(key)) => listed.key = key,
            SetElementAttribute::KeyEnd(parts) => {
                let value = parts.into_iter().find(|part| part.kind() == DATA_VALUE);
                listed.end = value.map(|value| {
                    let mut end = vec![0; value.value_len()];
                    value.emit_value(&mut end);
                    end
                });
            }
            SetElementAttribute::Expiration(millis) => listed.left = Some(Duration::from_millis(millis)),
            SetElementAttribute::UserData(octets) => listed.user_data = octets,
            SetElementAttribute::Flags(flags) => listed.flags = SetElementFlags::bits(&flags),
            _ => {}
        }
    }
    listed
}
