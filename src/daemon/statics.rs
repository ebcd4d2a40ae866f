//! What the policy opens without DNS, for all clients together.

use std::time::Duration;

use crate::core::identities::Identities;
use crate::core::lease::Statics;
use crate::core::policy::Policy;
use crate::core::time::WallTime;

/// What `policy` opens for each client of `identities`, and after how long it has to
/// be judged again, if ever.
pub(super) fn wanted(policy: &Policy, identities: &Identities, now: WallTime) -> (Vec<Statics>, Option<Duration>) {
    let statics: Vec<_> =
        identities.iter().map(|(client, identity)| policy.statics(&identity.agent, client, now)).collect();
    let valid_for = statics.iter().filter_map(|statics| statics.valid_for).min();
    (statics, valid_for)
}
