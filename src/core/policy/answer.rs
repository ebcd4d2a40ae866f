//! From single policies to an answer, as Cedar combines them: a forbid that
//! holds denies, whatever is permitted; without one a permit that holds
//! permits; what fails to evaluate does not count, and is told.

use cedar_policy_core::ast::{Effect, Expr, Literal, SlotEnv, ValueKind};
use cedar_policy_core::evaluator::Evaluator;

/// What a set of policies says of one request. Policies are known by their
/// numbers in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    permits: Vec<u32>,
    forbids: Vec<u32>,
    /// Those that failed.
    pub(super) errors: Vec<u32>,
}

/// A condition could not be evaluated, or came to something else than true or
/// false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

impl Answer {
    /// Counts what one policy came to.
    pub(super) fn count(&mut self, policy: u32, effect: Effect, holds: Result<bool, Failed>) {
        match (holds, effect) {
            (Ok(true), Effect::Permit) => self.permits.push(policy),
            (Ok(true), Effect::Forbid) => self.forbids.push(policy),
            (Ok(false), _) => {}
            (Err(Failed), _) => self.errors.push(policy),
        }
    }

    /// Whether Cedar's decision is Allow.
    pub(super) fn is_permitted(&self) -> bool {
        self.forbids.is_empty() && !self.permits.is_empty()
    }

    /// Whether a forbid decided.
    pub(super) fn is_forbidden(&self) -> bool {
        !self.forbids.is_empty()
    }

    /// Whether a permit holds, forbidden or not.
    pub(super) fn has_permit(&self) -> bool {
        !self.permits.is_empty()
    }

    /// The policies that decided.
    pub(super) fn reasons(&self) -> &[u32] {
        if self.is_forbidden() { &self.forbids } else { &self.permits }
    }
}

/// What `condition` comes to.
pub(super) fn holds(evaluator: &Evaluator<'_>, condition: &Expr) -> Result<bool, Failed> {
    let value = evaluator.interpret(condition, &SlotEnv::new()).map_err(|_| Failed)?;
    match value.value_kind() {
        ValueKind::Lit(Literal::Bool(holds)) => Ok(*holds),
        _ => Err(Failed),
    }
}
