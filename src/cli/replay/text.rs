//! The difference for people.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::Timestamp;

use super::super::output::filled;
use super::Replayed;
use crate::core::evidence::plain::plain;
use crate::core::evidence::replay::{Change, Difference, Outcome};

/// Ports that are told of one difference.
const PORTS: usize = 8;

pub(super) fn write(out: &mut dyn Write, replayed: &Replayed) -> io::Result<()> {
    let Outcome { compared, newly_permitted, newly_denied, skipped, differences, more_differences } = &replayed.outcome;
    for (change, title) in [(Change::NewlyPermitted, "NEWLY PERMITTED"), (Change::NewlyDenied, "NEWLY DENIED")] {
        let of_it: Vec<_> = differences.iter().filter(|difference| difference.change == change).collect();
        if of_it.is_empty() {
            continue;
        }
        writeln!(out, "{title}")?;
        for difference in of_it {
            told(out, difference)?;
        }
        writeln!(out)?;
    }
    if *more_differences > 0 {
        writeln!(out, "and {more_differences} questions more whose answer changes\n")?;
    }
    let line = format!("{compared} compared: {newly_permitted} newly permitted, {newly_denied} newly denied");
    paragraph(out, "", &line)?;
    for (why, count) in skipped {
        paragraph(out, "  ", &format!("not compared: {count} {why}"))?;
    }
    if replayed.unreadable_lines > 0 {
        paragraph(out, "  ", &format!("not read: {} lines of the journal", replayed.unreadable_lines))?;
    }
    Ok(())
}

fn told(out: &mut dyn Write, difference: &Difference) -> io::Result<()> {
    let Difference { agent, target, kind, ports, before, after, depends_on_address, questions, .. } = difference;
    let mut shown: Vec<String> = ports.iter().take(PORTS).cloned().collect();
    if ports.len() > PORTS {
        shown.push(format!("and {} more", ports.len() - PORTS));
    }
    let ports = if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) };
    paragraph(out, "  ", &format!("{} to {} ({kind}){ports}", plain(agent), plain(target)))?;
    let second = |time: Timestamp| time.strftime("%F %H:%M:%S").to_string();
    let (first, last) = (second(questions.first), second(questions.last));
    let when = if first == last { first } else { format!("{first} to {last}") };
    let often = if questions.count == 1 { "once".to_owned() } else { format!("{} times", questions.count) };
    paragraph(out, "    ", &format!("asked {often}, {when} UTC"))?;
    paragraph(out, "    ", &format!("before: {}; after: {}", by(before), by(after)))?;
    if *depends_on_address {
        paragraph(out, "    ", "a policy looks at the address, which the journal does not tell")?;
    }
    Ok(())
}

fn by(policies: &BTreeSet<String>) -> String {
    if policies.is_empty() {
        return "no policy".to_owned();
    }
    policies.iter().map(|policy| plain(policy)).collect::<Vec<_>>().join(", ")
}

fn paragraph(out: &mut dyn Write, indent: &str, text: &str) -> io::Result<()> {
    filled(out, indent, &format!("{indent}  "), text)
}
