//! `links.json`: which policies are made of which templates, in the format of
//! Cedar's own command line: a list of
//! `{"template_id": …, "link_id": …, "args": {"?principal": "Agent::\"claude\""}}`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy_core::ast::{self, EntityUID, PolicyID, SlotId};
use serde::Deserialize;

use super::super::decision::PolicyId;
use super::super::problem::{Place, Problem, nearest};
use super::super::rule::Rule;
use super::json_list::{Element, elements};
use super::statement::{Statement, Template, is_usable, one_line};

/// One link, as the file spells it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    template_id: String,
    link_id: String,
    args: BTreeMap<String, String>,
}

/// The policies that `file` makes of `templates`.
///
/// # Errors
/// Text that is no list of links, links of unknown templates, slots that are
/// not filled or do not exist, and values that are no entities.
pub(super) fn linked(file: &str, text: &str, templates: &[Template]) -> Result<Vec<Statement>, Vec<Problem>> {
    let known: HashMap<&str, &Template> = templates.iter().map(|template| (template.id.as_str(), template)).collect();
    let mut statements = Vec::new();
    let mut problems = Vec::new();
    let example = "write [{\"template_id\": \"t\", \"link_id\": \"t-claude\", \
                   \"args\": {\"?principal\": \"Agent::\\\"claude\\\"\"}}]";
    let elements = elements(file, text, example).map_err(|problem| vec![problem.of(Rule::TemplateLink)])?;
    for Element { value, place } in elements {
        match serde_json::from_value(value)
            .map_err(|error| error.to_string())
            .and_then(|link| made(&link, &place, &known))
        {
            Ok(statement) => statements.push(statement),
            Err(message) => {
                let problem = Problem::error(place, one_line(&message)).of(Rule::TemplateLink);
                problems.push(problem.with_help(example));
            }
        }
    }
    if problems.is_empty() { Ok(statements) } else { Err(problems) }
}

/// Warnings about templates that no policy is made of.
pub(super) fn unlinked(templates: &[Template], statements: &[Statement]) -> Vec<Problem> {
    let used: HashSet<&str> = statements
        .iter()
        .filter(|statement| !statement.ast().is_static())
        .map(|statement| AsRef::<str>::as_ref(statement.ast().template().id()))
        .collect();
    let unused = templates.iter().filter(|template| !used.contains(template.id.as_str()));
    let warning = |template: &Template| {
        Problem::warning(template.place.clone(), format!("the template `{}` is linked to nothing", template.id))
            .with_help("fill its slots in links.json, or delete it: it permits and forbids nothing")
            .of(Rule::UnlinkedTemplate)
    };
    unused.map(warning).collect()
}

fn made(link: &Link, place: &Place, templates: &HashMap<&str, &Template>) -> Result<Statement, String> {
    let Some(template) = templates.get(link.template_id.as_str()) else {
        let hint = nearest(&link.template_id, templates.keys().copied());
        let hint = hint.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
        return Err(format!("there is no template `{}`{hint}", link.template_id));
    };
    if !is_usable(&link.link_id) {
        return Err("the link_id is empty, too long, or has a control character in it".to_owned());
    }
    let values = link.args.iter().map(|(slot, value)| Ok((slot_named(slot)?, entity(slot, value)?)));
    let values = values.collect::<Result<HashMap<_, _>, String>>()?;
    let id = PolicyID::from_string(&link.link_id);
    let policy = ast::Template::link(Arc::clone(&template.template), id, values).map_err(|error| error.to_string())?;
    Ok(Statement {
        id: PolicyId::new(&link.link_id),
        place: place.clone(),
        text: Arc::clone(&template.text),
        policy,
        origin: template.origin.clone(),
    })
}

fn slot_named(slot: &str) -> Result<SlotId, String> {
    match slot {
        "?principal" => Ok(SlotId::principal()),
        "?resource" => Ok(SlotId::resource()),
        other => Err(format!("there is no slot `{other}`: there are `?principal` and `?resource`")),
    }
}

/// An entity without a place: Cedar's would count from the value's own start.
fn entity(slot: &str, text: &str) -> Result<EntityUID, String> {
    let parsed =
        EntityUID::from_str(text).map_err(|_| format!("`{text}` of `{slot}` is no entity like Agent::\"claude\""))?;
    let (kind, id) = parsed.components();
    let kind = ast::EntityType::from_normalized_str(&kind.to_string()).map_err(|error| error.to_string())?;
    Ok(EntityUID::from_components(kind, id, None))
}

#[cfg(test)]
mod tests {
    use super::super::statement::parse;
    use super::*;

    const TEMPLATE: &str = "@id(\"reach\") permit(principal == ?principal, action, resource in ?resource);";

    fn link(links: &str) -> Result<Vec<Statement>, String> {
        let parsed = parse(&[("t.cedar".to_owned(), TEMPLATE.to_owned())]).unwrap();
        linked("links.json", links, &parsed.templates).map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn a_link_fills_the_slots_of_its_template() {
        let links = r#"[
  {"template_id": "reach", "link_id": "a", "args": {"?principal": "Agent::\"x\"", "?resource": "Domain::\"d.example\""}}
]"#;
        let statements = link(links).unwrap();
        assert_eq!(statements[0].place.to_string(), "links.json:2:3");
        assert_eq!(statements[0].ast().principal_constraint().to_string(), "principal == Agent::\"x\"");
    }

    #[test]
    fn a_wrong_link_is_told_with_its_place() {
        for (links, message) in [
            (r#"[{"template_id": "raech", "link_id": "a", "args": {}}]"#, "no template `raech`; did you mean `reach`?"),
            (r#"[{"template_id": "reach", "link_id": "a", "args": {}}]"#, "?principal"),
            (r#"[{"template_id": "reach", "link_id": "", "args": {}}]"#, "link_id is empty"),
            (r#"[{"template_id": "reach", "link_id": "a", "args": {"?action": "x"}}]"#, "no slot `?action`"),
            (r#"[{"template_id": "reach", "link_id": "a", "args": {"?principal": "x"}}]"#, "no entity like"),
            (r#"[{"template_id": "reach", "link_id": "a", "arg": {}}]"#, "unknown field `arg`"),
        ] {
            let error = link(links).unwrap_err();
            assert!(error.starts_with("links.json:1:2: error: ") && error.contains(message), "{error}");
        }
        assert!(link("{}").unwrap_err().starts_with("links.json:1:1: error: "));
    }
}
