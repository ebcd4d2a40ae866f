//! The processes of this host, by network namespace, and who of them holds a
//! socket.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};

use super::handle::Handle;
use super::recollection::BELIEVED;

/// Room for a part of the list of `/proc`.
const LIST: usize = 32 << 10;

/// Which processes there are, as they were last looked at.
#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<u32, Known>,
    refreshed: Option<Instant>,
}

/// A process that was looked at.
#[derive(Clone, Copy)]
struct Known {
    /// The number of its folder in `/proc`: another process of the same number
    /// has another one.
    folder: u64,
    /// Its network namespace; `None` where it may not be looked at.
    namespace: Option<u64>,
}

/// Time was up before all was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

/// Who holds the sockets that were asked for.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) handle: Handle,
    /// Which of them.
    pub(super) inodes: Vec<u64>,
}

impl Processes {
    /// Looks at those that have come since the last time.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        self.refreshed = Some(Instant::now());
        let before = std::mem::take(&mut self.known);
        for (pid, folder) in list()? {
            let known = before.get(&pid).copied().filter(|known| known.folder == folder);
            self.known.insert(pid, known.unwrap_or_else(|| Known { folder, namespace: namespace_of(pid) }));
        }
        Ok(())
    }

    /// The same, unless that was a moment ago.
    fn refresh_if_old(&mut self) -> io::Result<()> {
        if self.refreshed.is_some_and(|refreshed| refreshed.elapsed() < BELIEVED) { Ok(()) } else { self.refresh() }
    }

    /// Looks at all of them anew: a process may have entered another
    /// namespace.
    pub(super) fn look_again(&mut self) -> io::Result<()> {
        self.known.clear();
        self.refresh()
    }

    /// A process of each namespace: the oldest, which is the likeliest to stay.
    pub(super) fn namespaces(&self) -> HashMap<u64, u32> {
        let mut first = HashMap::new();
        for (&pid, known) in &self.known {
            if let Some(namespace) = known.namespace {
                first.entry(namespace).and_modify(|first: &mut u32| *first = pid.min(*first)).or_insert(pid);
            }
        }
        first
    }

    /// Who holds a socket of `inodes`: of the processes of `namespace`, those
    /// that were there at the last look and those that have come since; of all
    /// the others only if none of them does.
    ///
    /// # Errors
    /// When `deadline` has passed.
    pub(super) fn holders(
        &mut self,
        inodes: &[u64],
        namespace: u64,
        deadline: Instant,
    ) -> Result<Vec<Holder>, TooSlow> {
        let looks: [fn(&mut Self) -> io::Result<()>; 3] = [Self::refresh_if_old, Self::refresh, Self::look_again];
        for look in looks {
            // Without the list of processes nobody is found, and said to be
            // hidden.
            let _ = look(self);
            let holders = self.holders_among(inodes, |known| known == Some(namespace), deadline)?;
            if !holders.is_empty() {
                return Ok(holders);
            }
        }
        // Who has been handed the socket, or has come and gone to make it.
        self.holders_among(inodes, |known| known.is_some() && known != Some(namespace), deadline)
    }

    fn holders_among(
        &self,
        inodes: &[u64],
        is_meant: impl Fn(Option<u64>) -> bool,
        deadline: Instant,
    ) -> Result<Vec<Holder>, TooSlow> {
        let mut pids: Vec<u32> =
            self.known.iter().filter(|(_, known)| is_meant(known.namespace)).map(|(&pid, _)| pid).collect();
        pids.sort_unstable_by(|left, right| right.cmp(left));
        let mut holders = Vec::new();
        for pid in pids {
            if Instant::now() > deadline {
                return Err(TooSlow);
            }
            // It may have ended.
            let Ok(handle) = Handle::open(pid) else { continue };
            let inodes = handle.held(inodes).unwrap_or_default();
            if !inodes.is_empty() {
                holders.push(Holder { handle, inodes });
            }
        }
        Ok(holders)
    }
}

fn namespace_of(pid: u32) -> Option<u64> {
    Handle::open(pid).and_then(|handle| handle.namespace()).ok()
}

/// Every process, and the number of its folder.
fn list() -> io::Result<Vec<(u32, u64)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder: OwnedFd = openat(CWD, "/proc", flags, Mode::empty())?;
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); LIST];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut processes = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let pid = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        processes.extend(pid.map(|pid| (pid, entry.ino())));
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    fn inode(socket: &UdpSocket) -> u64 {
        let target = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        target.to_str().unwrap().trim_matches(|character: char| !character.is_ascii_digit()).parse().unwrap()
    }

    #[test]
    fn a_holder_is_found_in_the_namespace_it_is_said_to_be_in_and_elsewhere() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = namespace_of(std::process::id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        for namespace in [own, 1] {
            let holders = Processes::default().holders(&[inode(&socket)], namespace, deadline).unwrap();
            assert_eq!(holders.len(), 1);
            assert_eq!(holders[0].handle.pid, std::process::id());
        }
        assert!(Processes::default().holders(&[u64::MAX], own, deadline).unwrap().is_empty());
        let too_late = Processes::default().holders(&[inode(&socket)], own, Instant::now() - Duration::from_secs(1));
        assert_eq!(too_late.unwrap_err(), TooSlow);
    }
}
