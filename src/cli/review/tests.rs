use clap::Parser;

use super::*;
use crate::core::decision::Reason;
use crate::core::evidence::sample::{self, HOSTILE, Sample};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn review(journal: &str, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    std::fs::write(&file, journal).unwrap();
    let line = Line::parse_from([&["review"], options, &[file.to_str().unwrap()]].concat());
    let mut out = Vec::new();
    assert_eq!(execute(&line.arguments, &mut out).unwrap(), ExitCode::SUCCESS);
    String::from_utf8(out).unwrap()
}

/// One agent installs a package that phones home.
fn install() -> String {
    let mut sample = Sample::default();
    let chain = ["node postinstall.js", "sh -c node postinstall.js", "npm install left-pad"];
    sample.after(1, &sample::answered("claude", "registry.example.com", 443, None));
    for kind in ["A", "AAAA"] {
        let by = sample::process(&chain);
        sample.after(9, &sample::denied("claude", "telemetry.example.com", kind, (Reason::NotPermitted, &[]), by));
    }
    sample.lines().to_owned()
}

#[test]
fn the_first_screen_says_where_the_telemetry_endpoint_came_from() {
    let text = review(&install(), &[]);
    let screen: String = text.lines().take(24).map(|line| format!("{}\n", line.trim_start())).collect();
    let told = screen.replace('\n', " ");
    for word in [
        "DENIED",
        "telemetry.example.com (A, AAAA)",
        "by node postinstall.js <- sh -c node postinstall.js <- npm install left-pad",
        "no policy permits this name",
        "permit permit (principal == Agent::\"claude\"",
    ] {
        let word: String = word.split_whitespace().collect::<Vec<_>>().join(" ");
        let told: String = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(&word), "{word}:\n{text}");
    }
}

#[test]
fn at_a_terminal_no_line_is_wider_than_eighty_columns_and_none_steers_it() {
    for options in [&[][..], &["--top", "1000"]] {
        let text = review(&sample::session(), options);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains(|character: char| character.is_control() && character != '\n'), "{text}");
        assert!(text.contains("1 line of the journal cannot be read"), "{text}");
    }
}

#[test]
fn an_empty_journal_has_a_story_too() {
    for format in ["text", "json", "markdown", "html"] {
        let text = review("", &["--format", format]);
        assert!(format == "json" || text.contains("no event"), "{text}");
    }
}

#[test]
fn the_page_is_well_formed_and_what_a_journal_says_stays_text() {
    let page = Page::parsed(&review(&sample::session(), &["--format", "html"]));
    for element in ["script", "img", "link", "iframe", "object", "form", "a", "base"] {
        assert_eq!(page.count(element, ""), 0, "{element}");
    }
    for attribute in ["src=", "href=", "style=", "onerror", "onload", "url("] {
        assert!(page.tags.iter().all(|tag| !tag.contains(attribute)), "{attribute}");
    }
    for element in ["html", "head", "body", "main", "h1", "style", "svg"] {
        assert_eq!(page.count(element, ""), 1, "{element}");
    }
    assert!(page.count("table", "") >= 5);
    assert_eq!(page.count("table", ""), page.count("caption", ""));
    assert_eq!(page.count("th", ""), page.count("th", "scope="));
    assert_eq!(page.count("tr", ""), page.count("table", "") + page.count("th", "scope=\"row\""));
    for hostile in HOSTILE {
        assert!(page.text.contains(&crate::core::evidence::plain::plain(hostile)), "{hostile:?}");
    }
    assert!(page.text.contains("Network review: ") && page.text.contains("denied, 2026-11-23 02:00:00 to "));
}

/// A page taken apart: stricter than a browser, every element is closed.
struct Page {
    tags: Vec<String>,
    text: String,
}

impl Page {
    fn parsed(page: &str) -> Self {
        let (mut tags, mut text, mut open) = (Vec::new(), String::new(), Vec::new());
        let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
        while let Some((before, from)) = rest.split_once('<') {
            assert!(!before.contains('>') || open.last() == Some(&"style".to_owned()), "{before}");
            text += before;
            let (tag, after) = from.split_once('>').unwrap();
            assert!(tag.matches('"').count() % 2 == 0, "{tag}");
            let element: String = tag.chars().take_while(|character| !character.is_whitespace()).collect();
            match element.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed)),
                None => {
                    assert!(element.chars().all(|character| character.is_ascii_alphanumeric()), "{tag}");
                    tags.push(tag.to_owned());
                    if element != "meta" {
                        open.push(element);
                    }
                }
            }
            rest = after;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
        for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")] {
            text = text.replace(entity, character);
        }
        Self { tags, text }
    }

    /// How many elements of this name there are, with this in their tags.
    fn count(&self, element: &str, with: &str) -> usize {
        let is_it = |tag: &&String| tag.split_whitespace().next() == Some(element) && tag.contains(with);
        self.tags.iter().filter(is_it).count()
    }
}

#[test]
fn in_markdown_what_a_journal_says_stays_within_code() {
    let page = review(&sample::session(), &["--format", "markdown"]);
    // Without code, nothing of the hostile texts is left.
    let mut outside = String::new();
    let mut rest = page.as_str();
    while let Some(start) = rest.find('`') {
        let (before, from) = rest.split_at(start);
        outside += before;
        let fence = from.len() - from.trim_start_matches('`').len();
        let (fence, inside) = from.split_at(fence);
        let mut end = 0;
        rest = loop {
            let Some(found) = inside[end..].find(fence) else { panic!("a code span is not closed: {from}") };
            let run = inside[end + found..].len() - inside[end + found..].trim_start_matches('`').len();
            if run == fence.len() {
                break &inside[end + found + run..];
            }
            end += found + run;
        };
    }
    outside += rest;
    for mark in ["<", "alert", "javascript", "\u{1b}", "\u{202e}", "reboot", "owned"] {
        assert!(!outside.contains(mark), "{mark}:\n{outside}");
    }
    assert!(outside.contains("## Denied") && outside.contains("| Name | Ports |"), "{outside}");
}

#[test]
fn json_tells_who_asked() {
    let json: serde_json::Value = serde_json::from_str(&review(&install(), &["--json"])).unwrap();
    let denied = &json["agents"][0]["denied"][0];
    assert_eq!(denied["hostname"], "telemetry.example.com");
    assert_eq!(denied["actors"][0][0]["chain"][2], "npm install left-pad");
    assert_eq!(denied["remedy"]["kind"], "permit");
}
