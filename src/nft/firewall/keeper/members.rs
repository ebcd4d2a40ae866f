//! Who is behind the wall, while the rules stand.

use std::collections::BTreeSet;

use super::super::super::members::Member;
use super::super::super::transaction::Refused;
use super::super::Error;
use super::Keeper;

impl Keeper {
    /// Has the sets hold `members` and no others, and whatever of the table is
    /// lost loaded from `ruleset`, which says the same.
    pub(super) fn fill(&mut self, members: BTreeSet<Member>, ruleset: String) -> Result<(), Error> {
        let now = self.now();
        let stood = self.stands(now);
        self.setup.ruleset = ruleset;
        let former = std::mem::replace(&mut self.setup.members, members.clone());
        let gone: Vec<_> = former.difference(&members).collect();
        let come: Vec<_> = members.difference(&former).collect();
        if gone.is_empty() && come.is_empty() {
            return Ok(());
        }
        let told = match stood {
            true => self.put(now, |kernel| kernel.exchange(&gone, &come)),
            false => Err(Refused::NoSuchTable),
        };
        self.must_hold(told, now)
    }
}
