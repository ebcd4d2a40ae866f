//! The log against what SARIF's schema asks of it.

use super::*;

fn log(problems: &[Problem]) -> Value {
    value(problems, &Texts::of_file("a.cedar", "permit(\n  x);\n"), Path::new("/home/user/project"))
}

fn problems() -> Vec<Problem> {
    let place = |file: &str| Place { file: file.into(), line: 1, column: 3, length: 8 };
    vec![
        Problem::error(place("a.cedar"), "m").of(Rule::NameForm).with_help("h"),
        Problem::warning(place("./some folder/b:c%.cedar"), "\u{fc}"),
        Problem::error(place("/home/user/project/policies/d.cedar"), "n").of(Rule::NoPolicy),
        Problem::error(place("/etc/e#f?.cedar"), "o"),
        Problem::warning(None, "p"),
    ]
}

/// The parts of the schema that this log uses: which properties each object
/// must and may have, and what they are.
fn conforms(log: &Value) -> Result<(), String> {
    object(log, &["version", "runs"], &["version", "runs", "$schema"])?;
    same(&log["version"], "2.1.0")?;
    for run in array(&log["runs"])? {
        object(run, &["tool"], &["tool", "columnKind", "results"])?;
        one_of(&run["columnKind"], &["utf16CodeUnits", "unicodeCodePoints"])?;
        object(&run["tool"], &["driver"], &["driver"])?;
        let driver = &run["tool"]["driver"];
        object(driver, &["name"], &["name", "version", "rules"])?;
        text(&driver["name"])?;
        text(&driver["version"])?;
        let mut ids = Vec::new();
        for rule in array(&driver["rules"])? {
            object(rule, &["id"], &["id", "shortDescription"])?;
            object(&rule["shortDescription"], &["text"], &["text"])?;
            text(&rule["shortDescription"]["text"])?;
            ids.push(text(&rule["id"])?);
        }
        for found in array(&run["results"])? {
            result_conforms(found, &ids)?;
        }
    }
    Ok(())
}

fn result_conforms(result: &Value, ids: &[&str]) -> Result<(), String> {
    object(result, &["message"], &["ruleId", "ruleIndex", "level", "message", "locations"])?;
    object(&result["message"], &["text"], &["text"])?;
    text(&result["message"]["text"])?;
    one_of(&result["level"], &["none", "note", "warning", "error"])?;
    if let Some(index) = result.get("ruleIndex") {
        let index = usize::try_from(index.as_u64().ok_or("ruleIndex")?).map_err(|error| error.to_string())?;
        same(&result["ruleId"], ids.get(index).ok_or("ruleIndex")?)?;
    }
    for location in result.get("locations").map_or(Ok(&Vec::new()), array)? {
        object(location, &[], &["physicalLocation"])?;
        let physical = &location["physicalLocation"];
        object(physical, &["artifactLocation"], &["artifactLocation", "region"])?;
        let uri = text(&physical["artifactLocation"]["uri"])?;
        let alphabet = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~/%".contains(&octet);
        if !uri.strip_prefix("file://").unwrap_or(uri).bytes().all(alphabet) {
            return Err(format!("`{uri}` is no URI reference"));
        }
        let region = &physical["region"];
        object(region, &[], &["startLine", "startColumn", "endLine", "endColumn"])?;
        let number = |name: &str| region[name].as_u64().filter(|number| *number >= 1).ok_or(name.to_owned());
        let start = (number("startLine")?, number("startColumn")?);
        if (number("endLine")?, number("endColumn")?) <= start {
            return Err(format!("{region} ends before it starts"));
        }
    }
    Ok(())
}

fn object(value: &Value, required: &[&str], known: &[&str]) -> Result<(), String> {
    let fields = value.as_object().ok_or(format!("{value} is no object"))?;
    if let Some(missing) = required.iter().find(|name| !fields.contains_key(**name)) {
        return Err(format!("`{missing}` is missing from {value}"));
    }
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(format!("`{unknown}` is no property here")),
        None => Ok(()),
    }
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or(format!("{value} is no array"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or(format!("{value} is no text"))
}

fn same(value: &Value, expected: &str) -> Result<(), String> {
    one_of(value, &[expected])
}

fn one_of(value: &Value, expected: &[&str]) -> Result<(), String> {
    if expected.contains(&text(value)?) { Ok(()) } else { Err(format!("{value} is none of {expected:?}")) }
}

#[test]
fn the_log_is_what_the_schema_asks_for() {
    for problems in [problems(), Vec::new()] {
        assert_eq!(conforms(&log(&problems)), Ok(()));
    }
}

#[test]
fn the_test_of_the_schema_finds_what_it_looks_for() {
    let break_it = |pointer: &str, value: Value| {
        let mut log = log(&problems());
        *log.pointer_mut(pointer).unwrap() = value;
        conforms(&log)
    };
    let region = "/runs/0/results/0/locations/0/physicalLocation/region";
    for (pointer, value) in [
        ("/version", json!("2.0")),
        ("/runs/0/tool/driver", json!({})),
        ("/runs/0/results/0/level", json!("fatal")),
        ("/runs/0/results/0/ruleIndex", json!(0)),
        (region, json!({ "startLine": 0 })),
        (region, json!({ "startLine": 2, "startColumn": 1, "endLine": 1, "endColumn": 1 })),
        ("/runs/0/results/1/locations/0/physicalLocation/artifactLocation/uri", json!("a b")),
    ] {
        assert!(break_it(pointer, value).is_err(), "{pointer}");
    }
}

#[test]
fn every_rule_is_told_of_and_results_refer_to_theirs() {
    let log = log(&problems());
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), Rule::ALL.len());
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "name-form");
    assert_eq!(log["runs"][0]["results"][0]["message"]["text"], "m. Help: h");
    assert_eq!(log["runs"][0]["results"][4].get("locations"), None);
}

#[test]
fn a_region_ends_behind_its_last_character_on_whichever_line() {
    let log = log(&problems());
    assert_eq!(
        log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"],
        json!({ "startLine": 1, "startColumn": 3, "endLine": 2, "endColumn": 3 })
    );
}

#[test]
fn files_are_named_from_the_folder_in_characters_a_uri_has() {
    let log = log(&problems());
    let uris: Vec<_> = (0..4)
        .map(|index| {
            let result = &log["runs"][0]["results"][index];
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected = ["a.cedar", "some%20folder/b%3Ac%25.cedar", "policies/d.cedar", "file:///etc/e%23f%3F.cedar"];
    assert_eq!(uris, expected);
}
