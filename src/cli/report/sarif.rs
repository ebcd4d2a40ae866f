//! Problems in SARIF 2.1.0 (OASIS), which code hosts show beside the line.

use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Texts;
use crate::core::problem::{Place, Problem};
use crate::core::rule::Rule;

/// What a path's URI spells out: all but RFC 3986's unreserved characters and
/// the slash. A colon, too: before the first slash it would end a scheme.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A log of one run. Files below `folder` are named relative to it.
pub(in crate::cli) fn value(problems: &[Problem], texts: &Texts<'_>, folder: &Path) -> Value {
    json!({
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.map(descriptor),
            }},
            "columnKind": "unicodeCodePoints",
            "results": problems.iter().map(|problem| result(problem, texts, folder)).collect::<Vec<_>>(),
        }],
    })
}

fn descriptor(rule: Rule) -> Value {
    json!({ "id": rule.code(), "shortDescription": { "text": rule.summary() } })
}

fn result(problem: &Problem, texts: &Texts<'_>, folder: &Path) -> Value {
    let text = match &problem.help {
        Some(help) => format!("{}. Help: {help}", problem.message),
        None => problem.message.clone(),
    };
    let mut result = json!({
        "level": problem.severity,
        "message": { "text": text },
    });
    if let (Some(rule), Some(fields)) = (problem.rule, result.as_object_mut()) {
        fields.insert("ruleId".to_owned(), rule.code().into());
        fields.insert("ruleIndex".to_owned(), Rule::ALL.iter().position(|known| *known == rule).into());
    }
    if let (Some(place), Some(fields)) = (&problem.place, result.as_object_mut()) {
        fields.insert("locations".to_owned(), json!([location(place, texts, folder)]));
    }
    result
}

fn location(place: &Place, texts: &Texts<'_>, folder: &Path) -> Value {
    let (end_line, end_column) = texts.end(place);
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(&place.file, folder) },
        "region": {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": end_line,
            "endColumn": end_column,
        },
    }})
}

fn uri(file: &str, folder: &Path) -> String {
    let path = Path::new(file);
    let path = path.strip_prefix(folder).or_else(|_| path.strip_prefix(".")).unwrap_or(path);
    let encoded = utf8_percent_encode(&path.to_string_lossy(), IN_A_PATH).to_string();
    if path.is_absolute() { format!("file://{encoded}") } else { encoded }
}

#[cfg(test)]
mod tests;
