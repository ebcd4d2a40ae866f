//! Problems for programs.

use serde_json::{Value, json};

use super::Counts;
use crate::core::problem::Problem;

/// The result of a check: whether it passed, how many policies there are if
/// none has an error, and every problem.
pub(in crate::cli) fn value(ok: bool, policies: Option<usize>, problems: &[Problem]) -> Value {
    let counts = Counts::of(problems);
    let rules: serde_json::Map<_, _> =
        counts.rules.iter().map(|(rule, count)| (rule.code().to_owned(), (*count).into())).collect();
    json!({
        "ok": ok,
        "policies": policies,
        "errors": counts.errors,
        "warnings": counts.warnings,
        "rules": rules,
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::problem::Place;
    use crate::core::rule::Rule;

    #[test]
    fn a_program_finds_rule_place_and_counts() {
        let place = Place { file: "a.cedar".into(), line: 2, column: 3, length: 4 };
        let problems = [Problem::error(place, "m").of(Rule::NameForm).with_help("h"), Problem::warning(None, "n")];
        assert_eq!(
            value(false, None, &problems),
            json!({
                "ok": false,
                "policies": null,
                "errors": 1,
                "warnings": 1,
                "rules": { "name-form": 1 },
                "problems": [
                    {
                        "severity": "error",
                        "rule": "name-form",
                        "place": { "file": "a.cedar", "line": 2, "column": 3, "length": 4 },
                        "message": "m",
                        "help": "h",
                    },
                    { "severity": "warning", "rule": null, "place": null, "message": "n", "help": null },
                ],
            })
        );
    }
}
