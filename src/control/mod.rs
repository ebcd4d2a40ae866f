//! The control interface: HTTP over a Unix socket, for the operator's
//! commands, for probes and for Prometheus.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the daemon runs, from when the wall stands and questions are answered |
//! | `GET /readyz` | 200 once, besides, an upstream server has answered or is known not to; 503 before |
//! | `GET /metrics` | counters, in the OpenMetrics text format |
//! | `GET /status` | [`Status`] |
//! | `GET /leases` | a list of [`LeaseRow`] |
//! | `GET /denials` | [`DenialReport`] |
//! | `GET /events` | the events from now on, one JSON line each as in the journal's file, until either side goes |
//! | `GET /exposure` | a list of [`ExposureRow`] |
//! | `POST /traffic` | what went through is told to the journal now: a list of [`TrafficRow`] |
//! | `POST /reload` | configuration and policy are read again: [`ReloadReport`] |
//! | `POST /revoke` | a [`RevokeRequest`] closes leases by hand: [`RevokeReport`] |
//!
//! A walled client cannot reach it (G12): a file in the daemon's own mount
//! namespace is no address a packet can go to, and mode 0660 keeps other
//! users of the host out. Nothing here opens the wall: what may be open is
//! decided by whoever may write the configuration and the policy files.

mod client;
mod events;
mod follow;
mod server;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::client::{get, is_alive, is_ready, post, post_with};
pub use self::follow::{Came, Follow};
pub use self::socket::ControlSocket;
use crate::core::name::Name;
use crate::core::query::{Agent, Protocol};
use crate::journal::{Denials, QueryTotals, TableTotals};

/// What the control interface asks the daemon.
pub trait House: Send + Sync + 'static {
    /// Whether the wall stands, questions are answered, and an upstream server
    /// has answered or is known not to.
    fn is_ready(&self) -> bool;

    /// How the wall is set up, and how long it has run.
    fn status(&self) -> impl Future<Output = HouseStatus> + Send;

    /// Tells the journal of what it is told in sums from time to time, so that
    /// what it counts is exact.
    fn tell_repeats(&self);

    /// All that is open.
    fn leases(&self) -> impl Future<Output = Vec<LeaseRow>> + Send;

    /// Every open address that has more names than it is open under.
    fn exposure(&self) -> impl Future<Output = Vec<ExposureRow>> + Send;

    /// What the kernel has counted of what went through, told to the journal
    /// first.
    fn traffic(&self) -> impl Future<Output = Vec<TrafficRow>> + Send;

    /// Has the configuration and the policy read again.
    ///
    /// # Errors
    /// In words for the operator, when the daemon is about to stop.
    fn reload(&self) -> impl Future<Output = Result<ReloadReport, String>> + Send;

    /// Closes leases by hand.
    ///
    /// # Errors
    /// In words for the operator, when the kernel did not take it.
    fn revoke(&self, request: RevokeRequest) -> impl Future<Output = Result<RevokeReport, String>> + Send;

    /// The named counters of the kernel, without its sets, which are long.
    ///
    /// # Errors
    /// As [`Self::kernel`].
    fn counters(&self) -> impl Future<Output = Result<Vec<KernelCounter>, String>> + Send;

    /// What the kernel itself has counted.
    ///
    /// # Errors
    /// In words for the operator, when the kernel could not be read.
    fn kernel(&self) -> impl Future<Output = Result<KernelCounts, String>> + Send;
}

/// The daemon, as `cedarwall status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Cedarwall's own release.
    pub version: String,
    /// Whether the wall stands and questions are answered.
    pub ready: bool,
    /// What the daemon says of itself.
    #[serde(flatten)]
    pub house: HouseStatus,
    /// Queries since the start.
    pub queries: QueryTotals,
    /// How often the table was put back or repaired since the start.
    #[serde(default)]
    pub undone: TableTotals,
    /// Lines missing from the journal.
    pub journal_lost: u64,
}

