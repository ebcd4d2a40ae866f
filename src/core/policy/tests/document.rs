//! `policies/LINT.md` and the program say the same.

use super::*;
use crate::core::rule::Rule;

const DOCUMENT: &str = include_str!("../../../../policies/LINT.md");

/// One `##` section of the document.
struct Section<'a> {
    code: &'a str,
    severity: &'a str,
    bad: Sources,
    good: Sources,
    message: &'a str,
}

#[test]
fn the_document_tells_every_rule_in_order() {
    let told: Vec<_> = sections().iter().map(|section| section.code).collect();
    assert_eq!(told, Rule::ALL.map(Rule::code));
}

#[test]
fn a_bad_example_breaks_its_rule_alone_in_the_words_of_the_document() {
    for (section, rule) in sections().iter().zip(Rule::ALL) {
        let problems = told(&section.bad);
        let rules: Vec<_> = problems.iter().map(|problem| problem.rule).collect();
        assert_eq!(rules, [Some(rule)], "{}: {problems:?}", section.code);
        assert_eq!(problems[0].to_string(), section.message, "{}", section.code);
        let severity = if problems[0].is_error() { "Error" } else { "Warning" };
        assert!(section.severity.starts_with(severity), "{}: {}", section.code, section.severity);
    }
}

#[test]
fn a_good_example_breaks_no_rule() {
    for (section, _) in sections().iter().zip(Rule::ALL) {
        assert_eq!(told(&section.good), [], "{}", section.code);
    }
}

fn told(sources: &Sources) -> Vec<Problem> {
    match Policy::load(sources, CatchAllForbid::Strict) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

fn sections() -> Vec<Section<'static>> {
    DOCUMENT.split("\n## ").skip(1).map(section).collect()
}

fn section(text: &'static str) -> Section<'static> {
    let (code, rest) = text.split_once("\n\n").unwrap();
    let mut section = Section { code, severity: rest, bad: Sources::default(), good: Sources::default(), message: "" };
    let mut in_good = false;
    for block in rest.split("\n```").filter(|block| !block.starts_with('\n')).skip(1) {
        let Some((kind, content)) = block.split_once('\n') else { continue };
        in_good |= kind == "cedar good";
        let sources = if in_good { &mut section.good } else { &mut section.bad };
        let file = |name: &str| (name.to_owned(), format!("{content}\n"));
        match kind {
            "cedar bad" | "cedar good" => sources.policies.push(file("policy.cedar")),
            "json entities" => sources.entities = Some(file("entities.json")),
            "json links" => sources.links = Some(file("links.json")),
            "text" => section.message = content,
            other => panic!("{code}: an unknown kind of block: {other}"),
        }
    }
    section.good.entities = section.good.entities.or_else(|| section.bad.entities.clone());
    for sources in [&mut section.bad, &mut section.good] {
        assert_eq!(sources.policies.len(), 1, "{code}: one example of each kind");
    }
    section
}
