//! The attributes that `entities.json` gives to agents and teams, in the words
//! of a schema: a policy folder needs none of its own.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::super::problem::Problem;
use super::super::rule::Rule;
use super::json_list::Element;
use super::statement::one_line;

/// What agents and teams have, each optional: an agent that no file lists has
/// none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    of_agents: BTreeMap<String, String>,
    of_teams: BTreeMap<String, String>,
}

impl Attributes {
    /// Gathers them from the elements of `entities.json`. What is no entity at
    /// all is not its to refuse.
    ///
    /// # Errors
    /// Values that have no type in Cedar, and one attribute with two types.
    pub(super) fn of(elements: &[Element]) -> Result<Self, Vec<Problem>> {
        let mut attributes = Self::default();
        let mut problems = Vec::new();
        for Element { value, place } in elements {
            let kind =
                value.pointer("/uid/type").or_else(|| value.pointer("/uid/__entity/type")).and_then(Value::as_str);
            let known = match kind {
                Some("Agent") => &mut attributes.of_agents,
                Some("Team") => &mut attributes.of_teams,
                _ => continue,
            };
            for (name, value) in value.get("attrs").and_then(Value::as_object).into_iter().flatten() {
                if let Err(message) = noted(known, name, value) {
                    problems.push(Problem::error(place.clone(), one_line(&message)).of(Rule::Entities));
                }
            }
        }
        if problems.is_empty() { Ok(attributes) } else { Err(problems) }
    }

    /// `schema` with them declared.
    pub(super) fn declared_in(&self, schema: &str) -> String {
        let agents = format!("entity Agent in [Team]{};", record(&self.of_agents));
        let teams = format!("entity Team in [Team]{};", record(&self.of_teams));
        schema.replace("entity Agent in [Team];", &agents).replace("entity Team in [Team];", &teams)
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
