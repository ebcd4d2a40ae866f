//! Text of a journal as it may be shown: one line of printable characters.

use std::collections::BTreeSet;

use crate::core::printable::Printable;

/// `text` with everything escaped that would end a line, move a cursor, turn
/// the direction of writing or not be seen. Quotes and backslashes stay.
pub fn plain(text: &str) -> String {
    Printable(text).to_string()
}

/// The same, at most `most` characters of it, with an ellipsis for the rest.
pub fn plain_within(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let head: String = characters.by_ref().take(most.saturating_sub(1)).collect();
    let mut rest = characters;
    match (rest.next(), rest.next()) {
        (None, _) => plain(&head),
        (Some(last), None) => plain(&format!("{head}{last}")),
        (Some(_), Some(_)) => format!("{}…", plain(&head)),
    }
}

/// The first few of several texts, made plain, with the number of those left
/// out.
pub fn listed<'a>(texts: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let texts: BTreeSet<&str> = texts.into_iter().collect();
    let more = texts.len().saturating_sub(most);
    let mut shown: Vec<_> = texts.into_iter().take(most).map(|text| plain_within(text, 80)).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_steers_a_terminal_or_a_reader_is_left() {
        assert_eq!(plain("a\n\u{1b}[2J\u{202e}b\u{2028}\t\u{9b}"), "a\\u{a}\\u{1b}[2J\\u{202e}b\\u{2028}\\u{9}\\u{9b}");
        assert_eq!(plain("sh -c \"a 'b' \\c\" Jürgen 漢"), "sh -c \"a 'b' \\c\" Jürgen 漢");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(plain_within("abcd", 4), "abcd");
        assert_eq!(plain_within("abcde", 4), "abc…");
        assert_eq!(listed(["b", "a", "a", "c"], 2), "a, b, and 1 more");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_one_line_of_printable_characters_comes_out(text in any::<String>()) {
            prop_assert!(!plain(&text).chars().any(char::is_control));
            let ends_a_line = plain_within(&text, 7).contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']);
            prop_assert!(!ends_a_line);
        }
    }
}
