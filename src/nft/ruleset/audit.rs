//! What audit mode adds to the ruleset; nothing of it is there otherwise.

use std::fmt::Write as _;

use crate::core::config::{Config, Mode, PolicyMode};
use crate::core::ranges;

/// The bit of the conntrack mark that says: audit mode alone let this flow
/// through. No rule of any other mode looks at it.
pub const AUDITED: u32 = 0x2000_0000;

/// The rules that let through what would be denied, but for what goes to a
/// special-purpose range or comes from a stranger.
pub(super) fn rules(config: &Config) -> String {
    if config.policy.mode == PolicyMode::Enforce {
        return String::new();
    }
    let table = config.wall.table.as_str();
    let closed = ranges::closed(&config.wall.allow_ranges);
    let listed = |is_ipv4: bool| {
        let prefixes = closed.iter().filter(|prefix| prefix.addr().is_ipv4() == is_ipv4);
        prefixes.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (closed4, closed6) = (listed(true), listed(false));
    let is_audited = format!("ct mark & {AUDITED:#x} == {AUDITED:#x}");
    let mut text = evidence(table);
    let mut add = |chain: &str, rule: &str| _ = writeln!(text, "add rule inet {table} {chain} {rule}");
    add("audit", &format!("ip daddr {{ {closed4} }} return"));
    add("audit", &format!("ip6 daddr {{ {closed6} }} return"));
    // In a sidecar everything comes from the workload.
    if matches!(config.wall.mode, Mode::Gateway { .. }) {
        add("audit", "ip saddr != @client4 return");
        add("audit", "ip6 saddr != @client6 return");
        add("audited", &format!("ct state established {is_audited} goto count_in"));
        add("audited", &format!("ct state related {is_audited} meta l4proto {{ icmp, ipv6-icmp }} accept"));
    }
    add("audit", "ct state { invalid, untracked } return");
    add("audit", &format!("ct state {{ established, related }} {is_audited} goto count_out"));
    add("audit", "meta l4proto { tcp, udp } add @would_deny4 { ip saddr . ip daddr . meta l4proto . th dport }");
    add("audit", "meta l4proto { tcp, udp } add @would_deny6 { ip6 saddr . ip6 daddr . meta l4proto . th dport }");
    add("audit", &format!("ct mark set ct mark | {AUDITED:#x}"));
    add("audit", "jump begin");
    add("audit", "counter name would_deny goto count_out");
    text
}

/// Who would have been refused what; as `denied4` and `denied6`.
fn evidence(table: &str) -> String {
    let mut text = format!("table inet {table} {{\n");
    for (set, address) in [("would_deny4", "ipv4_addr"), ("would_deny6", "ipv6_addr")] {
        text += &format!(
            "\tset {set} {{\n\t\ttype {address} . {address} . inet_proto . inet_service\n\t\tsize 65536\n\
             \t\tflags dynamic, timeout\n\t\ttimeout 1h\n\t\tcounter\n\t}}\n"
        );
    }
    text + "\tcounter would_deny {\n\t}\n}\n"
}
