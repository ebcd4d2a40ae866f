//! TOML text into [`super::Config`]: which tables and keys there are, what
//! they default to, and what must agree with what.

mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashSet;
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use self::table::{Document, Spotted, Table};
use self::value::{
    agent, client, domain, duration, file_path, interface, keyword, listener, range, size, socket_path, table_name,
    upstream,
};
use super::{
    CatchAllForbid, ClientEntry, Config, Control, DEFAULT_SOCKET, DOCKER_SOCKET, DenyAnswer, Dns, Docker, DockerAgent,
    Evidence, InterfaceName, Journal, LeaseSettings, Mode, NameLimits, PacketVerdict, PolicyMode, PolicySettings,
    Rotation, TableName, Transport, Upstream, Wall,
};
use crate::core::problem::Problem;
use crate::core::sinkhole;

/// Every table of the file, and every key of each.
const TABLES: [(&str, &[&str]); 11] = [
    (
        "dns",
        &[
            "listen",
            "upstream",
            "deny",
            "deny_ttl",
            "cache_entries",
            "max_in_flight",
            "max_connections",
            "idle_timeout",
            "upstream_timeout",
            "in_flight_per_client",
            "queries_per_second",
            "burst",
            "search",
        ],
    ),
    ("policy", &["path", "catch_all_forbid", "watch", "mode"]),
    (
        "wall",
        &[
            "mode",
            "interfaces",
            "verdict",
            "allow_ranges",
            "table",
            "protect",
            "dns_packets_per_second",
            "log_group",
            "dns_capture",
            "dns_capture_port",
        ],
    ),
    ("lease", &["min", "max", "grace", "per_client", "set_size", "per_name", "total"]),
    ("client", &["address", "agent"]),
    ("control", &["socket"]),
    ("journal", &["path", "max_size", "max_age", "keep"]),
    ("names", &["per_minute", "octets_per_minute", "bits_per_minute"]),
    ("evidence", &["processes", "hold"]),
    ("docker", &["enabled", "socket", "bridges", "agent"]),
    (DOCKER_AGENT, &["network", "name", "agent"]),
];

/// The list of tables in the table `docker`.
const DOCKER_AGENT: &str = "docker.agent";

/// `log_group` unless the configuration says another.
const LOG_GROUP: u16 = 1053;
/// `dns_capture_port` unless the configuration says another.
const CAPTURE_PORT: u16 = 1054;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Config {
    /// Reads a configuration file's text; `file` is how messages name it.
    /// Relative paths stay as written: see [`Config::relative_to`].
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place. A text that is
    /// not TOML is judged by its syntax alone.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        Self::parse_on_host(file, text, &[])
    }

    /// The same on a host with these name servers: a gateway asks them where
    /// the text names no upstream servers.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_on_host(file: &str, text: &str, nameservers: &[SocketAddr]) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text, &TABLES)?;
        let read = read(&document, nameservers);
        document.finish(read)
    }
}

/// Reads every table, so that every problem is noted, before any missing
/// value ends the reading.
fn read(document: &Document<'_>, nameservers: &[SocketAddr]) -> Option<Config> {
    let wall_table = document.table("wall");
    let sidecar = wall_table.text("mode", keyword([("gateway", false), ("sidecar", true)])).or(false);
    let wall = wall(&wall_table, sidecar);
    let dns = dns(&document.table("dns"), sidecar, nameservers);
    let policy = policy(&document.table("policy"));
    let lease = lease(&document.table("lease"));
    let docker = docker(document, wall.as_ref());
    let clients = clients(document, docker.as_ref().is_none_or(Option::is_some));
    let control = control(&document.table("control"));
    let journal = journal(&document.table("journal"));
    let names = names(&document.table("names"));
    let evidence = evidence(&document.table("evidence"));
    let config = Config {
        dns: dns?,
        policy: policy?,
        wall: wall?,
        lease: lease?,
        clients: clients?,
        control: control?,
        journal: journal?,
        names: names?,
        evidence: evidence?,
        docker: docker?,
    };
    refuse_shared_port(&wall_table, &config);
    Some(config)
}

