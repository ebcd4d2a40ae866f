//! What the kernel itself has counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nftables::helper;
use serde::Serialize;
use serde_json::Value;

use super::Error;
use super::counts::{self, Count};
use crate::core::config::{Mode, TableName};
use crate::core::packet::{Way, protocol_name};
use crate::core::query::Client;
use crate::core::traffic::Volume;

/// A named counter of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelCounter {
    /// Its name.
    pub name: String,
    /// Packets counted.
    pub packets: u64,
    /// Octets counted.
    pub bytes: u64,
}

/// An element of `denied4` or `denied6`: packets of one client to one place
/// that the kernel refused within the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedFlow {
    /// The source address.
    pub client: IpAddr,
    /// The destination address.
    pub address: IpAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The destination port.
    pub port: u16,
    /// Packets refused.
    pub packets: u64,
}

/// What the rules refused, by whom they count it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedBy {
    /// By client, in gateway mode.
    pub clients: BTreeMap<Client, u64>,
    /// All other packets; in sidecar mode, all of them.
    pub others: u64,
}

/// The table's counters, by name.
///
/// # Errors
/// When the kernel does not say.
pub fn counters(table: &TableName) -> Result<Vec<KernelCounter>, Error> {
    let counters = counts::counters(table)?.into_iter();
    Ok(counters.map(|(name, Count { packets, bytes })| KernelCounter { name, packets, bytes }).collect())
}

/// The elements of `denied4` and `denied6`, most packets first.
///
/// # Errors
/// When the kernel does not say.
pub fn refused(table: &TableName) -> Result<Vec<RefusedFlow>, Error> {
    let mut flows = Vec::new();
    for set in ["denied4", "denied6"] {
        flows.extend(counts::ways(table, set)?.into_iter().map(|(way, count)| RefusedFlow {
            client: way.client.address(),
            address: way.address,
            protocol: protocol_name(way.protocol),
            port: way.port.unwrap_or(0),
            packets: count.packets,
        }));
    }
    flows.sort_by_key(|flow: &RefusedFlow| std::cmp::Reverse(flow.packets));
    Ok(flows)
}

/// What the rules refused, by whom they count it.
///
/// # Errors
/// When the kernel does not say.
pub fn refused_by(table: &TableName, mode: &Mode) -> Result<RefusedBy, Error> {
    let counters = counts::counters(table)?;
    let sum = |names: &[&str]| names.iter().filter_map(|name| counters.get(*name)).map(|count| count.packets).sum();
    if mode.is_sidecar() {
        return Ok(RefusedBy { others: sum(&["denied_syn", "denied_other", "denied_host", "denied_sinkhole"]), ..RefusedBy::default() });
    }
    let mut clients = BTreeMap::new();
    for set in ["refused_by4", "refused_by6"] {
        let counts = counts::addresses(table, set)?.into_iter();
        clients.extend(counts.map(|(client, count)| (Client::new(client), count.packets)));
    }
    Ok(RefusedBy { clients, others: sum(&["refused_strangers"]) })
}

/// What went through, by way, while the kernel remembers it.
///
/// # Errors
/// When the kernel does not say.
pub fn traffic(table: &TableName) -> Result<BTreeMap<Way, Volume>, Error> {
    let mut volumes: BTreeMap<Way, Volume> = BTreeMap::new();
    for set in ["traffic4", "traffic6"] {
        let counts = counts::ways(table, set)?.into_iter();
        volumes.extend(counts.map(|(way, Count { packets, bytes })| (way, Volume { connections: 0, packets, bytes })));
    }
    for set in ["begun4", "begun6"] {
        for (way, count) in counts::ways(table, set)? {
            volumes.entry(way).or_default().connections = count.packets;
        }
    }
    Ok(volumes)
}

/// Listings are read as plain JSON: the form of an element depends on its set,
/// and rules may hold expressions that the nftables crate does not know.
pub(super) fn list(arguments: &[&str]) -> Result<Value, Error> {
    let text = helper::get_current_ruleset_raw(helper::DEFAULT_NFT, arguments.iter().copied())?;
    serde_json::from_str(&text).map_err(|error| Error::Listing(error.to_string()))
}

pub(super) fn objects(listing: &Value) -> impl Iterator<Item = &Value> {
    listing.get("nftables").and_then(Value::as_array).into_iter().flatten()
}
