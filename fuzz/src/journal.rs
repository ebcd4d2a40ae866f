//! Journals, as they are read back.

use cedarwall::core::evidence::record::Record;
use cedarwall::core::evidence::{ocsf, told};
use cedarwall::core::printable::{json_line, steers};
use cedarwall::run::summary::Summary;

/// Longer ones only take longer.
const LONGEST: usize = 64 << 10;

/// Whatever stands in a journal: it is summed up, or skipped, and what is
/// shown of it cannot steer a terminal. Each line that is an event has words
/// and a form of OCSF's that is an object with all that OCSF asks for.
pub fn examine(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.len() > LONGEST {
        return;
    }
    let shown = Summary::of(text).to_string();
    assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
    assert!(shown.lines().count() <= 100, "a summary of {} lines", shown.lines().count());
    for line in text.lines() {
        examine_line(line);
    }
}

fn examine_line(line: &str) {
    let plain = json_line(line);
    assert!(!plain.contains(steers), "{plain:?}");
    let Some(record) = Record::parse(line) else {
        assert!(ocsf::event(line).is_none(), "no event, and yet one of OCSF's: {line}");
        return;
    };
    assert_eq!(Record::parse(&plain).as_ref(), Some(&record), "it means something else: {plain}");
    let words = told::sentence(&record);
    assert!(!words.contains(steers) && !words.is_empty(), "{words:?}");
    let event = ocsf::event(line).expect("an event is one of OCSF's");
    for required in ["class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "time", "metadata"] {
        assert!(event.get(required).is_some(), "no {required}: {event}");
    }
}
