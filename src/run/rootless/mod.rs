//! The run of a user who is not root.
//!
//! ```text
//! cedarwall run ──┬── walled ──┬── janitor, serve, inside ──── init ──── COMMAND
//!  relay          │   PID 1    └── as in a run by root                  user namespace
//!                 └── pasta or slirp4netns                              of its own
//! ```
//!
//! The run makes a user namespace, in which it is root, and in that a network
//! namespace that stands for the host: `walled` does there what a run by root
//! does on the host, and is PID 1 of a PID namespace, so that the kernel ends
//! all of it, at the latest with the run itself. Nothing is made outside, and
//! nothing can remain.
//!
//! The namespace's way out is the user's own sockets: packets by pasta or
//! slirp4netns, questions to the host's resolvers by a relay in the run, as
//! resolvers on loopback are nowhere else to be reached. The host's own addresses
//! belong to the namespace as well. So they are the wall's side of it, and
//! closed, as they are in a run by root.
//!
//! The command has its user's number, which the processes around it have too.
//! What keeps it from them: see [`user_namespace::enter_another`].

mod outside;
mod relay;
mod uplink;
pub(super) mod user_namespace;
mod walled;

pub(super) use outside::run;
pub use walled::walled;

use std::path::PathBuf;

use ipnet::Ipv4Net;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::Settings;

/// What `walled` needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    /// What the user said, with the relay for upstream servers.
    settings: Settings,
    /// The user.
    uid: u32,
    /// The user's group.
    gid: u32,
    /// The network namespace that stands for the host.
    namespace: PathBuf,
    /// Whether a way to the IPv6 internet is to be expected.
    has_ipv6: bool,
    /// Networks that the host knows.
    taken: Vec<Ipv4Net>,
}

/// Where the run keeps what only it and its processes see: in a /run of its
/// own. Ubuntu's and Debian's AppArmor profiles permit pasta to read a
/// namespace from this folder and from few others.
fn folder(uid: Uid) -> PathBuf {
    PathBuf::from(format!("/run/user/{uid}/netns"))
}