/// How the wall is set up, and how long it has run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HouseStatus {
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// `gateway` or `sidecar`.
    pub mode: String,
    /// The nftables table, e.g. `inet cedarwall`.
    pub table: String,
    /// `drop` or `reject`.
    pub verdict: String,
    /// The walled interfaces.
    pub interfaces: Vec<String>,
    /// Where questions are answered.
    pub listen: Vec<String>,
    /// Where permitted questions go.
    pub upstream: Vec<String>,
    /// The journal's file, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// The policy's file or folder.
    pub policy: String,
    /// How many policies it holds.
    pub policies: usize,
    /// `enforce`, or `audit`: then nothing is denied.
    #[serde(default)]
    pub policy_mode: String,
    /// When configuration and policy were last read and put into force
    /// (RFC 3339).
    #[serde(default)]
    pub loaded_at: String,
    /// Whether a change of their files is taken up without being told.
    #[serde(default)]
    pub watch: Watching,
    /// Settings that the configuration has changed and that take effect at
    /// the next start, `table.key`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// How many attempts to read them again ended how.
    #[serde(default)]
    pub reloads: ReloadTotals,
    /// Whether denials name the process that asked: `on`, `off`, or why they
    /// cannot.
    #[serde(default)]
    pub processes: String,
    /// How many client addresses are known.
    pub clients: usize,
    /// Live leases.
    pub leases: usize,
    /// Addresses that the policy names itself, open without DNS.
    pub statics: usize,
    /// The last attempt to read configuration and policy again, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedPolicy>,
}

/// Whether a change of the files is taken up without being told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watching {
    /// It is not: the configuration says so.
    #[default]
    Off,
    /// It is.
    On,
    /// It should be, and cannot; why, and what to do.
    Failed(String),
}

/// How many attempts to read configuration and policy again ended how, since
/// the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadTotals {
    /// Put into force.
    pub loaded: u64,
    /// Something was wrong with them.
    pub refused: u64,
    /// The files had been touched, and say what they said before.
    pub unchanged: u64,
}

/// A configuration or a policy that was to replace the one in force, and
/// cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPolicy {
    /// When it was tried (RFC 3339).
    pub at: String,
    /// What is wrong with it, one line each.
    pub problems: Vec<String>,
}

/// What came of reading configuration and policy again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whether they are in force; if not, what was in force stays.
    pub loaded: bool,
    /// The policy's file or folder.
    pub policy: String,
    /// How many policies it holds.
    pub policies: usize,
    /// What is doubtful about it, one line each.
    pub warnings: Vec<String>,
    /// What is wrong with it, one line each; or what kept it from being
    /// carried out in full.
    pub problems: Vec<String>,
    /// Settings that take effect at the next start, `table.key`.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Kernel elements that it closed.
    pub closed_elements: usize,
    /// Flows that it ended.
    pub ended_flows: usize,
}

/// Which leases are to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Those of this agent.
    pub agent: Agent,
    /// Under this name; under every name where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

/// What came of closing leases by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeReport {
    /// Whether a client acts as this agent.
    pub agent_is_known: bool,
    /// The names under which something was open.
    pub names: Vec<String>,
    /// Kernel elements that were closed.
    pub closed_elements: usize,
    /// Kernel elements that stay, as another name of the client needs them.
    pub shared_elements: usize,
    /// Flows that were ended.
    pub ended_flows: usize,
    /// Addresses of this agent that stay open because the policy names them,
    /// with protocol and ports.
    pub named_by_policy: Vec<String>,
}

impl RevokeReport {
    /// Whether there was anything to close.
    pub const fn found(&self) -> bool {
        !self.names.is_empty() || self.ended_flows > 0
    }
}

/// What is open: one element of a kernel set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// For whom.
    pub client: IpAddr,
    /// The principal of that address.
    pub agent: Option<String>,
    /// To which address; to which prefix, where the policy names one.
    pub address: String,
    /// Over which protocol.
    pub protocol: Protocol,
    /// To which ports: `443`, `8000-8080` or `every`.
    pub ports: String,
    /// Whole seconds until it ends; absent where it stays until the policy
    /// changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// The names that need it; none where the policy names the address.
    pub names: Vec<String>,
}

