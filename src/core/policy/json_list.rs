//! A list in a JSON file, each element with its place.

use serde_json::Value;

use super::super::problem::{Place, Problem};
use super::source::SourceFile;

/// One element of the list.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The elements of the list in `text`.
///
/// # Errors
/// Text that is no JSON, or no list; `example` then tells what to write.
pub(super) fn elements(file: &str, text: &str, example: &str) -> Result<Vec<Element>, Problem> {
    let source = SourceFile::new(file, text);
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = Place { file: file.into(), line: error.line().max(1), column: error.column().max(1), length: 0 };
        Problem::error(place, format!("this is not JSON: {error}"))
    })?;
    let Value::Array(values) = value else {
        return Err(Problem::error(source.place(0..0), "this is not a list").with_help(example));
    };
    let places = element_offsets(text).into_iter().map(|offset| source.place(offset..offset));
    Ok(values.into_iter().zip(places).map(|(value, place)| Element { value, place }).collect())
}

/// Where the elements of the list in `text`, which is valid JSON, start.
fn element_offsets(text: &str) -> Vec<usize> {
    let mut offsets = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut expected) = (0usize, false, false, false);
    for (offset, character) in text.char_indices() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if expected && !character.is_whitespace() && character != ']' {
            offsets.push(offset);
            expected = false;
        }
        match character {
            '"' => in_string = true,
            '[' | '{' => {
                depth += 1;
                expected = depth == 1;
            }
            ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 1 => expected = true,
            _ => {}
        }
    }
    offsets
}
