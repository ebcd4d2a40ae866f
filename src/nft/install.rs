//! Putting the ruleset into the kernel, reading it back, and taking it away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use nftables::helper;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};

use super::ruleset::FAMILIES;
use super::{Error, inspect};
use crate::core::config::TableName;

/// Replaces what is in the kernel by `text`, in one transaction, reads it
/// back, and returns what it read.
///
/// # Errors
/// When `nft` is missing, refuses the text, or the kernel then holds something
/// else.
pub fn install(table: &TableName, text: &str) -> Result<Snapshot, Error> {
    apply(text)?;
    read_back(table, text)
}

/// What the kernel holds of `text`, which has just been loaded.
///
/// # Errors
/// When it holds something else, or cannot be read.
pub fn read_back(table: &TableName, text: &str) -> Result<Snapshot, Error> {
    let snapshot = Snapshot::of_kernel(table, text)?;
    snapshot.holds(text)?;
    Ok(snapshot)
}

/// Runs `text` through `nft`, as one transaction.
///
/// It goes through an anonymous file rather than a pipe: `nft -j`, as the
/// nftables crate calls it, first tries to read JSON, and what that attempt
/// took out of a pipe would be missing from the text.
///
/// # Errors
/// When `nft` is missing or refuses the text, with its own words.
pub fn apply(text: &str) -> Result<(), Error> {
    // Inherited by `nft`, so without CLOEXEC.
    let mut file = File::from(memfd_create(c"ruleset", MFdFlags::empty()).map_err(io::Error::from)?);
    file.write_all(text.as_bytes())?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    helper::get_current_ruleset_raw(helper::DEFAULT_NFT, ["-f", &path])?;
    Ok(())
}

/// The table as the kernel held it at one moment: chains, rules, sets and
/// counters, without elements, counts and handles.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    table: TableName,
    families: Vec<(&'static str, Vec<Value>)>,
}

impl Snapshot {
    /// What the kernel holds now of the tables that `text` makes.
    pub(super) fn of_kernel(table: &TableName, text: &str) -> Result<Self, Error> {
        let made = |family: &&str| Inventory::of_text(family, table, text) != Inventory::default();
        let families: Vec<_> = FAMILIES.into_iter().filter(made).collect();
        Self::read(table, &families)
    }

    fn read(table: &TableName, families: &[&'static str]) -> Result<Self, Error> {
        let read = |&family| {
            let listing = inspect::list(&["-t", "list", "table", family, table.as_str()]);
            let listing = listing.map_err(|error| error.or_missing(&format!("{family} {}", table.as_str())))?;
            Ok((family, inspect::objects(&listing).filter_map(lasting).collect()))
        };
        Ok(Self { table: table.clone(), families: families.iter().map(read).collect::<Result<_, Error>>()? })
    }

    /// Whether the kernel still holds exactly this.
    ///
    /// # Errors
    /// With the difference, or when the kernel cannot be read.
    pub fn verify(&self) -> Result<(), Error> {
        let families: Vec<_> = self.families.iter().map(|(family, _)| *family).collect();
        let now = Self::read(&self.table, &families)?;
        for ((family, before), (_, after)) in self.families.iter().zip(&now.families) {
            if before != after {
                let difference = Inventory::of_objects(before).difference(&Inventory::of_objects(after));
                return Err(self.differs(family, difference));
            }
        }
        Ok(())
    }

    /// Whether it has every chain of `text` with every rule, and every set and
    /// counter.
    fn holds(&self, text: &str) -> Result<(), Error> {
        for (family, objects) in &self.families {
            let (expected, found) = (Inventory::of_text(family, &self.table, text), Inventory::of_objects(objects));
            if expected != found {
                return Err(self.differs(family, expected.difference(&found)));
            }
        }
        Ok(())
    }

    fn differs(&self, family: &str, difference: String) -> Error {
        let difference = if difference.is_empty() { "a rule or a set was changed".to_owned() } else { difference };
        Error::NotAsLoaded { table: format!("{family} {}", self.table.as_str()), difference }
    }
}

/// What of an object in a listing never changes by itself.
fn lasting(object: &Value) -> Option<Value> {
    let (kind, body) = object.as_object()?.iter().next()?;
    if kind == "metainfo" {
        return None;
    }
    let mut body = body.as_object()?.clone();
    if kind == "table" {
        // nft 1.0.6 writes anything for flags that it does not know.
        body.remove("flags");
    }
    body.retain(|key, _| !["handle", "elem", "packets", "bytes"].contains(&key.as_str()));
    Some(json!({ kind: body }))
}

/// What a table consists of, as far as it never changes while the wall stands:
/// rules per chain, and the names of sets and counters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Inventory {
    rules: BTreeMap<String, usize>,
    sets: BTreeSet<String>,
    counters: BTreeSet<String>,
    hooks: BTreeMap<String, (String, bool)>,
}

