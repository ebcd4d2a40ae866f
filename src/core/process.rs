//! [`Process`]: the program that asked or connected, as far as evidence goes.

pub mod masking;

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Flow;
use super::query::Protocol;

/// Both ends of what a client sent: by them its socket is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// What carries it.
    pub protocol: Protocol,
    /// The client's end.
    pub client: SocketAddr,
    /// The other one.
    pub server: SocketAddr,
}

impl Ends {
    /// Between these; a v4-mapped address is the IPv4 address it wraps.
    pub fn new(protocol: Protocol, client: SocketAddr, server: SocketAddr) -> Self {
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Self { protocol, client: canonical(client), server: canonical(server) }
    }

    /// Those of a single packet of `flow`; `None` where it has no ports, or is
    /// of a protocol whose sockets cannot be told apart.
    pub fn of(flow: &Flow) -> Option<Self> {
        let protocol = flow.protocol.parse().ok()?;
        let client = SocketAddr::new(flow.client.address(), flow.source_port?);
        Some(Self::new(protocol, client, SocketAddr::new(flow.address, flow.port?)))
    }
}

/// A process of a client, and the processes it descends from, up to the first
/// of its container. Field names are those of OCSF's `process` object where it
/// has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as the daemon's host counts.
    pub pid: u32,
    /// Its short name (`/proc/PID/comm`).
    pub name: String,
    /// The program file, as the process itself sees it; absent where it cannot
    /// be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its arguments, separated by spaces; what looks like a secret is masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmd_line: String,
    /// The effective user's number, as the daemon's host counts.
    pub uid: u32,
    /// That user's name, where the host has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The container's id, where the control group tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// How many processes hold the socket, where it is not this one alone: then
    /// any of them may have sent, and this is the oldest, from which the others
    /// have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_holders: Option<u32>,
    /// The process that started it; absent at the container's first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_process: Option<Box<Self>>,
}

/// What is known of who did it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Traced {
    /// This process holds the socket.
    Found(Arc<Process>),
    /// It could not be said.
    Missing(Untraced),
    /// Nobody looked: tracing is off.
    #[default]
    Unasked,
}

/// Why it could not be said which process it was. Nothing is guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Untraced {
    /// The socket was closed, or its process had ended.
    Gone,
    /// The socket is there, and no process that can be seen holds it.
    Hidden,
    /// Several sockets share the port, and different processes hold them.
    Ambiguous,
    /// The client's address is in no network namespace of this host that can be
    /// seen from here.
    NotHere,
    /// The daemon may not look.
    NotAllowed,
    /// Looking took longer than a denial may be held.
    TooSlow,
}

impl Untraced {
    /// Every reason there is.
    pub const ALL: [Self; 6] =
        [Self::Gone, Self::Hidden, Self::Ambiguous, Self::NotHere, Self::NotAllowed, Self::TooSlow];

    /// A stable word for the journal.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Hidden => "hidden",
            Self::Ambiguous => "ambiguous",
            Self::NotHere => "not_here",
            Self::NotAllowed => "not_allowed",
            Self::TooSlow => "too_slow",
        }
    }
}
