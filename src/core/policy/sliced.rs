//! Any Cedar policies, behind the same index by which the wall's are found:
//! what the proof that slicing changes nothing is made with.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{Policy, PolicyID, Request};
use cedar_policy_core::entities::{Dereference, Entities};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::answer::{Answer, holds};
use super::slices::{Slices, Standing};

/// A set of policies of any schema.
#[derive(Debug)]
pub struct SlicedSet {
    policies: Vec<Policy>,
    slices: Slices,
}

/// What it says of a request, in the terms of Cedar's own Authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Allow.
    pub allowed: bool,
    /// The policies that decided.
    pub reasons: BTreeSet<PolicyID>,
    /// The policies that failed to evaluate.
    pub errors: BTreeSet<PolicyID>,
}

impl SlicedSet {
    /// Files `policies`.
    pub fn of(policies: Vec<Policy>) -> Self {
        Self { slices: Slices::of(&policies), policies }
    }

    /// Decides `request`, evaluating the policies alone whose scope matches.
    /// A request with unknown parts is denied.
    pub fn is_authorized(&self, request: &Request, entities: &Entities) -> Response {
        let (Some(principal), Some(action), Some(resource)) =
            (request.principal().uid(), request.action().uid(), request.resource().uid())
        else {
            return self.told(&Answer::default());
        };
        let standing = |entity| -> Standing {
            match entities.entity(entity) {
                Dereference::Data(found) => self.slices.standing(entity, found.ancestors()),
                Dereference::NoSuchEntity | Dereference::Residual(_) => self.slices.standing(entity, []),
            }
        };
        let evaluator = Evaluator::new(request.clone(), entities, Extensions::all_available());
        let mut answer = Answer::default();
        for number in self.slices.matching(&standing(principal), &standing(action), &standing(resource)) {
            let Some(policy) = self.policies.get(number as usize) else { continue };
            let holds = policy.non_scope_constraints().map_or(Ok(true), |condition| holds(&evaluator, condition));
            answer.count(number, policy.effect(), holds);
        }
        self.told(&answer)
    }

    fn told(&self, answer: &Answer) -> Response {
        let ids = |numbers: &[u32]| {
            let policies = numbers.iter().filter_map(|number| self.policies.get(*number as usize));
            policies.map(|policy| policy.id().clone()).collect()
        };
        Response { allowed: answer.is_permitted(), reasons: ids(answer.reasons()), errors: ids(&answer.errors) }
    }
}
