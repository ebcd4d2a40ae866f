//! Whether the kernel holds exactly what would be loaded.
//!
//! A number that somebody wrote beside the table would say what was loaded
//! once, and nothing of what was done to it since. So the same text is loaded
//! under another name, dormant, which no packet meets, and both are listed:
//! by `nft` as text, which shows more than its JSON does, and, where
//! the configuration has put elements into a set, over netlink.

use std::io;
use std::process::Command;

use super::listing::{self, Listed};
use super::ruleset::Identity;
use super::{Error, install, ruleset};
use crate::core::config::{Config, TableName};

/// The families of the tables there may be.
const FAMILIES: [&str; 2] = ["inet", "netdev"];
/// What the sets are called whose elements come and go.
const CHANGING: [&str; 3] = ["lease", "static", "denied"];

/// Whether the table that `config` makes is in the kernel just so, but for
/// what comes and goes while the wall stands.
pub(super) fn is_loaded(config: &Config, identity: &Identity) -> bool {
    let mut beside = config.clone();
    beside.wall.table = config.wall.table.beside();
    let same = compare(config, &beside, identity).unwrap_or_else(|error| {
        tracing::debug!("the table is loaded anew: {error}");
        false
    });
    // What was never put there is no loss.
    if let Err(error) = install::apply(&ruleset::removal_of(&beside.wall.table)) {
        tracing::warn!("a dormant table of no effect is left in the kernel: {error}");
    }
    same
}

fn compare(config: &Config, beside: &Config, identity: &Identity) -> Result<bool, Error> {
    let text = ruleset::dormant(&ruleset::render(beside, identity));
    install::apply(&text)?;
    for family in FAMILIES {
        let (found, wanted) = (listed(family, &config.wall.table)?, listed(family, &beside.wall.table)?);
        if without_flag(&found, "") != without_flag(&wanted, "dormant") {
            return Ok(false);
        }
        let sets = wanted.iter().filter_map(|line| line.strip_prefix("\tset ")?.strip_suffix(" {"));
        for set in sets.filter(|set| !CHANGING.iter().any(|changing| set.starts_with(changing))) {
            if held(&config.wall.table, set)? != held(&beside.wall.table, set)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The table as `nft` writes it, without its name, elements and counts; empty
/// if it is not there.
fn listed(family: &str, table: &TableName) -> Result<Vec<String>, Error> {
    let output = Command::new("nft").args(["-s", "-t", "list", "table", family, table.as_str()]).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && told.contains("No such file or directory") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        return Err(Error::Netlink(io::Error::other(told.trim().to_owned())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().skip(1).map(ToOwned::to_owned).collect())
}

/// The lines without `flag` among the flags of the table itself, and without
/// the empty ones.
fn without_flag(lines: &[String], flag: &str) -> Vec<String> {
    let mut kept = Vec::with_capacity(lines.len());
    for line in lines {
        let Some(flags) = line.strip_prefix("\tflags ") else {
            kept.push(line.clone());
            continue;
        };
        let flags: Vec<_> = flags.split(',').map(str::trim).filter(|known| *known != flag).collect();
        if !flags.is_empty() {
            kept.push(format!("\tflags {}", flags.join(",")));
        }
    }
    kept.retain(|line| !line.is_empty());
    kept
}

/// The elements of a set that the configuration fills.
fn held(table: &TableName, set: &str) -> Result<Option<Vec<Listed>>, Error> {
    Ok(listing::elements(table, set)?)
}
