//! Policy text into statements: each policy with its id, its place and its
//! words.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy_core::ast;
use cedar_policy_core::parser::Loc;

use super::super::decision::PolicyId;
use super::super::problem::{Place, Problem};
use super::super::rule::Rule;
use super::code::effect_offset;
use super::pieces::{self, Origin, Piece};
use super::source::SourceFile;

/// Longest policy id, in characters: it has to fit into an EDE text and a log
/// line.
const MAX_ID: usize = 128;

/// One policy as somebody wrote it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its `@id`, or `file#n`; of a linked template, the link's id.
    pub id: PolicyId,
    /// Where its `permit` or `forbid` stands; of a linked template, the link.
    pub place: Place,
    /// Its text, annotations included; of a linked template, the template's.
    pub text: Arc<str>,
    pub(super) policy: ast::Policy,
    pub(super) origin: Origin,
}

/// A template as somebody wrote it.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Its `@id`, or `file#n`.
    pub(super) id: PolicyId,
    /// Where its `permit` or `forbid` stands.
    pub(super) place: Place,
    /// Its text, annotations included.
    pub(super) text: Arc<str>,
    pub(super) template: Arc<ast::Template>,
    pub(super) origin: Origin,
}

impl Template {
    /// A policy made of it, to tell of the template by: what fills its slots
    /// is nobody's.
    pub(super) fn example(&self) -> Option<Statement> {
        let nobody = ast::EntityUID::from_components(
            ast::EntityType::from_normalized_str("Nobody").ok()?,
            ast::Eid::new("nobody"),
            None,
        );
        let slots = self.template.slots().map(|slot| (slot.id, nobody.clone())).collect();
        let id = ast::PolicyID::from_string(self.id.as_str());
        let policy = ast::Template::link(Arc::clone(&self.template), id, slots).ok()?;
        let (id, place, text) = (self.id.clone(), self.place.clone(), Arc::clone(&self.text));
        Some(Statement { id, place, text, policy, origin: self.origin.clone() })
    }
}

impl Statement {
    /// Cedar's syntax tree of it.
    pub(super) fn ast(&self) -> &ast::Policy {
        &self.policy
    }

    /// Where `loc` is; the statement itself if Cedar does not know.
    pub(super) fn place_of(&self, loc: Option<&Loc>) -> Place {
        let place = |loc| self.origin.place_of(loc);
        match loc {
            Some(loc) => place(loc).or_else(|| self.policy.loc().and_then(place)),
            None => None,
        }
        .unwrap_or_else(|| self.place.clone())
    }
}

/// The same statements with the parser's own places in them, where they were
/// made of others: for whoever reads the places in Cedar's own words.
pub(super) fn spelt_out(statements: &[Statement]) -> Vec<Statement> {
    statements.iter().map(|statement| reparsed(statement).unwrap_or_else(|| statement.clone())).collect()
}

fn reparsed(statement: &Statement) -> Option<Statement> {
    let piece = pieces::parsed_anew(&statement.origin, statement.policy.loc()?)?;
    let template = piece.template.new_id(statement.policy.id().clone());
    let policy = ast::Template::try_as_policy(Arc::new(template)).ok()?;
    Some(Statement { policy, origin: piece.origin, ..statement.clone() })
}

/// What files hold.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) statements: Vec<Statement>,
    pub(super) templates: Vec<Template>,
}

/// Parses the files, in their order.
///
/// # Errors
/// Text that does not parse, unusable and duplicate ids.
pub(super) fn parse(files: &[(String, String)]) -> Result<Parsed, Vec<Problem>> {
    let mut parsed = Parsed::default();
    let mut problems = Vec::new();
    for (file, text) in files {
        parse_file(&Arc::new(SourceFile::new(file, text)), &mut parsed, &mut problems);
    }
    let named = parsed.statements.iter().map(|statement| (&statement.id, &statement.place));
    let templates = parsed.templates.iter().map(|template| (&template.id, &template.place));
    problems.extend(duplicates(named.chain(templates)));
    if problems.is_empty() { Ok(parsed) } else { Err(problems) }
}

fn parse_file(source: &Arc<SourceFile>, parsed: &mut Parsed, problems: &mut Vec<Problem>) {
    for (number, piece) in pieces::all(source, problems).into_iter().enumerate() {
        add(piece, number + 1, parsed, problems);
    }
}

