//! Who was told which address under which name, noted on an answer's way out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wall_time;
use crate::core::event::{Event, Report};
use crate::core::name::{Hostname, Name};
use crate::core::sightings::Sightings;
use crate::journal::Journal;
use crate::nft::firewall::LeaseView;

/// The journal, behind one who remembers what answers said. Clones share what
/// is remembered.
#[derive(Clone)]
pub(super) struct Witness {
    journal: Arc<Journal>,
    sightings: Arc<Mutex<Sightings>>,
}

impl Witness {
    pub(super) fn new(journal: Arc<Journal>) -> Self {
        Self { journal, sightings: Arc::default() }
    }

    /// What was open before this daemon began, it was told by one before.
    pub(super) fn remember(&self, leases: &[LeaseView]) {
        for LeaseView { key, names, .. } in leases {
            for name in names.iter().filter_map(|name| Name::parse(name).ok()) {
                self.sightings().see(key.client, &name, &[key.address], wall_time());
            }
        }
    }

    pub(super) fn sightings(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Witness {
    fn report(&self, event: Event) {
        if let Event::QueryAnswered { subject, opened, .. } = &event
            && let Hostname::Canonical(name) = &subject.name
        {
            self.sightings().see(subject.client, name, opened, wall_time());
        }
        self.journal.report(event);
    }
}
