//! Whether the kernel holds exactly what would be loaded, and if not, how to
//! get there with the least of a change.
//!
//! A number that somebody wrote beside the table would say what was loaded
//! once, and nothing of what was done to it since. So the same text is loaded
//! under another name, dormant, which no packet meets, and both are listed:
//! by `nft` as text, which shows more than its JSON does, and, where
//! the configuration has put elements into a set, over netlink.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::process::Command;

use super::ruleset::{FAMILIES, Identity};
use super::{Error, install, listing, protect, ruleset};
use crate::core::config::{Config, TableName};
use crate::core::roster::Roster;

/// What the sets are called whose elements come and go.
const CHANGING: [&str; 10] =
    ["lease", "static", "denied", "would_deny", "refused", "traffic", "begun", "asking", "telling", "capturing"];
/// What of a table can be changed while its hooks stay.
const KNOWN: [&str; 3] = ["chain ", "set ", "counter "];

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the kernel holds it.
    Keep,
    /// Load this: every hook that stays is not let go of.
    InPlace(String),
    /// Load the whole ruleset.
    Whole,
}

/// How to get from what the kernel holds to the `ruleset` of `config`. Unless
/// it `may_be_kept`, it is loaded again even where it is the same. A table that
/// is to be protected is of another kind, and `nft` cannot change it so.
pub(super) fn step(
    config: &Config,
    identity: &Identity,
    roster: &Roster,
    ruleset: &str,
    protect: bool,
    may_be_kept: bool,
) -> Step {
    let mut beside = config.clone();
    beside.wall.table = config.wall.table.beside();
    let compared = compare(config, &beside, identity, roster, ruleset, protect, may_be_kept);
    let step = compared.unwrap_or_else(|error| {
        tracing::debug!("the whole ruleset is loaded: {error}");
        Step::Whole
    });
    // What was never put there is no loss.
    if let Err(error) = protect::remove(&beside.wall.table) {
        tracing::warn!("a dormant table of no effect is left in the kernel: {error}");
    }
    step
}

fn compare(
    config: &Config,
    beside: &Config,
    identity: &Identity,
    roster: &Roster,
    ruleset: &str,
    protect: bool,
    may_be_kept: bool,
) -> Result<Step, Error> {
    install::apply(&ruleset::dormant(&ruleset::render(beside, identity, roster)))?;
    let table = &config.wall.table;
    let (mut is_same, mut changes, mut text) = (may_be_kept, String::new(), ruleset.to_owned());
    for family in FAMILIES {
        let (mut found, mut wanted) = (Listing::read(family, table)?, Listing::read(family, &beside.wall.table)?);
        wanted.drop_flags(&["dormant"]);
        if protect && !found.drop_flags(&["owner", "persist"]) {
            is_same = false;
        }
        is_same = is_same && found == wanted && are_filled_alike(family, table, &beside.wall.table, &wanted)?;
        if found == Listing::default() {
            continue;
        }
        let Some(way) = found.way_to(&wanted, family, table, may_be_kept) else { return Ok(Step::Whole) };
        changes += &way;
        text = text.replacen(&ruleset::removing(family, table), "", 1);
    }
    Ok(match is_same {
        true => Step::Keep,
        false if protect => Step::Whole,
        false => Step::InPlace(changes + &text),
    })
}

