//! What looks like a secret wherever it stands.

use super::{MASK, is_quote};

/// How keys of well-known services begin, and how long they are at least.
const KNOWN: [(&str, usize); 34] = [
    ("AKIA", 20),
    ("ASIA", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("glrt-", 16),
    ("gldt-", 16),
    ("xoxa-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxr-", 16),
    ("xoxs-", 16),
    ("xapp-", 16),
    ("sk-", 20),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("pk_live_", 16),
    ("whsec_", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("eyJ", 20),
    ("npm_", 20),
    ("pypi-", 20),
    ("hf_", 20),
    ("dop_v1_", 20),
    ("SG.", 20),
    ("shpat_", 20),
    ("hvs.", 20),
    ("AGE-SECRET-KEY-", 20),
];
/// Runs of hexadecimal digits from this length on are keys, or might be.
const HEXADECIMAL: usize = 32;
/// Words of letters and digits from this length on are looked at closely.
const LONG: usize = 20;

/// `word` without what stands before the host of a URL.
pub(super) fn without_userinfo(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find(|character: char| is_quote(character) || character.is_whitespace()).unwrap_or(rest.len());
    let (address, after) = rest.split_at(end);
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    // A password with a slash in it ends the authority for who goes by the
    // book; a port is a number.
    let has_password =
        authority.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|octet| octet.is_ascii_digit()));
    let at = if authority.contains('@') { authority.rfind('@') } else { address.rfind('@').filter(|_| has_password) };
    let host = at.and_then(|at| address.get(at..));
    let shown = host.map_or_else(|| address.to_owned(), |host| format!("{MASK}{host}"));
    format!("{scheme}://{shown}{}", without_userinfo(after))
}

/// `word` without the pieces that look like keys.
pub(super) fn masked(word: &str) -> String {
    let Some(start) = known(word) else { return masked_by_chance(word) };
    let (before, key) = word.split_at(start);
    // Dots and slashes belong to it.
    let end = key.find(|character: char| is_quote(character) || ",;&".contains(character)).unwrap_or(key.len());
    format!("{}{MASK}{}", masked_by_chance(before), masked(key.get(end..).unwrap_or_default()))
}

/// Where the first key of a well-known service begins.
fn known(word: &str) -> Option<usize> {
    let begins = |index: usize| !word.get(..index).is_some_and(|before| before.ends_with(char::is_alphanumeric));
    let found = KNOWN.iter().flat_map(|(start, length)| {
        let fits = move |index: &usize| begins(*index) && word.len() - index >= *length;
        word.match_indices(start).map(|(index, _)| index).filter(fits)
    });
    found.min()
}

fn masked_by_chance(word: &str) -> String {
    // Paths and names are looked at piece by piece; anything else in one, as
    // Base64 has slashes, too.
    let is_path = word.starts_with(['/', '.', '~', '@']) || word.contains("://");
    let is_option = word.starts_with('-');
    let is_of_a_piece = move |character: char| {
        let joins = match (is_path, is_option) {
            (true, _) => false,
            (false, true) => "_-+".contains(character),
            (false, false) => "_-+/=".contains(character),
        };
        joins || character.is_ascii_alphanumeric()
    };
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let length = rest.find(|character| !is_of_a_piece(character)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(length);
        shown.push_str(if is_key(piece) { MASK } else { piece });
        let other = after.chars().next();
        shown.extend(other);
        rest = after.get(other.map_or(0, char::len_utf8)..).unwrap_or_default();
    }
    shown
}

fn is_key(piece: &str) -> bool {
    let hexadecimal = |run: &str| {
        let has = |wanted: fn(&u8) -> bool| run.as_bytes().iter().any(wanted);
        run.len() >= HEXADECIMAL && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    if piece.split(|character: char| !character.is_ascii_hexdigit()).any(hexadecimal) {
        return true;
    }
    piece.len() >= LONG && is_mixed(piece)
}

/// Whether letters of both cases and digits, or letters and many digits, follow
/// each other as only chance would have it.
fn is_mixed(piece: &str) -> bool {
    #[derive(PartialEq, Clone, Copy)]
    enum Kind {
        Lower,
        Upper,
        Digit,
        Other,
    }
    let kind = |octet: u8| match octet {
        b'a'..=b'z' => Kind::Lower,
        b'A'..=b'Z' => Kind::Upper,
        b'0'..=b'9' => Kind::Digit,
        _ => Kind::Other,
    };
    let kinds: Vec<Kind> = piece.bytes().map(kind).collect();
    let changes = kinds
        .windows(2)
        .filter(|pair| matches!(pair, [left, right] if left != right && *left != Kind::Other && *right != Kind::Other));
    let (changes, letters) = (changes.count(), kinds.iter().filter(|kind| **kind != Kind::Other).count());
    // In words of people it is one in ten, in keys every second.
    letters >= LONG - 4 && kinds.contains(&Kind::Digit) && changes * 4 >= letters
}
