//! `cedarwall demo`: the story, on real namespaces and a real kernel.
//!
//! ```text
//! netns agent ──── netns wall ──── netns internet
//! npm, node, curl  cedarwall serve  DNS, API, registry, telemetry, open DNS
//! ```
//!
//! All of it lives in a mount, PID and network namespace of the demo's own,
//! and in a user namespace where the caller is not root, so that it vanishes
//! with its process. What it claims it reads from the kernel (sets and
//! counters of nftables) or from the other side (what the telemetry host saw),
//! and every step is checked.

mod enter;
mod evidence;
mod internet;
mod kernel;
mod package;
mod probe;
mod report;
mod stage;
mod story;

use std::io;

use thiserror::Error;

pub use enter::demo;
pub use internet::internet;
pub use probe::{Probe, probe};
pub use story::tell;

use crate::core::config::CatchAllForbid;

/// What `cedarwall demo` was told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How the policy's last line is read.
    pub catch_all_forbid: CatchAllForbid,
    /// The steps as JSON instead of text.
    pub json: bool,
}

/// Why the story could not be told.
#[derive(Debug, Error)]
pub enum Error {
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
    /// A program the host must have.
    #[error("`{0}` is not installed; on Debian and Ubuntu:\n  apt install iproute2 nftables curl tar nodejs npm")]
    Missing(String),
    /// A command failed.
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
    /// A part did not come up.
    #[error("{0}")]
    Part(String),
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
