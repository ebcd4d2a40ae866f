//! Forwarding, on as few interfaces as the kernel allows, and off again when
//! the last run that needs it ends.
//!
//! IPv4 forwarding is a switch of the interface a packet comes in by
//! (`ip_route_input_slow` looks at `IN_DEV_FORWARD` of it and of nothing
//! else), so the link and its uplinks are enough and the host as a whole stays
//! what it was. Several runs may share an uplink; a record under a lock counts
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::plan::RUNTIME;
use super::process::Process;

/// Who uses which interface's forwarding, and what it was before.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    interfaces: BTreeMap<String, Use>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Use {
    before: String,
    /// The janitors of the runs that need it.
    janitors: Vec<Process>,
}

/// Whether `interface` would not forward but for runs like ours.
pub(super) fn is_off_or_ours(interface: &str) -> Result<bool, Error> {
    with_record(|record| match record.interfaces.get(interface) {
        Some(entry) => Ok(entry.before == "0"),
        None => Ok(read(interface)? == "0"),
    })
}

/// Turns forwarding on for `interface` on behalf of the run that `janitor`
/// cleans up after.
pub(super) fn need(interface: &str, janitor: Process) -> Result<(), Error> {
    with_record(|record| {
        let before = read(interface)?;
        let entry =
            record.interfaces.entry(interface.to_owned()).or_insert_with(|| Use { before, janitors: Vec::new() });
        entry.janitors.retain(|other| other.lives() && *other != janitor);
        entry.janitors.push(janitor);
        if entry.before == "0" { write(interface, "1") } else { Ok(()) }
    })
}

/// Takes `janitor`'s run off the record; the last one restores what was.
pub(super) fn release(janitor: Process) -> Result<(), Error> {
    with_record(|record| {
        let mut unused = BTreeSet::new();
        for (interface, entry) in &mut record.interfaces {
            entry.janitors.retain(|other| other.lives() && *other != janitor);
            if entry.janitors.is_empty() {
                unused.insert(interface.clone());
            }
        }
        for interface in unused {
            let Some(entry) = record.interfaces.remove(&interface) else { continue };
            if entry.before == "0" && path(&interface).exists() {
                write(&interface, &entry.before)?;
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

    if record.interfaces.is_empty() {
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

fn path(interface: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(interface).join("forwarding")
}

fn read(interface: &str) -> Result<String, Error> {
    let path = path(interface);
    let text = fs::read_to_string(&path).map_err(Error::io(format!("cannot read {}", path.display())))?;
    Ok(text.trim().to_owned())
}

/// Sets the switch without any record: for the link, which goes with its run.
pub(super) fn write(interface: &str, value: &str) -> Result<(), Error> {
    let path = path(interface);
    let mend = "is /proc/sys read-only, as in a container?";
    fs::write(&path, value).map_err(Error::io(format!("cannot turn on forwarding in {} ({mend})", path.display())))
}
