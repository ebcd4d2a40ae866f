use clap::Parser;

use super::*;
use crate::core::decision::Reason;
use crate::core::evidence::sample::{self, Sample};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// The exit status and the output for a journal in which a name was denied.
fn run(options: &[&str]) -> (ExitCode, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let mut sample = Sample::default();
    for _ in 0..3 {
        let by = sample::process(&["x"]);
        sample.after(1, &sample::denied("claude", "registry.example.com", "A", (Reason::NotPermitted, &[]), by));
    }
    std::fs::write(&file, sample.lines()).unwrap();
    let line = Line::parse_from([&["replay"], options, &[file.to_str().unwrap()]].concat());
    let mut out = Vec::new();
    let code = execute(&line.arguments, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn a_difference_is_shown_and_is_a_failure() {
    let (code, out) = run(&["--policy", "policies/story", "--catch-all-forbid", "default-deny"]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.starts_with("NEWLY PERMITTED\n  claude to registry.example.com (A): 443/tcp, 443/udp\n"), "{out}");
    assert!(out.contains("asked 3 times, 2026-11-23 02:00:00 UTC\n"), "{out}");
    assert!(out.contains("before: no policy; after: claude-registry\n"), "{out}");
    assert!(out.ends_with("3 compared: 3 newly permitted, 0 newly denied\n"), "{out}");
}

#[test]
fn no_difference_is_a_success() {
    // As Cedar reads it, the story's last policy denies everything.
    let (code, out) = run(&["--policy", "policies/story"]);
    assert_eq!((code, out.as_str()), (ExitCode::SUCCESS, "3 compared: 0 newly permitted, 0 newly denied\n"));
    let (code, _) = run(&["--policy", "policies/team", "--against", "policies/team"]);
    assert_eq!(code, ExitCode::SUCCESS);
}

#[test]
fn json_says_the_same() {
    let (_, out) = run(&["--policy", "policies/story", "--catch-all-forbid", "default-deny", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["newly_permitted"], 3);
    assert_eq!(json["differences"][0]["target"], "registry.example.com");
    assert_eq!(json["differences"][0]["questions"]["count"], 3);
}
