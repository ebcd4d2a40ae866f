//! The start: what stands in the kernel is taken over, and the rest put up.
//!
//! Where the ruleset in the kernel is exactly what would be loaded, and every
//! element of its sets is one of ours, nothing is loaded. Otherwise it is
//! replaced in one transaction that carries over what is open, so that there
//! is no instant without the default drop, nor one without a live lease.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::compared::{self, Step};
use super::install::Snapshot;
use super::listing;
use super::memory::{self, Memory};
use super::ruleset::{self, Identity};
use super::transaction::Connection;
use super::{Error, carried, clock, install, protect, reading, renewal};
use crate::core::config::{Config, LeaseSettings, TableName};
use crate::core::ledger::Ledger;
use crate::core::ledger::adopted::{Remembered, Standing};
use crate::core::roster::Roster;
use crate::core::statics::{StaticLedger, Term};
use crate::core::time::Moment;

/// The sets of leases.
const LEASE_SETS: [&str; 6] =
    ["lease4", "lease6", "lease4_all_ports", "lease6_all_ports", "lease4_port_range", "lease6_port_range"];
/// The sets of addresses that policies name.
const STATIC_SETS: [&str; 2] = ["static4", "static6"];

/// The wall, standing.
#[derive(Debug)]
pub struct Wall {
    /// The text it is made of.
    pub ruleset: String,
    /// What the kernel holds of it.
    pub loaded: Snapshot,
    /// What was taken over.
    pub adopted: Adopted,
}

/// What a daemon begins with.
#[derive(Debug)]
pub struct Adopted {
    /// The leases, which nobody has judged yet.
    pub ledger: Ledger,
    /// The addresses that a policy has named.
    pub statics: StaticLedger,
    /// Where leases are written down.
    pub memory: Memory,
    /// Elements that were not ours, and are gone.
    pub unexplained: usize,
    /// Every client that an element or the memory spoke of.
    pub clients: BTreeSet<IpAddr>,
}

impl Adopted {
    /// Nothing, with no memory.
    pub fn nothing(settings: LeaseSettings) -> Self {
        Self {
            ledger: Ledger::new(settings),
            statics: StaticLedger::default(),
            memory: Memory::default(),
            unexplained: 0,
            clients: BTreeSet::new(),
        }
    }
}

/// Puts the wall of `config` up, or takes over the one that stands; with
/// `protect`, in a table that can be made the daemon's own.
///
/// # Errors
/// When the kernel cannot be read, or does not take the ruleset. What stood
/// stands then.
pub fn stand(config: &Config, identity: &Identity, roster: &Roster, protect: bool) -> Result<Wall, Error> {
    let table = &config.wall.table;
    let ruleset = ruleset::render(config, identity, roster);
    let (memory, remembered) = Memory::recall(&memory::beside(&config.control.socket));
    // Before the kernel is asked how long things last, so that nothing lasts
    // longer here than there.
    let now = clock::now();
    let found = Found::read(table, now)?;
    let mut clients: BTreeSet<_> = remembered.clients().map(|client| client.address()).collect();
    clients.extend(found.leases.iter().map(|lease| lease.key.client.address()));
    clients.extend(found.statics.grants().map(|(grant, _)| grant.client.address()));

    let (ledger, strange) = Ledger::adopt(config.lease, found.leases, remembered.clone(), now);
    let unexplained = found.unreadable + strange.len();
    let adopted = Adopted { ledger, statics: found.statics, memory, unexplained, clients };
    if !found.is_there {
        let loaded = protect::install(table, &ruleset, protect)?;
        return Ok(Wall { ruleset, loaded, adopted });
    }
    match compared::step(config, identity, roster, &ruleset, protect, unexplained == 0) {
        Step::Keep => {
            protect::remove_bridge(table)?;
            let loaded = install::read_back(table, &ruleset)?;
            Ok(Wall { ruleset, loaded, adopted })
        }
        Step::InPlace(text) => {
            protect::remove_bridge(table)?;
            replace(config, ruleset, Some(&text), protect, adopted, &remembered)
        }
        Step::Whole => replace(config, ruleset, None, protect, adopted, &remembered),
    }
}

/// Replaces what stands by `ruleset`, with all of `adopted` in the same
/// transaction; by way of `in_place`, if that comes to the same.
fn replace(
    config: &Config,
    ruleset: String,
    in_place: Option<&str>,
    protect: bool,
    adopted: Adopted,
    remembered: &Remembered,
) -> Result<Wall, Error> {
    let (table, now) = (&config.wall.table, clock::now());
    let carried = carried::text(table, &adopted.ledger, &adopted.statics, now);
    let whole = || protect::install(table, &format!("{ruleset}{carried}"), protect);
    let installed = match in_place {
        None => whole(),
        Some(text) => install::install(table, &format!("{text}{carried}")).or_else(|error| {
            tracing::debug!("the whole ruleset is loaded: {error}");
            whole()
        }),
    };
    match installed {
        Ok(loaded) => {
            complete(table, &adopted.ledger);
            Ok(Wall { ruleset, loaded, adopted })
        }
        Err(error) => {
            let loaded = protect::install(table, &ruleset, protect)?;
            tracing::error!("what was open could not be carried over and is closed: {error}");
            let (ledger, _) = Ledger::adopt(config.lease, Vec::new(), remembered.clone(), now);
            let adopted = Adopted { ledger, statics: StaticLedger::default(), ..adopted };
            Ok(Wall { ruleset, loaded, adopted })
        }
    }
}

/// Writes out the comments that were too long for `nft`.
fn complete(table: &TableName, ledger: &Ledger) {
    let now = clock::now();
    let changes = ledger.live(now).filter_map(|key| ledger.change(&key, now, true));
    let changes: Vec<_> = changes.filter(carried::is_cut_short).collect();
    if changes.is_empty() {
        return;
    }
    let told = Connection::open(table.clone(), renewal()).map_err(|error| error.to_string());
    let told = told.and_then(|mut connection| connection.apply(&changes).map_err(|error| error.to_string()));
    if let Err(error) = told {
        tracing::warn!("{} elements keep a shortened comment: {error}", changes.len());
    }
}

/// What the table's sets hold.
#[derive(Default)]
struct Found {
    is_there: bool,
    leases: Vec<Standing>,
    statics: StaticLedger,
    unreadable: usize,
}

impl Found {
    fn read(table: &TableName, now: Moment) -> Result<Self, Error> {
        let until = |left: Duration| now + left;
        let mut found = Self::default();
        for set in LEASE_SETS {
            let listed = listing::elements(table, set)?;
            found.is_there |= listed.is_some();
            for listed in listed.unwrap_or_default() {
                let told = (reading::lease(set, &listed), reading::comment(&listed), listed.left);
                match told {
                    (Some(key), Some(comment), Some(left)) => {
                        found.leases.push(Standing { key, until: until(left), comment: comment.to_owned() });
                    }
                    _ => found.unreadable += 1,
                }
            }
        }
        let mut grants = Vec::new();
        for set in STATIC_SETS {
            for listed in listing::elements(table, set)?.unwrap_or_default() {
                match reading::grant(set, &listed) {
                    Some(grant) => {
                        grants.push((grant, listed.left.map_or(Term::Lasting, |left| Term::Until(until(left)))))
                    }
                    None => found.unreadable += 1,
                }
            }
        }
        found.statics = StaticLedger::adopt(grants);
        Ok(found)
    }
}
