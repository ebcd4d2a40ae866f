//! What the pages say is so: what they show is what the program prints, and
//! the tests they name are there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::process::Command;

const PAGES: [&str; 3] = ["README.md", "policies/README.md", "policies/CASE-STUDY.md"];

/// The fenced blocks of a page, without their fences.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    text.split("\n```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1.to_owned())).collect()
}

fn printed(command: &str) -> String {
    let mut words = command.split_whitespace().filter(|word| *word != "\\");
    assert_eq!(words.next(), Some("cedarwall"), "{command}");
    let output = Command::new(env!("CARGO_BIN_EXE_cedarwall")).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_command_in_a_page_prints_what_the_page_shows() {
    let mut shown = 0;
    for page in PAGES {
        for block in blocks(page).iter().filter_map(|block| block.strip_prefix("$ ")) {
            let lines = block.split_inclusive('\n');
            let of_command = lines.take_while(|line| line.trim_end().ends_with('\\')).count() + 1;
            let (command, expected): (Vec<_>, Vec<_>) =
                block.lines().enumerate().partition(|(index, _)| *index < of_command);
            let join = |lines: Vec<(usize, &str)>| lines.iter().map(|(_, line)| *line).collect::<Vec<_>>().join("\n");
            let (command, expected) = (join(command), join(expected));
            let printed = printed(&command);
            assert!(printed.contains(expected.trim()), "{page}: {command}\n{printed}\ninstead of\n{expected}");
            shown += 1;
        }
    }
    assert!(shown >= 2, "the pages show no command");
}

#[test]
fn a_table_that_is_not_kept_is_told_as_the_page_shows() {
    let blocks = blocks("policies/README.md");
    let expected = blocks.iter().find_map(|block| block.strip_prefix("my.txt:2:1\n")).expect("the page shows one");
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("my.txt");
    fs::write(&table, "# a table\nALLOW claude registry.example.org:80\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cedarwall"))
        .args(["test", "--policy", "policies/team"])
        .arg(&table)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("my.txt:2:1\n"), "{printed}");
    assert!(printed.contains(expected.trim_end()), "{printed}\ninstead of\n{expected}");
}

#[test]
fn every_guarantee_names_tests_that_there_are() {
    let page = fs::read_to_string("SECURITY.md").unwrap();
    let guarantees: Vec<&str> = page.lines().filter(|line| line.starts_with("| G")).collect();
    assert_eq!(guarantees.len(), 12);
    for guarantee in guarantees {
        let kept_by = guarantee.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let quoted = kept_by.split('`').skip(1).step_by(2);
        let tests: Vec<&str> = quoted.filter(|word| word.starts_with("tests/") || word.starts_with("src/")).collect();
        assert!(!tests.is_empty(), "no test: {guarantee}");
        for test in tests {
            assert!(fs::metadata(test).is_ok(), "{test} is not there: {guarantee}");
        }
    }
}
