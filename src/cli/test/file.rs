//! One file of expectations, tried.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::super::chosen::{Chosen, Options};
use crate::core::decision::Decision;
use crate::core::policy::Loaded;
use crate::core::policy::cases::{self, Case, Verdict};
use crate::core::policy::explain::Explanation;
use crate::core::problem::Problem;
use crate::core::table::{self, Expected, Line, Table};
use crate::core::time::WallTime;
use crate::policy_files;

/// What came of a file.
pub(super) struct Report {
    pub(super) file: String,
    /// The policy it was tried on, once that is loaded.
    pub(super) policy: Option<Loaded>,
    /// How much went as expected.
    pub(super) expected: usize,
    pub(super) mismatches: Vec<Mismatch>,
    /// Why it could not be tried, or not all of it.
    pub(super) problems: Vec<Problem>,
}

impl Report {
    pub(super) fn is_as_expected(&self) -> bool {
        self.mismatches.is_empty() && self.problems.is_empty()
    }
}

/// Something that went otherwise than expected.
pub(super) enum Mismatch {
    /// A line of a table.
    Line(Box<(Line, Explanation)>),
    /// A case of Cedar's.
    Case(Box<(Case, Verdict)>),
}

/// What the decision is, as a table has it.
pub(super) const fn verdict(decision: &Decision) -> Expected {
    match decision {
        Decision::Permit(_) => Expected::Allow,
        Decision::Deny(_) => Expected::Deny,
    }
}

/// Tries the file at `path`, on the policy that is chosen or that it names.
pub(super) fn tried(path: &Path, options: &Options, chosen: Option<Chosen>, now: WallTime) -> Report {
    let mut report = Report {
        file: path.display().to_string(),
        policy: None,
        expected: 0,
        mismatches: Vec::new(),
        problems: Vec::new(),
    };
    if let Err(problems) = report.fill(path, options, chosen, now) {
        report.problems.extend(problems);
    }
    report
}

impl Report {
    fn fill(
        &mut self,
        path: &Path,
        options: &Options,
        chosen: Option<Chosen>,
        now: WallTime,
    ) -> Result<(), Vec<Problem>> {
        let text = text(path).map_err(|problem| vec![problem])?;
        if text.trim_start().starts_with(['[', '{']) {
            let cases = cases::parse(&self.file, &text)?;
            let named = chosen.ok_or_else(|| {
                vec![
                    Problem::error(None, format!("{}: test cases name no policy", self.file))
                        .with_help("add --policy PATH"),
                ]
            })?;
            return self.try_cases(path, cases, &named);
        }
        let table = table::parse(&self.file, &text)?;
        let chosen = policy_of(path, &table, options, chosen).map_err(|problem| vec![problem])?;
        self.try_lines(table.lines, &chosen, now)
    }

    fn try_lines(&mut self, lines: Vec<Line>, chosen: &Chosen, now: WallTime) -> Result<(), Vec<Problem>> {
        let policy = &self.policy.insert(chosen.load().map_err(problems)?).policy;
        for line in lines {
            let Some(question) = line.question(now, chosen.client_of(line.agent(), line.target())) else { continue };
            if verdict(&policy.judge(&question)) == line.expected {
                self.expected += 1;
                continue;
            }
            self.mismatches.push(Mismatch::Line(Box::new((line, policy.explain(&question)))));
        }
        Ok(())
    }

    fn try_cases(&mut self, path: &Path, cases: Vec<Case>, chosen: &Chosen) -> Result<(), Vec<Problem>> {
        let policy = &self.policy.insert(chosen.load().map_err(problems)?).policy;
        let plain = policy.plain().map_err(|problem| vec![problem])?;
        for case in cases {
            let tried = with_entities(path, case).and_then(|case| plain.try_case(&case).map(|verdict| (case, verdict)));
            match tried {
                Err(problem) => self.problems.push(problem),
                Ok((_, verdict)) if verdict.differences.is_empty() => self.expected += 1,
                Ok(tried) => self.mismatches.push(Mismatch::Case(Box::new(tried))),
            }
        }
        Ok(())
    }
}

fn policy_of(path: &Path, table: &Table, options: &Options, chosen: Option<Chosen>) -> Result<Chosen, Problem> {
    let chosen = match (chosen, &table.policy) {
        (Some(chosen), _) => chosen,
        (None, Some((named, _))) => Chosen::at(beside(path, named), options.reading().unwrap_or_default()),
        (None, None) => {
            let message = format!("{}: this table names no policy", path.display());
            return Err(
                Problem::error(None, message).with_help("add --policy PATH, or a line `policy PATH` to the table")
            );
        }
    };
    match (options.reading(), table.catch_all_forbid) {
        (None, Some(reading)) => Ok(chosen.read_as(reading)),
        _ => Ok(chosen),
    }
}

/// What a file means by a path of its own.
fn beside(file: &Path, path: &str) -> PathBuf {
    let joined: PathBuf = file.parent().unwrap_or(Path::new("")).join(path).components().collect();
    if joined.as_os_str().is_empty() { PathBuf::from(".") } else { joined }
}

/// `case` with its entities, which may be in a file in the same folder or
/// below.
fn with_entities(path: &Path, case: Case) -> Result<Case, Problem> {
    let Some(file) = case.entities_file().map(ToOwned::to_owned) else { return Ok(case) };
    if !Path::new(&file).components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        let message = format!("the entities are in `{file}`, which is not beside the test cases");
        return Err(Problem::error(case.place, message).with_help("put the file into the same folder"));
    }
    let text = text(&beside(path, &file)).map_err(|problem| Problem::error(case.place.clone(), problem.message))?;
    case.with_entities(&text)
}

fn text(path: &Path) -> Result<String, Problem> {
    fs::read_to_string(path)
        .map_err(|error| Problem::error(None, format!("{}: this cannot be read: {error}", path.display())))
}

fn problems(error: policy_files::Error) -> Vec<Problem> {
    match error {
        policy_files::Error::Wrong(problems) => problems,
        other => vec![Problem::error(None, other.to_string())],
    }
}
