//! Words that are nearly another word which is used more often.
//!
//! Two words one edit apart have a word in common once a letter is left out of
//! each, so near misses meet under a common key and nobody compares each with
//! each. Digits are never left out: `api1` is no misspelt `api2`.

use rustc_hash::FxHashMap;

/// How long the run of letters and digits must be in which two words differ:
/// among short ones nearly everything is near.
const MIN_RUN: usize = 5;

/// A known word shorter than this is near too many others.
const MIN_WORD: usize = 4;

/// Whether `words`, each with how often it is used, has for some of them
/// another that was probably meant: one edit away, and used more often by
/// `more_often`.
pub(super) fn probably_meant<'a>(
    words: &FxHashMap<&'a str, usize>,
    more_often: impl Fn(usize, usize) -> bool,
) -> FxHashMap<&'a str, &'a str> {
    let mut by_remainder: FxHashMap<String, Vec<&'a str>> = FxHashMap::default();
    for word in words.keys() {
        for remainder in remainders(word) {
            by_remainder.entry(remainder).or_default().push(word);
        }
    }
    let mut meant: FxHashMap<&str, &str> = FxHashMap::default();
    for group in by_remainder.values().filter(|group| group.len() > 1) {
        let count = |word: &str| words.get(word).copied().unwrap_or_default();
        let Some(common) = group.iter().copied().max_by_key(|word| (count(word), std::cmp::Reverse(*word))) else {
            continue;
        };
        for word in group.iter().copied().filter(|word| *word != common) {
            let is_better = meant.get(word).is_none_or(|other| {
                (count(common), std::cmp::Reverse(common)) > (count(other), std::cmp::Reverse(*other))
            });
            if is_better && more_often(count(common), count(word)) && is_near_miss(word, common) {
                meant.insert(word, common);
            }
        }
    }
    meant
}

/// Known words, to be found by near misses of them.
#[derive(Debug, Default)]
pub struct Known {
    by_remainder: FxHashMap<String, Vec<String>>,
}

impl Known {
    /// These words.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut by_remainder: FxHashMap<String, Vec<String>> = FxHashMap::default();
        for word in words {
            for remainder in remainders(word) {
                by_remainder.entry(remainder).or_default().push(word.to_owned());
            }
        }
        Self { by_remainder }
    }

    /// The word that `word` is one edit away from; of several, the first in
    /// the alphabet.
    pub fn near(&self, word: &str) -> Option<&str> {
        let others = remainders(word).into_iter().filter_map(|remainder| self.by_remainder.get(&remainder)).flatten();
        others
            .map(String::as_str)
            .filter(|other| strsim::osa_distance(word, other) == 1 && !differ_in_digits_alone(word, other))
            .filter(|other| other.chars().count() >= MIN_WORD)
            .min()
    }
}

/// Whether two words are the same but for their digits.
fn differ_in_digits_alone(left: &str, right: &str) -> bool {
    let letters = |word: &str| word.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    left != right && letters(left) == letters(right)
}

/// The word itself, and the word without each of its letters.
fn remainders(word: &str) -> Vec<String> {
    let mut remainders = vec![word.to_owned()];
    for (offset, character) in word.char_indices().filter(|(_, character)| !character.is_ascii_digit()) {
        let (before, after) = word.split_at(offset);
        remainders.push(format!("{before}{}", after.get(character.len_utf8()..).unwrap_or_default()));
    }
    remainders.sort_unstable();
    remainders.dedup();
    remainders
}

fn is_near_miss(word: &str, common: &str) -> bool {
    if strsim::osa_distance(word, common) != 1 || differ_in_digits_alone(word, common) {
        return false;
    }
    let start = word.bytes().zip(common.bytes()).take_while(|(left, right)| left == right).count();
    run_around(common, start).len() >= MIN_RUN || is_com(word, common, start)
}

/// The letters and digits around `offset` of `word`.
fn run_around(word: &str, offset: usize) -> &str {
    let in_run = |character: char| character.is_alphanumeric();
    let offset = (0..=offset.min(word.len())).rev().find(|at| word.is_char_boundary(*at)).unwrap_or_default();
    let (before, after) = word.split_at(offset);
    let start = before.len() - before.chars().rev().take_while(|c| in_run(*c)).map(char::len_utf8).sum::<usize>();
    let end = offset + after.chars().take_while(|c| in_run(*c)).map(char::len_utf8).sum::<usize>();
    word.get(start..end).unwrap_or_default()
}

/// Whether one ends in `.com` where the other ends in nearly that.
fn is_com(word: &str, common: &str, start: usize) -> bool {
    let stem = common.strip_suffix(".com").map_or(usize::MAX, str::len);
    start > stem && word.rsplit('.').next().is_some_and(|last| matches!(last, "co" | "cm" | "om"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(words: &[(&'static str, usize)]) -> Vec<(&'static str, &'static str)> {
        let words = words.iter().copied().collect();
        let mut meant: Vec<_> = probably_meant(&words, |more, less| more > less).into_iter().collect();
        meant.sort_unstable();
        meant
    }

    #[test]
    fn one_edit_away_is_near() {
        for typo in ["exmaple.com", "exampel.com", "exmple.com", "examplee.com", "exanple.com", "example.co"] {
            assert_eq!(meant(&[("example.com", 2), (typo, 1)]), [(typo, "example.com")], "{typo}");
        }
    }

    #[test]
    fn what_is_used_as_often_or_differs_more_or_in_digits_or_in_a_short_word_is_not() {
        for (word, count) in
            [("exmaple.com", 2), ("exmalpe.com", 1), ("example1.com", 1), ("example.net", 1), ("cdn-example.com", 1)]
        {
            assert_eq!(meant(&[("example.com", 2), (word, count)]), [], "{word}");
        }
        assert_eq!(meant(&[("api1-example.com", 2), ("api2-example.com", 1)]), []);
        assert_eq!(meant(&[("bucket-a.example", 2), ("bucket-b.example", 1)]), []);
    }

    #[test]
    fn the_more_frequent_of_two_near_words_is_meant() {
        let words = [("claude", 9), ("claudes", 4), ("claudee", 1), ("laude", 1)];
        assert_eq!(meant(&words), [("claudee", "claude"), ("claudes", "claude"), ("laude", "claude")]);
    }
}
