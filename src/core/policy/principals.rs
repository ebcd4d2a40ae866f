//! `entities.json`: which agents and teams there are, and who is in which.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entities, Entity};
use serde_json::Value;

use super::super::problem::{Place, Problem, nearest};
use super::super::query::Agent;
use super::lint::Facts;
use super::literal;
use super::schema::Vocabulary;
use super::statement::one_line;

/// The agents of `entities.json`, each with every team it is in.
#[derive(Debug, Default)]
pub(super) struct Principals {
    agents: HashMap<String, Entity>,
    teams: HashSet<String>,
    /// Whether there was a file at all.
    listed: bool,
}

impl Principals {
    /// Reads `entities.json`.
    ///
    /// # Errors
    /// Text that is no JSON list of entities, and entities that the schema or
    /// the wall does not know.
    pub(super) fn load(file: &str, text: &str, vocabulary: &Vocabulary) -> Result<Self, Vec<Problem>> {
        let elements = elements(file, text).map_err(|problem| vec![problem])?;
        let places = element_offsets(text).into_iter().map(|offset| Place::of_offset(file, text, offset));

        let mut problems = Vec::new();
        let mut entities = Vec::new();
        for (element, place) in elements.into_iter().zip(places) {
            match entity(element, vocabulary) {
                Ok(entity) => entities.push(entity),
                Err(message) => problems.push(Problem::error(place, one_line(&message))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::of(entities, vocabulary)
            .map_err(|error| vec![Problem::error(Place::of_offset(file, text, 0), one_line(&error))])
    }

    fn of(entities: Vec<Entity>, vocabulary: &Vocabulary) -> Result<Self, String> {
        let store = Entities::from_entities(entities, Some(&vocabulary.schema)).map_err(|error| explained(&error))?;
        let mut principals = Self { listed: true, ..Self::default() };
        for entity in store.iter() {
            let uid = entity.uid();
            let id = uid.id().unescaped().to_owned();
            match uid.type_name().basename() {
                "Agent" => {
                    let teams = store.ancestors(&uid).into_iter().flatten().cloned().collect();
                    principals.agents.insert(id, Entity::new_no_attrs(uid, teams));
                }
                "Team" => drop(principals.teams.insert(id)),
                _ => {}
            }
        }
        Ok(principals)
    }

    /// `agent` with its teams; one that no file lists is in none.
    pub(super) fn entity(&self, agent: &Agent, vocabulary: &Vocabulary) -> Entity {
        self.agents.get(agent.as_str()).cloned().unwrap_or_else(|| Entity::with_uid(vocabulary.agent(agent)))
    }

    /// Warnings about agents and teams that a policy names and no file lists.
    pub(super) fn doubts(&self, facts: &Facts) -> Vec<Problem> {
        facts.principals.iter().filter_map(|(kind, id, place)| self.doubt(kind, id, place)).collect()
    }

    fn doubt(&self, kind: &str, id: &str, place: &Place) -> Option<Problem> {
        let is_team = kind == "Team";
        let known = if is_team { self.teams.contains(id) } else { !self.listed || self.agents.contains_key(id) };
        if known {
            return None;
        }
        let meant = if is_team {
            nearest(id, self.teams.iter().map(String::as_str))
        } else {
            nearest(id, self.agents.keys().map(String::as_str))
        };
        let message = format!("entities.json has no {kind} `{id}`");
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if is_team => "nobody is in this team: list it, and its agents with it as a parent".to_owned(),
            // An agent in no team is an ordinary thing.
            None => return None,
        };
        Some(Problem::warning(place.clone(), message).with_help(help))
    }
}

fn elements(file: &str, text: &str) -> Result<Vec<Value>, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = Place { file: file.into(), line: error.line().max(1), column: error.column().max(1), length: 0 };
        Problem::error(place, format!("this is not JSON: {error}"))
    })?;
    match value {
        Value::Array(elements) => Ok(elements),
        _ => Err(Problem::error(Place::of_offset(file, text, 0), "this is not a list of entities")
            .with_help("write [{\"uid\": {\"type\": \"Agent\", \"id\": \"claude\"}, \"attrs\": {}, \"parents\": []}]")),
    }
}

fn entity(element: Value, vocabulary: &Vocabulary) -> Result<Entity, String> {
    let entity = Entity::from_json_value(element, Some(&vocabulary.schema)).map_err(|error| explained(&error))?;
    let uid = entity.uid();
    match uid.type_name().basename() {
        "Team" => Ok(entity),
        "Agent" => {
            literal::agent(uid.id().unescaped()).map_err(|fault| format!("{}: {}", fault.message, fault.help))?;
            Ok(entity)
        }
        other => Err(format!("entities.json may list agents and teams; the wall itself makes every {other}")),
    }
}

/// An error with its causes: Cedar's outermost words alone say too little.
fn explained(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Where the elements of the list in `text`, which is valid JSON, start.
pub(super) fn element_offsets(text: &str) -> Vec<usize> {
    let mut offsets = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut expected) = (0usize, false, false, false);
    for (offset, character) in text.char_indices() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if expected && !character.is_whitespace() && character != ']' {
            offsets.push(offset);
            expected = false;
        }
        match character {
            '"' => in_string = true,
            '[' | '{' => {
                depth += 1;
                expected = depth == 1;
            }
            ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 1 => expected = true,
            _ => {}
        }
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Principals, Vec<Problem>> {
        Principals::load("entities.json", text, &Vocabulary::new().unwrap())
    }

    #[test]
    fn an_agent_is_in_the_teams_of_its_teams() {
        let principals = load(
            r#"[{"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": [{"type": "Team", "id": "inner"}]},
                {"uid": {"type": "Team", "id": "inner"}, "attrs": {}, "parents": [{"type": "Team", "id": "outer"}]}]"#,
        )
        .unwrap();
        let entity = principals.entity(&Agent::parse("claude").unwrap(), &Vocabulary::new().unwrap());
        let store = Entities::from_entities([entity], None).unwrap();
        assert_eq!(store.iter().next().map(|entity| store.ancestors(&entity.uid()).unwrap().count()), Some(2));
    }

    #[test]
    fn a_bad_entity_is_told_with_its_place() {
        for (text, place) in [
            (
                "[\n  {\"uid\": {\"type\": \"Agent\", \"id\": \"a,]\\\"\"}, \"attrs\": {}, \"parents\": []},\n  7]",
                ":2:3: ",
            ),
            (
                "[\n {\"uid\": {\"type\": \"Agent\", \"id\": \"a\"}, \"attrs\": {\"age\": 3}, \"parents\": []}]",
                ":2:2: ",
            ),
            ("[{\"uid\": {\"type\": \"Team\", \"id\": \"[{\"}, \"attrs\": {}, \"parents\": []},\n 7]", ":2:2: "),
            ("[{\"uid\": {\"type\": \"Domain\", \"id\": \"example.com\"}, \"attrs\": {}, \"parents\": []}]", ":1:2: "),
            ("[\n,]", ":2:1: "),
            ("{}", ":1:1: "),
        ] {
            let problems = load(text).unwrap_err();
            assert!(problems[0].to_string().starts_with(&format!("entities.json{place}error: ")), "{}", problems[0]);
        }
    }

    #[test]
    fn teams_in_a_circle_are_refused() {
        let circle = r#"[{"uid": {"type": "Team", "id": "a"}, "attrs": {}, "parents": [{"type": "Team", "id": "b"}]},
                         {"uid": {"type": "Team", "id": "b"}, "attrs": {}, "parents": [{"type": "Team", "id": "a"}]}]"#;
        assert!(load(circle).is_err());
    }
}
