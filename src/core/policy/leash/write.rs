//! The policies in our dialect, each below a comment that says where it comes
//! from and what has changed.

use std::collections::HashSet;

use cedar_policy_core::ast;
use cedar_policy_core::parser::Loc;
use textwrap::{Options, WordSplitter};

use super::super::super::query::Port;
use super::super::format;
use super::super::schema::CONNECT;
use super::super::statement::one_line;
use super::Original;
use super::statement::{Aim, Rewritten};
use super::target::{Host, Target};

/// A comment's line is at most so long.
const COLUMNS: usize = 80;

/// Between comments that do not belong together: the formatter takes blank
/// lines out.
const SEPARATOR: &str = "//\n";

const DIFFERENCES: [&str; 3] = [
    "A forbid overrides every permit, wherever it stands. (Leash's manual says so in one place, and in another that \
     the first policy that matches decides.)",
    "An address is open to who has resolved a permitted name, for as long as the answer lives; a forbid also covers \
     the names that a permitted one is an alias of.",
    "Leash lets every DNS question pass. Here a question for a record that leads to no connection, such as TXT or MX, \
     needs a permit of its own for Action::\"dns.query\".",
];

/// The whole text.
pub(super) fn written(original: &Original<'_>, rewritten: &[Rewritten<'_>]) -> String {
    let mut text = comment(&format!("Imported from Leash's policies in {}.", original.file));
    text += SEPARATOR;
    text += &comment("What differs for all of them:");
    text.extend(DIFFERENCES.map(bullet));
    text += SEPARATOR;

    let mut ids = Ids::default();
    let mut behind = 0;
    for (index, statement) in rewritten.iter().enumerate() {
        let end = statement.policy.loc().map_or(behind, Loc::end);
        text += &kept_comments(original.text.get(behind..end).unwrap_or_default());
        behind = end;
        text += &policies(original, statement, index + 1, &mut ids);
        if statement.aims.is_empty() {
            text += SEPARATOR;
        }
    }
    text + &kept_comments(original.text.get(behind..).unwrap_or_default())
}

/// A policy of Leash's: one of ours for each host, and a comment for what is
/// not here.
fn policies(original: &Original<'_>, statement: &Rewritten<'_>, number: usize, ids: &mut Ids) -> String {
    let mut text = String::new();
    for problem in &statement.outside {
        let line = problem.place.as_ref().map_or(statement.place.line, |place| place.line);
        text += &comment(&format!("{}:{line}: not here: {}.", original.file, problem.message));
    }
    if statement.named_somebody && !statement.aims.is_empty() {
        let note = match &statement.agent {
            Some(agent) => format!("Leash does not look at the principal; this is for {agent} alone."),
            None => "Leash does not look at the principal, so this is for everybody.".to_owned(),
        };
        text += &comment(&format!("{}:{}: {note}", original.file, statement.place.line));
    }
    for (index, aim) in statement.aims.iter().enumerate() {
        text += &comment(&format!("{}:{}: {}", original.file, aim.place.line, one_line(&aim.id)));
        text.extend(notes(statement, aim).iter().map(|note| bullet(note)));
        text += &annotations(statement.policy);
        let of_several = (statement.aims.len() > 1).then_some(index + 1);
        text += &format!("@id({})\n", quoted(&ids.take(statement.policy, number, of_several)));
        text += &policy(statement, &aim.target);
    }
    text
}

fn policy(statement: &Rewritten<'_>, target: &Target) -> String {
    let effect = if statement.is_permit() { "permit" } else { "forbid" };
    let principal = match &statement.agent {
        Some(agent) => format!("principal == Agent::\"{agent}\""),
        None => "principal".to_owned(),
    };
    let Clauses { resource, mut conditions, has_port } = clauses(target, statement.is_permit());
    if let (Some(port), false) = (target.port, has_port) {
        conditions.push(format!("context.port == {}", port.number()));
    }
    let when = if conditions.is_empty() { String::new() } else { format!(" when {{ {} }}", conditions.join(" && ")) };
    format!("{effect} ({principal}, action == Action::\"{CONNECT}\", {resource}){when};\n\n")
}

struct Clauses {
    resource: String,
    conditions: Vec<String>,
    /// Whether the port is part of the resource.
    has_port: bool,
}

