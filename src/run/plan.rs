//! What a run will be made of: names, addresses, and the texts built from
//! them. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::Settings;

/// Where everything of all runs lives; gone when no run is left.
pub(super) const RUNTIME: &str = "/run/cedarwall-run";

/// Private ranges (RFC 1918) that few networks use, in order of preference.
const POOLS: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::new(10, 213, 0, 0), 16), (Ipv4Addr::new(172, 29, 0, 0), 16)];

/// Four hexadecimal digits that tell one run from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) u16);

impl Id {
    pub(super) fn text(self) -> String {
        format!("{:04x}", self.0)
    }

    /// The host's end of the link.
    pub(super) fn link(self) -> String {
        format!("cedarwall-{:04x}", self.0)
    }

    /// The wall's table.
    pub(super) fn wall_table(self) -> String {
        format!("cedarwall_run_{:04x}", self.0)
    }

    /// The table that translates the client's addresses.
    pub(super) fn nat_table(self) -> String {
        format!("cedarwall_nat_{:04x}", self.0)
    }

    /// This run's folder.
    pub(super) fn folder(self) -> PathBuf {
        Path::new(RUNTIME).join(self.text())
    }
}

/// The two ends of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The wall, on the host.
    pub(super) wall: Ipv4Addr,
    /// The command.
    pub(super) client: Ipv4Addr,
}

impl Addresses {
    /// The first /30, counted from one that `seed` chooses, that meets none of
    /// the `taken` networks.
    pub(super) fn choose(taken: &[Ipv4Net], seed: u16) -> Option<Self> {
        POOLS.iter().find_map(|&(base, length)| {
            let pool = Ipv4Net::new(base, length).ok()?;
            let count = pool.subnets(30).ok()?.count();
            let start = usize::from(seed).checked_rem(count)?;
            let all = pool.subnets(30).ok()?;
            let ordered = all.skip(start).chain(all.take(start));
            let free = |subnet: &Ipv4Net| !taken.iter().any(|other| overlap(*other, *subnet));
            let mut hosts = ordered.into_iter().find(free)?.hosts();
            Some(Self { wall: hosts.next()?, client: hosts.next()? })
        })
    }
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// A route as `ip -json route show table all` prints it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Route {
    dst: String,
    #[serde(default)]
    dev: Option<String>,
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

impl Route {
    fn network(&self) -> Option<Ipv4Net> {
        let bare = || self.dst.parse::<Ipv4Addr>().ok().map(Ipv4Net::from);
        self.dst.parse().ok().or_else(bare)
    }

    fn is_default(&self) -> bool {
        self.dst == "default"
    }
}

/// The networks some route covers. The default route covers all and counts for
/// none.
pub(super) fn taken(routes: &[Route]) -> Vec<Ipv4Net> {
    routes.iter().filter_map(Route::network).collect()
}

/// The interfaces permitted packets leave and replies come back by: those of
/// the default routes, and of routes into a range that answers may carry.
pub(super) fn uplinks(routes: &[Route], allow_ranges: &[IpNet]) -> BTreeSet<String> {
    let allowed = |network: Ipv4Net| {
        allow_ranges.iter().any(|range| matches!(range, IpNet::V4(range) if overlap(*range, network)))
    };
    let leads_out = |route: &&Route| route.is_default() || route.network().is_some_and(allowed);
    let unicast = |route: &&Route| route.kind.as_deref().is_none_or(|kind| kind == "unicast");
    let devices = routes.iter().filter(unicast).filter(leads_out).filter_map(|route| route.dev.clone());
    devices.filter(|device| device != "lo" && !device.starts_with("cedarwall-")).collect()
}

/// The daemon's configuration.
pub(super) fn configuration(settings: &Settings, id: Id, addresses: Addresses, upstream: &[SocketAddr]) -> String {
    let upstream = toml_list(upstream.iter().map(|server| format!("udp://{server}")));
    let ranges = toml_list(settings.allow_ranges.iter().map(ToString::to_string));
    let folder = id.folder();
    let mut text = String::new();
    let _ = write!(
        text,
        "[dns]\nlisten = [{listen}]\nupstream = [{upstream}]\ndeny = {deny}\n\n\
         [policy]\npath = {policy}\ncatch_all_forbid = {catch_all}\n\n\
         [wall]\nmode = \"gateway\"\ninterfaces = [{interface}]\nverdict = {verdict}\n\
         allow_ranges = [{ranges}]\ntable = {table}\n\n\
         [[client]]\naddress = {client}\nagent = {agent}\n\n\
         [control]\nsocket = {socket}\n\n\
         [journal]\npath = {journal}\n",
        listen = quoted(&format!("{}:53", addresses.wall)),
        deny = word(&settings.deny),
        policy = quoted(&settings.policy.to_string_lossy()),
        catch_all = word(&settings.catch_all_forbid),
        interface = quoted(&id.link()),
        verdict = word(&settings.verdict),
        table = quoted(&id.wall_table()),
        client = quoted(&addresses.client.to_string()),
        agent = quoted(settings.agent.as_str()),
        socket = quoted(&folder.join("control.sock").to_string_lossy()),
        journal = quoted(&folder.join("events.jsonl").to_string_lossy()),
    );
    text
}

/// A value the configuration spells as a word; JSON strings of plain words
/// are TOML strings, too.
fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn toml_list(items: impl Iterator<Item = String>) -> String {
    items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", ")
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The rules that translate the client's address on its way out. Where
/// forwarding was off on an uplink before us, nobody out there could use this
/// host as a router, and the second chain keeps it so.
pub(super) fn nat_rules(id: Id, addresses: Addresses, newly_forwarding: &BTreeSet<String>) -> String {
    let table = id.nat_table();
    let (client, link) = (addresses.client, id.link());
    let mut rules = format!(
        "table inet {table} {{\n\tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {client} oifname != \"{link}\" masquerade\n\t}}\n"
    );
    if !newly_forwarding.is_empty() {
        let names = newly_forwarding.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let _ = write!(
            rules,
            "\tchain forward {{\n\t\ttype filter hook forward priority filter; policy accept;\n\
             \t\tiifname {{ {names} }} ct state != {{ established, related }} drop\n\t}}\n"
        );
    }
    rules.push_str("}\n");
    rules
}

/// The nameservers of a `resolv.conf` (resolv.conf(5)), port 53. Scoped
/// IPv6 addresses are left out: a zone has no place in the configuration.
pub(super) fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()?.parse::<IpAddr>().ok()
    };
    resolv_conf.lines().filter_map(server).map(|address| SocketAddr::new(address, 53)).collect()
}

#[cfg(test)]
mod tests;