fn dns(table: &Table<'_>, sidecar: Option<bool>, nameservers: &[SocketAddr]) -> Option<Dns> {
    let listen = table.texts("listen", listener);
    let listen = if sidecar == Some(false) {
        listen.or_missing("name the addresses the clients ask, e.g. listen = [\"10.77.0.1:53\"]")
    } else {
        listen.or(vec![Spotted { value: SocketAddr::from(([127, 0, 0, 1], 53)), offset: 0 }])
    };
    let upstream = table.texts("upstream", upstream);
    let usual = usual_upstream(nameservers, listen.as_deref().unwrap_or_default());
    // In a sidecar's namespace they are the clients', and may be the wall itself.
    let upstream = if usual.is_empty() || sidecar != Some(false) {
        upstream
            .or_missing("name the servers that permitted questions go to, e.g. upstream = [\"udp://192.0.2.53:53\"]")
    } else {
        upstream.or(usual)
    };

    if let Some(listen) = &listen {
        refuse_empty(table, "listen", listen);
        refuse_duplicates(table, listen, |address| *address);
    }
    if let Some(upstream) = &upstream {
        refuse_empty(table, "upstream", upstream);
        refuse_duplicates(table, upstream, |server| *server);
    }
    refuse_loops(table, listen.as_deref().unwrap_or_default(), upstream.as_deref().unwrap_or_default());

    let denials =
        [("nxdomain", DenyAnswer::Nxdomain), ("refused", DenyAnswer::Refused), ("sinkhole", DenyAnswer::Sinkhole)];
    let deny = table.text("deny", keyword(denials)).or(DenyAnswer::default());
    let deny_ttl = table.text("deny_ttl", duration(SECOND, HOUR)).or(10 * SECOND);
    let cache_entries = table.number("cache_entries", 0..=10_000_000).or(50_000);
    let max_in_flight = table.number("max_in_flight", 1..=1_000_000).or(4096);
    let max_connections = table.number("max_connections", 1..=100_000).or(256);
    let idle_timeout = table.text("idle_timeout", duration(SECOND, 10 * MINUTE)).or(10 * SECOND);
    let upstream_timeout = table.text("upstream_timeout", duration(100 * MILLISECOND, MINUTE)).or(4 * SECOND);
    let max_in_flight = max_in_flight?;
    let in_flight_per_client = table.number("in_flight_per_client", 1..=1_000_000);
    let in_flight_per_client = in_flight_per_client.or(max_in_flight.div_ceil(2).min(512))?;
    if in_flight_per_client > max_in_flight {
        let message = "`dns.in_flight_per_client` is more than `dns.max_in_flight`";
        table.refuse_key("in_flight_per_client", message, "one client cannot have more in flight than all together");
    }
    let queries_per_second = table.number("queries_per_second", 1..=1_000_000).or(1000)?;
    let burst = table.number("burst", 1..=1_000_000).or(queries_per_second.saturating_mul(2).min(1_000_000));
    let search = table.texts("search", domain).or(Vec::new());
    refuse_duplicates(table, search.as_deref().unwrap_or_default(), Clone::clone);
    Some(Dns {
        listen: values(listen?),
        upstream: values(upstream?),
        deny: deny?,
        deny_ttl: deny_ttl?,
        cache_entries: u64::from(cache_entries?),
        max_in_flight: usize::try_from(max_in_flight).ok()?,
        max_connections: usize::try_from(max_connections?).ok()?,
        idle_timeout: idle_timeout?,
        upstream_timeout: upstream_timeout?,
        in_flight_per_client: usize::try_from(in_flight_per_client).ok()?,
        queries_per_second,
        burst: burst?,
        search: values(search?).into(),
    })
}

/// The host's own name servers, but for the wall.
fn usual_upstream(nameservers: &[SocketAddr], listen: &[Spotted<SocketAddr>]) -> Vec<Spotted<Upstream>> {
    let is_ours = |address: SocketAddr| listen.iter().any(|listener| listener.value == address);
    let mut usual: Vec<SocketAddr> = Vec::new();
    for address in nameservers.iter().copied().filter(|address| !is_ours(*address)) {
        if !usual.contains(&address) {
            usual.push(address);
        }
    }
    let server = |address| Spotted { value: Upstream { transport: Transport::Udp, address }, offset: 0 };
    usual.into_iter().map(server).collect()
}

