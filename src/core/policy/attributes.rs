//! The attributes that `entities.json` gives to agents, in the words of a
//! schema: a policy folder needs none of its own.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::super::problem::Problem;
use super::super::rule::Rule;
use super::json_list::Element;
use super::statement::one_line;

/// What agents have, each optional: an agent that no file lists has
/// none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Gathers them from the elements of `entities.json`. What is no entity at
    /// all is not its to refuse.
    ///
    /// # Errors
    /// Values that have no type in Cedar, one attribute with two types, and
    /// attributes of teams.
    pub(super) fn of(elements: &[Element]) -> Result<Self, Vec<Problem>> {
        let mut known = BTreeMap::new();
        let mut problems = Vec::new();
        for Element { value, place } in elements {
            let kind =
                value.pointer("/uid/type").or_else(|| value.pointer("/uid/__entity/type")).and_then(Value::as_str);
            let attributes = value.get("attrs").and_then(Value::as_object);
            for (name, value) in attributes.into_iter().flatten().filter(|_| matches!(kind, Some("Agent" | "Team"))) {
                if kind == Some("Team") {
                    let message = format!("a team has no attributes, for no policy could look at its `{name}`");
                    let problem = Problem::error(place.clone(), one_line(&message)).of(Rule::Entities);
                    problems.push(problem.with_help("give the attribute to the agents of the team"));
                    continue;
                }
                if let Err(message) = noted(&mut known, name, value) {
                    problems.push(Problem::error(place.clone(), one_line(&message)).of(Rule::Entities));
                }
            }
        }
        if problems.is_empty() { Ok(Self(known)) } else { Err(problems) }
    }

    /// `schema` with them declared.
    pub(super) fn declared_in(&self, schema: &str) -> String {
        schema.replace("entity Agent in [Team];", &format!("entity Agent in [Team]{};", record(&self.0)))
    }
}

fn noted(known: &mut BTreeMap<String, String>, name: &str, value: &Value) -> Result<(), String> {
    let kind = type_of(value).ok_or_else(|| {
        format!(
            "the attribute `{name}` has no type: use a string, a whole number, true or false, or a list of one kind"
        )
    })?;
    match known.get(name) {
        Some(other) if *other != kind => {
            Err(format!("the attribute `{name}` is {kind} here and {other} elsewhere: give it one type"))
        }
        Some(_) => Ok(()),
        None => {
            known.insert(name.to_owned(), kind);
            Ok(())
        }
    }
}

fn type_of(value: &Value) -> Option<String> {
    match value {
        Value::Bool(_) => Some("Bool".to_owned()),
        Value::Number(number) if number.is_i64() => Some("Long".to_owned()),
        Value::String(_) => Some("String".to_owned()),
        Value::Array(members) => {
            let first = type_of(members.first()?)?;
            members.iter().all(|member| type_of(member).as_ref() == Some(&first)).then(|| format!("Set<{first}>"))
        }
        Value::Object(fields) => match fields.get("__extn")?.get("fn")?.as_str()? {
            "ip" => Some("ipaddr".to_owned()),
            "datetime" => Some("datetime".to_owned()),
            "duration" => Some("duration".to_owned()),
            "decimal" => Some("decimal".to_owned()),
            _ => None,
        },
        Value::Null | Value::Number(_) => None,
    }
}

fn record(attributes: &BTreeMap<String, String>) -> String {
    if attributes.is_empty() {
        return String::new();
    }
    let mut record = " = {".to_owned();
    for (name, kind) in attributes {
        // A Cedar string: what would end it or start an escape is escaped.
        let _ = write!(record, "\"{}\"?: {kind}, ", name.escape_debug());
    }
    record.push('}');
    record
}
