//! The end of taking over what a daemon before this one has left.

use std::sync::Arc;

use crate::core::config::Config;
use crate::core::event::{Event, Report};
use crate::journal::Journal;
use crate::nft;
use crate::nft::adopt::Adopted;
use crate::nft::firewall::{Firewall, Suspects};

/// What was found, until it can be told.
pub(super) struct Adoption {
    table: String,
    leases: usize,
    statics: usize,
    unexplained: usize,
    suspects: Suspects,
}

impl Adoption {
    pub(super) fn of(config: &Config, adopted: &Adopted) -> Self {
        let mut clients = adopted.clients.clone();
        clients.extend(config.clients.iter().flat_map(|entry| entry.addresses.iter().map(|client| client.address())));
        Self {
            table: config.wall.table.as_str().to_owned(),
            leases: adopted.ledger.len(),
            statics: adopted.statics.grants().count(),
            unexplained: adopted.unexplained,
            suspects: Suspects { clients, upstream: config.dns.upstream.clone() },
        }
    }

    /// Once the policy has judged what was open: ends the flows that nothing
    /// explains, and reports.
    ///
    /// # Errors
    /// When the firewall is gone.
    pub(super) async fn finish(self, firewall: &Firewall, journal: &Arc<Journal>) -> Result<(), nft::Error> {
        let Self { table, leases, statics, unexplained, suspects } = self;
        let flows = firewall.end_unexplained(suspects).await?;
        if leases + statics + unexplained + flows > 0 {
            journal.report(Event::TableAdopted { table, leases, statics, unexplained, flows });
        }
        Ok(())
    }
}
