//! Test cases in the format of Cedar's own command line (`cedar run-tests`): a
//! list of requests, each with the decision, the reasons and the number of
//! errors that are expected. They are put to Cedar itself, over the whole
//! policy, and so say what a policy means rather than what the wall makes of
//! it.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request};
use cedar_policy_core::ast;
use serde::Deserialize;
use serde_json::Value;

use super::super::name::Name;
use super::super::problem::{Place, Problem};
use super::super::query::Agent;
use super::super::table::Expected;
use super::Policy;
use super::explain::scene;
use super::json_list::{Element, elements};
use super::statement::one_line;

/// One test case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it stands.
    pub place: Place,
    /// Its name; its number, if it has none.
    pub name: String,
    /// The decision it expects.
    pub expected: Expected,
    reasons: BTreeSet<String>,
    errors: usize,
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    context: Value,
    entities: Value,
}

impl Case {
    /// The file its entities are in, relative to its own, where it names one
    /// instead of writing them out.
    pub fn entities_file(&self) -> Option<&str> {
        self.entities.as_str()
    }

    /// The same with the entities of `text`.
    ///
    /// # Errors
    /// Text that is no JSON.
    pub fn with_entities(self, text: &str) -> Result<Self, Problem> {
        match serde_json::from_str(text) {
            Ok(entities) => Ok(Self { entities, ..self }),
            Err(error) => Err(Problem::error(self.place, format!("its entities are not JSON: {error}"))),
        }
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Expected,
    /// The policies that decided.
    pub reasons: Vec<String>,
    /// What failed to evaluate, in Cedar's words.
    pub errors: Vec<String>,
    /// What is odd about the case itself, if anything is.
    pub doubt: Option<String>,
    /// Each way in which that differs from what the case expects.
    pub differences: Vec<String>,
}

/// Reads a file of cases.
///
/// # Errors
/// Text that is no list of cases, and every case that cannot be understood.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, Vec<Problem>> {
    let help = "write [{\"name\": …, \"request\": {\"principal\": …, \"action\": …, \"resource\": …, \"context\": {}}, \
                \"entities\": [], \"decision\": \"allow\", \"reason\": [], \"num_errors\": 0}]";
    let elements = elements(file, text, help).map_err(|problem| vec![problem])?;
    if elements.is_empty() {
        let place = Place::of_offset(file, text, 0);
        return Err(vec![Problem::error(place, "this list expects nothing").with_help(help)]);
    }
    let mut cases = Vec::with_capacity(elements.len());
    let mut problems = Vec::new();
    for (index, Element { value, place }) in elements.into_iter().enumerate() {
        match case(value, index + 1, place.clone()) {
            Ok(case) => cases.push(case),
            Err(message) => problems.push(Problem::error(place, one_line(&message)).with_help(help)),
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

/// A policy as plain Cedar: every part of it, and Cedar's own Authorizer.
pub struct Plain<'a> {
    policy: &'a Policy,
    set: PolicySet,
    authorizer: Authorizer,
}

impl Policy {
    /// The policy as plain Cedar.
    ///
    /// # Errors
    /// Policies that do not go together.
    pub fn plain(&self) -> Result<Plain<'_>, Problem> {
        let mut set = ast::PolicySet::new();
        for clause in &self.clauses {
            let Some(statement) = self.statements.get(clause.statement as usize) else { continue };
            set.add(statement.ast().clone())
                .map_err(|error| Problem::error(statement.place.clone(), one_line(&error.to_string())))?;
        }
        Ok(Plain { policy: self, set: set.into(), authorizer: Authorizer::new() })
    }
}

impl Plain<'_> {
    /// Puts `case` to Cedar.
    ///
    /// # Errors
    /// A context or entities that Cedar does not take.
    pub fn try_case(&self, case: &Case) -> Result<Verdict, Problem> {
        let wrong = |message: String| Problem::error(case.place.clone(), one_line(&message));
        let (context, doubt) = self.context_of(case).map_err(wrong)?;
        let (principal, resource) = (case.principal.clone(), case.resource.clone());
        let request = Request::new(principal, case.action.clone(), resource, context, None)
            .map_err(|error| wrong(error.to_string()))?;
        let entities = self.entities_of(case).map_err(wrong)?;
        let response = self.authorizer.is_authorized(&request, &self.set, &entities);

        let mut reasons: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        reasons.sort();
        let errors = response.diagnostics().errors().map(|error| one_line(&error.to_string())).collect();
        let decision = match response.decision() {
            Decision::Allow => Expected::Allow,
            Decision::Deny => Expected::Deny,
        };
        let mut verdict = Verdict { decision, reasons, errors, doubt, differences: Vec::new() };
        verdict.differences = differences(case, &verdict);
        Ok(verdict)
    }