fn clauses(target: &Target, is_permit: bool) -> Clauses {
    let clauses = |resource: String, conditions| Clauses { resource, conditions, has_port: false };
    let exact = |host: &dyn std::fmt::Display, port: Port| Clauses {
        resource: format!("resource == Resource::\"{host}:{}\"", port.number()),
        conditions: Vec::new(),
        has_port: true,
    };
    match (&target.host, target.port) {
        (Host::Everything, _) => clauses("resource".to_owned(), Vec::new()),
        (Host::Named(name), Some(port)) => exact(name, port),
        (Host::Named(name), None) => {
            clauses(format!("resource in Domain::\"{name}\""), vec![format!("context.host == \"{name}\"")])
        }
        (Host::Below(zone), _) => {
            clauses(format!("resource in Domain::\"{zone}\""), vec![format!("context.host != \"{zone}\"")])
        }
        (Host::Address(address), Some(port)) if is_permit => exact(address, port),
        (Host::Address(address), _) => clauses(
            "resource".to_owned(),
            vec!["context has ip".to_owned(), format!("context.ip == ip(\"{address}\")")],
        ),
    }
}

/// What has changed its meaning, or is not to be seen at a glance.
fn notes(statement: &Rewritten<'_>, aim: &Aim) -> Vec<String> {
    let mut notes = Vec::new();
    let permits = statement.is_permit();
    if aim.is_server {
        notes.push("Leash closes the whole host of a forbidden MCP server, and so does this.".to_owned());
    }
    match (&aim.target.host, permits) {
        (Host::Everything, true) => {
            notes.push("Every name, and not every address: Leash also opened addresses that no name led to.".to_owned())
        }
        (Host::Everything, false) => notes.push(
            "This denies everything, whatever is permitted. If it was meant as \"and nothing else\", delete it: that \
             is the default; or use catch_all_forbid = \"default-deny\"."
                .to_owned(),
        ),
        (Host::Below(zone), _) => {
            let also = if permits { "permit" } else { "forbid" };
            notes.push(format!(
                "The names below {zone}, without {zone} itself. Leash's match also takes in names that merely end so, \
                 such as evil{zone}; this does not {also} them."
            ));
        }
        (Host::Named(name), _) if aim.target.port.is_none() => {
            notes.push(format!("Every port of {name}, TCP and UDP."))
        }
        (Host::Named(_), _) => {}
        (Host::Address(_), true) => notes.push("An address: open without a question.".to_owned()),
        (Host::Address(_), false) => {
            notes.push("An address, under whatever name: it is taken out of every answer.".to_owned());
        }
    }
    let plain = match &aim.target.host {
        Host::Named(name) | Host::Below(name) => aim.id.contains(name.as_str()),
        Host::Everything | Host::Address(_) => true,
    };
    if !plain {
        notes.push(
            "Names here are lower case, in ASCII, without a trailing dot; Leash compares them as written.".into(),
        );
    }
    notes
}

/// The ids that have been given.
#[derive(Default)]
struct Ids(HashSet<String>);

impl Ids {
    /// An id nobody else has: the policy's own, or a number.
    fn take(&mut self, policy: &ast::Policy, number: usize, of_several: Option<usize>) -> String {
        let own = policy.annotations().find(|(key, _)| key.as_ref() == "id");
        let mut id = own.map_or_else(|| format!("leash-{number}"), |(_, id)| id.val.to_string());
        if let Some(part) = of_several {
            id = format!("{id}-{part}");
        }
        while !self.0.insert(id.clone()) {
            id.push_str("-again");
        }
        id
    }
}

fn annotations(policy: &ast::Policy) -> String {
    let others = policy.annotations().filter(|(key, _)| key.as_ref() != "id");
    others.map(|(key, annotation)| format!("@{}({})\n", key.as_ref(), quoted(&annotation.val))).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// The author's own comments, before a policy and within it.
fn kept_comments(text: &str) -> String {
    format::comments(text).into_iter().map(|comment| format!("{}\n", one_line(comment))).collect()
}

fn bullet(text: &str) -> String {
    filled("- ", "  ", text)
}

fn comment(text: &str) -> String {
    filled("", "", text)
}

/// `text` as lines of a comment. What would end a line is no part of it.
fn filled(first: &str, others: &str, text: &str) -> String {
    let (first, others) = (format!("// {first}"), format!("// {others}"));
    let options = Options::new(COLUMNS)
        .initial_indent(&first)
        .subsequent_indent(&others)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(&one_line(text), options) + "\n"
}
