//! Policy text into statements: each policy with its id, its place and its
//! words.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::PolicySet;
use cedar_policy_core::ast;
use cedar_policy_core::parser::Loc;
use miette::Diagnostic;

use super::super::decision::PolicyId;
use super::super::problem::{Place, Problem};
use super::super::rule::Rule;
use super::code::{self, effect_offset};
use super::syntax;

/// Longest policy id, in characters: it has to fit into an EDE text and a log
/// line.
const MAX_ID: usize = 128;

/// One policy as somebody wrote it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its `@id`, or `file#n`.
    pub id: PolicyId,
    /// Where its `permit` or `forbid` stands.
    pub place: Place,
    /// Its text, annotations included.
    pub text: Arc<str>,
    pub(super) policy: cedar_policy::Policy,
}

impl Statement {
    /// Cedar's syntax tree of it.
    pub(super) fn ast(&self) -> &ast::Policy {
        self.policy.as_ref()
    }

    /// Where `loc` is; the statement itself if Cedar does not know.
    pub(super) fn place_of(&self, loc: Option<&Loc>) -> Place {
        match loc {
            Some(loc) => Place::of_offset(&self.place.file, &loc.src, loc.start()).covering(length_of(loc)),
            None => self.place.clone(),
        }
    }
}

/// How many characters `loc` covers.
fn length_of(loc: &Loc) -> usize {
    loc.snippet().map_or(0, |text| text.chars().count())
}

