//! A file's statements as Cedar reads them.
//!
//! A file is cut into its statements first, and those that are like no other
//! ([`super::alike`]) are given to Cedar's parser some hundred at a time: its
//! syntax tree of a whole file takes many times the memory of the policies, and
//! a mistake in one statement then hides none in another.

use std::ops::Range;
use std::sync::Arc;

use cedar_policy_core::ast;
use cedar_policy_core::parser::{self, Loc};
use miette::Diagnostic;
use rustc_hash::FxHashMap;

use super::super::problem::{Place, Problem};
use super::super::rule::Rule;
use super::alike::{self, Outline};
use super::code;
use super::source::SourceFile;
use super::syntax;

/// How much text is parsed at a time, in octets.
const CHUNK: usize = 64 * 1024;

/// A policy or template, and the piece of text that Cedar's offsets count
/// from.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) template: Arc<ast::Template>,
    pub(super) origin: Origin,
}

impl Piece {
    /// Where in the file it stands.
    pub(super) fn range(&self) -> Range<usize> {
        let Some(loc) = self.template.loc() else { return 0..0 };
        let start = if self.origin.source.is_text_of(&loc.src) { 0 } else { self.origin.start };
        start + loc.start()..start + loc.end()
    }
}

/// What Cedar's offsets count from: a piece of a file.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    source: Arc<SourceFile>,
    start: usize,
    /// Of a statement that is made of an example: where its own conditions
    /// begin. What the example has before them is not in this text.
    conditions: usize,
}

impl Origin {
    /// Of a whole file.
    pub(super) fn whole(file: &str, text: &str) -> Self {
        Self { source: Arc::new(SourceFile::new(file, text)), start: 0, conditions: 0 }
    }

    /// The file.
    pub(super) fn source(&self) -> &SourceFile {
        &self.source
    }

    /// The place of `range`, which counts from the piece's start.
    fn place(&self, range: Range<usize>) -> Place {
        self.source.place(self.start + range.start..self.start + range.end)
    }

    /// The place of `loc`; `None` if it is about the statement as a whole.
    pub(super) fn place_of(&self, loc: &Loc) -> Option<Place> {
        let range = loc.start()..loc.end();
        if self.source.is_text_of(&loc.src) {
            return Some(self.source.place(range));
        }
        (self.start + range.start >= self.conditions).then(|| self.place(range))
    }
}

/// The statements of `source`, in their order. Those that are not Cedar are
/// told in `problems` and left out.
pub(super) fn all(source: &Arc<SourceFile>, problems: &mut Vec<Problem>) -> Vec<Piece> {
    let text = source.text();
    if let Some((offset, message)) = code::excess(text) {
        let problem = Problem::error(source.place(offset..offset), message).of(Rule::TooDeep);
        problems.push(problem.with_help("write it as several policies, or its alternatives as one set"));
        return Vec::new();
    }
    let ranges = code::statements(text);
    let outlines: Vec<_> = ranges.iter().map(|range| alike::outline(text, range.clone())).collect();
    let mut first_of_kind: FxHashMap<&str, usize> = FxHashMap::default();
    let example_of: Vec<usize> = outlines
        .iter()
        .enumerate()
        .map(|(index, outline)| {
            outline.as_ref().map_or(index, |outline| *first_of_kind.entry(&outline.common).or_insert(index))
        })
        .collect();

    let mut pieces: Vec<Option<Piece>> = Vec::new();
    pieces.resize_with(ranges.len(), || None);
    let parsed_by_cedar: Vec<usize> =
        (0..ranges.len()).filter(|&index| example_of.get(index) == Some(&index)).collect();
    parse_all(source, &ranges, &parsed_by_cedar, &mut pieces, problems);
    for index in 0..ranges.len() {
        let example = example_of.get(index).copied().unwrap_or(index);
        if example == index {
            continue;
        }
        let made = made_of_example(source, &outlines, &pieces, example, index);
        match made {
            Some(piece) => put(&mut pieces, index, piece),
            None => parse_all(source, &ranges, &[index], &mut pieces, problems),
        }
    }
    pieces.into_iter().flatten().collect()
}

