//! `cedarwall man`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{CommandLine, Error};

/// Arguments of `cedarwall man`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Print the manual page",
    after_help = "Examples:
  cedarwall man | man -l -
  cedarwall man > /usr/local/share/man/man1/cedarwall.1"
)]
pub(super) struct Arguments {}

pub(super) fn execute(_arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    out.write_all(page()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// One page for everything: the command itself, then each subcommand as a
/// section of its own.
fn page() -> io::Result<String> {
    let mut command = CommandLine::command();
    command.build();
    let whole = Man::new(command.clone());
    let mut page = text(|out| whole.render_title(out))?;
    page += &text(|out| whole.render_name_section(out))?;
    page += &text(|out| whole.render_synopsis_section(out))?;
    page += &text(|out| whole.render_description_section(out))?;
    page += ".SH COMMANDS\n";
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        page += &section(subcommand)?;
        for part in subcommand.get_subcommands().filter(|part| part.get_name() != "help") {
            page += &section(part)?;
        }
    }
    page += ".SH EXIT STATUS\n";
    page += &as_it_stands(&command);
    Ok(page)
}

fn section(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let name =
        command.get_bin_name().and_then(|name| name.split_once(' ')).map_or(command.get_name(), |(_, name)| name);
    let mut section = format!(".SS {name}\n");
    let parts = [
        text(|out| man.render_description_section(out))?,
        text(|out| man.render_synopsis_section(out))?,
        text(|out| man.render_options_section(out))?,
    ];
    for part in parts {
        let (_, body) = part.split_once(".SH ").unwrap_or_default();
        let (_, body) = body.split_once('\n').unwrap_or_default();
        section += &format!(".PP\n{body}");
    }
    section += &as_it_stands(command);
    Ok(section)
}

/// The examples below a command's help, line by line as they were written.
fn as_it_stands(command: &Command) -> String {
    let Some(text) = command.get_after_help() else { return String::new() };
    let escaped = text.to_string().replace('\\', "\\e").replace('-', "\\-");
    let lines: String = escaped.lines().flat_map(|line| ["\\&", line, "\n"]).collect();
    format!(".PP\n.nf\n{lines}.fi\n")
}

fn text(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<String> {
    let mut octets = Vec::new();
    render(&mut octets)?;
    String::from_utf8(octets).map_err(|error| io::Error::other(error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_of_every_subcommand_and_the_exit_codes() {
        let page = page().unwrap();
        for subcommand in CommandLine::command().get_subcommands() {
            assert!(page.contains(&format!(".SS {}\n", subcommand.get_name())), "{}", subcommand.get_name());
        }
        assert!(page.contains(".SS import leash\n") && page.contains("\\-\\-agent"), "{page}");
        assert!(page.contains("the policy denies"), "{page}");
    }
}