/// An open address that has more names than it is open under: whoever may
/// reach it under one may reach it under all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposureRow {
    /// For whom it is open.
    pub client: IpAddr,
    /// The principal of that address.
    pub agent: Option<String>,
    /// The address.
    pub address: IpAddr,
    /// On which ports, with their protocol.
    pub ports: Vec<String>,
    /// The names it is open under.
    pub names: Vec<String>,
    /// The other names that an answer has given it, to whomever, denied ones
    /// first.
    pub others: Vec<ExposedName>,
}

/// Another name of an open address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposedName {
    /// The name.
    pub name: String,
    /// Whether the policy in force denies it to this client, on one of the
    /// ports at least.
    pub denied: bool,
    /// [`Reason::code`](crate::core::decision::Reason::code), where it is
    /// denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policies that deny it; none: the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Whether this client was told it as that name's, and not only others.
    pub told_to_client: bool,
    /// When somebody last was (RFC 3339, UTC).
    pub last: String,
}

/// What went through between a client and one port of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficRow {
    /// The client.
    pub client: IpAddr,
    /// The principal of that address.
    pub agent: Option<String>,
    /// The address.
    pub address: IpAddr,
    /// `tcp`, `udp` or the protocol's number.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The client's names for that address, the last first.
    pub names: Vec<String>,
    /// Flows that began.
    pub connections: u64,
    /// Packets, both directions, as the kernel forwards them: some of them put
    /// together.
    pub packets: u64,
    /// Octets, both directions, from the IP header on.
    pub bytes: u64,
}

/// What the kernel itself has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounts {
    /// The table's named counters.
    pub counters: Vec<KernelCounter>,
    /// The elements of the sets of refused packets.
    pub refused: Vec<RefusedRow>,
}

/// A named counter of the nftables table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounter {
    /// Its name in the ruleset.
    pub name: String,
    /// Packets so far.
    pub packets: u64,
    /// Octets so far.
    pub bytes: u64,
}

/// Packets that no lease admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// Who sent them.
    pub client: IpAddr,
    /// The principal of that address.
    pub agent: Option<String>,
    /// Where to.
    pub address: IpAddr,
    /// Over which protocol: `tcp`, `udp`, `icmp` or its number.
    pub protocol: String,
    /// To which port; zero where the protocol has none.
    pub port: u16,
    /// How many.
    pub packets: u64,
}

/// What was denied, by the daemon and by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialReport {
    /// Questions the daemon denied.
    #[serde(flatten)]
    pub denials: Denials,
    /// The kernel's counters.
    pub kernel: Vec<KernelCounter>,
    /// Packets the kernel refused.
    pub refused: Vec<RefusedRow>,
    /// Why `kernel` and `refused` are empty, if the kernel could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_error: Option<String>,
}

/// Why the control socket could not be offered, or asked.
#[derive(Debug, Error)]
pub enum Error {
    /// Another daemon answers there.
    #[error("another daemon already answers on {}: stop it, or set another [control] socket", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{} is in the way of the control socket and is no socket: remove it, or set another [control] socket", .0.display())]
    InTheWay(PathBuf),
    /// The socket could not be made.
    #[error("cannot offer the control socket {}: {source}", path.display())]
    Bind {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended by itself.
    #[error("the control socket failed: {0}")]
    Serve(io::Error),
    /// Nobody answers.
    #[error(
        "no daemon answers on {}: is `cedarwall serve` running? If its [control] socket is elsewhere, name it with --socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The user may not ask.
    #[error("not allowed to ask the daemon on {}: run this as root, or as a member of the socket's group", .0.display())]
    NotAllowed(PathBuf),
    /// The conversation broke off.
    #[error("cannot talk to the daemon on {}: {reason}", path.display())]
    Conversation {
        /// The socket.
        path: PathBuf,
        /// What broke.
        reason: String,
    },
}
