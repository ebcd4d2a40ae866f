//! Forwarding, on as few interfaces as the kernel allows, and off again when
//! the last run that needs it ends.
//!
//! IPv4 forwarding is a switch of the interface a packet comes in by
//! (`ip_route_input_slow` looks at `IN_DEV_FORWARD` of it and of nothing
//! else), so the link and its uplinks are enough and the host as a whole stays
//! what it was. For IPv6 that is so since Linux 6.17 (`force_forwarding`);
//! before, there is only a switch for the whole host, which also ends the
//! acceptance of router advertisements and is therefore left alone: IPv6 goes
//! through only where the host is a router already. Several runs may share an
//! uplink; a record under a lock counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::plan::RUNTIME;
use super::process::Process;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// The switch of one interface and family: a file below /proc/sys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Switch(PathBuf);

impl Switch {
    /// Of `interface`.
    pub(super) fn of(family: Family, interface: &str) -> Self {
        Self(match family {
            Family::Ipv4 => Path::new("/proc/sys/net/ipv4/conf").join(interface).join("forwarding"),
            Family::Ipv6 => Path::new("/proc/sys/net/ipv6/conf").join(interface).join("force_forwarding"),
        })
    }

    /// Whether it would be off but for runs like ours.
    pub(super) fn is_off_or_ours(&self) -> Result<bool, Error> {
        with_record(|record| match record.switches.get(&self.key()) {
            Some(entry) => Ok(entry.before == "0"),
            None => Ok(self.read()? == "0"),
        })
    }

    /// Turns it on without any record: for the link, which goes with its run.
    pub(super) fn turn_on(&self) -> Result<(), Error> {
        self.write("1")
    }

    fn key(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    fn read(&self) -> Result<String, Error> {
        let text = fs::read_to_string(&self.0).map_err(Error::io(format!("cannot read {}", self.0.display())))?;
        Ok(text.trim().to_owned())
    }

    fn write(&self, value: &str) -> Result<(), Error> {
        let what =
            format!("cannot set forwarding in {} (is /proc/sys read-only, as in a container?)", self.0.display());
        fs::write(&self.0, value).map_err(Error::io(what))
    }
}

/// Whether IPv6 can be forwarded without making the whole host a router.
pub(super) enum Ipv6 {
    /// Interface by interface.
    Switchable,
    /// The host is a router already.
    Always,
    /// It cannot.
    Never,
}

impl Ipv6 {
    /// What this kernel and host offer.
    pub(super) fn here() -> Self {
        let all = Path::new("/proc/sys/net/ipv6/conf/all");
        if fs::read_to_string(all.join("forwarding")).is_ok_and(|value| value.trim() != "0") {
            return Self::Always;
        }
        if all.join("force_forwarding").exists() { Self::Switchable } else { Self::Never }
    }
}

/// Who uses which switch, and what it was before.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    switches: BTreeMap<String, Use>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Use {
    before: String,
    /// The janitors of the runs that need it.
    janitors: Vec<Process>,
}

/// Turns `switch` on for the run that `janitor` cleans up after. The record is
/// on disk before the kernel is told, so that a run killed in between leaves
/// nothing on.
pub(super) fn need(switch: &Switch, janitor: Process) -> Result<(), Error> {
    let was_off = with_record(|record| {
        let before = switch.read()?;
        let entry = record.switches.entry(switch.key()).or_insert_with(|| Use { before, janitors: Vec::new() });
        entry.janitors.retain(|other| other.lives() && *other != janitor);
        entry.janitors.push(janitor);
        Ok(entry.before == "0")
    })?;
    // Nobody turns it off again while the record has us.
    if was_off { switch.write("1") } else { Ok(()) }
}

/// Takes `janitor`'s run off the record; the last one restores what was.
pub(super) fn release(janitor: Process) -> Result<(), Error> {
    with_record(|record| {
        let mut unused = BTreeSet::new();
        for (switch, entry) in &mut record.switches {
            entry.janitors.retain(|other| other.lives() && *other != janitor);
            if entry.janitors.is_empty() {
                unused.insert(switch.clone());
            }
        }
        for key in unused {
            let Some(entry) = record.switches.remove(&key) else { continue };
            let switch = Switch(key.into());
            // The interface may have gone meanwhile.
            if entry.before == "0" && switch.0.exists() {
                switch.write(&entry.before)?;
            }
        }
        Ok(())
    })
}

fn with_record<T>(change: impl FnOnce(&mut Record) -> Result<T, Error>) -> Result<T, Error> {
    let path = Path::new(RUNTIME).join("forwarding.json");
    let failed = || Error::io(format!("cannot keep the record {}", path.display()));
    let mut file = locked(&path).map_err(failed())?;

    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed())?;
    let mut record: Record = if text.is_empty() {
        Record::default()
    } else {
        serde_json::from_str(&text).map_err(|error| failed()(error.into()))?
    };

    let outcome = change(&mut record);

    if record.switches.is_empty() {
        fs::remove_file(&path).map_err(failed())?;
    } else {
        let text = serde_json::to_string(&record).map_err(|error| failed()(error.into()))?;
        file.set_len(0).map_err(failed())?;
        file.seek(SeekFrom::Start(0)).map_err(failed())?;
        file.write_all(text.as_bytes()).map_err(failed())?;
    }
    outcome
}

/// Opens and locks the file that has this name once the lock is ours: the
/// former holder may have removed the one we opened.
fn locked(path: &Path) -> std::io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock()?;
        match fs::metadata(path) {
            Ok(named) if named.ino() == file.metadata()?.ino() => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}
