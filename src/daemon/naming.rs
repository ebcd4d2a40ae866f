//! [`Naming`]: the journal, for who knows clients by their addresses alone.

use std::sync::Arc;

use crate::clients::Clients;
use crate::core::event::{Event, Report};
use crate::journal::Journal;

/// Adds the agent to what the firewall tells of leases.
pub(super) struct Naming {
    clients: Clients,
    journal: Arc<Journal>,
}

impl Naming {
    pub(super) const fn new(clients: Clients, journal: Arc<Journal>) -> Self {
        Self { clients, journal }
    }
}

impl Report for Naming {
    fn report(&self, mut event: Event) {
        if let Event::LeaseOpened(told)
        | Event::LeaseRefreshed(told)
        | Event::LeaseExpired(told)
        | Event::LeaseRevoked(told) = &mut event
        {
            told.agent = self.clients.identify(told.client).map(|identity| identity.agent);
        }
        self.journal.report(event);
    }
}
