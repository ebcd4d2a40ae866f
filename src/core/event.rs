//! [`Event`]: the closed list of all that is ever logged or counted.

mod code;
mod fields;
mod id;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use self::fields::Fields;
use super::cap::Reached;
use super::decision::{Denial, Failure, Opening, PolicyId};
use super::name::{Hostname, Name};
use super::process::Traced;
use super::query::{Agent, Client, RecordKind};
pub use id::{EventId, Run};

/// The version of the set of events and of their fields. It rises when a
/// field goes or changes its meaning; a new event or field leaves it.
pub const VERSION: u32 = 1;

/// Something that happened, told once. The journal writes it as one JSON
/// line, the counters count it, and nothing else is ever logged about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A permitted question was answered and its addresses are open.
    QueryAnswered {
        /// Who asked what.
        subject: Subject,
        /// The policies that permitted it.
        policies: Arc<[PolicyId]>,
        /// The addresses the kernel acknowledged.
        opened: Arc<[IpAddr]>,
        /// The ports they are open on.
        openings: Arc<[Opening]>,
        /// Addresses taken out of the answer.
        removed: Arc<[IpAddr]>,
        /// TTL of the answer, seconds.
        ttl: u32,
        /// From the question's arrival to the answer, microseconds.
        micros: u64,
        /// In audit mode, what would have been said instead.
        would_deny: Option<Denial>,
        /// How many questions this tells of: more than one where the same one
        /// was asked again more often than is told one by one.
        times: u64,
    },
    /// A permitted name does not exist, or has no such record.
    QueryEmpty {
        /// Who asked what.
        subject: Subject,
        /// The policies that permitted it.
        policies: Arc<[PolicyId]>,
        /// NXDOMAIN rather than NODATA.
        no_such_name: bool,
        /// From the question's arrival to the answer, microseconds.
        micros: u64,
        /// In audit mode, what would have been said instead.
        would_deny: Option<Denial>,
    },
    /// A question was refused.
    QueryDenied {
        /// Who asked what.
        subject: Subject,
        /// Why, and by which policies.
        denial: Denial,
        /// Who asked.
        process: Traced,
        /// The address it was given, which leads nowhere.
        sinkhole: Option<IpAddr>,
        /// How many questions this tells of, as above.
        times: u64,
    },
    /// A permitted question could not be answered.
    QueryFailed {
        /// Who asked what.
        subject: Subject,
        /// What broke.
        failure: Failure,
        /// From the question's arrival to the answer, microseconds.
        micros: u64,
    },
    /// A name opened addresses to a client that it had not held open.
    LeaseOpened(LeaseTold),
    /// A name holds the addresses that it had opened for longer.
    LeaseRefreshed(LeaseTold),
    /// A name's lease ran out, and its addresses are closed unless another
    /// name of the client needs them.
    LeaseExpired(LeaseTold),
    /// The policy permits a name's lease no longer, or an operator closed it.
    /// Told of at most a thousand names at once; [`Event::PolicyRevoked`] and
    /// [`Event::OperatorRevoked`] have the number of all.
    LeaseRevoked(LeaseTold),
    /// A client began to connect to the address that a denied name had got.
    ConnectDenied {
        /// From where to where.
        flow: Flow,
        /// The denied name.
        hostname: String,
        /// Why the name had been denied, and by which policies.
        denial: Denial,
        /// Who connects.
        process: Traced,
    },
    /// The kernel let a client's packet go no further.
    PacketDropped {
        /// From where to where.
        flow: Flow,
        /// TCP flags, as letters (`S`, `SA`, `F` …); empty for what is not TCP.
        flags: String,
        /// Names this client was answered with that address for, the last
        /// first.
        hostnames: Vec<String>,
        /// Names others were answered with it for, the last first.
        hostnames_of_others: Vec<String>,
        /// Who sent it.
        process: Traced,
    },
    /// More of a client's packets were dropped than are told one by one.
    PacketsSummarised {
        /// Who sent them.
        client: Client,
        /// The principal, if one is known for the address.
        agent: Option<Agent>,
        /// How many that were not told one by one.
        packets: u64,
        /// Over how long, milliseconds.
        millis: u64,
        /// Where most of them went.
        most: Option<Flow>,
    },
    /// The kernel had more packets to tell of than the daemon could take; its
    /// counters have counted them.
    PacketsLost {
        /// How often the kernel said so.
        times: u64,
    },
    /// What went through an open address since it was last told of.
    TrafficCounted {
        /// Between which ends.
        flow: Flow,
        /// The client's names for that address, the last first.
        hostnames: Vec<String>,
        /// Flows that began.
        connections: u64,
        /// Packets, both directions.
        packets: u64,
        /// Octets, both directions, from the IP header on.
        bytes: u64,
    },
    /// Nothing is denied: the daemon is in audit mode, and says so now and
    /// then.
    AuditMode {
        /// Questions since the start that would have been denied.
        would_deny: u64,
    },
    /// The policy was read and is in force.
    PolicyLoaded {
        /// The file or folder.
        path: String,
        /// How many policies it holds.
        policies: usize,
        /// Warnings, one line each.
        warnings: Vec<String>,
    },
    /// A policy was to replace the one in force, and cannot be used.
    PolicyRefused {
        /// The file or folder.
        path: String,
        /// What is wrong with it, one line each.
        problems: Vec<String>,
    },
    /// The configuration was read again and is in force.
    ConfigLoaded {
        /// The file.
        path: String,
        /// Settings that take effect at the next start, `table.key`.
        waiting: Vec<String>,
    },
    /// A configuration was to replace the one in force, and cannot be used.
    ConfigRefused {
        /// The file.
        path: String,
        /// What is wrong with it, one line each.
        problems: Vec<String>,
    },
    /// An operator closed leases by hand.
    OperatorRevoked {
        /// Those of this agent.
        agent: Agent,
        /// Under this name; under every name where there is none.
        name: Option<Name>,
        /// Leases that ended, one for each client and name.
        leases: usize,
        /// Kernel elements taken out.
        elements: usize,
        /// Flows that had been admitted, and were ended.
        flows: usize,
    },
    /// What the policy permits no longer was closed.
    PolicyRevoked {
        /// Leases that ended, one for each client and name.
        leases: usize,
        /// Kernel elements taken out.
        elements: usize,
        /// Flows that had been admitted, and were ended.
        flows: usize,
    },
    /// The rules are in the kernel and were read back.
    WallUp {
        /// The nftables table.
        table: String,
        /// `gateway` or `sidecar`.
        mode: &'static str,
        /// Where questions are answered.
        listen: Vec<String>,
    },
    /// The daemon found its table standing, or flows of a wall before it, and
    /// took over what was open.
    TableAdopted {
        /// The nftables table.
        table: String,
        /// Leases taken over.
        leases: usize,
        /// Elements taken over that a policy has named.
        statics: usize,
        /// Elements that were not the daemon's own, and were taken out.
        unexplained: usize,
        /// Flows that nothing explained, and that were ended.
        flows: usize,
    },
    /// The table was gone or refused an element it should have taken; it was
    /// put back with every live lease.
    TableRestored {
        /// The nftables table.
        table: String,
        /// Leases put back.
        leases: usize,
    },
    /// Somebody had changed elements of the table; that was undone, and the
    /// rest of it was not touched.
    TableRepaired {
        /// The nftables table.
        table: String,
        /// Elements taken out that nothing permits.
        removed: usize,
        /// Leases and addresses of the policy that are again as they were.
        restored: usize,
        /// Flows that such elements had let in, and were ended.
        flows: usize,
    },
    /// The journal could not keep up, or could not write: lines are missing
    /// here. The counters have counted them.
    JournalLost {
        /// How many lines are missing.
        lines: usize,
    },
    /// Whoever reads the live events was slower than they came: lines are
    /// missing here, and are in the journal. One reader alone is told.
    StreamLost {
        /// How many lines are missing.
        lines: u64,
    },
    /// A container has come whose questions and packets are an agent's.
    ContainerKnown(ContainerTold),
    /// A container that was known has gone, or acts as somebody else; what was
    /// open for it is closed.
    ContainerGone(ContainerTold),
    /// A container is on a walled network, and acts as nobody: all it asks is
    /// denied.
    ContainerUnknown {
        /// Which.
        container: ContainerTold,
        /// Why.
        why: String,
    },
    /// The engine of the containers does not answer any more: those that are
    /// known stay, and nobody new is.
    EngineLost {
        /// Its socket.
        path: String,
        /// What went wrong.
        problem: String,
    },
    /// The engine of the containers answers.
    EngineFound {
        /// Its socket.
        path: String,
        /// Containers on walled networks.
        containers: usize,
    },
    /// A cap was met; told at most once a second for each cap and client.
    CapReached(Reached),
    /// The daemon stopped; the default drop stands.
    Stopped {
        /// The signal or command that ended it.
        cause: &'static str,
    },
}