/// Whether the sets that the configuration fills hold the same.
fn are_filled_alike(family: &str, table: &TableName, beside: &TableName, wanted: &Listing) -> Result<bool, Error> {
    let sets = wanted.blocks.keys().filter_map(|header| header.strip_prefix("set "));
    for set in sets.filter(|set| !CHANGING.iter().any(|changing| set.starts_with(changing))) {
        if listing::elements_of(family, table, set)? != listing::elements_of(family, beside, set)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A table as `nft` writes it, without its name, elements and counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    /// What is said of the table itself.
    own: Vec<String>,
    /// Chains, sets and so on: their lines, by kind and name.
    blocks: BTreeMap<String, Vec<String>>,
}

impl Listing {
    /// Empty if there is no such table.
    fn read(family: &str, table: &TableName) -> Result<Self, Error> {
        let output = Command::new("nft").args(["-s", "-t", "list", "table", family, table.as_str()]).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && told.contains("No such file or directory") {
            return Ok(Self::default());
        }
        if !output.status.success() {
            return Err(Error::Netlink(io::Error::other(told.trim().to_owned())));
        }
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(text: &str) -> Self {
        let mut listing = Self::default();
        let mut block: Option<(String, Vec<String>)> = None;
        // The first line is the table's name.
        for line in text.lines().skip(1).filter(|line| !line.is_empty() && *line != "}") {
            match (&mut block, line.strip_prefix('\t').and_then(|line| line.strip_suffix(" {"))) {
                (None, Some(header)) => block = Some((header.to_owned(), Vec::new())),
                (None, None) => listing.own.push(line.to_owned()),
                (Some(_), _) if line == "\t}" => listing.blocks.extend(block.take()),
                (Some((_, lines)), _) => lines.push(line.to_owned()),
            }
        }
        listing
    }

    /// As it would be without these flags; whether it had one of them.
    fn drop_flags(&mut self, dropped: &[&str]) -> bool {
        let mut had = false;
        for line in &mut self.own {
            if let Some(flags) = line.strip_prefix("\tflags ") {
                let (gone, kept): (Vec<_>, Vec<_>) =
                    flags.split(',').map(str::trim).partition(|flag| dropped.contains(flag));
                had |= !gone.is_empty();
                *line = if kept.is_empty() { String::new() } else { format!("\tflags {}", kept.join(",")) };
            }
        }
        self.own.retain(|line| !line.is_empty());
        had
    }

    /// What has to go before `wanted` can be loaded on top of this; `None`
    /// where the whole table has to.
    ///
    /// Deleting a table and making it anew swaps its hooks, too, and for a
    /// moment packets meet one of the two chains without its rules.
    fn way_to(&self, wanted: &Self, family: &str, table: &TableName, elements_stay: bool) -> Option<String> {
        if self.own != wanted.own || !self.blocks.keys().all(|header| KNOWN.iter().any(|kind| header.starts_with(kind)))
        {
            return None;
        }
        let hook = |lines: &Vec<String>| lines.first().filter(|line| line.starts_with("\t\ttype ")).cloned();
        // What is looked up in a set that is made anew is not found while the
        // kernel is at it; so sets of ours stay, with their elements.
        let is_open = |header: &String| header.starts_with("set lease") || header.starts_with("set static");
        let stays = |header: &String, lines: &Vec<String>| match wanted.blocks.get(header) {
            Some(other) if header.starts_with("chain ") => hook(other) == hook(lines),
            Some(other) => elements_stay && is_open(header) && other == lines,
            None => false,
        };
        let table = table.as_str();
        let mut text = format!("flush table {family} {table}\n");
        for (header, _) in self.blocks.iter().filter(|(header, lines)| !stays(header, lines)) {
            let (kind, name) = header.split_once(' ')?;
            _ = writeln!(text, "delete {kind} {family} {table} {name}");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table inet foo {\n\tflags dormant,owner\n\n\tset s {\n\t\ttype ifname\n\t}\n\n\
        \tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t\tjump other\n\t}\n\n\
        \tchain other {\n\t\taccept\n\t}\n}\n";

    fn way(from: &str, to: &str) -> Option<String> {
        Listing::parse(from).way_to(&Listing::parse(to), "inet", &TableName::default(), true)
    }

    #[test]
    fn chains_that_hook_in_alike_stay_and_all_else_goes() {
        let rules = LISTED.replace("\t\taccept\n", "\t\tdrop\n");
        let kept = "flush table inet cedarwall\ndelete set inet cedarwall s\n";
        assert_eq!(way(LISTED, &rules).as_deref(), Some(kept));
        let gone = LISTED.replace("chain other", "chain another");
        assert_eq!(
            way(LISTED, &gone),
            Some(kept.replace("delete set", "delete chain inet cedarwall other\ndelete set"))
        );
        let policy = LISTED.replace("policy drop", "policy accept");
        let chain = kept.replace("delete set", "delete chain inet cedarwall input\ndelete set");
        assert_eq!(way(LISTED, &policy), Some(chain));
    }

    #[test]
    fn sets_of_leases_stay_with_their_elements_if_all_of_those_are_ours() {
        let listed = LISTED.replace("set s", "set lease4");
        let (from, to) = (Listing::parse(&listed), Listing::parse(&listed.replace("accept", "drop")));
        let way = |elements_stay| from.way_to(&to, "inet", &TableName::default(), elements_stay).unwrap();
        assert_eq!(way(true), "flush table inet cedarwall\n");
        assert_eq!(way(false), "flush table inet cedarwall\ndelete set inet cedarwall lease4\n");
    }

    #[test]
    fn flags_of_the_table_and_what_we_never_make_take_the_whole_table() {
        assert_eq!(way(LISTED, &LISTED.replace("dormant,", "")), None);
        assert_eq!(way(&LISTED.replace("set s", "map s"), LISTED), None);
    }

    #[test]
    fn the_order_of_chains_does_not_matter_and_that_of_rules_does() {
        let (before, after) = LISTED.split_once("\n\n\tchain other").unwrap();
        let other = format!("\n\n\tchain other{}", after.strip_suffix("\n}\n").unwrap());
        let (start, rest) = before.split_once("\n\n\tset").unwrap();
        let moved = format!("{start}{other}\n\n\tset{rest}\n}}\n");
        assert_eq!(Listing::parse(&moved), Listing::parse(LISTED));
        let swapped = LISTED.replace("\t\taccept\n", "\t\taccept\n\t\tdrop\n");
        assert_ne!(Listing::parse(&swapped), Listing::parse(&swapped.replace("accept\n\t\tdrop", "drop\n\t\taccept")));
    }

    #[test]
    fn a_table_that_wakes_keeps_its_other_flags() {
        let mut listing = Listing::parse(LISTED);
        assert!(listing.drop_flags(&["dormant"]));
        assert_eq!(listing.own, ["\tflags owner"]);
        let mut listing = Listing::parse(&LISTED.replace(",owner", ""));
        assert!(listing.drop_flags(&["dormant"]));
        assert!(!listing.drop_flags(&["dormant"]));
        assert!(listing.own.is_empty());
    }
}
