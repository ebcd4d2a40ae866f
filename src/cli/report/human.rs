//! Problems for people: the message, the line it is about with the place
//! underlined, and what to do.

use std::io::{self, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use textwrap::{Options, WordSplitter};

use super::{Texts, printable};
use crate::cli::output::COLUMNS;
use crate::core::problem::{Place, Problem};

/// Before each line of an advice: room for line numbers of five digits.
const HELP: &str = "      = help: ";

/// Writes `problems`, one after the other, with the lines of `texts` that they
/// are about.
///
/// # Errors
/// When `out` cannot be written.
pub(in crate::cli) fn write(
    out: &mut dyn Write,
    problems: &[Problem],
    texts: &Texts<'_>,
    coloured: bool,
) -> io::Result<()> {
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(usize::from(COLUMNS));
    for problem in problems {
        let rendered = renderer.render(&[group(problem, texts)]);
        for line in rendered.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn group<'a>(problem: &'a Problem, texts: &Texts<'a>) -> Group<'a> {
    let (level, word) = if problem.is_error() { (Level::ERROR, "error") } else { (Level::WARNING, "warning") };
    let code = problem.rule.map(|rule| rule.code());
    let indent = word.len() + code.map_or(0, |code| code.len() + 2) + 2;
    let mut title = level.primary_title(filled(&problem.message, indent));
    if let Some(code) = code {
        title = title.id(code);
    }
    let mut group = match &problem.place {
        None => Group::with_title(title),
        Some(place) => match texts.line(place) {
            Some(line) => title.element(excerpt(place, line)),
            None => title
                .element(Origin::path(printable(&place.file).into_owned()).line(place.line).char_column(place.column)),
        },
    };
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(filled(&printable(help), HELP.len())));
    }
    group
}

/// The line of `place`, and what it covers of it: at least one character, and
/// nothing of the lines after it.
fn excerpt<'a>(place: &Place, line: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let offset = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(offset, _)| offset);
    let start = place.column.saturating_sub(1);
    let covered = offset(start)..offset(start.saturating_add(place.length.max(1)));
    Snippet::source(line)
        .path(printable(&place.file).into_owned())
        .line_start(place.line)
        .annotation(AnnotationKind::Primary.span(covered))
}

/// `text` in lines that leave room for `indent` characters before each.
fn filled(text: &str, indent: usize) -> String {
    let width = usize::from(COLUMNS).saturating_sub(indent);
    let options = Options::new(width).word_splitter(WordSplitter::NoHyphenation).break_words(false);
    textwrap::fill(text, options)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::rule::Rule;

    fn rendered(problem: Problem, text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, &[problem], &Texts::of_file("a.cedar", text), false).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn at(text: &str, word: &str) -> Place {
        Place::of_offset("a.cedar", text, text.find(word).unwrap()).covering(word.chars().count())
    }

    /// The column at which the carets begin on the screen, and how many there
    /// are.
    fn carets(rendered: &str) -> (usize, usize) {
        let line = rendered.lines().find(|line| line.contains('^')).unwrap();
        (line.find('^').unwrap(), line.matches('^').count())
    }

    /// The column at which `word` begins on the screen.
    fn seen(rendered: &str, word: &str) -> usize {
        let line = rendered.lines().find(|line| line.contains(word)).unwrap();
        textwrap::core::display_width(line.split(word).next().unwrap())
    }

    #[test]
    fn a_problem_shows_its_rule_its_line_and_what_to_do() {
        let text = "// a\npermit(principal, action, resource == Resource::\"a\");\n";
        let problem = Problem::error(at(text, "Resource::\"a\""), "`a` names no port").of(Rule::ResourceForm);
        assert_eq!(
            rendered(problem.with_help("write `a:443`"), text),
            "\
error[resource-form]: `a` names no port
 --> a.cedar:2:39
  |
2 | permit(principal, action, resource == Resource::\"a\");
  |                                       ^^^^^^^^^^^^^
  |
  = help: write `a:443`

"
        );
    }

    #[test]
    fn the_carets_stand_below_their_word_whatever_comes_before_it() {
        for before in ["", "\t\t", "  \u{6f22}\u{5b57} ", "e\u{301} \u{fc}\t", "\u{1f512} ", "\u{202e}\u{1b}[31m"] {
            let text = format!("{before}WORD tail");
            let rendered = rendered(Problem::error(at(&text, "WORD"), "m"), &text);
            assert_eq!(carets(&rendered), (seen(&rendered, "WORD"), 4), "{before:?}\n{rendered}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_its_place_and_nothing_is_wider_than_the_screen() {
        for filler in ["abc ", "\u{6f22}\u{5b57} ", "\t"] {
            let text = format!("{}WORD{}", filler.repeat(120), filler.repeat(120));
            let problem = Problem::warning(at(&text, "WORD"), "a word ".repeat(40)).of(Rule::UnlinkedTemplate);
            let rendered = rendered(problem.with_help("do this ".repeat(40)), &text);
            assert_eq!(carets(&rendered), (seen(&rendered, "WORD"), 4), "{rendered}");
            for line in rendered.lines() {
                assert!(textwrap::core::display_width(line) <= 80, "{line}\n{rendered}");
            }
        }
    }

    #[test]
    fn a_place_that_covers_several_lines_or_none_is_shown_on_its_first() {
        let text = "permit(\n  x);\n";
        for (place, expected) in [
            (Place::of_offset("a.cedar", text, 0).covering(13), 7),
            (Place::of_offset("a.cedar", text, 0), 1),
            (Place::of_offset("a.cedar", text, 99), 1),
            (Place { file: "a.cedar".into(), line: 2, column: 99, length: 3 }, 1),
        ] {
            assert_eq!(carets(&rendered(Problem::error(place, "m"), text)).1, expected);
        }
    }

    #[test]
    fn a_place_in_a_text_that_is_not_there_is_named_all_the_same() {
        for file in ["b.cedar", "a.cedar"] {
            let place = Place { file: file.into(), line: 7, column: 3, length: 1 };
            let rendered = rendered(Problem::error(place, "m"), "");
            assert!(rendered.contains(&format!("{file}:7:3")), "{rendered}");
        }
    }

    #[test]
    fn no_text_from_a_file_steers_the_terminal() {
        let evil = "\u{1b}[2J\u{202e}\u{7}";
        let place = Place { file: evil.into(), line: 1, column: 1, length: 0 };
        let other = Place { file: "a.cedar".into(), ..place.clone() };
        for place in [place, other] {
            let rendered = rendered(Problem::error(place, evil).with_help(evil), evil);
            assert!(!rendered.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{rendered:?}");
        }
    }

    #[test]
    fn colour_is_there_when_asked_for() {
        let mut out = Vec::new();
        write(&mut out, &[Problem::error(None, "m")], &Texts::default(), true).unwrap();
        assert!(out.contains(&0x1b));
    }

    proptest! {
        #[test]
        fn any_place_in_any_text_is_shown(
            text in "[a \t\r\n\u{301}\u{6f22}\u{1f512}\u{200d}\u{202e}\u{1b}\u{0}]{0,120}",
            (line, column, length) in (0usize..6, 0usize..200, 0usize..300),
        ) {
            let place = Place { file: "a.cedar".into(), line, column, length };
            let rendered = rendered(Problem::error(place, &text).with_help(&text), &text);
            prop_assert!(!rendered.contains(['\u{1b}', '\u{202e}', '\u{0}']), "{rendered:?}");
        }
    }
}