/// Who asked what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The source address.
    pub client: Client,
    /// The principal, if one is known for the address.
    pub agent: Option<Agent>,
    /// The name as asked.
    pub name: Hostname,
    /// The type asked for.
    pub kind: RecordKind,
    /// The resolver that the client asked, where that was not the wall.
    pub resolver: Option<IpAddr>,
    /// Whether it was denied, or would have been, and a search suffix explains
    /// why anybody asks for it (see [`super::search`]): no alarm.
    pub search: bool,
}

/// What a lease event tells: one name of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTold {
    /// The source address.
    pub client: Client,
    /// The principal, if one is known for the address.
    pub agent: Option<Agent>,
    /// The name.
    pub name: Name,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports.
    pub openings: Vec<Opening>,
    /// How long they stay open from now, seconds; zero once they are closed.
    pub seconds: u64,
}

/// A container on a walled network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerTold {
    /// The engine's name for it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The principal, if it acts as one.
    pub agent: Option<Agent>,
    /// Its addresses on walled networks.
    pub addresses: Vec<IpAddr>,
}

/// From where to where a packet was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The source address.
    pub client: Client,
    /// The principal, if one is known for the address.
    pub agent: Option<Agent>,
    /// The source port, where the protocol has one and a single packet is
    /// meant.
    pub source_port: Option<u16>,
    /// The destination.
    pub address: IpAddr,
    /// `tcp`, `udp`, `icmp` … or the protocol's number.
    pub protocol: String,
    /// The destination port; `None` where the protocol has none.
    pub port: Option<u16>,
}

/// Where events go: the journal, or a test.
pub trait Report: Send + Sync {
    /// Takes one event. It must not block: the caller is about to answer.
    fn report(&self, event: Event);
}

impl<R: Report> Report for std::sync::Arc<R> {
    fn report(&self, event: Event) {
        R::report(self, event);
    }
}

impl Event {
    /// The event as a journal keeps it: one object of JSON. `id` is absent
    /// where it is told to one reader alone.
    pub fn line(&self, time: Timestamp, id: Option<EventId>) -> impl Serialize + '_ {
        Fields::of(self, time, id)
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
