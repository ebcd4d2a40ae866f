//! Cedar text as Cedar itself reads it, for what rewrites policies without
//! loading them.

use std::str::FromStr;

use cedar_policy::PolicySet;

use super::super::problem::{Place, Problem};
use super::super::rule::Rule;
use super::code;
use super::pieces::{Origin, described};

/// Parses `text`, templates included.
///
/// # Errors
/// Where it is not Cedar, or too much for Cedar's parser.
pub(super) fn parsed(file: &str, text: &str) -> Result<PolicySet, Vec<Problem>> {
    if let Some((offset, message)) = code::excess(text) {
        return Err(vec![Problem::error(Place::of_offset(file, text, offset), message).of(Rule::TooDeep)]);
    }
    PolicySet::from_str(text).map_err(|errors| {
        let origin = Origin::whole(file, text);
        errors.iter().map(|error| described(&origin, text, error)).collect()
    })
}
