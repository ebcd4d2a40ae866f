//! `cedarwall review`: what is asked. How the story is told is in `text`,
//! `markdown` and `html`.

mod html;
mod markdown;
mod shown;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::journals::{Journals, Line};
use super::{Error, output};
use crate::core::evidence::line;
use crate::core::evidence::review::Review;
use crate::core::evidence::review::story::Story;

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall review
  cedarwall review events.jsonl
  cedarwall review --format markdown events.jsonl >> \"$GITHUB_STEP_SUMMARY\"
  cedarwall review --format html events.jsonl > review.html
  cedarwall review --json events.jsonl | jq -r '.agents[].denied[].hostname'";

/// Tell the story of a session: what was denied, to whom, and what was reached
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration that names the journal
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to tell it: to people at a terminal, in a job's summary or in a
    /// browser, or to programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How many names and addresses of each agent and kind, at most
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    #[command(flatten)]
    journals: Journals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
    Html,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let story = story(arguments)?;
    let top = |default: usize| arguments.top.unwrap_or(default);
    match if arguments.json { Format::Json } else { arguments.format } {
        Format::Text => text::write(out, &story, top(10), output::is_coloured(&io::stdout()))?,
        Format::Json => output::json(out, &story)?,
        Format::Markdown => markdown::write(out, &story, top(50))?,
        Format::Html => html::write(out, &story, top(500))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells the story of a journal's `text`, as `cedarwall review` would.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn of_text(out: &mut dyn Write, text: &str, json: bool, coloured: bool) -> io::Result<()> {
    let mut review = Review::default();
    for line in text.lines() {
        match line::read(line) {
            Some(record) => review.add(&record),
            None => review.add_unreadable(),
        }
    }
    let story = review.story();
    if json { output::json(out, &story) } else { text::write(out, &story, 10, coloured) }
}

fn story(arguments: &Arguments) -> Result<Story, Error> {
    let mut review = Review::default();
    arguments.journals.read(arguments.config.as_deref(), |line| match line {
        Line::Event(record) => review.add(&record),
        Line::Unreadable => review.add_unreadable(),
    })?;
    Ok(review.story())
}

#[cfg(test)]
mod tests;