fn policy(table: &Table<'_>) -> Option<PolicySettings> {
    let path = table.text("path", file_path).or(PathBuf::from("policies"));
    let readings = [("strict", CatchAllForbid::Strict), ("default-deny", CatchAllForbid::DefaultDeny)];
    let catch_all_forbid = table.text("catch_all_forbid", keyword(readings)).or(CatchAllForbid::default());
    let watch = table.flag("watch").or(true);
    let modes = [PolicyMode::Enforce, PolicyMode::Audit].map(|mode| (mode.as_str(), mode));
    let mode = table.text("mode", keyword(modes)).or(PolicyMode::default());
    Some(PolicySettings { path: path?, catch_all_forbid: catch_all_forbid?, watch: watch?, mode: mode? })
}

fn wall(table: &Table<'_>, sidecar: Option<bool>) -> Option<Wall> {
    let interfaces = table.texts("interfaces", interface).or(Vec::new());
    let verdicts = [("drop", PacketVerdict::Drop), ("reject", PacketVerdict::Reject)];
    let verdict = table.text("verdict", keyword(verdicts)).or(PacketVerdict::default());
    let allow_ranges = table.texts("allow_ranges", range).or(Vec::new());
    let name = table.text("table", table_name).or(TableName::default());
    let dns_packets_per_second = table.number("dns_packets_per_second", 1..=10_000_000).or(5000);
    let log_group = table.number("log_group", 1..=u16::MAX.into()).or(LOG_GROUP.into());

    let protect = table.flag("protect").or(false);
    let dns_capture = dns_capture(table, sidecar);

    for range in allow_ranges.iter().flatten().filter(|range| sinkhole::covers_all_of(range.value)) {
        let message =
            format!("`wall.allow_ranges` cannot open {}: that is the sinkhole, where denied names lead", range.value);
        let help = format!("take it out: {} and {} are never open", sinkhole::RANGE4, sinkhole::RANGE6);
        table.refuse(range.offset, message, help);
    }

    let interfaces = interfaces?;
    refuse_duplicates(table, &interfaces, Clone::clone);
    let mode = match (sidecar?, values(interfaces)) {
        (true, interfaces) => Mode::Sidecar { interfaces },
        (false, interfaces) if !interfaces.is_empty() => Mode::Gateway { interfaces },
        (false, _) => {
            let help = "name the interfaces the clients are behind, e.g. interfaces = [\"veth-agent\"], \
                        or set mode = \"sidecar\"";
            table.refuse_key("interfaces", "a gateway needs at least one interface in `wall.interfaces`", help);
            return None;
        }
    };
    Some(Wall {
        mode,
        verdict: verdict?,
        allow_ranges: values(allow_ranges?),
        table: name?,
        protect: protect?,
        dns_packets_per_second: dns_packets_per_second?,
        log_group: u16::try_from(log_group?).unwrap_or(LOG_GROUP),
        dns_capture: dns_capture?,
    })
}

/// Where captured questions are answered; `None` within where none are.
fn dns_capture(table: &Table<'_>, sidecar: Option<bool>) -> Option<Option<u16>> {
    let port = table.number("dns_capture_port", 1024..=u16::MAX.into()).or(CAPTURE_PORT.into());
    let is_gateway = sidecar == Some(false);
    let is_on = table.flag("dns_capture").or(is_gateway)?;
    if is_on && sidecar == Some(true) {
        let message = "`wall.dns_capture` is of gateway mode: in sidecar mode questions to other servers are refused";
        let help = "take it out, or set it to false; the clients' resolv.conf has to name the wall";
        table.refuse_key("dns_capture", message, help);
    }
    let port = u16::try_from(port?).unwrap_or(CAPTURE_PORT);
    Some(is_on.then_some(port))
}

/// What is sent on to the wall must not arrive where it is asked directly.
fn refuse_shared_port(table: &Table<'_>, config: &Config) {
    if let Some(shared) = config.captures().iter().find(|address| config.dns.listen.contains(address)) {
        let message = format!("`wall.dns_capture_port` is one of the wall's own listeners, {shared}");
        table.refuse_key("dns_capture_port", message, "captured questions take a port of their own: name another");
    }
}

