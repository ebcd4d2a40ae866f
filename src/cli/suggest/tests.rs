use clap::Parser;

use super::*;
use crate::core::evidence::sample;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

#[test]
fn the_policies_go_to_standard_output_and_the_number_to_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    std::fs::write(&file, sample::session()).unwrap();
    let run = |options: &[&str]| {
        let line = Line::parse_from([&["suggest"], options, &[file.to_str().unwrap()]].concat());
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = suggest(&line.arguments, &mut out, &mut errors, false).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    };
    let (out, errors) = run(&["--name", "telemetry.example.com", "--agent", "claude"]);
    assert!(out.contains("Resource::\"telemetry.example.com:443\"") && !out.contains("exfil"), "{out}");
    assert_eq!(errors, "1 line of the journal cannot be read\n1 policy suggested\n");
    let (out, errors) = run(&["--policy", "policies/story", "--agent", "nobody"]);
    assert!(out.contains("nothing to suggest") && errors.ends_with("no policies suggested\n"), "{out}{errors}");
}
