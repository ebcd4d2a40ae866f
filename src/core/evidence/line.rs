//! A line of a journal that anybody may have written, as a [`Record`] that
//! can be kept.

use jiff::Timestamp;

use super::record::Record;

/// The longest name, in characters: 255 octets of the wire, each of them
/// escaped.
const HOSTNAME: usize = 1024;
/// The longest agent's name, policy's id or other word, in characters.
const WORD: usize = 128;
/// The most items that are kept of a list.
const ITEMS: usize = 64;

/// Reads one line; `None` where it is no event, or says not when it was.
/// What is longer than any daemon writes it is cut.
pub fn read(line: &str) -> Option<Record> {
    let mut record = Record::parse(line).filter(|record| record.time != Timestamp::default())?;
    cut(&mut record.event, WORD);
    let words = [&mut record.agent, &mut record.kind, &mut record.reason, &mut record.protocol, &mut record.cap];
    for word in words.into_iter().chain([&mut record.process_missing, &mut record.cause]).flatten() {
        cut(word, WORD);
    }
    if let Some(hostname) = &mut record.hostname {
        cut(hostname, HOSTNAME);
    }
    cut_list(&mut record.policies, WORD);
    cut_list(&mut record.ports, WORD);
    cut_list(&mut record.hostnames, HOSTNAME);
    cut_list(&mut record.hostnames_of_others, HOSTNAME);
    if let Some(would) = &mut record.would_deny {
        cut(&mut would.reason, WORD);
        cut_list(&mut would.policies, WORD);
    }
    Some(record)
}

fn cut_list(list: &mut Vec<String>, most: usize) {
    list.truncate(ITEMS);
    for text in list {
        cut(text, most);
    }
}

fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_an_event_or_a_time_is_none() {
        for line in ["", "{}", "[]", "null", "{\"event\":\"query.denied\"}", "{\"time\":\"2026-01-01T00:00:00Z\"}", "x"]
        {
            assert_eq!(read(line), None, "{line}");
        }
        assert!(read("{\"time\":\"2026-01-01T00:00:00Z\",\"event\":\"query.denied\",\"new\":{}}").is_some());
    }

    #[test]
    fn what_is_too_long_for_any_daemon_is_cut() {
        let long = "ü".repeat(100_000);
        let line = format!(
            "{{\"time\":\"2026-01-01T00:00:00Z\",\"event\":\"{long}\",\"hostname\":\"{long}\",\"agent\":\"{long}\",\
             \"policies\":[\"{long}\"]}}"
        );
        let record = read(&line).unwrap();
        assert_eq!(record.event.chars().count(), WORD);
        assert_eq!(record.hostname.unwrap().chars().count(), HOSTNAME);
        assert_eq!(record.policies[0].chars().count(), WORD);
    }

    proptest! {
        #[test]
        fn no_line_is_the_end_of_it(line in ".{0,200}") {
            let _ = read(&line);
        }
    }
}
