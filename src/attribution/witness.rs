//! The thread that looks: from both ends of what was sent to the socket, to
//! who holds it, to what is told of them.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::description::describe;
use super::handle::Handle;
use super::namespaces::{Namespaces, Unknown};
use super::processes::{Holder, Processes};
use super::recollection::Recollection;
use super::sockets::Found;
use super::turns::{Next, Turns};
use super::users::Users;
use crate::core::process::{Ends, Process, Traced, Untraced};

/// All that the thread knows.
pub(super) struct Witness {
    is_sidecar: bool,
    namespaces: Namespaces,
    processes: Processes,
    users: Users,
    recollection: Recollection,
}

impl Witness {
    /// To be made on the thread that looks.
    ///
    /// # Errors
    /// When the kernel tells nothing of sockets.
    pub(super) fn new(is_sidecar: bool) -> io::Result<Self> {
        let mut namespaces = Namespaces::new()?;
        check(&mut namespaces)?;
        let (processes, users, recollection) = Default::default();
        Ok(Self { is_sidecar, namespaces, processes, users, recollection })
    }

    /// Answers until nobody asks any more.
    ///
    /// # Errors
    /// When the thread cannot come back to its own namespace.
    pub(super) fn serve(&mut self, turns: &Turns) -> io::Result<()> {
        loop {
            let until_idle = self.namespaces.close_idle();
            match turns.next(until_idle) {
                Next::Question(question) => match self.trace(question.ends, question.deadline) {
                    Ok(traced) => question.reply(&traced),
                    Err(Unknown::TooSlow) => question.reply(&Traced::Missing(Untraced::TooSlow)),
                    Err(Unknown::Lost(error)) => return Err(error),
                },
                Next::Nothing => self.recollection.tidy(),
                Next::Closed => return Ok(()),
            }
        }
    }

    fn trace(&mut self, ends: Ends, deadline: Instant) -> Result<Traced, Unknown> {
        if Instant::now() > deadline {
            return Err(Unknown::TooSlow);
        }
        if let Some(process) = self.seen_before(ends)? {
            return Ok(Traced::Found(process));
        }
        let mut found = self.senders(ends)?;
        // They may be in a namespace that was not there yet.
        if found.is_empty() && self.search(ends, deadline)? {
            found = self.senders(ends)?;
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Ok(Traced::Missing(self.why_nothing(ends))),
            (Some((namespace, sockets)), None) => self.name(ends, namespace, &sockets, deadline),
            (Some(_), Some(_)) => Ok(Traced::Missing(Untraced::Ambiguous)),
        }
    }

    /// What was found a moment ago for the very socket that waits for an
    /// answer.
    fn seen_before(&mut self, ends: Ends) -> Result<Option<Arc<Process>>, Unknown> {
        let mut waiting = Vec::new();
        for namespace in self.candidates(ends) {
            if let Some(sockets) = self.sockets(namespace, ends)? {
                waiting.extend(sockets.receiver(ends).ok().flatten());
            }
        }
        let [socket] = waiting.as_slice() else { return Ok(None) };
        Ok(self.recollection.of_socket(*socket))
    }

    /// The sockets that may have sent it, by namespace.
    fn senders(&mut self, ends: Ends) -> Result<Vec<(u64, BTreeSet<Found>)>, Unknown> {
        let mut found = Vec::new();
        for namespace in self.candidates(ends) {
            if let Some(sockets) = self.sockets(namespace, ends)? {
                let senders = sockets.senders(ends).unwrap_or_else(|error| {
                    tracing::debug!("the kernel does not tell of the sockets of {}: {error}", ends.client);
                    BTreeSet::new()
                });
                found.extend((!senders.is_empty()).then_some((namespace, senders)));
            }
        }
        Ok(found)
    }

    fn candidates(&self, ends: Ends) -> Vec<u64> {
        if self.is_sidecar { vec![self.namespaces.own()] } else { self.namespaces.known(ends.client.ip()) }
    }

