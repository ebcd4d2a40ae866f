//! What Cedar's parser says, told so that its reader knows what to write.

use std::ops::Range;

use miette::{Diagnostic, LabeledSpan};

use super::code::code;
use super::statement::one_line;

/// A fault of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Where, in bytes of the text.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// What `diagnosis` means in `text`.
pub(super) fn found(text: &str, diagnosis: &dyn Diagnostic) -> Finding {
    let label = diagnosis.labels().and_then(|mut labels| labels.next());
    let span = label.as_ref().map_or(0..0, |label| label.offset()..label.offset() + label.len());
    let words = diagnosis.to_string();
    missing_end(text, &span, &words)
        .or_else(|| single_equals(text, &span, &words))
        .or_else(|| unquoted_id(&span, &words))
        .or_else(|| untyped_id(text, &span, &words))
        .or_else(|| spelt_operator(&span, &words))
        .or_else(|| unquoted_text(text, &span, &words))
        .unwrap_or_else(|| as_told(span, &words, diagnosis, label.as_ref()))
}

/// Cedar reads on until something cannot belong to the policy any more: the
/// bracket of the next one, its annotation, or the end.
fn missing_end(text: &str, span: &Range<usize>, words: &str) -> Option<Finding> {
    if !words.starts_with("unexpected ") {
        return None;
    }
    let before = text.get(..span.start)?;
    let before = match before.trim_end() {
        trimmed if trimmed.ends_with("permit") || trimmed.ends_with("forbid") => {
            trimmed.get(..trimmed.len() - "permit".len())?
        }
        _ => before,
    };
    let (offset, last) = code(before).filter(|(_, character)| !character.is_whitespace()).last()?;
    let at_next =
        text.get(span.start..).is_some_and(|rest| rest.trim_start().is_empty() || rest.starts_with(['@', '(']));
    if !at_next || !matches!(last, ')' | '}') || before.is_empty() {
        return None;
    }
    Some(Finding {
        span: offset..offset + 1,
        message: "this policy does not end in `;`".to_owned(),
        help: Some(format!("write `{last};`")),
    })
}

fn single_equals(text: &str, span: &Range<usize>, words: &str) -> Option<Finding> {
    if !words.starts_with("'=' is not") {
        return None;
    }
    let offset = code(text).map(|(offset, _)| offset).find(|offset| {
        let around = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).copied().unwrap_or_default();
        *offset >= span.start
            && around(Some(*offset)) == b'='
            && around(offset.checked_add(1)) != b'='
            && !matches!(around(offset.checked_sub(1)), b'=' | b'!' | b'<' | b'>')
    })?;
    Some(Finding {
        span: offset..offset + 1,
        message: "`=` is no operator of Cedar".to_owned(),
        help: Some("write `==`".to_owned()),
    })
}

fn unquoted_id(span: &Range<usize>, words: &str) -> Option<Finding> {
    let in_scope = words.split_once("found name `").and_then(|(_, name)| name.strip_suffix('`'));
    let name = in_scope.or_else(|| words.strip_prefix("invalid variable: "))?;
    let (kind, id) = name.rsplit_once("::")?;
    Some(Finding {
        span: span.clone(),
        message: format!("the id in `{name}` has no quotation marks"),
        help: Some(format!("write `{kind}::\"{id}\"`")),
    })
}

fn untyped_id(text: &str, span: &Range<usize>, words: &str) -> Option<Finding> {
    if !words.starts_with("expected an entity uid") {
        return None;
    }
    let literal = words.split_once("found literal `")?.1.strip_suffix('`')?;
    let before = text.get(..span.start)?;
    let variables =
        ["principal", "action", "resource"].into_iter().filter_map(|word| Some((before.rfind(word)?, word)));
    let help = match variables.max()?.1 {
        "principal" => format!("write `Agent::{literal}`, or `in Team::{literal}`"),
        "action" => format!("write `Action::{literal}`"),
        _ => "write `Resource::\"api.example.com:443\"`, or `in Domain::\"example.com\"`".to_owned(),
    };
    Some(Finding { span: span.clone(), message: format!("{literal} is a text and no entity"), help: Some(help) })
}

fn spelt_operator(span: &Range<usize>, words: &str) -> Option<Finding> {
    let word = words.strip_prefix("unexpected token `")?.strip_suffix('`')?;
    let operator = match word.to_ascii_lowercase().as_str() {
        "and" | "&" => "&&",
        "or" | "|" => "||",
        "not" => "!",
        _ => return None,
    };
    Some(Finding {
        span: span.clone(),
        message: format!("`{word}` is no operator of Cedar"),
        help: Some(format!("write `{operator}`")),
    })
}

fn unquoted_text(text: &str, span: &Range<usize>, words: &str) -> Option<Finding> {
    if !words.starts_with("invalid member access") {
        return None;
    }
    let from = text.get(span.start..)?;
    let ends = |character: char| !character.is_alphanumeric() && !matches!(character, '.' | '-' | '_');
    let name = from.split(ends).next()?;
    Some(Finding {
        span: span.start..span.start + name.len(),
        message: format!("`{name}` has no quotation marks"),
        help: Some("write a host as a text: `context.host == \"api.example.com\"`".to_owned()),
    })
}

fn as_told(span: Range<usize>, words: &str, diagnosis: &dyn Diagnostic, label: Option<&LabeledSpan>) -> Finding {
    let hint = label.and_then(|label| label.label().map(str::to_owned));
    let help = diagnosis.help().map(|help| help.to_string()).or(hint);
    Finding { span, message: one_line(words), help: help.as_deref().map(one_line) }
}
