//! A command line as evidence: readable, bounded, and without what looks like a
//! secret.
//!
//! Nothing tells a secret from a word for sure. So what follows a key that
//! sounds like one, what stands where known programs take one, and what looks
//! like nothing but a key is masked; to hide a word too many costs less than to
//! write down a password.

mod keys;
mod shapes;

use std::fmt::Write;

/// What stands in the place of a secret.
pub const MASK: &str = "***";
/// How much of one argument is kept, in characters.
pub const LONGEST_ARGUMENT: usize = 200;
/// How much of a command line is kept, in characters.
pub const LONGEST: usize = 512;
/// Texts within quotes within texts that are looked into.
const DEPTH: usize = 4;
/// Where octets that are no UTF-8 are kept while the text is looked through:
/// characters that nobody uses.
const OCTETS: u32 = 0x0010_FE00;

/// The command line `octets`, arguments ended by NUL as in
/// `/proc/PID/cmdline`; `cut` says that more would have followed.
pub fn command_line(octets: &[u8], cut: bool) -> String {
    let octets = octets.trim_ascii_end_of_nul();
    let mut arguments: Vec<String> = octets.split(|&octet| octet == 0).map(text_of).collect();
    if cut {
        // A secret of which only the beginning is there looks like none.
        let last = arguments.pop().unwrap_or_default();
        arguments.push(last.rsplit_once(char::is_whitespace).map(|(whole, _)| whole.to_owned()).unwrap_or_default());
    }
    let is_alone = arguments.len() == 1;
    let mut masker = Masker::default();
    let mut line = String::new();
    for argument in &arguments {
        if !line.is_empty() {
            line.push(' ');
        }
        let shown = shorten(&printable(&masker.argument(argument)), LONGEST_ARGUMENT);
        let is_one_word = !shown.is_empty() && !shown.contains(' ');
        if is_one_word || is_alone {
            line.push_str(&shown);
        } else {
            // Infallible: it is written into a text.
            let _ = write!(line, "'{shown}'");
        }
        if line.len() > 4 * LONGEST {
            break;
        }
    }
    shorten(&line, LONGEST)
}

/// A text that a client chose, fit to be written down.
pub fn plain(octets: &[u8]) -> String {
    shorten(&printable(&text_of(octets)), LONGEST_ARGUMENT)
}

trait Trim {
    fn trim_ascii_end_of_nul(&self) -> &[u8];
}

impl Trim for [u8] {
    /// Programs that set their own title pad it with NUL.
    fn trim_ascii_end_of_nul(&self) -> &[u8] {
        let length = self.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
        self.get(..length).unwrap_or_default()
    }
}

fn text_of(octets: &[u8]) -> String {
    let mut text = String::new();
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|&octet| char::from_u32(OCTETS + u32::from(octet))));
    }
    text
}

/// With everything escaped that a terminal would obey or that reorders text.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_odd = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        // Infallible: it is written into a text.
        let _ = match u32::from(character).checked_sub(OCTETS) {
            Some(octet @ 0..=0xff) => write!(shown, "\\x{octet:02x}"),
            _ if is_odd || character.is_control() => write!(shown, "{}", character.escape_default()),
            _ => write!(shown, "{character}"),
        };
    }
    shown
}

fn shorten(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// What has to be remembered from one word to the next.
#[derive(Default)]
struct Masker {
    /// The next word is a secret.
    pending: bool,
    /// What is known of the programs named so far.
    tools: keys::Tools,
}

impl Masker {
    fn argument(&mut self, argument: &str) -> String {
        if self.pending && !keys::is_scheme(argument) {
            self.pending = false;
            return MASK.to_owned();
        }
        if let Some(end) = keys::leading_key(argument)
            && argument.len() > end
        {
            // The value may hold anything, spaces among it.
            let (key, value) = argument.split_at(end);
            self.pending = keys::is_scheme(value.trim());
            return format!("{key}{MASK}");
        }
        self.text(argument, DEPTH)
    }

    /// A text of several words, some of them in quotes: a script, say.
    fn text(&mut self, text: &str, depth: usize) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let blank = rest.find(|character: char| !character.is_whitespace()).unwrap_or(rest.len());
            let (space, after) = rest.split_at(blank);
            shown.push_str(space);
            let (word, after) = after.split_at(end_of_word(after));
            if !word.is_empty() {
                shown.push_str(&self.word(word, depth));
            }
            rest = after;
        }
        shown
    }

    fn word(&mut self, word: &str, depth: usize) -> String {
        if self.pending && !keys::is_scheme(word) {
            self.pending = false;
            return MASK.to_owned();
        }
        if word.contains(char::is_whitespace) {
            return self.quoted(word, depth);
        }
        if let Some(shown) = self.tools.option(word, &mut self.pending) {
            return shown;
        }
        self.tools.note(word);
        if keys::announces(word) {
            self.pending = true;
            return word.to_owned();
        }
        self.values(word)
    }

    /// A word that holds blanks within quotes.
    fn quoted(&mut self, word: &str, depth: usize) -> String {
        let Some(open) = word.find(is_quote).filter(|_| depth > 0) else { return MASK.to_owned() };
        let (before, quoted) = word.split_at(open);
        if keys::secret_key_before(before, before.len().saturating_sub(1)) {
            return format!("{before}{MASK}");
        }
        let quote = quoted.get(..1).unwrap_or_default();
        let inner = quoted.get(1..).unwrap_or_default();
        let (inner, after) = inner.split_once(quote).unwrap_or((inner, ""));
        let shown = match keys::leading_key(inner) {
            Some(end) if inner.len() > end => format!("{}{MASK}", inner.get(..end).unwrap_or_default()),
            _ => self.text(inner, depth - 1),
        };
        let before = if before.is_empty() { String::new() } else { self.values(before) };
        let after = if after.is_empty() { String::new() } else { self.text(after, depth - 1) };
        format!("{before}{quote}{shown}{quote}{after}")
    }

    /// Values of secret keys anywhere in a word, what stands before the host
    /// of a URL, and what looks like a key.
    fn values(&mut self, word: &str) -> String {
        let word = shapes::without_userinfo(word);
        let assignments = word.match_indices(['=', ':']).map(|(index, _)| index);
        let Some(index) = assignments.into_iter().find(|&index| keys::secret_key_before(&word, index)) else {
            return shapes::masked(&word);
        };
        let (key, value) = word.split_at(index + 1);
        let key = shapes::masked(key);
        if value.trim_matches(is_quote).is_empty() || keys::is_scheme(value) {
            self.pending = true;
            return format!("{key}{value}");
        }
        match value.split_once('&') {
            Some((_, others)) => format!("{key}{MASK}&{}", self.values(others)),
            None => format!("{key}{MASK}"),
        }
    }
}

/// Where the first word of `text` ends: at a blank outside of quotes.
fn end_of_word(text: &str) -> usize {
    let mut open = None;
    for (index, character) in text.char_indices() {
        match open {
            Some(quote) if quote == character => open = None,
            None if is_quote(character) => open = Some(character),
            None if character.is_whitespace() => return index,
            _ => {}
        }
    }
    text.len()
}

const fn is_quote(character: char) -> bool {
    matches!(character, '\'' | '"' | '`')
}

#[cfg(test)]
mod tests;
