//! What a run will be made of: names, addresses, and the texts built from
//! them. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::forwarding::Family;

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

    /// The netfilter log's group.
    pub(super) const fn log_group(self) -> u16 {
        if self.0 == 0 { u16::MAX } else { self.0 }
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
    /// The /64 of a unique local prefix (RFC 4193) that both have addresses in,
    /// where the host has IPv6 to offer.
    prefix6: Option<Ipv6Addr>,
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
            Some(Self { wall: hosts.next()?, client: hosts.next()?, prefix6: None })
        })
    }

    /// Adds IPv6, in the prefix with this random Global ID (RFC 4193 section
    /// 3.2.2 makes a clash too unlikely to look for one).
    pub(super) fn add_ipv6(&mut self, global_id: u64) {
        let bits = (u128::from(global_id & 0xff_ffff_ffff) << 80) | (0xfd_u128 << 120);
        self.prefix6 = Some(Ipv6Addr::from_bits(bits));
    }

    /// The wall's IPv6 address.
    pub(super) fn wall6(self) -> Option<Ipv6Addr> {
        self.prefix6.map(|prefix| Ipv6Addr::from_bits(prefix.to_bits() | 1))
    }

    /// The command's IPv6 address.
    pub(super) fn client6(self) -> Option<Ipv6Addr> {
        self.prefix6.map(|prefix| Ipv6Addr::from_bits(prefix.to_bits() | 2))
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
    fn network(&self) -> Option<IpNet> {
        let bare = || self.dst.parse::<IpAddr>().ok().map(IpNet::from);
        self.dst.parse().ok().or_else(bare)
    }

    /// Whether it is a default route.
    pub(super) fn leads_everywhere(&self) -> bool {
        self.dst == "default" && self.dev.is_some()
    }
}

/// The networks some route covers. The default route covers all and counts for
/// none.
pub(super) fn taken(routes: &[Route]) -> Vec<Ipv4Net> {
    let ipv4 = |network| if let IpNet::V4(network) = network { Some(network) } else { None };
    routes.iter().filter_map(Route::network).filter_map(ipv4).collect()
}

/// The interfaces permitted packets leave and replies come back by: those of
/// the default routes, and of routes into a range that answers may carry.
pub(super) fn uplinks(routes: &[Route], allow_ranges: &[IpNet]) -> BTreeSet<String> {
    let allowed = |network: IpNet| allow_ranges.iter().any(|range| range.contains(&network) || network.contains(range));
    let leads_out = |route: &&Route| route.leads_everywhere() || route.network().is_some_and(allowed);
    let unicast = |route: &&Route| route.kind.as_deref().is_none_or(|kind| kind == "unicast");
    let devices = routes.iter().filter(unicast).filter(leads_out).filter_map(|route| route.dev.clone());
    devices.filter(|device| device != "lo" && !device.starts_with("cedarwall-")).collect()
}

/// The daemon's configuration. The policy is read once: the command may be able
/// to write its files, and must not let itself out.
pub(super) fn configuration(settings: &Settings, id: Id, addresses: Addresses, upstream: &[SocketAddr]) -> String {
    let upstream = toml_list(upstream.iter().map(|server| format!("udp://{server}")));
    let ranges = toml_list(settings.allow_ranges.iter().map(ToString::to_string));
    let folder = id.folder();
    let mut text = String::new();
    let _ = write!(
        text,
        "[dns]\nlisten = [{listen}]\nupstream = [{upstream}]\ndeny = {deny}\n\n\
         [policy]\npath = {policy}\ncatch_all_forbid = {catch_all}\nwatch = false\n\n\
         [wall]\nmode = \"gateway\"\ninterfaces = [{interface}]\nverdict = {verdict}\n\
         allow_ranges = [{ranges}]\ntable = {table}\nlog_group = {group}\n\n\
         [[client]]\naddress = [{client}]\nagent = {agent}\n\n\
         [control]\nsocket = {socket}\n\n\
         [journal]\npath = {journal}\nmax_size = \"1000GB\"\nmax_age = \"8760h\"\n",
        listen = quoted(&format!("{}:53", addresses.wall)),
        deny = word(&settings.deny),
        policy = quoted(&settings.policy.to_string_lossy()),
        catch_all = word(&settings.catch_all_forbid),
        interface = quoted(&id.link()),
        verdict = word(&settings.verdict),
        table = quoted(&id.wall_table()),
        group = id.log_group(),
        client = toml_list(
            std::iter::once(addresses.client.to_string()).chain(addresses.client6().map(|address| address.to_string()))
        ),
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

/// The rules that translate the client's addresses on their way out. Where
/// forwarding was off on an uplink before us, nobody out there could use this
/// host as a router, and the second chain keeps it so.
pub(super) fn nat_rules(id: Id, addresses: Addresses, newly_forwarding: &BTreeSet<(Family, String)>) -> String {
    let (table, link) = (id.nat_table(), id.link());
    let mut rules = format!(
        "table inet {table} {{\n\tchain postrouting {{\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {} oifname != \"{link}\" masquerade\n",
        addresses.client
    );
    if let Some(client) = addresses.client6() {
        let _ = writeln!(rules, "\t\tip6 saddr {client} oifname != \"{link}\" masquerade");
    }
    rules.push_str("\t}\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n");
    for (family, uplink) in newly_forwarding {
        let family = match family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        let _ = writeln!(
            rules,
            "\t\tmeta nfproto {family} iifname \"{uplink}\" ct state != {{ established, related }} drop"
        );
    }
    rules.push_str("\t}\n}\n");
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
