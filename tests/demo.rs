//! `cedarwall demo`: the story goes as told, in time and in width.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::cannot;

fn demo(arguments: &[&str]) -> Option<(i32, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_cedarwall"))
        .arg("demo")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaints.contains("the kernel refuses new namespaces") {
        cannot("make namespaces");
        return None;
    }
    assert_eq!(complaints, "");
    Some((output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn the_story_goes_as_told_within_a_minute_and_eighty_columns() {
    let began = Instant::now();
    let Some((code, said)) = demo(&[]) else { return };
    assert_eq!(code, 0, "{said}");
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    for step in [
        "npm install http://registry.example.com:443/left-pad-1.0.0.tgz",
        "and the process: node postinstall.js, its shell, and npm install",
        "cedarwall review: both are on its first screen",
        "cedarwall replay: that name would be permitted, and nothing else changes",
    ] {
        assert!(said.contains(&format!(" ok    {step}")), "{step}: {said}");
    }
}

/// The other reading of the policy's last line denies all, so the story cannot
/// go as told: the demo must notice.
#[test]
fn a_story_that_goes_otherwise_fails() {
    let Some((code, said)) = demo(&["--catch-all-forbid", "strict", "--json"]) else { return };
    assert_eq!(code, 1, "{said}");
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document["as_told"], false);
}