impl Inventory {
    /// The inventory of ruleset text in the house's form: one rule a line.
    fn of_text(family: &str, table: &TableName, text: &str) -> Self {
        let mut inventory = Self::default();
        let added = format!("add rule {family} {} ", table.as_str());
        let (mut in_table, mut chain) = (false, None);
        for line in text.lines() {
            let trimmed = line.trim();
            if line.starts_with("table ") {
                in_table = line == format!("table {family} {} {{", table.as_str());
            } else if let Some(rule) = line.strip_prefix(&added) {
                let name = rule.split_whitespace().next().unwrap_or_default();
                *inventory.rules.entry(name.to_owned()).or_default() += 1;
            } else if !in_table || trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            } else if let Some(name) = opening(line, "chain") {
                inventory.rules.insert(name.clone(), 0);
                chain = Some(name);
            } else if let Some(name) = opening(line, "set") {
                inventory.sets.insert(name);
            } else if let Some(name) = opening(line, "counter") {
                inventory.counters.insert(name);
            } else if line == "\t}" {
                chain = None;
            } else if let Some(name) = &chain {
                let hook = trimmed.strip_prefix("type filter hook ").or_else(|| trimmed.strip_prefix("type nat hook "));
                match hook {
                    Some(hook) => {
                        let point = hook.split_whitespace().next().unwrap_or_default().to_owned();
                        inventory.hooks.insert(name.clone(), (point, hook.contains("policy drop")));
                    }
                    None => *inventory.rules.entry(name.clone()).or_default() += 1,
                }
            }
        }
        inventory
    }

    fn of_objects(objects: &[Value]) -> Self {
        let mut inventory = Self::default();
        let text = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        for object in objects {
            if let Some(chain) = object.get("chain") {
                let name = text(chain, "name").unwrap_or_default();
                inventory.rules.entry(name.clone()).or_default();
                if let Some(hook) = text(chain, "hook") {
                    inventory.hooks.insert(name, (hook, text(chain, "policy").is_some_and(|policy| policy == "drop")));
                }
            } else if let Some(rule) = object.get("rule") {
                *inventory.rules.entry(text(rule, "chain").unwrap_or_default()).or_default() += 1;
            } else if let Some(set) = object.get("set") {
                inventory.sets.insert(text(set, "name").unwrap_or_default());
            } else if let Some(counter) = object.get("counter") {
                inventory.counters.insert(text(counter, "name").unwrap_or_default());
            }
        }
        inventory
    }

    fn difference(&self, found: &Self) -> String {
        let mut parts = Vec::new();
        for (chain, rules) in &self.rules {
            match found.rules.get(chain) {
                None => parts.push(format!("chain {chain} is missing")),
                Some(there) if there != rules => parts.push(format!("chain {chain} has {there} rules, not {rules}")),
                Some(_) => {}
            }
        }
        let extra = found.rules.keys().filter(|chain| !self.rules.contains_key(*chain));
        parts.extend(extra.map(|chain| format!("chain {chain} was added")));
        let missing = self.sets.difference(&found.sets);
        parts.extend(missing.map(|set| format!("set {set} is missing")));
        let missing = self.counters.difference(&found.counters);
        parts.extend(missing.map(|counter| format!("counter {counter} is missing")));
        if self.hooks != found.hooks {
            parts.push("the hooks or their policies differ".to_owned());
        }
        parts.join(", ")
    }
}

/// The name in `<tab>chain NAME {`.
fn opening(line: &str, word: &str) -> Option<String> {
    let name = line.strip_prefix('\t')?.strip_prefix(word)?.strip_prefix(' ')?.strip_suffix(" {")?;
    Some(name.to_owned())
}
