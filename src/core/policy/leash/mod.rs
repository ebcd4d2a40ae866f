//! From Leash's dialect of Cedar to ours.
//!
//! Leash, by StrongDM, guards a container
//! with Cedar policies of its own: `Action::"NetworkConnect"` on
//! `Host::"name[:port]"`, `Host::"*.zone"` or `Host::"*"`, besides files,
//! processes and more. What is said of the network is rewritten here, one
//! policy for each host, with a note wherever the meaning changes; the rest is
//! reported. What cannot be rewritten exactly is refused, and then nothing is
//! written at all.

mod condition;
mod statement;
mod target;
#[cfg(test)]
mod tests;
mod write;

use cedar_policy_core::ast;
use cedar_policy_core::parser::Loc;

use self::statement::Rewritten;
use super::super::config::CatchAllForbid;
use super::super::problem::{Place, Problem};
use super::super::query::Agent;
use super::{Policy, Sources, format, reading};

/// A text rewritten.
#[derive(Debug)]
pub struct Imported {
    /// Cedar in our dialect, laid out.
    pub text: String,
    /// How many policies it has.
    pub policies: usize,
    /// What in the original has nothing to do with a firewall, as warnings.
    pub outside: Vec<Problem>,
    /// What is doubtful about the result, as warnings with places in it.
    pub doubts: Vec<Problem>,
}

/// Why a text was not rewritten.
#[derive(Debug)]
pub enum Refused {
    /// What in the original cannot be rewritten.
    Original(Vec<Problem>),
    /// The rewritten text is not usable.
    Result {
        /// The text.
        text: String,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
}

/// Rewrites `text`, which messages call `file`; the result is called
/// `result_file`. The permits are for `agent`, or for whom the original says.
///
/// # Errors
/// Every place that cannot be rewritten; or what is wrong with the result,
/// which has then come to nothing.
pub fn imported(file: &str, text: &str, result_file: &str, agent: Option<&Agent>) -> Result<Imported, Refused> {
    let set = reading::parsed(file, text).map_err(Refused::Original)?;
    let original = Original { file, text };
    let mut problems: Vec<_> = set.templates().map(|template| original.template(template.as_ref())).collect();
    let mut policies: Vec<_> = set.policies().map(|policy| -> &ast::Policy { policy.as_ref() }).collect();
    policies.sort_by_key(|policy| policy.loc().map(Loc::start));

    let mut rewritten: Vec<Rewritten<'_>> = Vec::with_capacity(policies.len());
    for policy in policies {
        match statement::rewritten(&original, policy, agent) {
            Ok(statement) => rewritten.push(statement),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(statement::contradictions(&rewritten));
    if !problems.is_empty() {
        problems.sort_by(|left, right| left.place.cmp(&right.place));
        return Err(Refused::Original(problems));
    }

    let written = write::written(&original, &rewritten);
    let text = match format::formatted(result_file, &written) {
        Ok(text) => text,
        Err(problems) => return Err(Refused::Result { text: written, problems }),
    };
    let sources = Sources { policies: vec![(result_file.to_owned(), text.clone())], ..Sources::default() };
    match Policy::load(&sources, CatchAllForbid::Strict) {
        Ok(loaded) => Ok(Imported {
            text,
            policies: loaded.policy.len(),
            outside: rewritten.into_iter().flat_map(|statement| statement.outside).collect(),
            doubts: loaded.warnings,
        }),
        Err(problems) => Err(Refused::Result { text, problems }),
    }
}

/// The text that is rewritten.
struct Original<'a> {
    file: &'a str,
    text: &'a str,
}

impl Original<'_> {
    /// What `loc` covers.
    fn place(&self, loc: Option<&Loc>) -> Place {
        let start = loc.map_or(0, Loc::start);
        let length = loc.and_then(Loc::snippet).map_or(0, |covered| covered.chars().count());
        Place::of_offset(self.file, self.text, start).covering(length)
    }

    fn template(&self, template: &ast::Template) -> Problem {
        Problem::error(self.place(template.loc()), "a template is not rewritten; Leash has none")
            .with_help("write the policy out")
    }
}
