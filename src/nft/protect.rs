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

use super::Error;
use super::element::Renewal;
use super::install::{self, Snapshot};
use super::ruleset::FAMILIES;
use super::transaction::{Connection, Refused};
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
    let mut connection = Connection::open(table.clone(), Renewal::Replace)?;
    // A daemon may have been killed while it stood.
    let unbridge = |connection: &mut Connection| remove_named(connection, &bridge_of(table));
    if protect {
        bridge(table, text, &mut connection)?;
        let owner = fill(table, text)?;
        unbridge(&mut connection)?;
        // While it is an orphan, nft 1.0.6 cannot list it: it takes the flag
        // for one that it knows.
        let snapshot = install::read_back(table, text);
        drop(owner);
        return snapshot;
    }
    match install::apply(text) {
        Err(error) if is_of_other_kind(&error) => {
            bridge(table, text, &mut connection)?;
            install::apply(text)?;
        }
        applied => applied?,
    }
    unbridge(&mut connection)?;
    install::read_back(table, text)
}

/// Takes the table away, of whichever kind, and what an unfinished
/// [`install()`] may have left.
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
    FAMILIES.into_iter().filter(is_made).collect()
}

fn remove_named(connection: &mut Connection, name: &str) -> Result<(), Error> {
    for family in FAMILIES {
        match connection.delete_table(family, name) {
            Ok(()) | Err(Refused::NoSuchTable) => {}
            Err(refused) => return Err(Error::Refused(refused)),
        }
    }
    Ok(())
}

/// Loads the ruleset into a table of another name, which keeps the default
/// drop, and takes the table itself away.
fn bridge(table: &TableName, text: &str, connection: &mut Connection) -> Result<(), Error> {
    install::apply(&renamed(text, table, &bridge_of(table)))?;
    remove_named(connection, table.as_str()).inspect_err(|_| {
        // It belongs to another program, and stands.
        let _ = remove_named(connection, &bridge_of(table));
    })
}

/// Makes the table, has `nft` fill it, and returns the connection that it now
/// belongs to.
fn fill(table: &TableName, text: &str) -> Result<Connection, Error> {
    let families = families(table, text);
    let owner = || {
        let mut connection = Connection::open(table.clone(), Renewal::Replace)?;
        connection.adopt(&families).map_err(Error::Refused)?;
        Ok::<_, Error>(connection)
    };
    // Closing this makes it an orphan, which `nft` may fill.
    drop(owner()?);
    install::apply(&flat(text))?;
    owner()
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
            (Some(("chain", name)), _) if !words.starts_with("type ") => {
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
    FAMILIES.iter().fold(text.to_owned(), |text, family| {
        let named = |name: &str, end: char| format!("{family} {name}{end}");
        let rename = |text: String, end| text.replace(&named(table.as_str(), end), &named(to, end));
        rename(rename(text, ' '), '\n')
    })
}

/// Whether a block for the table was refused because the table is a protected
/// one.
fn is_of_other_kind(error: &Error) -> bool {
    matches!(error, Error::Nft(NftablesError::NftFailed { stderr, .. }) if stderr.contains("not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_without_blocks_says_the_same_in_an_order_that_can_be_loaded() {
        let text = "# a word\ndefine bit = 1\ntable inet w\ndelete table inet w\ntable inet w {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\
            \tcounter c {\n\t}\n\tchain a {\n\t\ttype nat hook input priority 0; policy drop;\n\t\t# why\n\t\tjump b\n\t}\n\
            \tchain b {\n\t}\n}\nadd element inet w s { 192.0.2.1 }\n";
        let expected = "define bit = 1\nadd set inet w s {\ntype ipv4_addr\n}\nadd counter inet w c {\n}\n\
            add chain inet w a {\ntype nat hook input priority 0; policy drop;\n}\nadd chain inet w b {\n}\n\
            add rule inet w a jump b\nadd element inet w s { 192.0.2.1 }\n";
        assert_eq!(flat(text), expected);
        let table = TableName::parse("w").unwrap();
        assert_eq!(families(&table, text), ["inet"]);
        let other = renamed(text, &table, &bridge_of(&table));
        assert_eq!(other.matches("inet w_BRIDGE").count(), 4, "{other}");
    }
}
