//! What the kernel itself has counted.

use std::net::IpAddr;

use nftables::helper;
use serde::Serialize;
use serde_json::Value;

use super::Error;
use crate::core::config::TableName;

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

/// The table's counters.
///
/// # Errors
/// When `nft` cannot list them.
pub fn counters(table: &TableName) -> Result<Vec<KernelCounter>, Error> {
    let listing = list(&["list", "counters", "table", "inet", table.as_str()])?;
    let counters = objects(&listing).filter_map(|object| {
        let counter = object.get("counter")?;
        Some(KernelCounter {
            name: counter.get("name")?.as_str()?.to_owned(),
            packets: counter.get("packets")?.as_u64()?,
            bytes: counter.get("bytes")?.as_u64()?,
        })
    });
    Ok(counters.collect())
}

/// The elements of `denied4` and `denied6`, most packets first.
///
/// # Errors
/// When `nft` cannot list them.
pub fn refused(table: &TableName) -> Result<Vec<RefusedFlow>, Error> {
    let mut flows = Vec::new();
    for set in ["denied4", "denied6"] {
        let listing = list(&["list", "set", "inet", table.as_str(), set])?;
        let elements = objects(&listing).filter_map(|object| object.get("set")?.get("elem")?.as_array());
        flows.extend(elements.flatten().filter_map(flow));
    }
    flows.sort_by_key(|flow: &RefusedFlow| std::cmp::Reverse(flow.packets));
    Ok(flows)
}

/// nft wraps an element that has a timeout or a counter as
/// `{"elem": {"val": {"concat": […]}, "counter": {…}}}`.
fn flow(element: &Value) -> Option<RefusedFlow> {
    let element = element.get("elem")?;
    let [client, address, protocol, port] = element.get("val")?.get("concat")?.as_array()?.as_slice() else {
        return None;
    };
    Some(RefusedFlow {
        client: client.as_str()?.parse().ok()?,
        address: address.as_str()?.parse().ok()?,
        protocol: protocol.as_str()?.to_owned(),
        port: u16::try_from(port.as_u64()?).ok()?,
        packets: element.get("counter")?.get("packets")?.as_u64()?,
    })
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
