//! What a folder brings beside its policies: attributes and links.

use super::{NOW, query};
use crate::core::config::CatchAllForbid;
use crate::core::decision::Decision;
use crate::core::policy::{Loaded, Policy, Sources};
use crate::core::problem::Problem;
use crate::core::query::{Agent, RecordKind};
use crate::core::rule::Rule;

fn load(policies: &str, entities: Option<&str>, links: Option<&str>) -> Result<Loaded, Vec<Problem>> {
    let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let sources = Sources {
        policies: vec![named("p.cedar", policies)],
        entities: entities.map(|text| named("entities.json", text)),
        links: links.map(|text| named("links.json", text)),
    };
    Policy::load(&sources, CatchAllForbid::Strict)
}

fn permits(policy: &Policy, agent: &str, host: &str) -> bool {
    let mut query = query(host, RecordKind::A);
    query.agent = Agent::parse(agent).unwrap();
    matches!(policy.decide(&query, NOW), Decision::Permit(_))
}

#[test]
fn an_attribute_of_an_agent_counts_and_another_agent_has_none() {
    let entities = r#"[{"uid": {"type": "Agent", "id": "a"}, "attrs": {"zone": "lab", "tags": ["x"], "age": 3}, "parents": []},
                       {"uid": {"type": "Agent", "id": "b"}, "attrs": {"zone": "shop"}, "parents": []}]"#;
    let text = "permit(principal, action, resource) when { principal has zone && principal.zone == \"lab\" };";
    let policy = load(text, Some(entities), None).unwrap().policy;
    assert!(permits(&policy, "a", "example.com"));
    assert!(!permits(&policy, "b", "example.com"));
    assert!(!permits(&policy, "stranger", "example.com"));
    let unguarded = "permit(principal, action, resource) when { principal.zone == \"lab\" };";
    assert_eq!(load(unguarded, Some(entities), None).unwrap_err()[0].rule, Some(Rule::Schema));
}

#[test]
fn an_attribute_has_one_type() {
    let entities = r#"[{"uid": {"type": "Agent", "id": "a"}, "attrs": {"zone": "lab"}, "parents": []},
 {"uid": {"type": "Agent", "id": "b"}, "attrs": {"zone": 3}, "parents": []}]"#;
    let problems = load("permit(principal, action, resource);", Some(entities), None).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "entities.json:2:2: error: the attribute `zone` is Long here and String elsewhere: give it one type"
    );
}

#[test]
fn an_attribute_of_a_team_is_refused_and_not_ignored() {
    let entities = r#"[{"uid": {"type": "Team", "id": "t"}, "attrs": {"zone": "lab"}, "parents": []}]"#;
    let problems = load("permit(principal, action, resource);", Some(entities), None).unwrap_err();
    assert!(problems[0].to_string().starts_with("entities.json:1:2: error: a team has no attributes"), "{problems:?}");
}

#[test]
fn a_linked_template_permits_under_the_links_id() {
    let template =
        "@id(\"reach\")\npermit(principal == ?principal, action == Action::\"net.connect\", resource == ?resource);";
    let links = r#"[{"template_id": "reach", "link_id": "a-api", "args": {"?principal": "Agent::\"a\"", "?resource": "Resource::\"api.example.com:443\""}}]"#;
    let loaded = load(template, None, Some(links)).unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(permits(&loaded.policy, "a", "api.example.com"));
    assert!(!permits(&loaded.policy, "b", "api.example.com"));
    let mut asked = query("api.example.com", RecordKind::A);
    asked.agent = Agent::parse("a").unwrap();
    let Decision::Permit(permit) = loaded.policy.decide(&asked, NOW) else { panic!("denied") };
    assert_eq!(permit.policies[0].as_str(), "a-api");
    assert_eq!(loaded.policy.statement(&permit.policies[0]).unwrap().place.to_string(), "links.json:1:2");
}

#[test]
fn a_links_value_is_held_to_the_same_rules_as_a_policy() {
    let template = "@id(\"t\") permit(principal, action == Action::\"net.connect\", resource == ?resource);";
    let links = |resource: &str| {
        format!(r#"[{{"template_id": "t", "link_id": "l", "args": {{"?resource": "Resource::\"{resource}\""}}}}]"#)
    };
    assert!(load(template, None, Some(&links("api.example.com:443"))).is_ok());
    for (resource, rule) in [("API.example.com:443", Rule::NameForm), ("api.example.com", Rule::ResourceForm)] {
        let problems = load(template, None, Some(&links(resource))).unwrap_err();
        assert_eq!(problems[0].rule, Some(rule), "{problems:?}");
        assert_eq!(problems[0].place.as_ref().unwrap().to_string(), "links.json:1:2");
    }
}

#[test]
fn a_template_that_nothing_links_is_doubted_and_an_empty_folder_too() {
    let template = "permit(principal == ?principal, action, resource);";
    let rules = |loaded: Loaded| loaded.warnings.iter().map(|problem| problem.rule).collect::<Vec<_>>();
    assert_eq!(rules(load(template, None, None).unwrap()), [Some(Rule::UnlinkedTemplate)]);
    let empty = Policy::load(&Sources::default(), CatchAllForbid::Strict).unwrap();
    assert!(!permits(&empty.policy, "a", "example.com"));
    assert_eq!(rules(empty), [Some(Rule::NoPolicy)]);
}
