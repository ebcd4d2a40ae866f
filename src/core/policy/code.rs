//! Policy text without its strings and comments, for the questions that have
//! to be answered without Cedar's parser.

use std::ops::Range;

/// More operators than this in one policy, and Cedar's parser may exhaust the
/// stack: it folds chains into trees and drops them recursively (10,000 links
/// pass on a stack of 2 MiB, 20,000 do not).
pub(super) const MAX_OPERATORS: usize = 4096;

/// Brackets and `if`s nested deeper than this may do so, too: each passes
/// through every level of the grammar (without optimization, 100 are too many
/// for 2 MiB).
pub(super) const MAX_NESTING: usize = 30;

/// Where and why a policy of `text` would be too much for Cedar's parser.
pub(super) fn excess(text: &str) -> Option<(usize, String)> {
    let (mut operators, mut nesting) = (0usize, 0usize);
    let mut word = String::new();
    for (offset, character) in code(text) {
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        if word == "if" {
            nesting += 1;
        }
        word.clear();
        match character {
            ';' => (operators, nesting) = (0, 0),
            '(' | '[' | '{' => nesting += 1,
            ')' | ']' | '}' => nesting = nesting.saturating_sub(1),
            ',' | ':' | '@' | '"' => {}
            _ if character.is_ascii_punctuation() => operators += 1,
            _ => {}
        }
        if operators > MAX_OPERATORS {
            return Some((offset, format!("this policy has more than {MAX_OPERATORS} operators")));
        }
        if nesting > MAX_NESTING {
            return Some((offset, format!("brackets or `if`s are nested more than {MAX_NESTING} deep here")));
        }
    }
    None
}

/// The statements of `text`, each up to its semicolon, and what is left after
/// the last one if it is more than blanks and comments.
pub(super) fn statements(text: &str) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut is_blank = true;
    for (offset, character) in code(text) {
        if character == ';' {
            statements.push(start..offset + 1);
            start = offset + 1;
            is_blank = true;
        } else if !character.is_whitespace() {
            is_blank = false;
        }
    }
    if !is_blank {
        statements.push(start..text.len());
    }
    statements
}

/// Where the first `permit` or `forbid` stands that is no annotation's name.
pub(super) fn effect_offset(text: &str) -> usize {
    let mut word = None;
    let mut after = ' ';
    for (offset, character) in code(text) {
        if character.is_alphanumeric() || character == '_' {
            word.get_or_insert(offset);
            continue;
        }
        if let Some(start) = word.take() {
            let is_effect = text.get(start..offset).is_some_and(|word| word == "permit" || word == "forbid");
            if is_effect && after != '@' {
                return start;
            }
            after = ' ';
        }
        if !character.is_whitespace() {
            after = character;
        }
    }
    0
}

/// The characters outside strings and comments, with their offsets; a string
/// counts as one quotation mark, a comment as one blank.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (offset, character) = characters.next()?;
        match character {
            '"' => {
                while let Some((_, inside)) = characters.next() {
                    match inside {
                        '"' => break,
                        '\\' => drop(characters.next()),
                        _ => {}
                    }
                }
                Some((offset, '"'))
            }
            '/' if characters.next_if(|(_, next)| *next == '/').is_some() => {
                while characters.next_if(|(_, inside)| !matches!(inside, '\n' | '\r')).is_some() {}
                Some((offset, ' '))
            }
            _ => Some((offset, character)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_no_code() {
        let text = "a // \" b\n\"c\\\" // d\" e";
        let code: String = code(text).map(|(_, character)| character).collect();
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "\"", "e"]);
    }

    #[test]
    fn statements_end_at_semicolons_outside_strings_and_comments() {
        let text = "a(\";\"); // ;\n b;\n // c;\n";
        let found: Vec<_> = statements(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["a(\";\");", " // ;\n b;"]);
        assert_eq!(statements("a; b").len(), 2);
        assert_eq!(statements("\"unclosed").len(), 1);
    }

    #[test]
    fn a_carriage_return_ends_a_comment_as_it_does_for_cedar() {
        assert!(excess(&format!("// a\r{}", "([{".repeat(MAX_NESTING))).is_some());
    }

    #[test]
    fn operators_and_nesting_count_within_one_policy_and_lists_do_not() {
        assert_eq!(excess(&"permit(a || b) when { if true then [1] else 2 };".repeat(MAX_OPERATORS)), None);
        assert_eq!(excess(&"Domain::\"a||b\", ip(\"192.0.2.1\"),".repeat(MAX_OPERATORS * 2)), None);
        assert!(excess(&"a||".repeat(MAX_OPERATORS)).is_some());
        assert!(excess(&"if true then ".repeat(MAX_NESTING + 1)).is_some());
        assert!(excess(&"([{".repeat(MAX_NESTING)).is_some());
    }
}
