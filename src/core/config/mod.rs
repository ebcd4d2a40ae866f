//! The daemon's configuration: types that cannot hold a bad value, and the
//! reading of TOML into them.

mod change;
mod docker;
mod nameservers;
mod parse;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::query::{Agent, Client};
pub use change::Step;
pub use docker::{Docker, DockerAgent};
pub use nameservers::nameservers;

/// Where Docker's engine listens unless configuration says otherwise.
pub const DOCKER_SOCKET: &str = "/run/docker.sock";
/// Where the control socket is unless configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/cedarwall/control.sock";

/// Everything `cedarwall serve` can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[dns]`
    pub dns: Dns,
    /// `[policy]`
    pub policy: PolicySettings,
    /// `[wall]`
    pub wall: Wall,
    /// `[lease]`
    pub lease: LeaseSettings,
    /// `[[client]]`
    pub clients: Vec<ClientEntry>,
    /// `[control]`
    pub control: Control,
    /// `[journal]`
    pub journal: Journal,
    /// `[names]`
    pub names: NameLimits,
    /// `[evidence]`
    pub evidence: Evidence,
    /// `[docker]`; `None`: no engine is asked.
    pub docker: Option<Docker>,
}

impl Config {
    /// The same configuration with every relative path starting at `folder`:
    /// the folder of the file it was read from.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.policy.path = folder.join(&self.policy.path);
        self.journal.path = self.journal.path.map(|path| folder.join(path));
        self
    }

    /// Where captured questions are answered: on the first address of each
    /// family that the wall listens on and that packets can be sent on to.
    pub fn captures(&self) -> Vec<SocketAddr> {
        let Some(port) = self.wall.dns_capture else { return Vec::new() };
        let of_family = |is_ipv4| {
            let mut addresses = self.dns.listen.iter().map(SocketAddr::ip);
            addresses.find(|address| address.is_ipv4() == is_ipv4 && is_reachable(*address))
        };
        let addresses = [true, false].into_iter().filter_map(of_family);
        addresses.map(|address| SocketAddr::new(address, port)).collect()
    }
}

/// Whether what arrives from a link can be sent on to this address of ours.
const fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_loopback(),
        IpAddr::V6(six) => !six.is_loopback() && !six.is_unicast_link_local(),
    }
}

/// `[dns]`: where questions come in, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Addresses to listen on, UDP and TCP each; never a wildcard.
    pub listen: Vec<SocketAddr>,
    /// Upstream servers in order of preference; at least one.
    pub upstream: Vec<Upstream>,
    /// What a denied name gets.
    pub deny: DenyAnswer,
    /// How long a client may remember a denial.
    pub deny_ttl: Duration,
    /// How many answers the cache holds at most.
    pub cache_entries: u64,
    /// Queries in flight at once, over all clients.
    pub max_in_flight: usize,
    /// TCP connections open at once, over all clients.
    pub max_connections: usize,
    /// How long an idle TCP connection stays open (RFC 7766 section 6.2.3).
    pub idle_timeout: Duration,
    /// How long all upstream servers together may take.
    pub upstream_timeout: Duration,
    /// Queries in flight at once of one client.
    pub in_flight_per_client: usize,
    /// Queries one client may ask in a second; all strangers are one client.
    pub queries_per_second: u32,
    /// Queries it may ask at once, before that rate counts.
    pub burst: u32,
    /// The clients' search suffixes (`search` of resolv.conf(5)): what is denied
    /// at or below one of them is no alarm.
    pub search: Arc<[Name]>,
}

/// An upstream server: `udp://192.0.2.53:53` or `tcp://192.0.2.53:53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// How to speak to it first; UDP goes to TCP when truncated.
    pub transport: Transport,
    /// Where it is.
    pub address: SocketAddr,
}

impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(formatter, "{scheme}://{}", self.address)
    }
}

/// What carries DNS messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream with two-octet lengths (RFC 7766).
    Tcp,
}

/// `deny`: what a denied name gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenyAnswer {
    /// NXDOMAIN with a synthesised SOA: every program gives up at once.
    #[default]
    Nxdomain,
    /// REFUSED: honest, but many stub resolvers then try the next server.
    Refused,
    /// An address of its own that leads nowhere (see [`super::sinkhole`]): who
    /// connects to it is refused at once, and tells the port.
    Sinkhole,
}

/// `[policy]`: the Cedar policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// A `.cedar` file, or a folder of them with an optional `entities.json`.
    pub path: PathBuf,
    /// How an unconditional forbid over everything is read.
    pub catch_all_forbid: CatchAllForbid,
    /// Whether a change of its files, or of the configuration's, is taken up
    /// without being told.
    pub watch: bool,
    /// Whether what it denies is denied.
    pub mode: PolicyMode,
}

/// `policy.mode`: what a denial comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyMode {
    /// What is not permitted is denied.
    #[default]
    Enforce,
    /// Nothing is denied but by a guard: every name is answered, every packet
    /// of a known client passes that does not go to a special-purpose range,
    /// and all that would have been denied is marked and counted.
    Audit,
}