fn add(piece: Piece, count: usize, parsed: &mut Parsed, problems: &mut Vec<Problem>) {
    let Piece { template, origin } = &piece;
    let range = piece.range();
    let text = origin.source().text().get(range.clone()).unwrap_or_default();
    let effect = range.start + effect_offset(text);
    let place = origin.source().place(effect..effect + EFFECT_LENGTH);
    let written = template.annotations().find(|(key, _)| AsRef::<str>::as_ref(*key) == "id");
    let id = match written.map(|(_, annotation)| annotation.val.as_str()) {
        None => format!("{}#{count}", base_name(&origin.source().name)),
        Some(id) if is_usable(id) => id.to_owned(),
        Some(_) => {
            let message = "this policy's @id is empty, too long, or has a control character in it";
            let help = format!("give it 1 to {MAX_ID} printable characters: @id(\"claude-api\")");
            problems.push(Problem::error(place, message).with_help(help).of(Rule::PolicyId));
            return;
        }
    };
    let template = Arc::new(template.new_id(ast::PolicyID::from_string(&id)));
    let (id, text) = (PolicyId::new(&id), text.into());
    let origin = origin.clone();
    match ast::Template::try_as_policy(Arc::clone(&template)) {
        Ok(policy) => parsed.statements.push(Statement { id, place, text, policy, origin }),
        Err(_) => parsed.templates.push(Template { id, place, text, template, origin }),
    }
}

/// Of `permit`, and of `forbid`.
const EFFECT_LENGTH: usize = 6;

/// Whether `id` can name a policy.
pub(super) fn is_usable(id: &str) -> bool {
    !id.is_empty() && id.chars().count() <= MAX_ID && !id.chars().any(char::is_control)
}

fn base_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// A problem for each id that is used a second time.
pub(super) fn duplicates<'a>(named: impl Iterator<Item = (&'a PolicyId, &'a Place)>) -> Vec<Problem> {
    let mut first_of: HashMap<&PolicyId, &Place> = HashMap::new();
    let mut problems = Vec::new();
    for (id, place) in named {
        if let Some(first) = first_of.get(id) {
            let message = format!("two policies have the id `{id}`; the first is at {first}");
            let problem = Problem::error(place.clone(), message).with_help("give each policy an @id of its own");
            problems.push(problem.of(Rule::PolicyId));
            continue;
        }
        first_of.insert(id, place);
    }
    problems
}

/// A terminal's line must not be broken by what somebody put into a file.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn parsed(text: &str) -> Result<Vec<Statement>, Vec<Problem>> {
        parse(&[("dir/a.cedar".to_owned(), text.to_owned())]).map(|parsed| parsed.statements)
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
    fn a_mistake_in_one_statement_hides_none_in_another() {
        let problems =
            parsed("permit(principal);\npermit(principal, action, resource);\n\n forbid(princpal, action, resource);")
                .unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.place.clone().unwrap()).collect();
        let lines: BTreeSet<_> = places.iter().map(|place| place.line).collect();
        assert_eq!(lines, BTreeSet::from([1, 4]), "{problems:?}");
    }

    #[test]
    fn statements_of_many_pieces_keep_their_places_and_numbers() {
        // Of each three one is like no other, and two are alike.
        let condition = |n| if n % 3 == 0 { format!(" when {{ resource.port == {n} }}") } else { String::new() };
        let line =
            |n| format!("// {n};\npermit(principal, action, resource in Domain::\"d{n}.example\"){};\n", condition(n));
        let text: String = (0..3000).map(line).collect();
        let statements = parsed(&text).unwrap();
        let last = statements.last().unwrap();
        assert_eq!((last.id.as_str(), last.place.line, last.place.column), ("a.cedar#3000", 6000, 1));
        let domain = last.ast().resource_constraint();
        let place = last.place_of(domain.as_inner().get_euid().and_then(|domain| domain.loc()));
        assert_eq!((place.line, place.column, place.length), (6000, 39, "Domain::\"d2999.example\"".len()));
    }

    #[test]
    fn a_template_is_no_policy() {
        let parsed = parse(&[("a.cedar".to_owned(), "permit(principal == ?principal, action, resource);".to_owned())]);
        let parsed = parsed.unwrap();
        assert_eq!((parsed.statements.len(), parsed.templates.len()), (0, 1));
    }

    #[test]
    fn an_id_that_would_break_a_log_line_is_refused() {
        for id in ["", "a\\nb", &"x".repeat(129)] {
            assert!(parsed(&format!("@id(\"{id}\") permit(principal, action, resource);")).is_err(), "{id:?}");
        }
    }
}
