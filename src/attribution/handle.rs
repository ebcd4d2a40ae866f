//! One process, read from `/proc`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};

use super::status::{Status, started};

/// What is read of a command line.
const COMMAND_LINE: usize = 4096;
/// What is read of any other file.
const FILE: usize = 4096;
/// Room for the target of a link.
const LINK: usize = 4096;
/// Room for a part of a folder's list.
const LIST: usize = 8192;

/// A process that cannot be mistaken for a later one with the same number: the
/// kernel resolves what is opened beneath `/proc/PID` by the process it was
/// opened for, and fails once that has ended.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) pid: u32,
    folder: OwnedFd,
}

impl Handle {
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self { pid, folder })
    }

    /// A second handle on the same process.
    pub(super) fn same(&self) -> io::Result<Self> {
        Ok(Self { pid: self.pid, folder: self.folder.try_clone()? })
    }

    /// The number of its network namespace.
    pub(super) fn namespace(&self) -> io::Result<u64> {
        let mut target = [0; 64];
        let length = readlinkat_raw(&self.folder, "ns/net", &mut target)?;
        number_in(target.get(..length).unwrap_or_default(), b"net:[").ok_or(io::ErrorKind::InvalidData.into())
    }

    /// Its network namespace, to be entered.
    pub(super) fn open_namespace(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.folder, "ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Whether it holds one of the sockets with these inodes, and which.
    pub(super) fn held(&self, inodes: &[u64]) -> io::Result<Vec<u64>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let files = openat(&self.folder, "fd", flags, Mode::empty())?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); LIST];
        let mut list = RawDir::new(&files, &mut buffer);
        let mut held = Vec::new();
        while let Some(entry) = list.next() {
            let entry = entry?;
            let mut target = [0; 64];
            // Closed meanwhile, or `.`.
            let Ok(length) = readlinkat_raw(&files, entry.file_name(), &mut target) else { continue };
            let inode = number_in(target.get(..length).unwrap_or_default(), b"socket:[");
            held.extend(inode.filter(|inode| inodes.contains(inode)));
        }
        Ok(held)
    }

    pub(super) fn status(&self) -> io::Result<Status> {
        Status::parse(&self.read("status", FILE)?).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// When it started, in ticks since the start of the host.
    pub(super) fn started(&self) -> io::Result<u64> {
        started(&self.read("stat", FILE)?).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// Its short name.
    pub(super) fn name(&self) -> io::Result<Vec<u8>> {
        let mut name = self.read("comm", FILE)?;
        name.pop_if(|last| *last == b'\n');
        Ok(name)
    }

    /// Its arguments, each ended by NUL, and whether there are more.
    pub(super) fn command_line(&self) -> io::Result<(Vec<u8>, bool)> {
        let line = self.read("cmdline", COMMAND_LINE)?;
        let is_cut = line.len() == COMMAND_LINE;
        Ok((line, is_cut))
    }

    /// The text of `/proc/PID/cgroup`.
    pub(super) fn control_groups(&self) -> io::Result<Vec<u8>> {
        self.read("cgroup", FILE)
    }

    /// The program file.
    pub(super) fn program(&self) -> io::Result<Vec<u8>> {
        let mut target = vec![0; LINK];
        let length = readlinkat_raw(&self.folder, "exe", target.as_mut_slice())?;
        target.truncate(length);
        Ok(target)
    }

    /// Whether it runs the program file of this very process.
    pub(super) fn is_of_ours(&self) -> bool {
        let of = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let theirs = rustix::fs::statat(&self.folder, "exe", rustix::fs::AtFlags::empty()).map(of);
        let ours = rustix::fs::stat("/proc/self/exe").map(of);
        theirs.is_ok() && theirs.ok() == ours.ok()
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let file = openat(&self.folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut octets = vec![0; most];
        let mut length = 0;
        while let Some(free) = octets.get_mut(length..).filter(|free| !free.is_empty()) {
            match rustix::io::read(&file, free)? {
                0 => break,
                read => length += read,
            }
        }
        octets.truncate(length);
        Ok(octets)
    }
}

/// The number in `net:[4026531840]` and the like.
fn number_in(target: &[u8], prefix: &[u8]) -> Option<u64> {
    let digits = target.strip_prefix(prefix)?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_read_until_it_ends_and_nobody_is_read_in_its_place() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let handle = Handle::open(child.id()).unwrap();
        let status = handle.status().unwrap();
        assert_eq!((status.parent, status.is_dead), (std::process::id(), false));
        assert_eq!(handle.namespace().unwrap(), Handle::open(std::process::id()).unwrap().namespace().unwrap());
        assert!(!handle.is_of_ours());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(handle.status().is_err() && handle.name().is_err() && handle.namespace().is_err());
        assert!(Handle::open(child.id()).is_err());
    }

    #[test]
    fn a_socket_is_found_by_its_number() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = number_in(target.as_os_str().as_encoded_bytes(), b"socket:[").unwrap();
        let handle = Handle::open(std::process::id()).unwrap();
        assert_eq!(handle.held(&[inode, inode + 1_000_000_000]).unwrap(), [inode]);
        drop(socket);
        assert!(handle.held(&[inode]).unwrap().is_empty());
        assert!(handle.is_of_ours());
    }
}
