//! Audit mode is told of for as long as it lasts, so that nobody takes the wall
//! for one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use crate::core::config::PolicyMode;
use crate::core::event::{Event, Report};
use crate::gate::InForce;
use crate::journal::Journal;

/// How often it is told.
const RHYTHM: Duration = Duration::from_secs(60);

/// Says that nothing is denied, if that is so, and goes on saying it.
pub(super) async fn keep_telling(in_force: Arc<ArcSwap<InForce>>, journal: Arc<Journal>) {
    let mut round = interval(RHYTHM);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        tell(&journal, in_force.load().mode);
    }
}

/// Says that nothing is denied, if that is so; in the metrics either way.
pub(super) fn tell(journal: &Journal, mode: PolicyMode) {
    let is_audit = mode == PolicyMode::Audit;
    journal.set_audit_mode(is_audit);
    if is_audit {
        journal.report(Event::AuditMode { would_deny: journal.queries().would_deny });
    }
}
