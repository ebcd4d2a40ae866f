//! Other rules while the wall stands.

use super::super::super::conntrack;
use super::super::Error;
use super::Keeper;
use crate::core::config::PolicyMode;

impl Keeper {
    /// Has the table loaded from `ruleset`, and whatever of it is lost loaded
    /// from there again.
    pub(super) fn set_rules(&mut self, ruleset: String, mode: PolicyMode) -> Result<(), Error> {
        if ruleset == self.setup.ruleset {
            return Ok(());
        }
        self.setup.ruleset = ruleset;
        self.damage.reload();
        self.undone.is_wanted = true;
        if !self.stands(self.now()) {
            return Err(Error::RulesNotTaken(self.complaint.clone().unwrap_or_default()));
        }
        if mode == PolicyMode::Audit {
            return Ok(());
        }
        // No rule lets any more of them through by now.
        match conntrack::end_audited() {
            Ok(0) => {}
            Ok(ended) => tracing::info!("{ended} flows that audit mode alone let through were ended"),
            Err(error) => tracing::warn!("the kernel's table of flows keeps what audit mode let through: {error}"),
        }
        Ok(())
    }
}