fn lease(table: &Table<'_>) -> Option<LeaseSettings> {
    let min = table.text("min", duration(SECOND, 24 * HOUR)).or(30 * SECOND);
    let max = table.text("max", duration(SECOND, 24 * HOUR)).or(HOUR);
    let grace = table.text("grace", duration(SECOND, HOUR)).or(15 * SECOND);
    let per_client = table.number("per_client", 1..=1_048_576).or(4096);
    let set_size = table.number("set_size", 1..=1_048_576).or(65_536);
    let (per_client, set_size) = (per_client?, set_size?);
    let per_name = table.number("per_name", 1..=1_048_576).or(per_client.min(1024));
    // What has run out counts as a set's element until the kernel clears it
    // away, half a minute later at most.
    let total = table.number("total", 1..=1_048_576).or(per_client.max(set_size / 4 * 3).min(set_size));
    let settings =
        LeaseSettings { min: min?, max: max?, grace: grace?, per_client, set_size, per_name: per_name?, total: total? };

    if settings.min > settings.max {
        let key = if table.has("min") { "min" } else { "max" };
        table.refuse_key(key, "`lease.min` is longer than `lease.max`", "the defaults are 30s and 1h");
    }
    if settings.per_client > settings.set_size {
        let key = if table.has("per_client") { "per_client" } else { "set_size" };
        let message = "`lease.per_client` is more than `lease.set_size`";
        table.refuse_key(key, message, "one client cannot hold more leases than a set has room for");
    }
    if settings.per_name > settings.per_client {
        let message = "`lease.per_name` is more than `lease.per_client`";
        table.refuse_key("per_name", message, "one name cannot hold more leases than its client may");
    }
    if settings.total > settings.set_size {
        let message = "`lease.total` is more than `lease.set_size`";
        table.refuse_key("total", message, "all leases together have to find room in one set");
    }
    if settings.total < settings.per_client.min(settings.set_size) {
        let key = if table.has("total") { "total" } else { "per_client" };
        let message = "`lease.total` is less than `lease.per_client`";
        table.refuse_key(key, message, "one client cannot hold more leases than all clients together");
    }
    Some(settings)
}

fn names(table: &Table<'_>) -> Option<NameLimits> {
    let usual = NameLimits::default();
    let limit = |key, usual| table.number(key, 1..=1_000_000_000).or(usual);
    let per_minute = limit("per_minute", usual.per_minute);
    let octets_per_minute = limit("octets_per_minute", usual.octets_per_minute);
    let bits_per_minute = limit("bits_per_minute", usual.bits_per_minute);
    Some(NameLimits {
        per_minute: per_minute?,
        octets_per_minute: octets_per_minute?,
        bits_per_minute: bits_per_minute?,
    })
}

fn clients(document: &Document<'_>, engine_knows_more: bool) -> Option<Vec<ClientEntry>> {
    let tables = document.tables("client")?;
    if tables.is_empty() && !engine_knows_more {
        let help = "add one for each address behind the wall, with `address = \"10.77.0.2\"` and `agent = \"claude\"`";
        document.refuse("there is no [[client]] table, so nobody could ask anything", help);
    }
    let mut seen = HashSet::new();
    let read_one = |table: &Table<'_>| {
        let addresses = table.text_or_texts("address", client);
        let addresses = addresses.or_missing("say who asks, e.g. address = \"10.77.0.2\"");
        let agent = table.text("agent", agent).or_missing("say as whom, e.g. agent = \"claude\" for Agent::\"claude\"");
        let addresses = addresses?;
        refuse_empty(table, "address", &addresses);
        for Spotted { value: client, offset } in &addresses {
            if !seen.insert(*client) {
                let message = format!("the address {client} stands here twice");
                table.refuse(*offset, message, "one address acts as one agent: remove one of them");
            }
        }
        Some(ClientEntry { addresses: values(addresses).into(), agent: agent? })
    };
    let entries: Vec<_> = tables.iter().map(read_one).collect();
    entries.into_iter().collect()
}