/// The statement at `loc`, as the parser reads it; `None` if that is what it is
/// already.
pub(super) fn parsed_anew(origin: &Origin, loc: &Loc) -> Option<Piece> {
    if !origin.source.is_text_of(&loc.src) {
        return None;
    }
    parse_piece(&origin.source, loc.start()..loc.end()).ok()?.into_iter().next()
}

/// Has Cedar parse the statements of these `numbers`, those that follow each
/// other together.
fn parse_all(
    source: &Arc<SourceFile>,
    ranges: &[Range<usize>],
    numbers: &[usize],
    pieces: &mut [Option<Piece>],
    problems: &mut Vec<Problem>,
) {
    for run in runs(ranges, numbers) {
        let range_of = |number: &usize| ranges.get(*number).cloned().unwrap_or_default();
        let whole =
            run.first().map_or(0, |first| range_of(first).start)..run.last().map_or(0, |last| range_of(last).end);
        if let Ok(found) = parse_piece(source, whole)
            && found.len() == run.len()
        {
            for (number, piece) in run.iter().zip(found) {
                put(pieces, *number, piece);
            }
            continue;
        }
        // Each by itself, so that every mistake is found, and each once.
        for number in run {
            match parse_piece(source, range_of(number)) {
                Ok(found) => found.into_iter().for_each(|piece| put(pieces, *number, piece)),
                Err(found) => problems.extend(found),
            }
        }
    }
}

fn put(pieces: &mut [Option<Piece>], number: usize, piece: Piece) {
    if let Some(place) = pieces.get_mut(number) {
        *place = Some(piece);
    }
}

fn made_of_example(
    source: &Arc<SourceFile>,
    outlines: &[Option<Outline>],
    pieces: &[Option<Piece>],
    example: usize,
    number: usize,
) -> Option<Piece> {
    let outline = |number: usize| outlines.get(number).and_then(Option::as_ref);
    let (others, own) = (outline(example)?, outline(number)?);
    let example = pieces.get(example)?.as_ref()?;
    let template = alike::made_of(&example.template, others, source.shared_text(), own)?;
    // Offsets in the conditions are the example's, which comes first.
    let start = example.origin.start + own.conditions.checked_sub(others.conditions)?;
    let origin = Origin { source: Arc::clone(source), start, conditions: own.conditions };
    Some(Piece { template: Arc::new(template), origin })
}

/// Runs of `numbers` that follow each other, of about [`CHUNK`] octets.
fn runs<'a>(ranges: &'a [Range<usize>], numbers: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    let start_of = |number: usize| ranges.get(number).map_or(0, |range| range.start);
    let end_of = |number: usize| ranges.get(number).map_or(0, |range| range.end);
    let mut rest = numbers;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let belongs = |(index, number): &(usize, &usize)| {
            **number == first + index && (*index == 0 || end_of(**number) <= start_of(first) + CHUNK)
        };
        let length = rest.iter().enumerate().take_while(belongs).count();
        let (run, others) = rest.split_at_checked(length)?;
        rest = others;
        Some(run)
    })
}

fn parse_piece(source: &Arc<SourceFile>, range: Range<usize>) -> Result<Vec<Piece>, Vec<Problem>> {
    let origin = Origin { source: Arc::clone(source), start: range.start, conditions: 0 };
    let text = source.text().get(range).unwrap_or_default();
    let set = parser::parse_policyset(text)
        .map_err(|errors| errors.iter().map(|error| described(&origin, text, error)).collect::<Vec<_>>())?;
    let ids = set.all_templates().map(|template| template.id().clone());
    let templates = ids.collect::<Vec<_>>().into_iter().filter_map(|id| set.get_template_arc(&id));
    let mut pieces: Vec<_> = templates.map(|template| Piece { template, origin: origin.clone() }).collect();
    pieces.sort_by_key(|piece| piece.range().start);
    Ok(pieces)
}

/// Cedar's own diagnosis of the text from `origin`, in our words and with its
/// place.
pub(super) fn described(origin: &Origin, text: &str, diagnosis: &dyn Diagnostic) -> Problem {
    let found = syntax::found(text, diagnosis);
    let problem = Problem::error(origin.place(found.span), found.message).of(Rule::Syntax);
    match found.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}
