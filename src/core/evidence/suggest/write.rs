//! Suggestions as Cedar with comments.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use textwrap::{Options, WordSplitter};

use super::super::plain::{listed, plain, plain_within};
use super::super::tally::Tally;
use super::super::wanted::Wanted;
use super::{Suggestion, Suggestions};

/// A comment's line is at most so long.
const COLUMNS: usize = 80;
/// Between comments that do not belong together: the formatter takes blank
/// lines out.
const SEPARATOR: &str = "//\n";
/// The longest id that is given.
const MAX_ID: usize = 100;
/// Names that are told of a suggestion for a whole domain.
const NAMES_TOLD: usize = 8;

/// The whole text, not laid out yet.
pub(super) fn written(suggestions: &Suggestions) -> String {
    let all = suggestions.all();
    let mut text = heading(suggestions, &all);
    let mut ids = HashSet::new();
    let mut group = None;
    for suggestion in &all {
        let of = (&suggestion.agent, suggestion.actor(), &suggestion.domain);
        if group != Some(of) {
            text += SEPARATOR;
            text += &comment(&group_title(suggestion));
            group = Some(of);
        }
        text += &policy(suggestion, &mut ids);
    }
    text += &left_out(suggestions);
    text
}

fn heading(suggestions: &Suggestions, all: &[Suggestion]) -> String {
    let Some(span) = suggestions.span else {
        return comment("Nothing that these journals tell was denied, so there is nothing to suggest.");
    };
    let mut text = comment(&format!(
        "Suggested by `cedarwall suggest` from {}. It is what was tried, and not what is right: read each policy \
         before you keep it.",
        told(&span, "denials")
    ));
    let catch_alls: BTreeSet<&str> =
        suggestions.denied.iter().flat_map(|(_, denied)| &denied.catch_alls).map(String::as_str).collect();
    if !catch_alls.is_empty() && !all.is_empty() {
        text += SEPARATOR;
        text += &comment(&format!(
            "Some of it was denied by {}, which forbids everything, and which no permit overrides: delete that \
             policy, or have it read as the default with catch_all_forbid = \"default-deny\".",
            listed(catch_alls, 3)
        ));
    }
    text
}

fn group_title(suggestion: &Suggestion) -> String {
    let agent = plain(suggestion.agent.as_str());
    match suggestion.actor() {
        Some(actor) => format!("{agent}, {}, asked by {actor}", suggestion.domain),
        None => format!("{agent}, {}", suggestion.domain),
    }
}

fn policy(suggestion: &Suggestion, ids: &mut HashSet<String>) -> String {
    let Suggestion { agent, wanted, names, times, would, actors, more_actors, port_assumed, .. } = suggestion;
    let what = if *would { "would have been denied (audit mode)" } else { "denied" };
    let mut text = bullet(&format!("{what} {}", told(times, "times")));
    if matches!(wanted, Wanted::Below(..) | Wanted::RecordBelow(..)) {
        text += &bullet(&format!("a whole domain, for {}", listed(names.iter().map(|name| name.as_str()), NAMES_TOLD)));
    }
    if *port_assumed {
        text += &bullet("nobody tried to connect, so port 443 is assumed");
    }
    let first = suggestion.actor();
    for (actor, count) in actors.iter().filter(|(actor, _)| Some(*actor) != first) {
        text += &bullet(&format!("also by {actor}, {count} of them"));
    }
    if *more_actors > 0 {
        text += &bullet(&format!("also by other processes, {more_actors} of them"));
    }
    let id = id(suggestion, ids);
    // An id is of characters that need no escape in Cedar.
    let _ = writeln!(text, "@id(\"{id}\")\n{}\n", wanted.permit(agent));
    text
}

/// An id nobody else has: `suggested-claude-api.example.com-443`.
fn id(suggestion: &Suggestion, ids: &mut HashSet<String>) -> String {
    let target = match &suggestion.wanted {
        Wanted::Connection(name, port) => format!("{name}-{port}"),
        Wanted::Below(name, port) => format!("below-{name}-{port}"),
        Wanted::Record(name, kind) => format!("{name}-{kind}"),
        Wanted::RecordBelow(name, kind) => format!("below-{name}-{kind}"),
        Wanted::Address(address, port) => format!("{address}-{port}"),
    };
    let whole = format!("suggested-{}-{target}", plain(suggestion.agent.as_str()));
    let mut id: String = whole.chars().filter(|character| !matches!(character, '"' | '\\')).take(MAX_ID).collect();
    let base = id.clone();
    let mut number = 1;
    while !ids.insert(id.clone()) {
        number += 1;
        id = format!("{base}-{number}");
    }
    id
}

fn left_out(suggestions: &Suggestions) -> String {
    let mut text = String::new();
    for (left_out, times) in suggestions.left_out.iter() {
        if text.is_empty() {
            text += SEPARATOR;
            text += &comment("Left out:");
        }
        let (who, what) = (plain_within(&left_out.who, 80), plain_within(&left_out.what, 260));
        text += &bullet(&format!("{what} for {who}, {}: {}", told(times, "times"), plain(&left_out.why)));
    }
    for (count, what) in [
        (suggestions.left_out.beyond(), "of what is left out, not told here"),
        (suggestions.denied.beyond(), "denials of names beyond the first two thousand"),
    ] {
        if count > 0 {
            text += &bullet(&format!("{count} {what}"));
        }
    }
    text
}

/// `4 times, 2026-11-23T02:00:04Z to 2026-11-23T02:00:31Z`.
fn told(tally: &Tally, what: &str) -> String {
    let Tally { count, first, last } = tally;
    let second = |time: &jiff::Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (first, last) = (second(first), second(last));
    match (*count, what) {
        (1, "times") => format!("once, {first}"),
        (1, _) => format!("one denial, {first}"),
        (count, _) if first == last => format!("{count} {what}, {first}"),
        (count, _) => format!("{count} {what}, {first} to {last}"),
    }
}

fn bullet(text: &str) -> String {
    filled("- ", "  ", text)
}

fn comment(text: &str) -> String {
    filled("", "", text)
}

/// `text`, which is plain, as lines of a comment.
fn filled(first: &str, others: &str, text: &str) -> String {
    let (first, others) = (format!("// {first}"), format!("// {others}"));
    let options = Options::new(COLUMNS)
        .initial_indent(&first)
        .subsequent_indent(&others)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(true);
    let filled = textwrap::fill(text, options);
    // No line ends but those of the filling, whatever the text was.
    let lines = filled.split('\n').map(|line| plain(line.trim_end()));
    lines.map(|line| if line.starts_with("//") { line + "\n" } else { format!("// {line}\n") }).collect()
}