    /// With the schema, which knows that `"192.0.2.7"` is an address; as
    /// plain JSON where the case leaves out what the schema asks for.
    ///
    /// With it comes what the schema has against it.
    fn context_of(&self, case: &Case) -> Result<(Context, Option<String>), String> {
        let doubt = match Context::from_json_value(
            case.context.clone(),
            Some((&self.policy.vocabulary.schema, &case.action)),
        ) {
            Ok(context) => return Ok((context, None)),
            Err(error) => format!("the context is not one the wall would make: {error}"),
        };
        match Context::from_json_value(case.context.clone(), None) {
            Ok(context) => Ok((context, Some(one_line(&doubt)))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The case's own entities, and those the wall would supply.
    fn entities_of(&self, case: &Case) -> Result<Entities, String> {
        let schema = &self.policy.vocabulary.schema;
        let given = match Entities::from_json_value(case.entities.clone(), Some(schema)) {
            Ok(entities) => entities,
            Err(_) => Entities::from_json_value(case.entities.clone(), None).map_err(|error| error.to_string())?,
        };
        let supplied = [&case.principal, &case.resource].into_iter().filter_map(|uid| self.supplied(uid));
        let missing = supplied.filter(|entity| given.get(&entity.uid()).is_none()).collect::<Vec<_>>();
        given.add_entities(missing, None).map_err(|error| error.to_string())
    }

    /// The entity that the wall makes of this id.
    fn supplied(&self, uid: &EntityUid) -> Option<Entity> {
        let id = uid.id().unescaped();
        let entity = match uid.type_name().basename() {
            "Agent" => {
                Some(self.policy.principals.entity(&Agent::parse(id).ok()?, &self.policy.vocabulary).as_ref().clone())
            }
            "Domain" => Some(scene::domain(self.policy, &Name::parse(id).ok()?)),
            "Resource" => scene::resource(self.policy, id),
            _ => None,
        };
        entity.map(Entity::from)
    }
}

fn differences(case: &Case, verdict: &Verdict) -> Vec<String> {
    let mut differences = Vec::new();
    if case.expected != verdict.decision {
        differences.push(format!("expected {}, got {}", case.expected.as_str(), verdict.decision.as_str()));
    }
    for reason in case.reasons.iter().filter(|reason| !verdict.reasons.contains(reason)) {
        differences.push(format!("`{reason}` is not among the policies that decided"));
    }
    if case.errors != verdict.errors.len() {
        differences.push(format!("expected {} errors, got {}", case.errors, verdict.errors.len()));
    }
    differences
}

#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    request: WrittenRequest,
    #[serde(default)]
    entities: Option<Value>,
    decision: WrittenDecision,
    #[serde(default)]
    reason: BTreeSet<String>,
    #[serde(default)]
    num_errors: usize,
}

#[derive(Deserialize)]
struct WrittenRequest {
    principal: String,
    action: String,
    resource: String,
    #[serde(default)]
    context: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenDecision {
    Allow,
    Deny,
}

fn case(element: Value, number: usize, place: Place) -> Result<Case, String> {
    let written: Written = serde_json::from_value(element).map_err(|error| error.to_string())?;
    let entity = |what: &str, text: &str| {
        text.parse::<EntityUid>().map_err(|error| format!("the {what} `{text}` is no entity: {error}"))
    };
    Ok(Case {
        place,
        name: written.name.map_or_else(|| format!("case {number}"), |name| one_line(&name)),
        expected: match written.decision {
            WrittenDecision::Allow => Expected::Allow,
            WrittenDecision::Deny => Expected::Deny,
        },
        reasons: written.reason,
        errors: written.num_errors,
        principal: entity("principal", &written.request.principal)?,
        action: entity("action", &written.request.action)?,
        resource: entity("resource", &written.request.resource)?,
        context: written.request.context.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        entities: written.entities.unwrap_or_else(|| Value::Array(Vec::new())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::config::CatchAllForbid;
    use crate::core::policy::Sources;

    const TEAM: &str = include_str!("../../../policies/team/team.cedar");
    const ENTITIES: &str = include_str!("../../../policies/team/entities.json");

    fn tried(cases: &str) -> Vec<Verdict> {
        let sources = Sources {
            policies: vec![("team.cedar".to_owned(), TEAM.to_owned())],
            entities: Some(("entities.json".to_owned(), ENTITIES.to_owned())),
            ..Sources::default()
        };
        let policy = Policy::load(&sources, CatchAllForbid::Strict).unwrap().policy;
        let plain = policy.plain().unwrap();
        parse("cases.json", cases).unwrap().iter().map(|case| plain.try_case(case).unwrap()).collect()
    }

    fn case_of(resource: &str, context: &str, expectation: &str) -> String {
        format!(
            "[{{\"request\": {{\"principal\": \"Agent::\\\"claude\\\"\", \"action\": \"Action::\\\"net.connect\\\"\", \
             \"resource\": \"Resource::\\\"{resource}\\\"\", \"context\": {context}}}, \"entities\": [], {expectation}}}]"
        )
    }

    #[test]
    fn the_wall_supplies_the_entities_that_a_case_leaves_out() {
        let full = "{\"client\": \"192.0.2.9\", \"now\": \"2026-11-23T09:00:00Z\", \"host\": \"a.registry.example.org\", \
                    \"port\": 443, \"protocol\": {\"type\": \"Protocol\", \"id\": \"tcp\"}}";
        for context in [full, "{\"port\": 443}"] {
            let expectation = "\"decision\": \"allow\", \"reason\": [\"builders-registry\"], \"num_errors\": 0";
            let verdicts = tried(&case_of("a.registry.example.org:443", context, expectation));
            assert_eq!(verdicts[0].differences, Vec::<String>::new(), "{verdicts:?}");
        }
    }

    #[test]
    fn decision_reasons_and_errors_are_each_compared() {
        let expectation = "\"decision\": \"deny\", \"reason\": [\"no-telemetry\"], \"num_errors\": 0";
        let verdicts = tried(&case_of("registry.example.org:443", "{\"port\": 443}", expectation));
        assert_eq!(
            verdicts[0].differences,
            ["expected DENY, got ALLOW", "`no-telemetry` is not among the policies that decided"]
        );
        // Without a context the port cannot be looked at.
        let expectation = "\"decision\": \"deny\", \"reason\": [], \"num_errors\": 0";
        let verdicts = tried(&case_of("registry.example.org:443", "{}", expectation));
        assert_eq!(verdicts[0].differences, ["expected 0 errors, got 1"]);
        assert!(
            verdicts[0].doubt.as_ref().is_some_and(|doubt| doubt.contains("expected the record to have an attribute"))
        );
        let expectation = "\"decision\": \"deny\", \"reason\": [], \"num_errors\": 1";
        let verdicts = tried(&case_of("registry.example.org:443", "{}", expectation));
        assert_eq!(verdicts[0].differences, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_case_is_told_with_its_place() {
        for (text, told) in [
            ("{}", "cases.json:1:1: error: this is not a list"),
            ("[]", "cases.json:1:1: error: this list expects nothing"),
            ("[\n {\"name\": 7}]", "cases.json:2:2: error: invalid type: integer `7`"),
            ("[\n {}]", "cases.json:2:2: error: missing field `request`"),
            ("[,]", "cases.json:1:2: error: this is not JSON"),
        ] {
            let problems = parse("cases.json", text).unwrap_err();
            assert!(problems[0].to_string().starts_with(told), "{}", problems[0]);
        }
        let wrong = case_of("a.example:1", "{}", "\"decision\": \"allow\"").replace("Agent::", "Agent:");
        assert!(
            parse("c", &wrong).unwrap_err()[0].message.starts_with("the principal `Agent:\"claude\"` is no entity")
        );
    }
}
