//! What capturing DNS adds to the ruleset; nothing of it is there otherwise.

use std::fmt::Write as _;

use super::{address_elements, both_transports, replacing_name};
use crate::core::config::Config;

const CAPTURE: &str = include_str!("../../../nft/capture.nft");

/// The rules that send questions to others on to the wall, and let in what was
/// sent on so, and nothing else.
pub(super) fn rules(config: &Config) -> String {
    let captures = config.captures();
    if captures.is_empty() {
        return String::new();
    }
    let table = &config.wall.table;
    let mut text = replacing_name("inet", table, CAPTURE);
    text += &address_elements(table, "captured", captures.iter().flat_map(|at| both_transports(*at)));
    for at in captures {
        let (family, number) = if at.is_ipv4() { ("ip", 4) } else { ("ip6", 6) };
        let mut add = |chain: &str, rule: &str| {
            _ = writeln!(text, "add rule inet {} {chain} {rule}", table.as_str());
        };
        let nfproto = format!("meta nfproto ipv{number}");
        add("capturing", &format!("{nfproto} jump bounded"));
        let sent_on = format!("counter name captured_dns dnat {family} to {at}");
        add("capturing", &format!("{nfproto} meta l4proto {{ tcp, udp }} {sent_on}"));
        let is_sent_on = format!("ct status dnat {family} daddr . meta l4proto . th dport @captured{number}");
        add("captured", &format!("{is_sent_on} jump asking"));
        add("captured", &format!("{is_sent_on} accept"));
    }
    text
}
