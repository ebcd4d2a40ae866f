//! What the kernel tells of commits to the ruleset, read from its octets
//! (linux/netfilter/nf_tables.h). Pure: anything may be thrown at it.

use netlink_packet_core::NlasIterator;
use thiserror::Error;

use super::super::place::{self, Place};

/// Lengths of `struct nlmsghdr` and `struct nfgenmsg`.
const NETLINK_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
/// `NFNL_SUBSYS_NFTABLES`, `NFPROTO_INET`, `NFPROTO_NETDEV`.
const NFTABLES: u8 = 10;
const INET: u8 = 1;
const NETDEV: u8 = 5;
/// `NFT_MSG_*`.
const NEW_TABLE: u8 = 0;
const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
const NEW_SET: u8 = 9;
const NEW_ELEMENT: u8 = 12;
const DELETE_ELEMENT: u8 = 14;
const NEW_GENERATION: u8 = 15;
/// In every message about a table the first attribute is its name.
const TABLE: u16 = 1;
/// `NFTA_CHAIN_NAME`, `NFTA_SET_ELEM_LIST_SET`, `NFTA_SET_ELEM_LIST_ELEMENTS`.
const CHAIN_NAME: u16 = 3;
const ELEMENT_SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY`, `NFTA_SET_ELEM_KEY_END`,
/// `NFTA_DATA_VALUE`, `NFTA_GEN_ID`.
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const KEY_END: u16 = 10;
const VALUE: u16 = 1;
const GENERATION: u16 = 1;
/// The sets that packets fill: evidence, which an operator may clear away.
const EVIDENCE: [&str; 4] = ["denied4", "denied6", "would_deny4", "would_deny6"];

/// One thing that was done to our table, or the end of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An element was added or changed, or taken out.
    Element {
        /// Which.
        place: Place,
        /// Whether it is there now.
        is_there: bool,
    },
    /// An element of a set of which nobody else may change anything, or one
    /// that is none of ours by its form.
    OddElement,
    /// A chain, a rule, a set, a counter or anything else of the table.
    Structure {
        /// Whether it may admit what was not admitted before: a rule, a chain
        /// or a set that was added or changed.
        may_admit: bool,
        /// The chain, where it is one.
        chain: Option<String>,
    },
    /// The table itself was made, changed or deleted.
    Table,
    /// All notices before this one are what one commit did.
    Committed {
        /// The ruleset's generation since.
        generation: u32,
    },
}

/// A datagram that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a notification of the kernel cannot be read")]
pub struct Unreadable;

/// The notices of one datagram, as far as they are about the table named
/// `table`.
///
/// # Errors
/// When any of it is not in its form.
pub fn decode(datagram: &[u8], table: &str) -> Result<Vec<Notice>, Unreadable> {
    let mut notices = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = rest.first_chunk().map(|octets| u32::from_ne_bytes(*octets)).ok_or(Unreadable)?;
        let length = usize::try_from(length).map_err(|_| Unreadable)?;
        let message = rest.get(..length).ok_or(Unreadable)?;
        read(message, table, &mut notices)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(notices)
}

fn read(message: &[u8], table: &str, notices: &mut Vec<Notice>) -> Result<(), Unreadable> {
    let (header, body) = message.split_at_checked(NETLINK_HEADER).ok_or(Unreadable)?;
    let kind = header.get(4..6).and_then(|octets| octets.first_chunk()).ok_or(Unreadable)?;
    let [kind, subsystem] = u16::from_ne_bytes(*kind).to_le_bytes();
    if subsystem != NFTABLES {
        return Ok(());
    }
    let (netfilter, attributes) = body.split_at_checked(NETFILTER_HEADER).ok_or(Unreadable)?;
    if kind == NEW_GENERATION {
        let generation = attribute(attributes, GENERATION)?.ok_or(Unreadable)?;
        let generation = u32::from_be_bytes(generation.try_into().map_err(|_| Unreadable)?);
        notices.push(Notice::Committed { generation });
        return Ok(());
    }
    let family = *netfilter.first().ok_or(Unreadable)?;
    if ![INET, NETDEV].contains(&family) || text(attribute(attributes, TABLE)?)? != table {
        return Ok(());
    }
    match (family, kind) {
        (INET, NEW_TABLE | DELETE_TABLE) => notices.push(Notice::Table),
        (INET, NEW_ELEMENT | DELETE_ELEMENT) => elements(attributes, kind == NEW_ELEMENT, notices)?,
        _ => {
            let is_chain = (NEW_CHAIN..NEW_RULE).contains(&kind);
            let chain = if is_chain { attribute(attributes, CHAIN_NAME)? } else { None };
            let chain = chain.map(|name| text(Some(name)).map(ToOwned::to_owned)).transpose()?;
            notices.push(Notice::Structure { may_admit: [NEW_CHAIN, NEW_RULE, NEW_SET].contains(&kind), chain });
        }
    }
    Ok(())
}

fn elements(attributes: &[u8], is_there: bool, notices: &mut Vec<Notice>) -> Result<(), Unreadable> {
    let set = text(attribute(attributes, ELEMENT_SET)?)?;
    if EVIDENCE.contains(&set) {
        return Ok(());
    }
    if !place::is_kept(set) {
        notices.push(Notice::OddElement);
        return Ok(());
    }
    for (kind, element) in each(attribute(attributes, ELEMENTS)?.unwrap_or_default())? {
        if kind != ELEMENT {
            continue;
        }
        // The element that stands for every key there is has none itself.
        let place = match value(attribute(element, KEY)?)? {
            Some(key) => Place::told(set, key, value(attribute(element, KEY_END)?)?),
            None => None,
        };
        notices.push(place.map_or(Notice::OddElement, |place| Notice::Element { place, is_there }));
    }
    Ok(())
}

fn value(data: Option<&[u8]>) -> Result<Option<Vec<u8>>, Unreadable> {
    let Some(data) = data else { return Ok(None) };
    Ok(attribute(data, VALUE)?.map(<[u8]>::to_vec))
}

fn attribute(attributes: &[u8], wanted: u16) -> Result<Option<&[u8]>, Unreadable> {
    Ok(each(attributes)?.into_iter().find_map(|(kind, value)| (kind == wanted).then_some(value)))
}

fn each(attributes: &[u8]) -> Result<Vec<(u16, &[u8])>, Unreadable> {
    let read = NlasIterator::new(attributes).map(|attribute| {
        let attribute = attribute.map_err(|_| Unreadable)?;
        let (kind, octets) = (attribute.kind(), usize::from(attribute.length()));
        Ok((kind, attribute.into_inner().get(4..octets).ok_or(Unreadable)?))
    });
    read.collect()
}

/// A name as the kernel writes it: with a NUL at its end.
fn text(octets: Option<&[u8]>) -> Result<&str, Unreadable> {
    let octets = octets.and_then(|octets| octets.strip_suffix(&[0])).ok_or(Unreadable)?;
    std::str::from_utf8(octets).map_err(|_| Unreadable)
}

#[cfg(test)]
mod tests;
