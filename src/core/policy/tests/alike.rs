//! Statements that are made of others are what Cedar's parser makes of them.

use cedar_policy_core::ast::Policy as Tree;
use proptest::prelude::*;

use super::super::statement::{Parsed, Statement, parse};
use crate::core::problem::Place;

const KINDS: [&str; 10] = [
    "permit(principal, action, resource);",
    "@id(\"ID\") permit(principal == Agent::\"<1>\", action == Action::\"net.connect\", resource == Resource::\"<2>\");",
    "@note(\"n\")\n@id(\"ID\")\nforbid (principal in Team::\"<1>\", action in [Action::\"a\", Action::\"b\"], resource in Domain::\"<2>\") when { context.port == 443 && resource in Domain::\"x\" };",
    "@id(\"ID\") @id2(\"id\") permit(principal is Agent in Team::\"<1>\", action, resource) unless { context.host like \"*.<2>\" };",
    "permit(principal is Agent, // <1>, \"quoted\"\n action, resource is Resource in Domain :: \"<2>\" ) when { true };",
    "@id(\"ID\")permit(principal==Agent::\"<1>\",action,resource)when{principal==Agent::\"<1>\"};",
    "@flag permit(principal == Agent::\"<1>\", action, resource);",
    "@id(\"ID\") permit(principal == Agent::\"\\u{41}<1>\", action, resource == Resource::\"<2>\");",
    "@id(\"ID\") permit(principal == ?principal, action, resource in ?resource);",
    "@id(\"ID\") permit(principal in A::B::\"<1>\", action == Action::\"net.connect\", resource) when { [\"<2>\", \"\"].contains(context.host) } unless { ip(\"10.0.0.0/8\").isIpv4() };",
];

fn statement() -> impl Strategy<Value = String> {
    let blank = prop::sample::select(&["", " ", "\n", "\n// a; \"comment\n", "\r\n\t"][..]);
    (prop::sample::select(&KINDS[..]), "[a-c\u{fc}.:/@({;, -]{0,6}", "[a-c\u{fc}.)}/*]{0,6}", blank).prop_map(
        |(kind, principal, resource, blank)| {
            format!("{blank}{}", kind.replace("<1>", &principal).replace("<2>", &resource))
        },
    )
}

/// Each with an id of its own, so that none is refused for that.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(statement(), 1..24).prop_map(|statements| {
        let numbered = statements.iter().enumerate().map(|(number, text)| text.replace("ID", &format!("n{number}")));
        numbered.collect()
    })
}

fn places(statement: &Statement) -> Vec<Place> {
    let tree = statement.ast();
    let (principal, resource) = (tree.principal_constraint(), tree.resource_constraint());
    let named = [principal.as_inner().get_euid().cloned(), resource.as_inner().get_euid().cloned()];
    let named = named.into_iter().flatten().map(|entity| statement.place_of(entity.loc()));
    let condition = tree.non_scope_constraints().into_iter().flat_map(|condition| condition.subexpressions());
    let parts = condition.filter_map(|part| part.source_loc()).map(|loc| statement.place_of(Some(loc)));
    [statement.place.clone(), statement.place_of(tree.loc())].into_iter().chain(named).chain(parts).collect()
}

/// What Cedar makes of the statement, parsed where it stands and alone.
fn alone(text: &str, statement: &Statement) -> Statement {
    let whole = statement.place_of(statement.ast().loc());
    let start = offset(text, &whole);
    let end = text[start..].char_indices().nth(whole.length).map_or(text.len(), |(index, _)| start + index);
    // Everything around it becomes blank, so that it keeps its place.
    let blank = |part: &str| {
        part.chars()
            .map(|character| if character == '\n' { "\n".to_owned() } else { " ".to_owned() })
            .collect::<String>()
    };
    let text = format!("{}{}{}", blank(&text[..start]), &text[start..end], blank(&text[end..]));
    parse(&[("f".to_owned(), text)]).unwrap().statements.remove(0)
}

fn offset(text: &str, place: &Place) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
    text[line_start..].char_indices().nth(place.column - 1).map_or(text.len(), |(index, _)| line_start + index)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_statement_made_of_another_is_what_the_parser_makes_of_it(text in text()) {
        let Ok(Parsed { statements, .. }) = parse(&[("f".to_owned(), text.clone())]) else {
            return Err(TestCaseError::reject("a statement is refused"));
        };
        for statement in &statements {
            let alone = alone(&text, statement);
            let nameless = |tree: &Tree| tree.new_id(cedar_policy_core::ast::PolicyID::from_string("x"));
            prop_assert_eq!(nameless(statement.ast()), nameless(alone.ast()), "{}", text);
            prop_assert_eq!(&statement.text, &alone.text);
            prop_assert_eq!(places(statement), places(&alone), "{}", text);
        }
    }
}
