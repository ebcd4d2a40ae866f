//! What the rules have counted, read over netlink: named counters, and the
//! elements of sets that packets fill (linux/netfilter/nf_tables.h).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::attributes::{DONE, ERROR, Message, Unreadable, attribute, each, messages, request, text};
use crate::core::config::TableName;
use crate::core::packet::Way;
use crate::core::query::Client;

/// `NFNL_SUBSYS_NFTABLES`, `NFPROTO_INET`, `NFPROTO_BRIDGE`, `NFPROTO_ARP`.
const NFTABLES: u8 = 10;
const INET: u8 = 1;
const BRIDGE: u8 = 7;
const ARP: u8 = 3;
/// `NFT_MSG_*`.
const NEW_ELEMENT: u8 = 12;
const GET_ELEMENT: u8 = 13;
const NEW_OBJECT: u8 = 18;
const GET_OBJECT: u8 = 19;
/// `NFTA_OBJ_*`, `NFT_OBJECT_COUNTER`.
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const COUNTER: u32 = 1;
/// `NFTA_SET_ELEM_LIST_*`, `NFTA_LIST_ELEM`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
/// `NFTA_SET_ELEM_*`, `NFTA_DATA_VALUE`, `NFTA_EXPR_*`.
const KEY: u16 = 1;
const EXPRESSION: u16 = 7;
const EXPRESSIONS: u16 = 11;
const VALUE: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// `NFTA_COUNTER_*`.
const BYTES: u16 = 1;
const PACKETS: u16 = 2;
/// `NLM_F_DUMP_INTR`: the ruleset changed while it was dumped.
const INTERRUPTED: u16 = 0x10;
/// How often a dump is begun again before it is taken as it is.
const ATTEMPTS: usize = 8;
/// Room for one datagram of a dump; the kernel fills at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 << 10;

/// How much was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Octets, from the IP header on.
    pub bytes: u64,
}

