//! `cedarwall fmt`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use similar::TextDiff;

use super::report::{self, Texts, counted};
use super::{Error, output};
use crate::core::policy::format::formatted;
use crate::policy_files;

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall fmt policies
  cedarwall fmt --check policies
  cedarwall fmt - < draft.cedar

Comments stay, and no policy changes its meaning: where that is not certain, the
file is left as it is.

Exit status: 0 if every file is laid out, 1 if one is not, or would be changed
with --check.";

/// Lay policies out in Cedar's one layout
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Change nothing: show what would be changed
    #[arg(long)]
    check: bool,
    /// A .cedar file, a folder of them and of such folders, or - for standard
    /// input, which is written to standard output
    #[arg(required = true)]
    path: Vec<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let coloured = output::is_coloured(&io::stderr());
    let mut work = Work { check: arguments.check, input: &mut io::stdin(), out, errors: &mut io::stderr(), coloured };
    work.all(&arguments.path)
}

/// What there is to do, and where from and where to.
struct Work<'a> {
    check: bool,
    input: &'a mut dyn Read,
    out: &'a mut dyn Write,
    errors: &'a mut dyn Write,
    coloured: bool,
}

/// What became of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    AsItWas,
    Changed,
    Refused,
}

impl Work<'_> {
    fn all(&mut self, paths: &[PathBuf]) -> Result<ExitCode, Error> {
        let mut fates = Vec::new();
        for path in paths {
            if path == Path::new("-") {
                fates.push(self.standard_input()?);
                continue;
            }
            for file in policy_files::files_below(path).map_err(said)? {
                fates.push(self.file(&file)?);
            }
        }
        let count = |asked: Fate| fates.iter().filter(|fate| **fate == asked).count();
        let (changed, refused) = (count(Fate::Changed), count(Fate::Refused));
        if !paths.iter().any(|path| path == Path::new("-")) {
            let would_be = if self.check { "to change" } else { "changed" };
            let (changed, same) = (counted(changed, "file", "files"), count(Fate::AsItWas));
            let refused = if refused == 0 { String::new() } else { format!(", {refused} refused") };
            writeln!(self.out, "{changed} {would_be}, {same} as laid out before{refused}")?;
        }
        let failed = refused > 0 || self.check && changed > 0;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn standard_input(&mut self) -> Result<Fate, Error> {
        let mut text = String::new();
        self.input
            .read_to_string(&mut text)
            .map_err(|error| Error::said(format!("cannot read standard input as UTF-8 text: {error}")))?;
        let Some(pretty) = self.formatted("standard input", &text)? else { return Ok(Fate::Refused) };
        if self.check {
            self.show("standard input", &text, &pretty)?;
        } else {
            self.out.write_all(pretty.as_bytes())?;
        }
        Ok(if pretty == text { Fate::AsItWas } else { Fate::Changed })
    }

    fn file(&mut self, path: &Path) -> Result<Fate, Error> {
        let (name, text) = policy_files::text(path).map_err(said)?;
        let Some(pretty) = self.formatted(&name, &text)? else { return Ok(Fate::Refused) };
        if pretty == text {
            return Ok(Fate::AsItWas);
        }
        if self.check {
            self.show(&name, &text, &pretty)?;
            return Ok(Fate::Changed);
        }
        policy_files::replace(path, &pretty).map_err(|error| {
            Error::said(format!("{name}: this file cannot be replaced: {error}; nothing of it has changed"))
        })?;
        writeln!(self.out, "{name}")?;
        Ok(Fate::Changed)
    }

    /// The text laid out; `None` if it was refused, which has been told.
    fn formatted(&mut self, name: &str, text: &str) -> Result<Option<String>, Error> {
        match formatted(name, text) {
            Ok(pretty) => Ok(Some(pretty)),
            Err(problems) => {
                report::write_human(self.errors, &problems, &Texts::of_file(name, text), self.coloured)?;
                Ok(None)
            }
        }
    }

    fn show(&mut self, name: &str, text: &str, pretty: &str) -> io::Result<()> {
        let difference = TextDiff::from_lines(text, pretty);
        write!(self.out, "{}", difference.unified_diff().header(name, &format!("{name}, laid out")))
    }
}

fn said(error: policy_files::Error) -> Error {
    Error::said(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const UGLY: &str = "// why\npermit(principal,action,resource);\n";
    const PRETTY: &str = "// why\npermit (principal, action, resource);\n";

    /// The exit status, and what went to standard output and error.
    fn run(check: bool, paths: &[&Path], input: &str) -> (ExitCode, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let mut work =
            Work { check, input: &mut input.as_bytes(), out: &mut out, errors: &mut errors, coloured: false };
        let code = work.all(&paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>()).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn a_file_is_laid_out_once_and_then_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.cedar");
        fs::write(&file, UGLY).unwrap();
        let (code, out, _) = run(false, &[folder.path()], "");
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(out, format!("{}\n1 file changed, 0 as laid out before\n", file.display()));
        assert_eq!(fs::read_to_string(&file).unwrap(), PRETTY);

        let before = fs::metadata(&file).unwrap().modified().unwrap();
        let (code, out, _) = run(false, &[&file], "");
        assert_eq!((code, out.as_str()), (ExitCode::SUCCESS, "no files changed, 1 as laid out before\n"));
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_check_shows_the_difference_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.cedar");
        fs::write(&file, UGLY).unwrap();
        let (code, out, _) = run(true, &[&file], "");
        assert_eq!(code, ExitCode::FAILURE);
        let difference = "-permit(principal,action,resource);\n+permit (principal, action, resource);\n";
        assert!(out.starts_with(&format!("--- {}\n+++ ", file.display())), "{out}");
        assert!(out.contains(difference) && out.ends_with("1 file to change, 0 as laid out before\n"), "{out}");
        assert_eq!(fs::read_to_string(&file).unwrap(), UGLY);
        fs::write(&file, PRETTY).unwrap();
        assert_eq!(run(true, &[&file], "").0, ExitCode::SUCCESS);
    }

    #[test]
    fn a_file_that_is_no_cedar_is_left_alone_and_the_others_are_laid_out() {
        let folder = tempfile::tempdir().unwrap();
        let (bad, good) = (folder.path().join("a.cedar"), folder.path().join("b.cedar"));
        fs::write(&bad, "permit(\n  principle);\n").unwrap();
        fs::write(&good, UGLY).unwrap();
        let (code, out, errors) = run(false, &[folder.path()], "");
        assert_eq!(code, ExitCode::FAILURE);
        assert!(out.ends_with("1 file changed, 0 as laid out before, 1 refused\n"), "{out}");
        assert!(errors.contains("error[syntax]") && errors.contains("2 |   principle);"), "{errors}");
        assert_eq!(fs::read_to_string(&bad).unwrap(), "permit(\n  principle);\n");
        assert_eq!(fs::read_to_string(&good).unwrap(), PRETTY);
    }

    #[test]
    fn standard_input_goes_to_standard_output() {
        let dash = Path::new("-");
        assert_eq!(run(false, &[dash], UGLY), (ExitCode::SUCCESS, PRETTY.to_owned(), String::new()));
        let (code, out, _) = run(true, &[dash], UGLY);
        assert!(code == ExitCode::FAILURE && out.starts_with("--- standard input\n"), "{out}");
        assert_eq!(run(true, &[dash], PRETTY), (ExitCode::SUCCESS, String::new(), String::new()));
        let (code, out, errors) = run(false, &[dash], "permit");
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert!(errors.contains(" --> standard input:1:"), "{errors}");
    }
}
