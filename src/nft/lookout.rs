//! [`Lookout`]: a look at the kernel that the firewall's thread has no part in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::renewal;
use super::transaction::Connection;
use crate::core::config::TableName;

/// No generation: the kernel skips zero (`nf_tables_commit`).
const NONE: u32 = 0;

/// The generation of the ruleset in which the firewall's thread knows the
/// kernel to hold all that it was told; none while it does not.
#[derive(Clone, Debug)]
pub(super) struct Known(Arc<AtomicU32>);

impl Known {
    pub(super) fn nothing() -> Self {
        Self(Arc::new(AtomicU32::new(NONE)))
    }

    pub(super) fn tell(&self, generation: Option<u32>) {
        self.0.store(generation.unwrap_or(NONE), Ordering::SeqCst);
    }
}

/// Sees whether the ruleset is still as the firewall's thread left it, with a
/// socket of its own: what costs the thread a turn costs this a system call.
pub struct Lookout {
    connection: Connection,
    known: Known,
}

impl Lookout {
    pub(super) fn open(table: TableName, known: Known) -> io::Result<Self> {
        Ok(Self { connection: Connection::open(table, renewal())?, known })
    }

    /// Whether nobody has committed anything since the thread last looked or
    /// committed itself. "No" may mean that the thread is about to say so: then
    /// it has to be asked.
    pub fn holds(&mut self) -> bool {
        let known = self.known.0.load(Ordering::SeqCst);
        known != NONE && self.connection.generation().is_ok_and(|generation| generation == known)
    }
}
