//! Journals, as they are read back.

use cedarwall::run::summary::Summary;

/// Longer ones only take longer.
const LONGEST: usize = 64 << 10;

/// Whatever stands in a journal: it is summed up, or skipped, and what is
/// shown of it cannot steer a terminal.
pub fn examine(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.len() > LONGEST {
        return;
    }
    let shown = Summary::of(text).to_string();
    assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
    assert!(shown.lines().count() <= 100, "a summary of {} lines", shown.lines().count());
}
