//! What was found a moment ago, so that a flood of denials costs little.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::Handle;
use super::sockets::Found;
use crate::core::process::Process;

/// How long what was found is believed, while the process is alive and runs the
/// same command.
pub(super) const BELIEVED: Duration = Duration::from_millis(100);
/// Processes remembered at once, each with a file of ours; beyond that, all is
/// forgotten.
const PROCESSES: usize = 64;
/// Sockets remembered at once.
const SOCKETS: usize = 1024;

/// What was found for sockets, and told of processes.
#[derive(Default)]
pub(super) struct Recollection {
    holders: HashMap<Found, (Instant, u32)>,
    told: HashMap<u32, Told>,
}

struct Told {
    at: Instant,
    handle: Handle,
    command_line: (Vec<u8>, bool),
    process: Arc<Process>,
}

impl Recollection {
    /// The process that alone held this socket a moment ago.
    pub(super) fn of_socket(&self, socket: Found) -> Option<Arc<Process>> {
        let (at, pid) = self.holders.get(&socket)?;
        if at.elapsed() > BELIEVED { None } else { self.of_process(*pid) }
    }

    /// What was told of this process a moment ago. As long as it is alive, its
    /// number is nobody else's.
    pub(super) fn of_process(&self, pid: u32) -> Option<Arc<Process>> {
        let told = self.told.get(&pid).filter(|told| told.at.elapsed() < BELIEVED)?;
        let is_same = told.handle.command_line().is_ok_and(|command_line| command_line == told.command_line);
        is_same.then(|| Arc::clone(&told.process))
    }

    /// Remembers what is told of a process; `command_line` was read before all
    /// else.
    pub(super) fn tell(&mut self, handle: Handle, command_line: (Vec<u8>, bool), process: Arc<Process>) {
        if self.told.len() >= PROCESSES {
            self.told.clear();
        }
        self.told.insert(handle.pid, Told { at: Instant::now(), handle, command_line, process });
    }

    /// Remembers that a process alone holds this socket.
    pub(super) fn hold(&mut self, socket: Found, pid: u32) {
        if self.holders.len() >= SOCKETS {
            self.holders.clear();
        }
        self.holders.insert(socket, (Instant::now(), pid));
    }

    /// Forgets what is not believed any more.
    pub(super) fn tidy(&mut self) {
        self.holders.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        self.told.retain(|_, told| told.at.elapsed() < BELIEVED);
    }
}