/// `None` inside: no engine is to be asked.
fn docker(document: &Document<'_>, wall: Option<&Wall>) -> Option<Option<Docker>> {
    let table = document.table("docker");
    let enabled = table.flag("enabled").or(false);
    let socket = table.text("socket", socket_path).or(PathBuf::from(DOCKER_SOCKET));
    let walled = match wall.map(|wall| &wall.mode) {
        Some(Mode::Gateway { interfaces }) => interfaces.as_slice(),
        Some(Mode::Sidecar { .. }) | None => &[],
    };
    let bridges = table.texts("bridges", interface);
    let all = walled.iter().map(|bridge| Spotted { value: bridge.clone(), offset: 0 }).collect();
    let bridges = bridges.or(all);
    let is_strange = |bridge: &&Spotted<InterfaceName>| wall.is_some() && !walled.contains(&bridge.value);
    for bridge in bridges.iter().flatten().filter(|_| enabled == Some(true)).filter(is_strange) {
        let message = format!("the bridge {} is no walled interface", bridge.value.as_str());
        table.refuse(bridge.offset, message, "name it in `wall.interfaces`, too: without, it has no wall");
    }
    let read_one = |table: &Table<'_>| {
        let network = table.text("network", |text| Ok(Some(text.to_owned()))).or(None);
        let name = table.text("name", |text| Ok(Some(text.to_owned()))).or(None);
        let agent = table.text("agent", agent).or_missing("say as whom, e.g. agent = \"ci\" for Agent::\"ci\"");
        Some(DockerAgent { network: network?, name: name?, agent: agent? })
    };
    let agents: Vec<_> = document.tables_in(&table, "agent", DOCKER_AGENT)?.iter().map(read_one).collect();
    let (enabled, socket, agents) = (enabled?, socket?, agents.into_iter().collect::<Option<Vec<_>>>()?);
    let bridges = values(bridges?);
    if enabled && wall.is_some_and(|wall| wall.mode.is_sidecar()) {
        let help = "containers are behind a gateway: set mode = \"gateway\" in [wall], or enabled = false here";
        table.refuse_key("enabled", "`docker.enabled` says nothing in sidecar mode", help);
    }
    Some(enabled.then_some(Docker { socket, bridges, agents }))
}

fn control(table: &Table<'_>) -> Option<Control> {
    Some(Control { socket: table.text("socket", socket_path).or(PathBuf::from(DEFAULT_SOCKET))? })
}

fn journal(table: &Table<'_>) -> Option<Journal> {
    let path = table.text("path", |text| file_path(text).map(Some)).or(None);
    let usual = Rotation::default();
    let max_size = table.text("max_size", size(100_000, 1_000_000_000_000)).or(usual.max_size);
    let max_age = table.text("max_age", duration(MINUTE, 8760 * HOUR)).or(usual.max_age);
    let keep = table.number("keep", 0..=1000).or(usual.keep);
    Some(Journal { path: path?, rotation: Rotation { max_size: max_size?, max_age: max_age?, keep: keep? } })
}

fn evidence(table: &Table<'_>) -> Option<Evidence> {
    let processes = table.flag("processes").or(true);
    let hold = table.text("hold", duration(MILLISECOND, SECOND)).or(20 * MILLISECOND);
    Some(Evidence { processes: processes?, hold: hold? })
}

fn refuse_empty<T>(table: &Table<'_>, key: &'static str, items: &[Spotted<T>]) {
    if items.is_empty() {
        table.refuse_key(key, format!("`{}` is empty", table.dotted(key)), "name at least one");
    }
}

fn refuse_duplicates<T, K: Eq + Hash>(table: &Table<'_>, items: &[Spotted<T>], identity: impl Fn(&T) -> K) {
    let mut seen = HashSet::new();
    for item in items {
        if !seen.insert(identity(&item.value)) {
            table.refuse(item.offset, "this stands here twice", "remove one of the two");
        }
    }
}

fn refuse_loops(table: &Table<'_>, listen: &[Spotted<SocketAddr>], upstream: &[Spotted<Upstream>]) {
    for server in upstream {
        if listen.iter().any(|listener| listener.value == server.value.address) {
            let message = format!("the upstream server {} is one of the wall's own listeners", server.value);
            table.refuse(server.offset, message, "name another server: the wall would ask itself");
        }
    }
}

fn values<T>(items: Vec<Spotted<T>>) -> Vec<T> {
    items.into_iter().map(|item| item.value).collect()
}
