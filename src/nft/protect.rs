//! A table that nobody but the daemon can change (`[wall] protect`).
//!
//! nftables knows tables that belong to the socket that made them: nobody else
//! changes or deletes them, and `nft flush ruleset` passes them by (Linux
//! 5.12). With the flag `persist` (6.9) such a table stays when its socket
//! closes; it is an orphan then, which anybody may change, and which another
//! socket may adopt.
//!
//! `nft` has a socket of its own and knows neither flag, so the table is made
//! over ours, given up, filled by `nft`, and adopted by the daemon's
//! connection ([`Connection::adopt`]).

use std::fmt::Write as _;

use nftables::helper::NftablesError;
use nix::libc::EOPNOTSUPP;

use super::element::Renewal;
use super::install::{self, Snapshot};
use super::transaction::{Connection, Refused};
use super::{Error, inspect};
use crate::core::config::TableName;

/// The first kernel that keeps an owned table when its owner ends.
const SINCE: (u32, u32) = (6, 9);

/// Whether this kernel has such tables.
pub fn is_possible() -> bool {
    super::kernel_release().is_some_and(|release| release >= SINCE)
}

/// Replaces what is in the kernel by `text`, as [`install::install`] does; with
/// `protect`, in a table that can be adopted. At no instant is there neither
/// the old default drop nor the new one.
///
/// # Errors
/// When `nft` is missing, refuses the text, or the kernel then holds something
/// else; when the table belongs to another program.
pub fn install(table: &TableName, text: &str, protect: bool) -> Result<Snapshot, Error> {
    let bridge = bridge_of(table);
    let mut connection = Connection::open(table.clone(), Renewal::Replace)?;
    let load = || if protect { fill(table, text) } else { install::apply(text) };
    match load() {
        // It is of the other kind, or holds what cannot be emptied: a table of
        // another name keeps the default drop meanwhile.
        Err(error) if may_be_bridged(&error) => {
            install::apply(&renamed(text, table, &bridge))?;
            remove_named(&mut connection, table.as_str())?;
            load()?;
        }
        loaded => loaded?,
    }
    // Also what a daemon left that was killed just then.
    remove_named(&mut connection, &bridge)?;
    install::read_back(table, text)
}

/// Takes the table away, of whichever kind, and what an unfinished
/// [`install`] may have left.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(table: &TableName) -> Result<(), Error> {
    let mut connection = Connection::open(table.clone(), Renewal::Replace)?;
    remove_named(&mut connection, table.as_str())?;
    remove_named(&mut connection, &bridge_of(table))
}

/// Takes away what a daemon left that was killed over an [`install`].
///
/// # Errors
/// When the kernel refuses.
pub(super) fn remove_bridge(table: &TableName) -> Result<(), Error> {
    remove_named(&mut Connection::open(table.clone(), Renewal::Replace)?, &bridge_of(table))
}

/// The families in which `text` makes a table.
pub fn families(table: &TableName, text: &str) -> Vec<&'static str> {
    let is_made = |family: &&str| text.contains(&format!("table {family} {} {{", table.as_str()));
    ["inet", "netdev"].into_iter().filter(is_made).collect()
}

fn remove_named(connection: &mut Connection, name: &str) -> Result<(), Error> {
    for family in ["inet", "netdev"] {
        match connection.delete_table(family, name) {
            Ok(()) | Err(Refused::NoSuchTable) => {}
            Err(refused) => return Err(Error::from_refusal(refused)),
        }
    }
    Ok(())
}

/// Makes the table an orphan of the right kind and replaces all it holds, in
/// one transaction.
fn fill(table: &TableName, text: &str) -> Result<(), Error> {
    let families = families(table, text);
    // Closing this makes it an orphan.
    Connection::open(table.clone(), Renewal::Replace)?.adopt(&families).map_err(Error::from_refusal)?;
    let mut emptying = String::new();
    for family in families {
        let listing = inspect::list(&["-t", "list", "table", family, table.as_str()])?;
        _ = writeln!(emptying, "flush table {family} {}", table.as_str());
        let named = |wanted: &[&str]| {
            let objects = inspect::objects(&listing).filter_map(|object| object.as_object()?.iter().next());
            let of_kind = objects.filter(|(kind, _)| match wanted {
                [] => !["metainfo", "table", "rule", "set", "map", "chain"].contains(&kind.as_str()),
                wanted => wanted.contains(&kind.as_str()),
            });
            let deletion = of_kind.filter_map(|(kind, body)| {
                Some(format!("delete {kind} {family} {} {}\n", table.as_str(), body.get("name")?.as_str()?))
            });
            deletion.collect::<String>()
        };
        // Elements may name chains and counters.
        emptying += &(named(&["set", "map"]) + &named(&["chain"]) + &named(&[]));
    }
    install::apply(&(emptying + &flat(text)))
}

