//! In which network namespace of this host a client is.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use rustix::fs::fstat;

use super::handle::Handle;
use super::processes::{Processes, TooSlow};
use super::sockets::Sockets;

/// Where namespaces are kept by name, with or without a process in them.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// How long a namespace is kept open after it was last needed. Until then it
/// outlives its last process, and with it the client's link.
pub(super) const KEPT: Duration = Duration::from_millis(100);
/// How soon all namespaces are looked through again for the same address.
const SEARCHED: Duration = Duration::from_millis(50);
/// How soon again for an address that no namespace has.
const MISSED: Duration = Duration::from_secs(1);
/// The new ones are looked for far sooner: whoever asks may be the first process
/// in a namespace that has just lost its last one. For each address it may take
/// one part in so many of the time.
const SHARE_OF_NEW: u32 = 10;
/// Addresses and namespaces remembered at once; beyond that, all is forgotten.
const MOST: usize = 4096;

/// The network namespaces of this host, and which addresses they have.
pub(super) struct Namespaces {
    own: u64,
    way_back: File,
    /// Those that are open.
    open: HashMap<u64, Open>,
    /// The addresses that the others had when they were open.
    had: BTreeMap<u64, BTreeSet<IpAddr>>,
    /// When an address was last searched for.
    searched: HashMap<IpAddr, Searched>,
}

#[derive(Clone, Copy)]
struct Searched {
    /// When all namespaces were looked through; not at all, where a new one
    /// had it.
    all: Option<Instant>,
    /// When the new ones were, and how long that took.
    new: Instant,
    took: Duration,
}

struct Open {
    sockets: Sockets,
    used: Instant,
}

/// Why a client's namespace is not known.
#[derive(Debug)]
pub(super) enum Unknown {
    /// Time was up.
    TooSlow,
    /// This thread cannot come back to its own namespace.
    Lost(io::Error),
}

impl From<TooSlow> for Unknown {
    fn from(_: TooSlow) -> Self {
        Self::TooSlow
    }
}

impl Namespaces {
    /// To be made on the thread that uses it.
    ///
    /// # Errors
    /// When the thread's own namespace is not to be had.
    pub(super) fn new() -> io::Result<Self> {
        let way_back = File::open("/proc/thread-self/ns/net")?;
        let own = fstat(&way_back)?.st_ino;
        Ok(Self { own, way_back, open: HashMap::new(), had: BTreeMap::new(), searched: HashMap::new() })
    }

    /// The number of this thread's own.
    pub(super) const fn own(&self) -> u64 {
        self.own
    }

    /// Those that have the address, as far as known; whoever does not find a
    /// socket there [searches](Self::search).
    pub(super) fn known(&self, address: IpAddr) -> Vec<u64> {
        self.had.iter().filter(|(_, had)| had.contains(&address)).map(|(&namespace, _)| namespace).collect()
    }

    /// Looks for the address in the namespaces that are new, and at times in
    /// all. False if that was done just now, and would say the same.
    ///
    /// # Errors
    /// When `deadline` has passed; what was learnt is kept.
    pub(super) fn search(
        &mut self,
        address: IpAddr,
        processes: &mut Processes,
        deadline: Instant,
    ) -> Result<bool, Unknown> {
        let begun = Instant::now();
        let last = self.searched.get(&address).copied();
        if last.is_some_and(|last| begun.duration_since(last.new) < last.took * SHARE_OF_NEW) {
            return Ok(false);
        }
        if self.searched.len() > MOST || self.had.len() > MOST {
            self.searched.clear();
            self.had.clear();
        }
        let known = self.known(address);
        let pause = if known.is_empty() { MISSED } else { SEARCHED };
        let mut all = last.and_then(|last| last.all).filter(|all| begun.duration_since(*all) < pause);
        // Processes that cannot be listed are in no namespace.
        let _ = processes.refresh();
        self.search_new(address, processes, deadline)?;
        let (new, took) = (Instant::now(), begun.elapsed());
        // Whom a new one has is there, most likely.
        if all.is_none() && self.known(address) == known {
            self.search_all(address, processes, deadline)?;
            all = Some(begun);
        }
        self.searched.insert(address, Searched { all, new, took });
        Ok(true)
    }

    fn search_new(&mut self, address: IpAddr, processes: &Processes, deadline: Instant) -> Result<(), Unknown> {
        let ways = self.ways(processes);
        self.had.retain(|namespace, _| ways.contains_key(namespace));
        for (namespace, way) in &ways {
            if !self.had.contains_key(namespace) {
                self.look_for(address, *namespace, way, deadline)?;
            }
        }
        Ok(())
    }

    /// Those that are said to have it, and, if none has, every one.
    fn search_all(&mut self, address: IpAddr, processes: &mut Processes, deadline: Instant) -> Result<(), Unknown> {
        // An old process may have made itself a namespace.
        let _ = processes.look_again();
        self.search_new(address, processes, deadline)?;
        let ways = self.ways(processes);
        for namespace in self.known(address) {
            if let Some(way) = ways.get(&namespace) {
                self.look_for(address, namespace, way, deadline)?;
            }
        }
        if self.known(address).is_empty() {
            // It may have moved to one that was looked at before.
            for (namespace, way) in &ways {
                self.look_for(address, *namespace, way, deadline)?;
            }
        }
        Ok(())
    }