    fn sockets(&mut self, namespace: u64, ends: Ends) -> Result<Option<&mut super::sockets::Sockets>, Unknown> {
        if self.is_sidecar {
            return Ok(self.namespaces.own_sockets().ok());
        }
        self.namespaces.sockets(namespace, ends.client.ip(), &self.processes)
    }

    fn search(&mut self, ends: Ends, deadline: Instant) -> Result<bool, Unknown> {
        if self.is_sidecar {
            return Ok(false);
        }
        self.namespaces.search(ends.client.ip(), &mut self.processes, deadline)
    }

    fn why_nothing(&self, ends: Ends) -> Untraced {
        if self.candidates(ends).is_empty() { Untraced::NotHere } else { Untraced::Gone }
    }

    /// Who holds the sockets, all of which are in `namespace`.
    fn name(
        &mut self,
        ends: Ends,
        namespace: u64,
        sockets: &BTreeSet<Found>,
        deadline: Instant,
    ) -> Result<Traced, Unknown> {
        let inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let holders = self.processes.holders(&inodes, namespace, deadline)?;
        if inodes.len() > 1 && !is_one(&holders, &inodes) {
            let why = if holders.is_empty() { self.why_nobody(ends)? } else { Untraced::Ambiguous };
            return Ok(Traced::Missing(why));
        }
        let count = holders.len();
        let Some(Holder { handle, .. }) =
            // In the same tick, the one with the lower number came first.
            holders.into_iter().min_by_key(|holder| (holder.handle.started().unwrap_or(u64::MAX), holder.handle.pid))
        else {
            return Ok(Traced::Missing(self.why_nobody(ends)?));
        };
        let pid = handle.pid;
        let known = self.recollection.of_process(pid);
        let Some(process) = known.or_else(|| self.tell(handle, namespace)) else {
            return Ok(Traced::Missing(Untraced::Gone));
        };
        if count > 1 {
            let socket_holders = u32::try_from(count).ok();
            return Ok(Traced::Found(Arc::new(Process { socket_holders, ..Process::clone(&process) })));
        }
        if let (Some(socket), 1) = (sockets.first(), sockets.len()) {
            self.recollection.hold(*socket, pid);
        }
        Ok(Traced::Found(process))
    }

    /// What there is to tell of a process; `None` if it has ended meanwhile.
    fn tell(&mut self, handle: Handle, namespace: u64) -> Option<Arc<Process>> {
        // Before the rest is read, so that it is of the same command.
        let command_line = handle.command_line().ok()?;
        // Who has a socket of another namespace has its ancestors elsewhere.
        let home = handle.namespace().unwrap_or(namespace);
        let remembered = handle.same().ok()?;
        let process = Arc::new(describe(handle, home, &mut self.users).ok()?);
        self.recollection.tell(remembered, command_line, Arc::clone(&process));
        Some(process)
    }

    fn why_nobody(&mut self, ends: Ends) -> Result<Untraced, Unknown> {
        Ok(if self.senders(ends)?.is_empty() { Untraced::Gone } else { Untraced::Hidden })
    }
}

/// Whether one process holds all of them, and nobody else any.
fn is_one(holders: &[Holder], inodes: &[u64]) -> bool {
    matches!(holders, [Holder { inodes: held, .. }] if inodes.iter().all(|inode| held.contains(inode)))
}

/// Whether the kernel tells of sockets at all: without the modules for it, it
/// says of each that there is none.
fn check(namespaces: &mut Namespaces) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let here = socket.local_addr()?;
    let ends = Ends::new(crate::core::query::Protocol::Udp, here, here);
    if namespaces.own_sockets()?.senders(ends)?.is_empty() {
        return Err(io::Error::other("the kernel does not tell of sockets; try: modprobe -a udp_diag tcp_diag"));
    }
    Ok(())
}