impl PolicyMode {
    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// How `forbid(principal, action == Action::"net.connect", resource);` is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatchAllForbid {
    /// As Cedar reads it: everything is denied, whatever is permitted.
    #[default]
    Strict,
    /// As people mean it: "and nothing else", which is the default anyway.
    DefaultDeny,
}

/// `[wall]`: what the kernel does with the clients' packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wall {
    /// Where the clients are.
    pub mode: Mode,
    /// What happens to a packet that no lease admits.
    pub verdict: PacketVerdict,
    /// Special-purpose ranges that answers may carry all the same.
    pub allow_ranges: Vec<IpNet>,
    /// The name of the nftables table, `cedarwall` unless told otherwise.
    pub table: TableName,
    /// Whether nobody but the daemon can change the table while it runs, where
    /// the kernel has that.
    pub protect: bool,
    /// Packets a second that one client may send to the wall's own DNS before
    /// the kernel drops them; in sidecar mode, all that share the namespace.
    pub dns_packets_per_second: u32,
    /// The netfilter log's group over which the kernel tells of refused
    /// packets.
    pub log_group: u16,
    /// The port at which the wall answers what the clients ask others on port
    /// 53; `None` where that is not captured, as in sidecar mode.
    pub dns_capture: Option<u16>,
}

/// Where the clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In other network namespaces, behind these interfaces of ours (at least
    /// one).
    Gateway {
        /// The walled interfaces.
        interfaces: Vec<InterfaceName>,
    },
    /// In the daemon's own network namespace.
    Sidecar {
        /// The interfaces packets leave by, whose egress hook also catches
        /// what `AF_PACKET` sends.
        interfaces: Vec<InterfaceName>,
    },
}

impl Mode {
    /// Whether the clients are in the daemon's own network namespace.
    pub const fn is_sidecar(&self) -> bool {
        matches!(self, Self::Sidecar { .. })
    }
}

/// A network interface's name (`IFNAMSIZ`: 1 to 15 octets, no `/`, no white
/// space).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct InterfaceName(Arc<str>);

impl InterfaceName {
    /// Parses a name that may stand between quotes in nftables text.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.@:".contains(&octet);
        let valid = (1..=15).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != "..";
        valid.then(|| Self(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An nftables table's name: a letter, then up to 30 letters, digits and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TableName(Arc<str>);

impl TableName {
    /// Parses a name that needs no quotes in nftables text.
    pub fn parse(text: &str) -> Option<Self> {
        let starts_well = text.bytes().next().is_some_and(|octet| octet.is_ascii_lowercase());
        let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
        (starts_well && text.len() <= 31 && text.bytes().all(plain)).then(|| Self(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TableName {
    /// The name beside it, under which a ruleset is put to be compared. It is
    /// longer than what [`parse`](Self::parse) takes, so it is nobody's.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self(format!("{}_compared_by_the_daemon_at_its_start", self.0).into())
    }
}

impl Default for TableName {
    fn default() -> Self {
        Self("cedarwall".into())
    }
}

/// What happens to a packet that no lease admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PacketVerdict {
    /// Silence: the SYN is never answered.
    #[default]
    Drop,
    /// A TCP reset or an ICMP error at once.
    Reject,
}

/// `[lease]`: how long addresses stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// A lease lives at least this long, however short the answer's TTL.
    pub min: Duration,
    /// A lease, and so an answer, lives at most this long.
    pub max: Duration,
    /// How much longer than its answer a lease lives.
    pub grace: Duration,
    /// Leases one client may hold: one for each name, address and port.
    pub per_client: u32,
    /// Elements each kernel set may hold.
    pub set_size: u32,
    /// Leases one name may hold open for one client.
    pub per_name: u32,
    /// Leases over all clients.
    pub total: u32,
}

/// `[names]`: what one client may tell in a minute by the labels that no permit
/// names (see [`super::budget`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// Distinct names.
    pub per_minute: u32,
    /// Octets of their labels.
    pub octets_per_minute: u32,
    /// What those labels can tell, in bits.
    pub bits_per_minute: u32,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { per_minute: 300, octets_per_minute: 8192, bits_per_minute: 32_768 }
    }
}

/// `[[client]]`: which principal a client acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// Its addresses, at least one: `address = "10.77.0.2"`, or a list with
    /// one of each family.
    pub addresses: Arc<[Client]>,
    /// The principal.
    pub agent: Agent,
}

/// `[control]`: how an operator reaches the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The Unix socket, mode 0660.
    pub socket: PathBuf,
}

/// `[evidence]`: what is found out about what was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether a denial names the process that asked, where the daemon may look.
    pub processes: bool,
    /// How long a denial is held for it; an answer never is.
    pub hold: Duration,
}

/// `[journal]`: where events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The file of JSON lines; `None`: standard error only.
    pub path: Option<PathBuf>,
    /// When it gives way to a new one.
    pub rotation: Rotation,
}

/// When a file of the journal gives way to a new one, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Octets a file may have.
    pub max_size: u64,
    /// How old its first event may be.
    pub max_age: Duration,
    /// How many files are kept besides the one that is written to.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_size: 64_000_000, max_age: Duration::from_secs(24 * 60 * 60), keep: 7 }
    }
}