/// Parses the files, in their order.
///
/// # Errors
/// Text that does not parse, templates, unusable and duplicate ids.
pub(super) fn parse(files: &[(String, String)]) -> Result<Vec<Statement>, Vec<Problem>> {
    let mut statements = Vec::new();
    let mut problems = Vec::new();
    for (file, text) in files {
        match parse_file(file, text) {
            Ok(parsed) => statements.extend(parsed),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(duplicates(&statements));
    if problems.is_empty() { Ok(statements) } else { Err(problems) }
}

fn parse_file(file: &str, text: &str) -> Result<Vec<Statement>, Vec<Problem>> {
    if let Some((offset, message)) = code::excess(text) {
        let problem = Problem::error(Place::of_offset(file, text, offset), message);
        return Err(vec![
            problem.with_help("write it as several policies, or its alternatives as one set").of(Rule::TooDeep),
        ]);
    }
    let set = PolicySet::from_str(text)
        .map_err(|errors| errors.iter().map(|error| described(file, text, error)).collect::<Vec<_>>())?;

    let mut problems: Vec<_> = set.templates().map(|template| refused_template(file, text, template)).collect();
    let mut policies: Vec<_> = set.policies().collect();
    policies.sort_by_key(|policy| start(policy.as_ref()));

    let mut statements = Vec::with_capacity(policies.len());
    for (index, policy) in policies.into_iter().enumerate() {
        let ast: &ast::Policy = policy.as_ref();
        let whole = ast.loc().and_then(Loc::snippet).unwrap_or_default();
        let place = Place::of_offset(file, text, start(ast) + effect_offset(whole)).covering("permit".len());
        let id = match policy.annotation("id") {
            None => format!("{}#{}", base_name(file), index + 1),
            Some(id) if is_usable(id) => id.to_owned(),
            Some(_) => {
                let message = "this policy's @id is empty, too long, or has a control character in it";
                let help = format!("give it 1 to {MAX_ID} printable characters: @id(\"claude-api\")");
                problems.push(Problem::error(place, message).with_help(help).of(Rule::PolicyId));
                continue;
            }
        };
        statements.push(Statement {
            policy: policy.new_id(cedar_policy::PolicyId::new(&id)),
            id: PolicyId::new(&id),
            place,
            text: whole.into(),
        });
    }
    if problems.is_empty() { Ok(statements) } else { Err(problems) }
}

fn start(policy: &ast::Policy) -> usize {
    policy.loc().map_or(0, Loc::start)
}

fn is_usable(id: &str) -> bool {
    !id.is_empty() && id.chars().count() <= MAX_ID && !id.chars().any(char::is_control)
}

fn base_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

fn refused_template(file: &str, text: &str, template: &cedar_policy::Template) -> Problem {
    let ast: &ast::Template = template.as_ref();
    let place = Place::of_offset(file, text, ast.loc().map_or(0, Loc::start));
    Problem::error(place, "templates (`?principal`, `?resource`) are not supported yet")
        .with_help("write the policy out for each principal or resource, or use a Team")
}

fn duplicates(statements: &[Statement]) -> Vec<Problem> {
    let mut first_of: HashMap<&PolicyId, &Place> = HashMap::with_capacity(statements.len());
    let mut problems = Vec::new();
    for statement in statements {
        if let Some(first) = first_of.get(&statement.id) {
            let message = format!("two policies have the id `{}`; the first is at {first}", statement.id);
            let problem = Problem::error(statement.place.clone(), message);
            problems.push(problem.with_help("give each policy an @id of its own").of(Rule::PolicyId));
            continue;
        }
        first_of.insert(&statement.id, &statement.place);
    }
    problems
}

/// Cedar's own diagnosis of `text`, in our words and with its place.
pub(super) fn described(file: &str, text: &str, diagnosis: &dyn Diagnostic) -> Problem {
    let found = syntax::found(text, diagnosis);
    let length = text.get(found.span.clone()).map_or(0, |covered| covered.chars().count());
    let place = Place::of_offset(file, text, found.span.start).covering(length);
    let problem = Problem::error(place, found.message).of(Rule::Syntax);
    match found.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}

/// A terminal's line must not be broken by what somebody put into a file.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Statement>, Vec<Problem>> {
        parse(&[("dir/a.cedar".to_owned(), text.to_owned())])
    }

    #[test]
    fn a_policy_is_named_by_its_id_or_by_file_and_number() {
        let statements =
            parsed("permit(principal, action, resource);\n@id(\"x\") permit(principal, action, resource);").unwrap();
        let ids: Vec<_> = statements.iter().map(|statement| statement.id.as_str()).collect();
        assert_eq!(ids, ["a.cedar#1", "x"]);
    }

    #[test]
    fn a_policy_stands_where_its_effect_does() {
        let text =
            "// forbid\n@note(\"permit \\\" it\") // permit\n@permit(\"\")\n  forbid(principal, action, resource);";
        assert_eq!(parsed(text).unwrap()[0].place.to_string(), "dir/a.cedar:4:3");
    }

    #[test]
    fn a_duplicate_id_names_both_places() {
        let twice = "@id(\"x\")\npermit(principal, action, resource);\n".repeat(2);
        let problems = parsed(&twice).unwrap_err();
        assert_eq!(
            problems[0].to_string().lines().next(),
            Some("dir/a.cedar:4:1: error: two policies have the id `x`; the first is at dir/a.cedar:2:1")
        );
    }

    #[test]
    fn a_syntax_error_names_file_line_and_column() {
        let problems = parsed("permit(principal, action, resource)\n  wen { true };").unwrap_err();
        assert!(problems[0].to_string().starts_with("dir/a.cedar:2:3: error: "), "{}", problems[0]);
    }

    #[test]
    fn a_template_is_refused_with_its_place() {
        let problems = parsed("\npermit(principal == ?principal, action, resource);").unwrap_err();
        assert!(problems[0].to_string().starts_with("dir/a.cedar:2:1: error: templates"), "{}", problems[0]);
    }

    #[test]
    fn an_id_that_would_break_a_log_line_is_refused() {
        for id in ["", "a\\nb", &"x".repeat(129)] {
            assert!(parsed(&format!("@id(\"{id}\") permit(principal, action, resource);")).is_err(), "{id:?}");
        }
    }
}
