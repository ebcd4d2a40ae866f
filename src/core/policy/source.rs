//! A file of policies, with its lines at hand: a place in it is found without
//! reading it from the start.

use std::ops::Range;
use std::sync::Arc;

use super::super::problem::Place;

/// A file's name and text.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) name: Arc<str>,
    text: Arc<str>,
    /// The offsets at which lines start.
    lines: Vec<usize>,
}

impl SourceFile {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let starts = text.match_indices('\n').map(|(end, _)| end + 1);
        Self { name: name.into(), text: text.into(), lines: std::iter::once(0).chain(starts).collect() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) const fn shared_text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether `text` is this very text, and no copy of a piece of it.
    pub(super) fn is_text_of(&self, text: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.text, text)
    }

    /// The place of the bytes in `range`; of its end, if it starts past it.
    pub(super) fn place(&self, range: Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= range.start);
        let line_start = line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default();
        let characters = |from: usize, to: usize| {
            self.text.get(from.min(self.text.len())..to.min(self.text.len())).map_or(0, |text| text.chars().count())
        };
        Place {
            file: Arc::clone(&self.name),
            line,
            column: characters(line_start, range.start) + 1,
            length: characters(range.start, range.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_what_counting_from_the_start_finds(text in "[aü\n]{0,40}", offset in 0..60usize) {
            let offset = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            let file = SourceFile::new("f", &text);
            prop_assert_eq!(file.place(offset..offset), Place::of_offset("f", &text, offset));
        }
    }
}
