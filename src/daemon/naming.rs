//! [`Naming`]: the journal, for who knows clients by their addresses alone.

use std::sync::Arc;

use super::principals::Principals;
use crate::core::event::{Event, Report};
use crate::journal::Journal;

/// Adds the agent to what the firewall tells of leases.
pub(super) struct Naming {
    principals: Principals,
    journal: Arc<Journal>,
}

impl Naming {
    pub(super) const fn new(principals: Principals, journal: Arc<Journal>) -> Self {
        Self { principals, journal }
    }
}

impl Report for Naming {
    fn report(&self, mut event: Event) {
        if let Event::LeaseOpened(told)
        | Event::LeaseRefreshed(told)
        | Event::LeaseExpired(told)
        | Event::LeaseRevoked(told) = &mut event
        {
            (told.agent, _) = self.principals.of(told.client);
        }
        self.journal.report(event);
    }
}
