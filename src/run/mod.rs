//! `cedarwall run`: one command behind a wall of its own.
//!
//! ```text
//! cedarwall run ──┬── janitor      own session; undoes everything at the end
//!                 ├── serve        the daemon, in the host's network namespace
//!                 └── inside ──── init ──── COMMAND
//!                     unshares     PID 1     capabilities dropped
//! ```
//!
//! The command's network namespace has one link, and the wall stands on the
//! host's end of it. Every change to the host is told to the janitor *before*
//! it is made; the janitor undoes what it was told when its pipe closes, which
//! happens at a normal end and at `kill -9` alike. There is no other clean-up.
//!
//! Who is not root gets the same in a user namespace: see `rootless`.
//!
//! Neither here nor elsewhere does this crate fork (that is unsafe code): each
//! process of the picture is `/proc/self/exe` started anew with a hidden
//! subcommand.

mod conduct;
mod forwarding;
mod handshake;
mod init;
mod inside;
mod invoker;
mod janitor;
mod mounts;
mod network;
mod plan;
mod privileges;
mod process;
mod resolver;
mod rootless;
pub mod summary;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use conduct::run;
pub use init::init;
pub use inside::inside;
pub use janitor::janitor;
pub use rootless::walled;

use crate::core::config::{CatchAllForbid, DenyAnswer, PacketVerdict};
use crate::core::query::Agent;

/// What `cedarwall run` was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The policy file or folder.
    pub policy: PathBuf,
    /// The principal the command acts as.
    pub agent: Agent,
    /// How an unconditional forbid over everything is read.
    pub catch_all_forbid: CatchAllForbid,
    /// Special-purpose ranges that answers may carry.
    pub allow_ranges: Vec<IpNet>,
    /// Upstream servers; empty: those of the host's `/etc/resolv.conf`.
    pub upstream: Vec<SocketAddr>,
    /// What a denied name gets.
    pub deny: DenyAnswer,
    /// What happens to a packet that no lease admits.
    pub verdict: PacketVerdict,
    /// Where to keep the journal; `None`: nowhere.
    pub journal: Option<PathBuf>,
    /// The summary as one JSON object instead of text.
    pub json: bool,
    /// The command and its arguments; not empty.
    pub command: Vec<String>,
}

/// Why the command could not be put behind a wall.
#[derive(Debug, Error)]
pub enum Error {
    /// Who is not root needs user namespaces.
    #[error("without root, {what}: {cause}\n  {mend}, or run it as root:\n  sudo cedarwall run …")]
    Unprivileged {
        /// What failed.
        what: String,
        /// What the kernel said.
        cause: io::Error,
        /// What to do.
        mend: String,
    },
    /// Who is not root needs a program that carries packets for them.
    #[error(
        "a run without root needs `pasta` or `slirp4netns`, and neither is installed; on Debian and Ubuntu:\n  \
         apt install passt\nor run it as root:\n  sudo cedarwall run …"
    )]
    NoUplink,
    /// That program does not do it.
    #[error("`{program}` does not carry the wall's packets: {said}")]
    Uplink {
        /// Which one.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A file that the run cannot see.
    #[error("{what} {path} is below /run, which a run without root does not see; keep it elsewhere")]
    Hidden {
        /// What is in it.
        what: &'static str,
        /// Its name.
        path: String,
    },
    /// A program the host must have.
    #[error("`{program}` is not installed; on Debian and Ubuntu:\n  apt install {package}")]
    Missing {
        /// What is called.
        program: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// The kernel lacks, or forbids, something.
    #[error("the kernel refuses {what}: {cause}\n  {mend}")]
    Kernel {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        cause: nix::errno::Errno,
        /// What to do.
        mend: &'static str,
    },
    /// A command of ours failed.
    #[error("`{command}` failed: {output}")]
    Tool {
        /// The command line.
        command: String,
        /// What it said.
        output: String,
    },
    /// A file or socket.
    #[error("{what}: {cause}")]
    Io {
        /// What was done to which file.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// No free addresses.
    #[error("no /30 in 10.213.0.0/16 or 172.29.0.0/16 is free of the host's routes (see `ip route show table all`)")]
    NoSubnet,
    /// Nobody to ask.
    #[error("/etc/resolv.conf names no nameserver; name one with --upstream 192.0.2.53")]
    NoUpstream,
    /// The daemon ended or did not get ready.
    #[error("the wall did not come up: {0}")]
    Wall(String),
    /// The inside could not be made.
    #[error("cannot start the command: {0}")]
    Inside(String),
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    fn kernel(what: &'static str, mend: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |cause| Self::Kernel { what, cause, mend }
    }
}
