//! Words that each way of telling a story shares.

use jiff::Timestamp;

use super::super::output::spell_seconds;
use crate::core::evidence::plain::{plain, plain_within};
use crate::core::evidence::review::story::{Denied, Reached, Story, Totals};
use crate::core::evidence::tally::Tally;

/// The day, where a session has one: then the time of day says enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    is_one_day: bool,
}

impl Clock {
    pub(super) fn of(story: &Story) -> Self {
        let day = |time: Timestamp| time.strftime("%F").to_string();
        Self { is_one_day: story.span.is_none_or(|span| day(span.first) == day(span.last)) }
    }

    /// A time of the session, in UTC.
    pub(super) fn time(self, time: Timestamp) -> String {
        time.strftime(if self.is_one_day { "%H:%M:%S" } else { "%F %H:%M:%S" }).to_string()
    }

    /// `02:00:04`, or `02:00:04 to 02:00:31`.
    pub(super) fn span(self, tally: &Tally) -> String {
        let (first, last) = (self.time(tally.first), self.time(tally.last));
        if first == last { first } else { format!("{first} to {last}") }
    }
}

/// When the session was: `2026-11-23 02:00:04 to 02:10:31 UTC (10m 27s)`.
pub(super) fn session(story: &Story) -> String {
    let Some(Tally { first, last, .. }) = story.span else { return "no event".to_owned() };
    let seconds = u64::try_from(last.as_second().saturating_sub(first.as_second())).unwrap_or_default();
    let from = first.strftime("%F %H:%M:%S");
    format!("{from} to {} UTC ({})", Clock::of(story).time(last), spell_seconds(seconds))
}

/// `4 times`, `once`.
pub(super) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", grouped(count)) }
}

/// What was denied, in one line.
pub(super) fn frequency(denied: &Denied) -> String {
    match (denied.questions.count, denied.connections) {
        (questions, 0) => format!("asked {}", times(questions)),
        (0, connections) => format!("connected {}", times(connections)),
        (questions, connections) => format!("asked {}, connected {}", times(questions), times(connections)),
    }
}

/// What was denied, and examples of it where it is many names.
pub(super) fn name(denied: &Denied) -> (String, Option<String>) {
    let hostname = plain_within(&denied.hostname, 300);
    if denied.names == 1 {
        return (hostname, None);
    }
    let examples: Vec<_> = denied.examples.iter().map(|name| plain_within(name, 80)).collect();
    let title = format!("{} below {hostname}", counted(denied.names, "name", "names"));
    (title, Some(format!("such as {}", examples.join(", "))))
}

/// Why it was denied, with the policies that said so.
pub(super) fn why(denied: &Denied) -> String {
    let would = if denied.would { "let pass by audit mode: " } else { "" };
    let why = plain(&denied.why);
    let policies: Vec<String> = denied.policies.iter().map(|policy| plain(policy)).collect();
    match policies.len() {
        0 => format!("{would}{why}"),
        1 => format!("{would}{why} (policy {})", policies.concat()),
        _ => format!("{would}{why} (policies {})", policies.join(", ")),
    }
}

/// What it took, in the story's totals.
pub(super) fn totals(totals: &Totals) -> Vec<String> {
    let mut told = vec![format!("{} denied", counted(totals.denied, "question", "questions"))];
    let mut add = |count: u64, what: String| {
        if count > 0 {
            told.push(what);
        }
    };
    add(totals.would_deny, format!("{} would have been (audit mode)", grouped(totals.would_deny)));
    add(
        totals.connections_denied,
        format!("{} to denied names", counted(totals.connections_denied, "connection", "connections")),
    );
    add(totals.denied_search, format!("{} of search lists denied", grouped(totals.denied_search)));
    add(totals.packets_dropped, format!("{} dropped", counted(totals.packets_dropped, "packet", "packets")));
    add(totals.answered, format!("{} answered", grouped(totals.answered)));
    add(totals.empty, format!("{} without such a name or record", grouped(totals.empty)));
    add(totals.failed, format!("{} failed", grouped(totals.failed)));
    add(
        totals.connections.max(totals.bytes),
        format!("{} and {} through", counted(totals.connections, "connection", "connections"), octets(totals.bytes)),
    );
    told
}

/// How often a reached name was asked for.
pub(super) fn questions(reached: &Reached) -> String {
    let parts = [(reached.answered, ""), (reached.empty, " empty"), (reached.failed, " failed")];
    let told: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{}{what}", grouped(*count)))
        .collect();
    if told.is_empty() { "–".to_owned() } else { told.join(", ") }
}

/// `1 question`, `2 questions`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Octets in the unit that leaves up to four digits.
pub(super) fn octets(octets: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if octets < 1024 {
        return format!("{octets} B");
    }
    let mut tenths = u128::from(octets) * 10 / 1024;
    for unit in UNITS {
        if tenths < 10_240 || unit == "PiB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1024;
    }
    format!("{octets} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
        for (number, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1_048_576, "1.0 MiB"), (u64::MAX, "16383.9 PiB")]
        {
            assert_eq!(octets(number), shown);
        }
    }
}