/// The named counters of table `inet` `table`, by name. Where there are tables
/// of the same name for the frames of bridges, theirs of the same name are added.
///
/// # Errors
/// When the kernel does not say; `ENOENT` if there is no such table.
pub fn counters(table: &TableName) -> io::Result<BTreeMap<String, Count>> {
    let attributes = [(OBJECT_TABLE, name(table.as_str())), (OBJECT_TYPE, COUNTER.to_be_bytes().to_vec())];
    let mut counters = dump(INET, GET_OBJECT, &attributes, counters_in)?;
    for family in [BRIDGE, ARP] {
        for (name, count) in dump(family, GET_OBJECT, &attributes, counters_in).unwrap_or_default() {
            let sum = counters.entry(name).or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
    }
    Ok(counters)
}

/// What was counted of each way in a set whose key is client . address .
/// protocol . port: `denied4`, `traffic4` and their like.
///
/// # Errors
/// When the kernel does not say; `ENOENT` if there is no such set.
pub fn ways(table: &TableName, set: &str) -> io::Result<BTreeMap<Way, Count>> {
    elements(table, set, way)
}

/// What was counted of each address in a set of addresses.
///
/// # Errors
/// As [`ways`].
pub fn addresses(table: &TableName, set: &str) -> io::Result<BTreeMap<IpAddr, Count>> {
    elements(table, set, |key| match key.len() {
        4 => Some(address(key.first_chunk::<4>()?)),
        16 => Some(long_address(key.first_chunk::<16>()?)),
        _ => None,
    })
}

fn elements<K: Ord>(table: &TableName, set: &str, key: impl Fn(&[u8]) -> Option<K>) -> io::Result<BTreeMap<K, Count>> {
    let attributes = [(LIST_TABLE, name(table.as_str())), (LIST_SET, name(set))];
    dump(INET, GET_ELEMENT, &attributes, |message, found| {
        for (octets, count) in elements_in(message)? {
            found.extend(key(octets).map(|key| (key, count)));
        }
        Ok(())
    })
}

/// One dump. While somebody changes the ruleset all the time, an element may
/// be missing from it, and no count is wrong.
fn dump<K: Ord>(
    family: u8,
    kind: u8,
    attributes: &[(u16, Vec<u8>)],
    read: impl Fn(&Message<'_>, &mut BTreeMap<K, Count>) -> Result<(), Unreadable>,
) -> io::Result<BTreeMap<K, Count>> {
    let question = request(NFTABLES, kind, NLM_F_REQUEST | NLM_F_DUMP, family, attributes);
    let mut found = BTreeMap::new();
    for _ in 0..ATTEMPTS {
        let socket = socket()?;
        socket.send(&question, 0)?;
        if is_whole(&socket, &read, &mut found)? {
            break;
        }
    }
    Ok(found)
}

/// Whether nothing changed meanwhile.
fn is_whole<K: Ord>(
    socket: &Socket,
    read: impl Fn(&Message<'_>, &mut BTreeMap<K, Count>) -> Result<(), Unreadable>,
    found: &mut BTreeMap<K, Count>,
) -> io::Result<bool> {
    let mut is_whole = true;
    loop {
        let mut datagram = Vec::with_capacity(RECEIVE_BUFFER);
        // The kernel dumps inside this call: where nothing waits, nothing
        // will come.
        socket.recv(&mut datagram, nix::libc::MSG_DONTWAIT)?;
        for message in messages(&datagram).map_err(io::Error::other)? {
            is_whole &= message.flags & INTERRUPTED == 0;
            match (message.subsystem, message.kind) {
                (0, DONE) => return Ok(is_whole),
                (0, ERROR) => return Err(told(message.attributes)),
                _ => read(&message, found).map_err(io::Error::other)?,
            }
        }
    }
}

fn socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn told(error: &[u8]) -> io::Error {
    let code = error.first_chunk().map_or(0, |octets| i32::from_ne_bytes(*octets));
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// The counts that a datagram of the kernel's tells, for whoever examines the
/// reading of it: how many.
///
/// # Errors
/// When any of it is not in its form.
pub fn examine(datagram: &[u8]) -> Result<usize, Unreadable> {
    let mut counters = BTreeMap::new();
    let mut elements = 0;
    for message in messages(datagram)? {
        counters_in(&message, &mut counters)?;
        elements += elements_in(&message)?.into_iter().filter_map(|(key, _)| way(key)).count();
    }
    Ok(counters.len() + elements)
}

fn counters_in(message: &Message<'_>, found: &mut BTreeMap<String, Count>) -> Result<(), Unreadable> {
    if (message.subsystem, message.kind) != (NFTABLES, NEW_OBJECT) {
        return Ok(());
    }
    let name = text(attribute(message.attributes, OBJECT_NAME)?)?;
    let data = attribute(message.attributes, OBJECT_DATA)?.ok_or(Unreadable)?;
    found.insert(name.to_owned(), count(data)?);
    Ok(())
}

/// The key and the count of each element that has a counter.
fn elements_in<'a>(message: &Message<'a>) -> Result<Vec<(&'a [u8], Count)>, Unreadable> {
    let mut found = Vec::new();
    if (message.subsystem, message.kind) != (NFTABLES, NEW_ELEMENT) {
        return Ok(found);
    }
    for (kind, element) in each(attribute(message.attributes, LIST_ELEMENTS)?.unwrap_or_default())? {
        let Some(key) = attribute(element, KEY)? else { continue };
        let Some(key) = attribute(key, VALUE)? else { continue };
        if kind == ELEMENT
            && let Some(count) = counted(element)?
        {
            found.push((key, count));
        }
    }
    Ok(found)
}

/// An element with one expression carries it as it is, one with more as a list.
fn counted(element: &[u8]) -> Result<Option<Count>, Unreadable> {
    let alone = attribute(element, EXPRESSION)?;
    let listed = each(attribute(element, EXPRESSIONS)?.unwrap_or_default())?;
    for expression in alone.into_iter().chain(listed.into_iter().map(|(_, expression)| expression)) {
        if text(attribute(expression, EXPRESSION_NAME)?) == Ok("counter") {
            return count(attribute(expression, EXPRESSION_DATA)?.ok_or(Unreadable)?).map(Some);
        }
    }
    Ok(None)
}

fn count(data: &[u8]) -> Result<Count, Unreadable> {
    let number = |kind| {
        let octets = attribute(data, kind)?.ok_or(Unreadable)?;
        Ok(u64::from_be_bytes(octets.try_into().map_err(|_| Unreadable)?))
    };
    Ok(Count { packets: number(PACKETS)?, bytes: number(BYTES)? })
}

/// Each field of a key is padded to 32 bits.
fn way(key: &[u8]) -> Option<Way> {
    let (client, address, rest) = match key.len() {
        16 => {
            let (client, rest) = key.split_first_chunk::<4>()?;
            let (there, rest) = rest.split_first_chunk::<4>()?;
            (self::address(client), self::address(there), rest)
        }
        40 => {
            let (client, rest) = key.split_first_chunk::<16>()?;
            let (there, rest) = rest.split_first_chunk::<16>()?;
            (long_address(client), long_address(there), rest)
        }
        _ => return None,
    };
    let (protocol, port) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(*port.first_chunk()?);
    Some(Way { client: Client::new(client), address, protocol: *protocol.first()?, port: Some(port) })
}

fn address(octets: &[u8; 4]) -> IpAddr {
    Ipv4Addr::from(*octets).into()
}

fn long_address(octets: &[u8; 16]) -> IpAddr {
    Ipv6Addr::from(*octets).into()
}

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
