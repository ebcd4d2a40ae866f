//! `cedarwall import`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::report::{self, Counts, Texts, counted};
use super::{Error, output};
use crate::core::policy::leash::{self, Imported, Refused};
use crate::core::query::Agent;
use crate::policy_files;

/// How messages call a result that has no file.
const RESULT: &str = "imported.cedar";

/// Rewrite another tool's policies
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    Leash(Leash),
}

/// Rewrite the policies of Leash
///
/// One policy for each host, below a comment that names the original's line and
/// tells what has changed. What is about files, processes or tools is reported.
/// What cannot be rewritten exactly is refused, and then nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cedarwall import leash leash.cedar
  cedarwall import leash --agent claude --output policies/network.cedar \\
      leash.cedar

Exit status: 0 if all that is about the network was rewritten, 1 if not.")]
struct Leash {
    /// Whom the permits are for [default: whom they name, or everybody]
    #[arg(long, value_name = "NAME", value_parser = Agent::parse)]
    agent: Option<Agent>,
    /// Write to this file, which is not there yet
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file if it is there
    #[arg(long, requires = "output")]
    force: bool,
    /// The policies of Leash
    file: PathBuf,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let From::Leash(arguments) = &arguments.from;
    import(arguments, out, &mut io::stderr(), output::is_coloured(&io::stderr()))
}

fn import(arguments: &Leash, out: &mut dyn Write, errors: &mut dyn Write, coloured: bool) -> Result<ExitCode, Error> {
    let (file, text) = policy_files::text(&arguments.file).map_err(|error| Error::said(error.to_string()))?;
    let result = arguments.output.as_ref().map_or_else(|| RESULT.to_owned(), |path| path.display().to_string());
    let imported = match leash::imported(&file, &text, &result, arguments.agent.as_ref()) {
        Ok(imported) => imported,
        Err(Refused::Original(problems)) => {
            report::write_human(errors, &problems, &Texts::of_file(&file, &text), coloured)?;
            writeln!(errors, "{}; nothing was written", counted(problems.len(), "refusal", "refusals"))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(Refused::Result { text, problems }) => {
            report::write_human(errors, &problems, &Texts::of_file(&result, &text), coloured)?;
            writeln!(errors, "the rewritten policies are not usable; nothing was written")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    match &arguments.output {
        None => out.write_all(imported.text.as_bytes())?,
        Some(path) => write(path, &imported.text, arguments.force)?,
    }
    report::write_human(errors, &imported.outside, &Texts::of_file(&file, &text), coloured)?;
    report::write_human(errors, &imported.doubts, &Texts::of_file(&result, &imported.text), coloured)?;
    tell(&imported, errors)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Error> {
    let failed = |error: io::Error| Error::said(format!("{}: this file cannot be written: {error}", path.display()));
    match fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && force => {
            policy_files::replace(path, text).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::said(format!(
            "{}: this file is there already; name another, or replace it with --force",
            path.display()
        ))),
        Err(error) => Err(failed(error)),
    }
}

fn tell(imported: &Imported, errors: &mut dyn Write) -> io::Result<()> {
    let Counts { warnings, .. } = Counts::of(&imported.doubts);
    writeln!(
        errors,
        "{} written, {} outside this firewall, {}",
        counted(imported.policies, "policy", "policies"),
        counted(imported.outside.len(), "rule", "rules"),
        counted(warnings, "warning", "warnings")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASH: &str = "permit (principal, action in [Action::\"NetworkConnect\", Action::\"FileOpen\"], resource)\n\
                         when { resource in [ Host::\"a.example.com:443\", Dir::\"/\" ] };\n";

    fn arguments(folder: &Path, text: &str) -> Leash {
        let file = folder.join("leash.cedar");
        fs::write(&file, text).unwrap();
        Leash { agent: None, output: None, force: false, file }
    }

    fn run(arguments: &Leash) -> (Result<ExitCode, Error>, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = import(arguments, &mut out, &mut errors, false);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn the_policies_go_to_standard_output_and_what_is_outside_to_standard_error() {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, errors) = run(&arguments(folder.path(), LEASH));
        assert_eq!(code.unwrap(), ExitCode::SUCCESS);
        assert!(out.contains("resource == Resource::\"a.example.com:443\""), "{out}");
        assert!(errors.contains("leash.cedar:1:57\n") && errors.contains("leash.cedar:2:49\n"), "{errors}");
        assert!(errors.ends_with("1 policy written, 2 rules outside this firewall, no warnings\n"), "{errors}");
    }

    #[test]
    fn a_refusal_writes_nothing_and_shows_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.cedar");
        let text = LEASH.replace(":443", ":0");
        let arguments = Leash { output: Some(output.clone()), ..arguments(folder.path(), &text) };
        let (code, out, errors) = run(&arguments);
        assert_eq!((code.unwrap(), out.as_str()), (ExitCode::FAILURE, ""));
        assert!(errors.contains("2 | when") && errors.ends_with("1 refusal; nothing was written\n"), "{errors}");
        assert!(!output.exists());
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_forced() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.cedar");
        let mut arguments = Leash { output: Some(output.clone()), ..arguments(folder.path(), LEASH) };
        assert!(run(&arguments).0.is_ok());
        fs::write(&output, "mine").unwrap();
        let refused = run(&arguments).0.unwrap_err().to_string();
        assert!(refused.ends_with("is there already; name another, or replace it with --force"), "{refused}");
        assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
        arguments.force = true;
        assert!(run(&arguments).0.is_ok());
        assert!(fs::read_to_string(&output).unwrap().contains("a.example.com"));
    }
}
