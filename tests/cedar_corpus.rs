//! The index by which policies are found changes nothing: Cedar's public
//! integration corpus, decided behind the index and by Cedar's own Authorizer.
//!
//! `CEDAR_CORPUS` names the folder: of each test `NAME.cedar`,
//! `NAME.cedarschema`, `NAME.entities.json` and `NAME.json`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, EntityUid, PolicyId, PolicySet, Request, Schema,
};
use cedar_policy_core::ast;
use cedarwall::core::policy::sliced::{Response, SlicedSet};
use serde_json::Value;

/// So many tests' policies make one merged set.
const MERGED: usize = 101;

#[test]
fn the_corpus_is_decided_as_cedar_decides_it_alone_and_merged() {
    let Some(folder) = std::env::var_os("CEDAR_CORPUS") else {
        return say("NOT RUN: CEDAR_CORPUS names no folder with Cedar's integration corpus");
    };
    let mut names = tests_in(Path::new(&folder));
    names.sort();
    assert!(!names.is_empty(), "{} holds no test", Path::new(&folder).display());

    let batches: Vec<&[PathBuf]> = names.chunks(MERGED).collect();
    let (first, second) = batches.split_at(batches.len() / 2);
    let counts = std::thread::scope(|scope| {
        let others = scope.spawn(|| judge_all(second));
        judge_all(first).and(others.join().unwrap())
    });
    say(&format!(
        "{} tests, {} requests: decision, reasons and errors agree with the corpus, alone; {} agree with Cedar's \
         Authorizer merged with {} others; {} came to an error, {} to Allow",
        counts.tests,
        counts.requests,
        counts.merged,
        MERGED - 1,
        counts.erring,
        counts.allowed,
    ));
    assert!(counts.erring > 0 && counts.allowed > 0, "the corpus shows too little");
}

/// Past the test runner, which shows what a test prints only if it fails.
fn say(line: &str) {
    std::io::stderr().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

#[derive(Default)]
struct Counts {
    tests: usize,
    requests: usize,
    merged: usize,
    erring: usize,
    allowed: usize,
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            tests: self.tests + other.tests,
            requests: self.requests + other.requests,
            merged: self.merged + other.merged,
            erring: self.erring + other.erring,
            allowed: self.allowed + other.allowed,
        }
    }
}

fn tests_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tests_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "cedar") {
            found.push(path.with_extension(""));
        }
    }
    found
}

fn judge_all(batches: &[&[PathBuf]]) -> Counts {
    let mut counts = Counts::default();
    for batch in batches {
        let tests: Vec<_> = batch.iter().map(|name| Test::read(name)).collect();
        judge_alone(&tests, &mut counts);
        judge_merged(&tests, &mut counts);
    }
    counts
}

fn judge_alone(tests: &[Test], counts: &mut Counts) {
    for test in tests {
        counts.tests += 1;
        let sliced = sliced(&test.policies);
        for (request, expected) in &test.requests {
            counts.requests += 1;
            counts.erring += usize::from(!expected.errors.is_empty());
            counts.allowed += usize::from(expected.allowed);
            let found = sliced.is_authorized(request.as_ref(), test.entities.as_ref());
            assert_eq!(&found, expected, "{} behind the index, against the corpus", test.name);
            assert_eq!(&reference(&test.policies, test, request), expected, "{}: Cedar, against the corpus", test.name);
        }
    }
}

fn judge_merged(tests: &[Test], counts: &mut Counts) {
    let mut merged = PolicySet::new();
    for (number, test) in tests.iter().enumerate() {
        for policy in test.policies.policies() {
            merged.add(policy.new_id(PolicyId::new(format!("{number}:{}", policy.id())))).unwrap();
        }
    }
    let sliced = sliced(&merged);
    for test in tests {
        for (request, _) in &test.requests {
            counts.merged += 1;
            let found = sliced.is_authorized(request.as_ref(), test.entities.as_ref());
            assert_eq!(found, reference(&merged, test, request), "{} behind the index, merged", test.name);
        }
    }
}

fn sliced(policies: &PolicySet) -> SlicedSet {
    let set: &ast::PolicySet = policies.as_ref();
    SlicedSet::of(set.policies().cloned().collect())
}

fn reference(policies: &PolicySet, test: &Test, request: &Request) -> Response {
    let response = Authorizer::new().is_authorized(request, policies, &test.entities);
    let id = |id: &PolicyId| ast::PolicyID::from_string(id);
    Response {
        allowed: response.decision() == Decision::Allow,
        reasons: response.diagnostics().reason().map(id).collect(),
        errors: response.diagnostics().errors().map(erring).collect(),
    }
}

fn erring(AuthorizationError::PolicyEvaluationError(error): &AuthorizationError) -> ast::PolicyID {
    ast::PolicyID::from_string(error.policy_id())
}

struct Test {
    name: String,
    policies: PolicySet,
    entities: Entities,
    requests: Vec<(Request, Response)>,
}

impl Test {
    fn read(name: &Path) -> Self {
        let text = |extension: &str| {
            let path = format!("{}.{extension}", name.display());
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let (schema, _) = Schema::from_cedarschema_str(&text("cedarschema")).unwrap();
        let test: Value = serde_json::from_str(&text("json")).unwrap();
        let requests = test["requests"].as_array().unwrap();
        Self {
            name: name.display().to_string(),
            policies: PolicySet::from_str(&text("cedar")).unwrap(),
            entities: Entities::from_json_str(&text("entities.json"), Some(&schema)).unwrap(),
            requests: requests.iter().map(|test| (request(test, &schema), response(test))).collect(),
        }
    }
}

fn request(test: &Value, schema: &Schema) -> Request {
    let entity = |field: &str| EntityUid::from_json(test[field].clone()).unwrap();
    let action = entity("action");
    let context = Context::from_json_value(test["context"].clone(), Some((schema, &action))).unwrap();
    let schema = test["validateRequest"].as_bool().unwrap().then_some(schema);
    Request::new(entity("principal"), action, entity("resource"), context, schema).unwrap()
}

fn response(test: &Value) -> Response {
    let ids = |field: &str| -> BTreeSet<ast::PolicyID> {
        let ids = test[field].as_array().unwrap().iter();
        ids.map(|id| ast::PolicyID::from_string(id.as_str().unwrap())).collect()
    };
    Response { allowed: test["decision"] == "allow", reasons: ids("reason"), errors: ids("errors") }
}