/// The same ruleset without a block for its table, which would be refused for
/// a table with these flags: objects first, then rules, as they name each
/// other, then everything else.
fn flat(text: &str) -> String {
    let (mut objects, mut rules, mut rest) = (String::new(), String::new(), String::new());
    let mut table = None;
    // What is being read inside the table: its kind and its name.
    let mut object: Option<(&str, &str)> = None;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.strip_suffix(" {").or(table);
            continue;
        }
        let Some(of) = table.filter(|_| line.starts_with('\t')) else {
            match line {
                _ if line.starts_with("define ") => _ = writeln!(objects, "{line}"),
                _ if line == "}" || line.starts_with("delete table ") => {}
                _ => _ = writeln!(rest, "{line}"),
            }
            continue;
        };
        let words = line.trim();
        match (object, words.split_once(' ')) {
            (None, Some((kind, name))) => {
                let name = name.trim_end_matches(" {");
                _ = writeln!(objects, "add {kind} {of} {name} {{");
                object = Some((kind, name));
            }
            (Some(_), _) if line == "\t}" => {
                objects += "}\n";
                object = None;
            }
            (Some(("chain", name)), _) if !words.starts_with("type filter hook ") => {
                if !words.is_empty() {
                    _ = writeln!(rules, "add rule {of} {name} {words}");
                }
            }
            (Some(_), _) => _ = writeln!(objects, "{words}"),
            (None, None) => {}
        }
    }
    objects + &rules + &rest
}

/// A name that no wall can be told to use for its table: it has capitals.
fn bridge_of(table: &TableName) -> String {
    format!("{}_BRIDGE", table.as_str())
}

fn renamed(text: &str, table: &TableName, to: &str) -> String {
    ["inet", "netdev"].iter().fold(text.to_owned(), |text, family| {
        let named = |name: &str, end: char| format!("{family} {name}{end}");
        let rename = |text: String, end| text.replace(&named(table.as_str(), end), &named(to, end));
        rename(rename(text, ' '), '\n')
    })
}

/// Whether another try, beside a table of another name, may succeed.
fn may_be_bridged(error: &Error) -> bool {
    match error {
        Error::OtherKind => true,
        Error::Nft(NftablesError::NftFailed { stderr, .. }) => !stderr.contains("Operation not permitted"),
        _ => false,
    }
}

impl Error {
    fn from_refusal(refused: Refused) -> Self {
        match refused {
            Refused::Kernel(error) if error.raw_os_error() == Some(EOPNOTSUPP) => Self::OtherKind,
            other => Self::Refused(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_without_blocks_says_the_same_in_an_order_that_can_be_loaded() {
        let text = "# a word\ndefine bit = 1\ntable inet w\ndelete table inet w\ntable inet w {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\
            \tcounter c {\n\t}\n\tchain a {\n\t\ttype filter hook input priority 0; policy drop;\n\t\t# why\n\t\tjump b\n\t}\n\
            \tchain b {\n\t}\n}\nadd element inet w s { 192.0.2.1 }\n";
        let expected = "define bit = 1\nadd set inet w s {\ntype ipv4_addr\n}\nadd counter inet w c {\n}\n\
            add chain inet w a {\ntype filter hook input priority 0; policy drop;\n}\nadd chain inet w b {\n}\n\
            add rule inet w a jump b\nadd element inet w s { 192.0.2.1 }\n";
        assert_eq!(flat(text), expected);
        let table = TableName::parse("w").unwrap();
        assert_eq!(families(&table, text), ["inet"]);
        let other = renamed(text, &table, &bridge_of(&table));
        assert_eq!(other.matches("inet w_BRIDGE").count(), 4, "{other}");
    }
}
