//! `entities.json`: which agents and teams there are, and who is in which.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Entities, Entity};
use cedar_policy_core::ast;
use serde_json::Value;

use super::super::problem::{Place, Problem, nearest};
use super::super::query::Agent;
use super::super::rule::Rule;
use super::json_list::Element;
use super::lint::{Facts, Known};
use super::literal;
use super::schema::Vocabulary;
use super::statement::one_line;

/// The agents of `entities.json`, each with every team it is in.
#[derive(Debug, Default)]
pub(super) struct Principals {
    agents: HashMap<String, Arc<ast::Entity>>,
    teams: HashMap<String, Arc<ast::Entity>>,
    /// The agents, to be found by near misses.
    spellings: Known,
    /// Whether there was a file at all.
    listed: bool,
}

impl Principals {
    /// Reads the elements of `entities.json`.
    ///
    /// # Errors
    /// Entities that the schema or the wall does not know.
    pub(super) fn load(elements: Vec<Element>, vocabulary: &Vocabulary) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut entities = Vec::new();
        let start = elements.first().map(|element| element.place.clone());
        for Element { value, place } in elements {
            match entity(value, vocabulary) {
                Ok(entity) => entities.push(entity),
                Err(message) => problems.push(Problem::error(place, one_line(&message)).of(Rule::Entities)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::of(entities, vocabulary).map_err(|error| vec![Problem::error(start, one_line(&error)).of(Rule::Entities)])
    }

    fn of(entities: Vec<Entity>, vocabulary: &Vocabulary) -> Result<Self, String> {
        let store = Entities::from_entities(entities, Some(&vocabulary.schema)).map_err(|error| explained(&error))?;
        let mut principals = Self { listed: true, ..Self::default() };
        for entity in store.iter() {
            let uid = entity.uid();
            let id = uid.id().unescaped().to_owned();
            let known = Arc::new(entity.as_ref().clone());
            match uid.type_name().basename() {
                "Agent" => drop(principals.agents.insert(id, known)),
                "Team" => drop(principals.teams.insert(id, known)),
                _ => {}
            }
        }
        principals.spellings = Known::of(principals.agents.keys().map(String::as_str));
        Ok(principals)
    }

    /// `agent` with its teams; one that no file lists is in none but the one it
    /// was put in.
    pub(super) fn entity(&self, agent: &Agent, vocabulary: &Vocabulary) -> Arc<ast::Entity> {
        let listed = self.agents.get(agent.as_str()).cloned();
        let mut entity = listed.unwrap_or_else(|| Arc::new(ast::Entity::with_uid(vocabulary.agent(agent))));
        if let Some(team) = agent.team() {
            let member = Arc::make_mut(&mut entity);
            let above = self.teams.get(team).into_iter().flat_map(|team| team.ancestors());
            above.for_each(|team| member.add_indirect_ancestor(team.clone()));
            member.add_parent(vocabulary.team(team));
        }
        entity
    }

    /// Whether no file lists `agent`, and nobody has put it in a team.
    pub(super) fn is_in_no_team(&self, agent: &Agent) -> bool {
        agent.team().is_none() && !self.agents.contains_key(agent.as_str())
    }

    /// Warnings about agents and teams that a policy names and no file lists.
    pub(super) fn doubts(&self, facts: &Facts) -> Vec<Problem> {
        facts.principals.iter().filter_map(|(kind, id, place)| self.doubt(kind, id, place)).collect()
    }

    fn doubt(&self, kind: &str, id: &str, place: &Place) -> Option<Problem> {
        let is_team = kind == "Team";
        let known = if is_team { self.teams.contains_key(id) } else { !self.listed || self.agents.contains_key(id) };
        if known {
            return None;
        }
        let meant = if is_team { nearest(id, self.teams.keys().map(String::as_str)) } else { self.spellings.near(id) };
        let message = format!("entities.json has no {kind} `{id}`");
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if is_team => "nobody is in this team: list it, and its agents with it as a parent".to_owned(),
            // An agent in no team is an ordinary thing.
            None => return None,
        };
        let rule = if is_team { Rule::UnknownTeam } else { Rule::UnknownAgent };
        Some(Problem::warning(place.clone(), message).with_help(help).of(rule))
    }

    /// The teams that `agent` is in, through other teams too.
    pub(super) fn teams_of_agent(&self, agent: &str) -> impl Iterator<Item = &str> {
        above(self.agents.get(agent))
    }

    /// The teams that `team` is in, through other teams too; without itself.
    pub(super) fn teams_of_team(&self, team: &str) -> impl Iterator<Item = &str> {
        above(self.teams.get(team))
    }

    /// Whether `entities.json` lists any agents or teams.
    pub(super) const fn are_listed(&self) -> bool {
        self.listed
    }
}

fn above(entity: Option<&Arc<ast::Entity>>) -> impl Iterator<Item = &str> {
    entity.into_iter().flat_map(|entity| entity.ancestors()).map(|team| team.eid().as_ref())
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

#[cfg(test)]
mod tests {
    use super::super::attributes::Attributes;
    use super::super::json_list::elements;
    use super::super::load::ENTITIES_EXAMPLE as EXAMPLE;
    use super::*;

    fn load(text: &str) -> Result<Principals, Vec<Problem>> {
        let elements = elements("entities.json", text, EXAMPLE).map_err(|problem| vec![problem])?;
        let vocabulary = Vocabulary::new(&Attributes::of(&elements)?).map_err(|problem| vec![problem])?;
        Principals::load(elements, &vocabulary)
    }

    #[test]
    fn an_agent_is_in_the_teams_of_its_teams() {
        let principals = load(
            r#"[{"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": [{"type": "Team", "id": "inner"}]},
                {"uid": {"type": "Team", "id": "inner"}, "attrs": {}, "parents": [{"type": "Team", "id": "outer"}]}]"#,
        )
        .unwrap();
        let vocabulary = Vocabulary::new(&Attributes::default()).unwrap();
        let entity = principals.entity(&Agent::parse("claude").unwrap(), &vocabulary);
        assert_eq!(entity.ancestors().count(), 2);
    }

    #[test]
    fn who_is_put_in_a_team_is_in_the_teams_above_it_and_stays_in_its_own() {
        let principals = load(
            r#"[{"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": [{"type": "Team", "id": "own"}]},
                {"uid": {"type": "Team", "id": "inner"}, "attrs": {}, "parents": [{"type": "Team", "id": "outer"}]}]"#,
        )
        .unwrap();
        let vocabulary = Vocabulary::new(&Attributes::default()).unwrap();
        let teams = |agent: &str, team: &str| {
            let agent = Agent::parse(agent).unwrap().in_team(team).unwrap();
            let entity = principals.entity(&agent, &vocabulary);
            let mut teams: Vec<_> = entity.ancestors().map(|team| team.eid().escaped().to_string()).collect();
            teams.sort_unstable();
            teams.join(" ")
        };
        assert_eq!(teams("claude", "inner"), "inner outer own");
        assert_eq!(teams("claude", "own"), "own");
        assert_eq!(teams("nobody-lists", "inner"), "inner outer");
        assert_eq!(teams("nobody-lists", "nobody-lists-it"), "nobody-lists-it");
        // Nobody else got into it.
        assert_eq!(principals.entity(&Agent::parse("claude").unwrap(), &vocabulary).ancestors().count(), 1);
    }

    #[test]
    fn a_bad_entity_is_told_with_its_place() {
        for (text, place) in [
            (
                "[\n  {\"uid\": {\"type\": \"Agent\", \"id\": \"a,]\\\"\"}, \"attrs\": {}, \"parents\": []},\n  7]",
                ":2:3: ",
            ),
            (
                "[\n {\"uid\": {\"type\": \"Agent\", \"id\": \"a\"}, \"attrs\": {\"age\": null}, \"parents\": []}]",
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
