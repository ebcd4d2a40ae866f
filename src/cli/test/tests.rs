use std::fs;

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn run(line: &[&str]) -> (ExitCode, String) {
    let line = Line::parse_from([&["test"], line].concat());
    let mut out = Vec::new();
    let code = execute(&line.arguments, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

/// A table on the team's policy, and what comes of it.
fn tried(table: &str) -> (ExitCode, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.txt");
    fs::write(&file, table).unwrap();
    let (code, out) = run(&["--policy", "policies/team", file.to_str().unwrap()]);
    (code, out.replace(folder.path().to_str().unwrap(), "DIR"))
}

#[test]
fn a_table_that_is_kept_is_counted() {
    let (code, out) = tried("ALLOW claude registry.example.org:443 # packages\nDENY claude registry.example.org:80\n");
    assert_eq!((code, out.as_str()), (ExitCode::SUCCESS, "DIR/t.txt: 2 as expected\n"));
}

#[test]
fn a_surprising_denial_is_a_diff_with_the_nearest_permit() {
    let (code, out) = tried("DENY claude x.example\nALLOW claude registry.example.org:80/tcp\n");
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        out,
        "DIR/t.txt: 1 as expected, 1 not\n\n\
         DIR/t.txt:2:1\n\
         - ALLOW claude registry.example.org:80/tcp\n\
         + DENY  claude registry.example.org:80/tcp\n    \
             no policy permits this name\n    \
             nearest permit: builders-registry (policies/team/team.cedar:5)\n      \
               its condition is false here: `context.port == 443`\n      \
               (policies/team/team.cedar:10:8)\n"
    );
}

#[test]
fn a_surprising_permit_names_the_policy_that_permits() {
    let (code, out) = tried("DENY release git.example.com:22\nDENY claude example.org type=MX");
    assert_eq!(code, ExitCode::FAILURE);
    let permit = "+ ALLOW release git.example.com:22\n    permitted by release-git (policies/team/team.cedar:14), which opens 22/tcp\n";
    assert!(out.contains(permit), "{out}");
    assert!(
        out.contains(
            "+ ALLOW claude example.org type=MX\n    permitted by builders-mx (policies/team/team.cedar:38)\n"
        ),
        "{out}"
    );
}

#[test]
fn what_cannot_be_used_fails_with_its_place_and_what_to_do() {
    for (table, told) in [
        ("", "DIR/t.txt:1:1: error: this table expects nothing\n  help: write lines: ALLOW|DENY"),
        ("ALLOW claude\n", "DIR/t.txt:1:1: error: `ALLOW` needs an agent and a target after it"),
        ("{}", "DIR/t.txt:1:1: error: this is not a list"),
        ("[]", "DIR/t.txt:1:1: error: this list expects nothing"),
    ] {
        let (code, out) = tried(table);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(out.starts_with(told) && out.ends_with("DIR/t.txt: 0 as expected, 1 error\n"), "{out}");
    }
    let (code, out) = run(&["--policy", "policies/team", "/nowhere/t.txt"]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.starts_with("error: /nowhere/t.txt: this cannot be read: "), "{out}");
}

#[test]
fn a_table_names_its_own_policy() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("tables");
    fs::create_dir(&below).unwrap();
    fs::copy("policies/story/story.cedar", folder.path().join("story.cedar")).unwrap();
    let file = below.join("t.txt");
    fs::write(&file, "policy ../story.cedar\ncatch-all-forbid default-deny\nALLOW claude api.example.com:443").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(run(&[file]).0, ExitCode::SUCCESS);
    // The options have the last word.
    let (code, out) = run(&["--catch-all-forbid", "strict", file]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.contains("it matches, and is overridden by `nothing-else`"), "{out}");
    assert!(out.contains("a policy forbids this name: nothing-else"), "{out}");
    assert_eq!(run(&["--policy", "policies/team", file]).0, ExitCode::FAILURE);

    fs::write(file, "DENY claude api.example.com").unwrap();
    let (code, out) = run(&[file]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.contains("this table names no policy\n  help: add --policy PATH, or a line `policy PATH`"), "{out}");
}

const CASES: &str = r#"
[
  {
    "name": "packages",
    "request": {
      "principal": "Agent::\"claude\"",
      "action": "Action::\"net.connect\"",
      "resource": "Resource::\"registry.example.org:443\"",
      "context": { "port": 443 }
    },
    "entities": "who.json",
    "decision": "allow",
    "reason": ["builders-registry"],
    "num_errors": 0
  },
  {
    "request": {
      "principal": "Agent::\"claude\"",
      "action": "Action::\"net.connect\"",
      "resource": "Resource::\"registry.example.org:443\"",
      "context": { "port": 443 }
    },
    "entities": [],
    "decision": "deny",
    "reason": [],
    "num_errors": 0
  }
]"#;

#[test]
fn test_cases_of_cedars_own_command_line_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.json");
    fs::write(&file, CASES).unwrap();
    fs::write(folder.path().join("who.json"), "[]").unwrap();
    let (code, out) = run(&["--policy", "policies/team", file.to_str().unwrap()]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.contains("cases.json: 1 as expected, 1 not\n"), "{out}");
    assert!(out.contains("cases.json:16:3\n- DENY  case 2\n+ ALLOW case 2\n    expected DENY, got ALLOW\n"), "{out}");
    assert!(out.contains("    decided by builders-registry (policies/team/team.cedar:5)\n"), "{out}");

    fs::write(&file, CASES.replace("who.json", "../who.json")).unwrap();
    let (code, out) = run(&["--policy", "policies/team", file.to_str().unwrap()]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.contains("which is not beside the test cases"), "{out}");
    assert!(run(&[file.to_str().unwrap()]).1.contains("test cases name no policy\n  help: add --policy PATH"));
}

#[test]
fn json_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.txt");
    fs::write(&file, "ALLOW claude registry.example.org:80/tcp\nDENY claude x.example\n").unwrap();
    let (code, out) = run(&["--json", "--policy", "policies/team", file.to_str().unwrap()]);
    assert_eq!(code, ExitCode::FAILURE);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["ok"], &json["files"][0]["as_expected"]), (&false.into(), &1.into()));
    let mismatch = &json["files"][0]["mismatches"][0];
    assert_eq!((&mismatch["expected"], &mismatch["got"]), (&"ALLOW".into(), &"DENY".into()));
    assert_eq!(mismatch["nearest"]["id"], "builders-registry");
}

#[test]
fn the_shipped_tables_are_kept() {
    let folders = fs::read_dir("policies").unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folders: Vec<_> = folders.collect();
    assert!(folders.len() >= 8, "{folders:?}");
    for folder in folders {
        let (code, out) = run(&[folder.join("tests.txt").to_str().unwrap()]);
        assert_eq!(code, ExitCode::SUCCESS, "{out}");
    }
}
