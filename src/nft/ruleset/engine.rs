//! The rules where an engine's containers share a bridge.

use crate::core::config::{InterfaceName, TableName};

const BRIDGE: &str = include_str!("../../../nft/bridge.nft");

/// The tables of other families for these `bridges`, and what the gateway's
/// rules add for them.
pub(super) fn tables(table: &TableName, bridges: &[InterfaceName]) -> String {
    let name = table.as_str();
    let names: Vec<_> = bridges.iter().map(|bridge| format!("\"{}\"", bridge.as_str())).collect();
    let names = names.join(", ");
    let shipped = ["bridge", "arp"].into_iter().fold(BRIDGE.to_owned(), |text, family| {
        text.replace(&format!("table {family} cedarwall {{"), &format!("table {family} {name} {{"))
    });
    let removing = super::removing("bridge", table) + &super::removing("arp", table);
    format!(
        "{removing}{shipped}\n\
         add element arp {name} bridges {{ {names} }}\n\
         add rule inet {name} bound iifname {{ {names} }} meta mark & $bound == 0 counter name denied_spoof drop\n\
         add rule inet {name} bound meta mark set meta mark & 0xbfffffff\n"
    )
}
