//! Putting the ruleset into the kernel, reading it back, and taking it away.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use nftables::helper;
use nftables::schema::{NfListObject, NfObject};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Error;
use crate::core::config::TableName;

/// Replaces what is in the kernel by `text`, in one transaction, and reads it
/// back.
///
/// # Errors
/// When `nft` is missing, refuses the text, or the kernel then holds something
/// else.
pub fn install(table: &TableName, text: &str) -> Result<(), Error> {
    apply(text)?;
    verify(table, text)
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

/// Whether the kernel holds every chain of `text` with every rule, and every
/// set and counter.
///
/// # Errors
/// When it does not, or cannot be read.
pub fn verify(table: &TableName, text: &str) -> Result<(), Error> {
    let expected = Inventory::of_text(table, text);
    let found = Inventory::of_kernel(table)?;
    if expected == found {
        return Ok(());
    }
    Err(Error::NotAsLoaded { table: table.as_str().to_owned(), difference: expected.difference(&found) })
}

/// What a table consists of, as far as it never changes while the wall stands:
/// rules per chain, and the names of sets and counters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Inventory {
    rules: BTreeMap<String, usize>,
    sets: BTreeMap<String, ()>,
    counters: BTreeMap<String, ()>,
    hooks: BTreeMap<String, (String, bool)>,
}

impl Inventory {
    /// The inventory of ruleset text in the house's form: one rule a line.
    fn of_text(table: &TableName, text: &str) -> Self {
        let mut inventory = Self::default();
        let added = format!("add rule inet {} ", table.as_str());
        let (mut in_table, mut chain) = (false, None);
        for line in text.lines() {
            let trimmed = line.trim();
            if line.starts_with("table ") {
                in_table = line == format!("table inet {} {{", table.as_str());
            } else if let Some(rule) = line.strip_prefix(&added) {
                let name = rule.split_whitespace().next().unwrap_or_default();
                *inventory.rules.entry(name.to_owned()).or_default() += 1;
            } else if !in_table || trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            } else if let Some(name) = opening(line, "chain") {
                inventory.rules.insert(name.clone(), 0);
                chain = Some(name);
            } else if let Some(name) = opening(line, "set") {
                inventory.sets.insert(name, ());
            } else if let Some(name) = opening(line, "counter") {
                inventory.counters.insert(name, ());
            } else if line == "\t}" {
                chain = None;
            } else if let Some(name) = &chain {
                match trimmed.strip_prefix("type filter hook ") {
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

    fn of_kernel(table: &TableName) -> Result<Self, Error> {
        let mut inventory = Self::default();
        let listing = helper::get_current_ruleset_with_args(
            helper::DEFAULT_NFT,
            ["-t", "list", "table", "inet", table.as_str()],
        )?;
        for object in listing.objects.iter() {
            let NfObject::ListObject(object) = object else { continue };
            match object {
                NfListObject::Chain(chain) => {
                    inventory.rules.entry(chain.name.to_string()).or_default();
                    if let Some(hook) = &chain.hook {
                        let drops = chain.policy == Some(nftables::types::NfChainPolicy::Drop);
                        inventory.hooks.insert(chain.name.to_string(), (format!("{hook:?}").to_lowercase(), drops));
                    }
                }
                NfListObject::Rule(rule) => *inventory.rules.entry(rule.chain.to_string()).or_default() += 1,
                NfListObject::Set(set) => _ = inventory.sets.insert(set.name.to_string(), ()),
                NfListObject::Counter(counter) => _ = inventory.counters.insert(counter.name.to_string(), ()),
                _ => {}
            }
        }
        Ok(inventory)
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
        let missing = self.sets.keys().filter(|set| !found.sets.contains_key(*set));
        parts.extend(missing.map(|set| format!("set {set} is missing")));
        let missing = self.counters.keys().filter(|counter| !found.counters.contains_key(*counter));
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
