//! [`Printable`]: others' text, as it may go to a terminal or a page.

use std::fmt;

/// A text in which whatever could move a terminal's cursor, change the order of
/// what stands beside it, or not be seen at all, is written `\u{…}`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (plain, steering) in parts(self.0) {
            formatter.write_str(plain)?;
            if let Some(character) = steering {
                write!(formatter, "{}", character.escape_unicode())?;
            }
        }
        Ok(())
    }
}

/// The same JSON as `line`, with such characters written as JSON's own escapes.
/// They stand in strings alone, but for those that are white space between
/// values and in no string, so it means what it meant.
pub fn json_line(line: &str) -> String {
    let mut printable = String::with_capacity(line.len());
    for (plain, steering) in parts(line) {
        printable.push_str(plain);
        match steering {
            Some('\t' | '\n' | '\r') => printable.push(' '),
            Some(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    printable.push_str(&format!("\\u{unit:04x}"));
                }
            }
            None => {}
        }
    }
    printable
}

/// Whether `character` is one of those: control characters, and what Unicode
/// has for direction, line ends and tags (its categories Zl, Zp and most of
/// Cf).
pub const fn steers(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// `text` in runs of what is plain, each with the steering character that ends
/// it, if one does.
pub fn parts(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    text.split_inclusive(steers).map(|part| match part.chars().next_back().filter(|last| steers(*last)) {
        Some(last) => (part.strip_suffix(last).unwrap_or_default(), Some(last)),
        None => (part, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let hostile = "a\u{1b}[2Jb\rc\u{9b}d\u{202e}e\u{e0041}";
        assert_eq!(Printable(hostile).to_string(), "a\\u{1b}[2Jb\\u{d}c\\u{9b}d\\u{202e}e\\u{e0041}");
        assert_eq!(Printable("npm install é 日本").to_string(), "npm install é 日本");
    }

    #[test]
    fn a_line_of_json_means_the_same_afterwards() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{202e}\u{e0041}\u{7f} plain"});
        let line = json_line(&value.to_string());
        assert!(!line.chars().any(steers), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        assert_eq!(json_line("{\t\"a\":\r1}"), "{ \"a\": 1}");
    }
}
