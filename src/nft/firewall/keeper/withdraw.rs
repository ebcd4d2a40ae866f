//! What an operator closes by hand.

use std::collections::BTreeSet;

use super::super::{Error, Selection, Withdrawn};
use super::Keeper;
use crate::core::ledger::revision::{Holding, Verdict};

impl Keeper {
    /// Closes what an operator selected, whatever policy permitted it.
    pub(super) fn withdraw(&mut self, selection: &Selection) -> Result<Withdrawn, Error> {
        let now = self.now();
        self.expire(now);
        let asked_for = |holding: &Holding| {
            (selection.clients.contains(&holding.asked_by) || selection.clients.contains(&holding.key.client))
                && selection.name.as_ref().is_none_or(|name| holding.name == *name)
        };
        // Older than this are all there are.
        let every = self.in_force.next();
        let holdings: Vec<_> = self.ledger.holdings(every).into_iter().filter(asked_for).collect();
        let live: Vec<_> = holdings.iter().filter(|holding| self.ledger.is_live(&holding.key, now)).cloned().collect();
        let closed = self.revise(every, holdings.into_iter().map(Verdict::nothing_for).collect(), now)?;
        let keys: BTreeSet<_> = live.iter().map(|holding| holding.key).collect();
        let shared = keys.iter().filter(|key| self.ledger.is_live(key, now)).count();
        let names: BTreeSet<_> = live.into_iter().map(|holding| holding.name).collect();
        Ok(Withdrawn { names: names.into_iter().collect(), shared, closed })
    }
}
