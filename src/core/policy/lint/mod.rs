//! What Cedar would accept and nobody means.
//!
//! [`walk`] looks at each statement by itself, refuses what would silently
//! mean something else than its author thinks, and notes what deciding has to
//! know. [`doubts`] looks at a policy as a whole, once it is known to be
//! valid, and warns. Every rule is told in `policies/LINT.md`.
//!
//! The work grows with the text and hardly more: statements are found by what
//! their scopes say, and near misses by what two words have in common, never
//! by comparing each with each.

mod agents;
mod covered;
mod everything;
mod hosts;
mod mentions;
mod port_runs;
mod record_types;
mod scope;
mod scripts;
mod spelling;
mod suffixes;
mod unknown_domains;
mod unreachable;
mod walk;

pub(super) use self::agents::without_a_client;
pub(super) use self::spelling::Known;
pub(super) use self::walk::{Facts, MAX_DEPTH, inspect};

use super::super::problem::Problem;
use super::principals::Principals;
use super::statement::Statement;
use mentions::Mentions;
use scope::Scope;

/// Warnings about `statements`, all of them valid; a catch-all forbid among
/// them is told of elsewhere.
pub(super) fn doubts(statements: &[&Statement], principals: &Principals) -> Vec<Problem> {
    let scopes: Vec<_> = statements.iter().map(|statement| Scope::of(statement)).collect();
    let mentions = Mentions::in_all(statements);

    let mut problems = covered::doubts(&scopes, principals);
    problems.extend(scopes.iter().filter_map(everything::doubt));
    problems.extend(scopes.iter().flat_map(suffixes::doubts));
    problems.extend(scopes.iter().filter_map(unreachable::doubt));
    problems.extend(record_types::doubts(statements));
    problems.extend(unknown_domains::doubts(&mentions));
    problems.extend(scripts::doubts(&mentions));
    if !principals.are_listed() {
        problems.extend(agents::doubts(&mentions));
    }
    problems
}