    fn look_for(&mut self, address: IpAddr, namespace: u64, way: &Way, deadline: Instant) -> Result<(), Unknown> {
        if Instant::now() > deadline {
            return Err(Unknown::TooSlow);
        }
        self.look_into(namespace, way)?;
        // What is not needed is not kept open.
        self.open.retain(|open, held| *open != namespace || held.sockets.addresses().contains(&address));
        Ok(())
    }

    /// The sockets of a namespace, if it is there and has the address.
    ///
    /// # Errors
    /// Only when all is lost.
    pub(super) fn sockets(
        &mut self,
        namespace: u64,
        address: IpAddr,
        processes: &Processes,
    ) -> Result<Option<&mut Sockets>, Unknown> {
        let is_current = self.open.get(&namespace).is_some_and(|open| open.sockets.is_current());
        if !is_current {
            let way = self.way(namespace, processes);
            match way {
                Some(way) => self.look_into(namespace, &way)?,
                None => self.forget(namespace),
            }
        }
        let Some(open) = self.open.get_mut(&namespace) else { return Ok(None) };
        open.used = Instant::now();
        Ok(open.sockets.addresses().contains(&address).then_some(&mut open.sockets))
    }

    /// The sockets of this thread's own namespace.
    pub(super) fn own_sockets(&mut self) -> io::Result<&mut Sockets> {
        let open = match self.open.entry(self.own) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => none.insert(Open { sockets: Sockets::open()?, used: Instant::now() }),
        };
        open.used = Instant::now();
        Ok(&mut open.sockets)
    }

    /// Closes those that nobody has needed for a while; when there will be
    /// more of them.
    pub(super) fn close_idle(&mut self) -> Option<Duration> {
        let own = self.own;
        self.open.retain(|namespace, open| *namespace == own || open.used.elapsed() < KEPT);
        let others = self.open.iter().filter(|(namespace, _)| **namespace != own);
        others.map(|(_, open)| KEPT.saturating_sub(open.used.elapsed())).min()
    }

    /// Every namespace there is, and a way into it.
    fn ways(&self, processes: &Processes) -> BTreeMap<u64, Way> {
        let mut ways: BTreeMap<_, _> = named().map(|(namespace, path)| (namespace, Way::Path(path))).collect();
        ways.extend(processes.namespaces().into_iter().map(|(namespace, pid)| (namespace, Way::Process(pid))));
        ways
    }

    fn way(&self, namespace: u64, processes: &Processes) -> Option<Way> {
        let process = processes.namespaces().get(&namespace).copied().map(Way::Process);
        let is_there = |way: &Way| way.open(namespace).is_ok();
        let path = || named().find(|(name, _)| *name == namespace).map(|(_, path)| Way::Path(path));
        process.filter(is_there).or_else(path)
    }

    fn forget(&mut self, namespace: u64) {
        self.open.remove(&namespace);
        // Whoever has its addresses next is looked for at once.
        for address in self.had.remove(&namespace).unwrap_or_default() {
            self.searched.remove(&address);
        }
    }

    /// Opens a namespace and reads its addresses. One that is gone, or that may
    /// not be entered, has none.
    fn look_into(&mut self, namespace: u64, way: &Way) -> Result<(), Unknown> {
        self.open.remove(&namespace);
        let before = self.had.get(&namespace).cloned().unwrap_or_default();
        let addresses = match self.enter(namespace, way)? {
            Ok(sockets) => {
                let addresses = sockets.addresses().clone();
                self.open.insert(namespace, Open { sockets, used: Instant::now() });
                addresses
            }
            Err(error) => {
                tracing::debug!("the network namespace {namespace} cannot be looked into: {error}");
                BTreeSet::new()
            }
        };
        for address in before.difference(&addresses) {
            self.searched.remove(address);
        }
        self.had.insert(namespace, addresses);
        Ok(())
    }

    fn enter(&self, namespace: u64, way: &Way) -> Result<io::Result<Sockets>, Unknown> {
        if namespace == self.own {
            return Ok(Sockets::open());
        }
        let door = match way.open(namespace) {
            Ok(door) => door,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = setns(door.as_fd(), CloneFlags::CLONE_NEWNET) {
            return Ok(Err(error.into()));
        }
        let sockets = Sockets::open();
        setns(self.way_back.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|error| Unknown::Lost(error.into()))?;
        Ok(sockets)
    }
}

/// A way into a namespace.
enum Way {
    Process(u32),
    Path(PathBuf),
}

impl Way {
    /// The namespace, if this still leads to it.
    fn open(&self, namespace: u64) -> io::Result<OwnedFd> {
        let door = match self {
            Self::Process(pid) => Handle::open(*pid)?.open_namespace()?,
            Self::Path(path) => File::open(path)?.into(),
        };
        if fstat(&door)?.st_ino != namespace {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(door)
    }
}

/// Those with a name.
fn named() -> impl Iterator<Item = (u64, PathBuf)> {
    let files = NAMED.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    files.filter_map(|file| {
        let path = file.ok()?.path();
        // Without a namespace mounted on it, it is an empty file of any file
        // system; its number then leads nowhere.
        let namespace = rustix::fs::stat(&path).ok()?.st_ino;
        Some((namespace, path))
    })
}
