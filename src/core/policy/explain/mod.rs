//! Why a decision is what it is: what each policy leads to, and for a denial
//! the permit that came nearest.
//!
//! Nothing of this is on a query's way, so it may look at every policy in
//! turn.

mod addresses;
mod conjuncts;
mod mentions;
mod nearest;
pub(super) mod scene;
mod share;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

pub use self::conjuncts::Stumble;
pub use self::nearest::{Nearest, Obstacle};
pub use self::share::{Kept, Placement, Share};
use super::super::decision::{Decision, Denial, Opening, Permit, PolicyId, Reason};
use super::super::query::Query;
use super::super::question::Question;
use super::super::target::{Service, Target};
use super::Policy;

/// A decision with all that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision itself.
    pub decision: Decision,
    /// For a permit, what each deciding policy leads to.
    pub shares: Vec<Share>,
    /// The deciding policies that failed to evaluate, and how.
    pub failures: Vec<Failure>,
    /// For a denial, the permit that came nearest.
    pub nearest: Option<Nearest>,
    /// What the name opens when another port of it was asked for and denied.
    pub otherwise: Vec<Opening>,
}

/// A policy that failed to evaluate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which.
    pub policy: PolicyId,
    /// Where its condition failed, and with which words of Cedar's.
    pub stumble: Stumble,
}

impl Policy {
    /// Decides a question: of a host, as its queries and connections would be
    /// decided; of addresses, as the policy opens them without DNS.
    pub fn judge(&self, question: &Question) -> Decision {
        match (question.target(), question.query()) {
            (Target::Host { service: Some(service), .. }, Some(query)) => {
                self.judge_service(question, &query, *service)
            }
            (Target::Host { service: None, .. }, Some(query)) => match question.address() {
                Some(address) => self.decide_address(&query, address, question.at()),
                None => self.decide(&query, question.at()),
            },
            (Target::Addresses { network, service }, _) => addresses::decide(self, question, *network, *service),
            (Target::Host { .. }, None) => Decision::Deny(Denial::by_default(Reason::NotPermitted)),
        }
    }

    /// Decides a question, and says why.
    pub fn explain(&self, question: &Question) -> Explanation {
        let decision = self.judge(question);
        let mut explanation =
            Explanation { decision, shares: Vec::new(), failures: Vec::new(), nearest: None, otherwise: Vec::new() };
        match &explanation.decision {
            Decision::Permit(permit) => explanation.shares = share::shares(self, question, permit),
            Decision::Deny(denial) if denial.reason == Reason::PolicyError => {
                explanation.failures = nearest::failures(self, question, denial);
            }
            Decision::Deny(denial) => {
                explanation.nearest = nearest::nearest(self, question, denial);
                explanation.otherwise = self.otherwise(question);
            }
        }
        explanation
    }

    /// A port is open if one of the protocols that are meant is.
    fn judge_service(&self, question: &Question, query: &Query, service: Service) -> Decision {
        let decide =
            |protocol| self.decide_connection(query, protocol, service.port, question.address(), question.at());
        either(service.protocols().map(decide))
    }

    fn otherwise(&self, question: &Question) -> Vec<Opening> {
        let (Target::Host { service: Some(_), .. }, Some(query)) = (question.target(), question.query()) else {
            return Vec::new();
        };
        match self.decide(&query, question.at()) {
            Decision::Permit(permit) => permit.openings.to_vec(),
            Decision::Deny(_) => Vec::new(),
        }
    }
}

/// Several decisions as one: what any of them permits, or every denial.
fn either(decisions: impl Iterator<Item = Decision>) -> Decision {
    let mut permitted: Option<Permit> = None;
    let mut denied = Denial::by_default(Reason::NotPermitted);
    for (index, decision) in decisions.enumerate() {
        match (decision, &mut permitted) {
            (Decision::Permit(permit), None) => permitted = Some(permit),
            (Decision::Permit(permit), Some(all)) => {
                all.openings = all.openings.iter().chain(permit.openings.iter()).copied().collect();
                all.policies = united(&all.policies, &permit.policies);
                all.judges_addresses |= permit.judges_addresses;
                all.valid_for = all.valid_for.min(permit.valid_for).or(all.valid_for).or(permit.valid_for);
            }
            (Decision::Deny(denial), _) => {
                denied.reason = if index == 0 { denial.reason } else { graver(denied.reason, denial.reason) };
                denied.policies = united(&denied.policies, &denial.policies);
            }
        }
    }
    permitted.map_or(Decision::Deny(denied), Decision::Permit)
}

/// What a policy did is the better reason than that none did anything.
fn graver(left: Reason, right: Reason) -> Reason {
    if left == Reason::NotPermitted { right } else { left }
}

fn united(left: &[PolicyId], right: &[PolicyId]) -> Arc<[PolicyId]> {
    let each: BTreeSet<&PolicyId> = left.iter().chain(right).collect();
    each.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests;
