//! What the kernel tells of commits to the ruleset, read from its octets
//! (linux/netfilter/nf_tables.h). Pure: anything may be thrown at it.

use super::super::attributes::{Message, Unreadable, attribute, each, messages, text};
use super::super::place::{self, Place};

/// `NFNL_SUBSYS_NFTABLES`, `NFPROTO_INET`, `NFPROTO_NETDEV`, `NFPROTO_BRIDGE`,
/// `NFPROTO_ARP`.
const NFTABLES: u8 = 10;
const INET: u8 = 1;
const NETDEV: u8 = 5;
const BRIDGE: u8 = 7;
const ARP: u8 = 3;
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
const EVIDENCE: [&str; 10] = [
    "denied4",
    "denied6",
    "would_deny4",
    "would_deny6",
    "refused_by4",
    "refused_by6",
    "traffic4",
    "traffic6",
    "begun4",
    "begun6",
];

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

/// The notices of one datagram, as far as they are about the table named
/// `table`.
///
/// # Errors
/// When any of it is not in its form.
pub fn decode(datagram: &[u8], table: &str) -> Result<Vec<Notice>, Unreadable> {
    let mut notices = Vec::new();
    for message in messages(datagram)? {
        read(&message, table, &mut notices)?;
    }
    Ok(notices)
}

fn read(message: &Message<'_>, table: &str, notices: &mut Vec<Notice>) -> Result<(), Unreadable> {
    let Message { subsystem, kind, family, attributes, .. } = *message;
    if subsystem != NFTABLES {
        return Ok(());
    }
    if kind == NEW_GENERATION {
        let generation = attribute(attributes, GENERATION)?.ok_or(Unreadable)?;
        let generation = u32::from_be_bytes(generation.try_into().map_err(|_| Unreadable)?);
        notices.push(Notice::Committed { generation });
        return Ok(());
    }
    if ![INET, NETDEV, BRIDGE, ARP].contains(&family) || text(attribute(attributes, TABLE)?)? != table {
        return Ok(());
    }
    match (family, kind) {
        (INET | BRIDGE | ARP, NEW_TABLE | DELETE_TABLE) => notices.push(Notice::Table),
        // Of who may send what, nobody else changes anything.
        (BRIDGE | ARP, NEW_ELEMENT | DELETE_ELEMENT) => notices.push(Notice::OddElement),
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

#[cfg(test)]
mod tests;
