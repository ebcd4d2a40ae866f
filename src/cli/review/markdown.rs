//! The story in Markdown, as a job's summary shows it.
//!
//! Text from the journal stands in code spans, in which nothing means
//! anything; a table, whose cells a bar would end, has none that holds a bar.

use std::io::{self, Write};

use super::shown::{Clock, counted, frequency, grouped, name, octets, questions, session, times, totals, why};
use crate::core::evidence::chain::Actor;
use crate::core::evidence::plain::plain;
use crate::core::evidence::remedy::Remedy;
use crate::core::evidence::review::story::{AgentStory, Denied, Gravity, Story};

pub(super) fn write(out: &mut dyn Write, story: &Story, top: usize) -> io::Result<()> {
    writeln!(out, "# Network review\n\n{}\n\n{}.", session(story), totals(&story.totals).join(", "))?;
    alarms(out, story)?;
    writeln!(out, "\n## Denied")?;
    let denied: Vec<_> = story.agents.iter().filter(|agent| !agent.denied.is_empty()).collect();
    if denied.is_empty() {
        writeln!(out, "\nNothing.")?;
    }
    let clock = Clock::of(story);
    for agent in denied {
        denied_to(out, agent, clock, top)?;
    }
    dropped(out, story, clock, top)?;
    reached(out, story, clock, top)?;
    incidents(out, story, clock)
}

fn alarms(out: &mut dyn Write, story: &Story) -> io::Result<()> {
    let alarms: Vec<_> = story.incidents.iter().filter(|incident| incident.gravity == Gravity::Alarm).collect();
    if alarms.is_empty() && story.totals.unreadable_lines == 0 {
        return Ok(());
    }
    writeln!(out, "\n> [!WARNING]")?;
    for incident in alarms {
        writeln!(out, "> - {}", code(&incident.told))?;
    }
    if story.totals.unreadable_lines > 0 {
        let lines = counted(story.totals.unreadable_lines, "line", "lines");
        writeln!(out, "> - {lines} of the journal cannot be read")?;
    }
    Ok(())
}

fn denied_to(out: &mut dyn Write, agent: &AgentStory, clock: Clock, top: usize) -> io::Result<()> {
    heading(out, agent)?;
    for denied in agent.denied.iter().take(top) {
        denied_name(out, denied, clock)?;
    }
    let more = agent.denied.len().saturating_sub(top) as u64;
    if more > 0 {
        writeln!(out, "- and {}", counted(more, "name more", "names more"))?;
    }
    for below in agent.denied_below.iter().take(top) {
        writeln!(out, "- further names below {}, asked {}", code(&below.domain), times(below.questions.count))?;
    }
    if agent.denied_beyond > 0 {
        writeln!(out, "- and {} of names beyond those", counted(agent.denied_beyond, "denial", "denials"))?;
    }
    Ok(())
}

fn denied_name(out: &mut dyn Write, denied: &Denied, clock: Clock) -> io::Result<()> {
    let of = |list: &[String]| list.iter().map(|text| code(text)).collect::<Vec<_>>().join(", ");
    let ports = if denied.ports.is_empty() { String::new() } else { format!(" on {}", of(&denied.ports)) };
    let types = if denied.types.is_empty() { String::new() } else { format!(" ({})", denied.types.join(", ")) };
    writeln!(
        out,
        "- **{}**{ports}{types}: {}, {}",
        code(&name(denied).0),
        frequency(denied),
        clock.span(&denied.questions)
    )?;
    if let Some(examples) = name(denied).1 {
        writeln!(out, "  - {}", code(&examples))?;
    }
    writeln!(out, "  - why: {}", code(&why(denied)))?;
    actors(out, "  ", &denied.actors, denied.more_actors)?;
    match &denied.remedy {
        Remedy::Permit { cedar, port_assumed } => {
            let assumed = if *port_assumed { " (port 443 is assumed)" } else { "" };
            writeln!(out, "  - to permit it{assumed}:\n    ```cedar")?;
            for line in cedar {
                writeln!(out, "    {}", plain(line))?;
            }
            writeln!(out, "    ```")
        }
        Remedy::Other { what } => writeln!(out, "  - to permit it takes: {}", code(what)),
    }
}

fn actors(out: &mut dyn Write, indent: &str, actors: &[(Actor, u64)], more: u64) -> io::Result<()> {
    for (actor, count) in actors {
        writeln!(out, "{indent}- by {}, {}", code(&actor.to_string()), times(*count))?;
    }
    if more > 0 {
        writeln!(out, "{indent}- by others, {}", times(more))?;
    }
    Ok(())
}

fn dropped(out: &mut dyn Write, story: &Story, clock: Clock, top: usize) -> io::Result<()> {
    let agents: Vec<_> =
        story.agents.iter().filter(|agent| !agent.dropped.is_empty() || agent.dropped_beyond > 0).collect();
    if agents.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Dropped packets")?;
    for agent in agents {
        heading(out, agent)?;
        for row in agent.dropped.iter().take(top) {
            let packets = counted(row.packets.count, "packet", "packets");
            let when = clock.span(&row.packets);
            writeln!(out, "- **{}** {}: {packets}, {when}", code(&row.address.to_string()), code(&row.service))?;
            let names: Vec<_> = row.hostnames.iter().chain(&row.hostnames_of_others).map(|name| code(name)).collect();
            if !names.is_empty() {
                writeln!(out, "  - known as {}", names.join(", "))?;
            }
            actors(out, "  ", &row.actors, row.more_actors)?;
        }
        let listed = agent.dropped.iter().skip(top).map(|row| row.packets.count);
        let more = listed.fold(agent.dropped_beyond, u64::saturating_add);
        if more > 0 {
            writeln!(out, "- and {}", counted(more, "packet more", "packets more"))?;
        }
    }
    Ok(())
}

fn reached(out: &mut dyn Write, story: &Story, clock: Clock, top: usize) -> io::Result<()> {
    let agents: Vec<_> = story.agents.iter().filter(|agent| !agent.reached.is_empty()).collect();
    if agents.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Reached")?;
    for agent in agents {
        heading(out, agent)?;
        writeln!(out, "| Name | Ports | Questions | Connections | Octets | When |")?;
        writeln!(out, "| --- | --- | ---: | ---: | ---: | --- |")?;
        for row in agent.reached.iter().take(top) {
            let ports = row.ports.iter().map(|port| cell(port)).collect::<Vec<_>>().join(", ");
            writeln!(
                out,
                "| {} | {ports} | {} | {} | {} | {} |",
                cell(&row.host),
                questions(row),
                grouped(row.connections),
                octets(row.bytes),
                clock.span(&row.events)
            )?;
        }
        let more = (agent.reached.len().saturating_sub(top) as u64).saturating_add(agent.reached_beyond);
        if more > 0 {
            writeln!(out, "\nand {} more", grouped(more))?;
        }
    }
    Ok(())
}

fn incidents(out: &mut dyn Write, story: &Story, clock: Clock) -> io::Result<()> {
    if story.incidents.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## The daemon\n")?;
    for incident in &story.incidents {
        let often =
            if incident.times.count > 1 { format!(" ({})", times(incident.times.count)) } else { String::new() };
        writeln!(out, "- {}: {}{often}", clock.span(&incident.times), code(&incident.told))?;
    }
    if story.more_incidents > 0 {
        writeln!(out, "- and {}", counted(story.more_incidents, "event more", "events more"))?;
    }
    Ok(())
}

fn heading(out: &mut dyn Write, agent: &AgentStory) -> io::Result<()> {
    writeln!(out, "\n### {} ({})\n", code(&agent.title()), agent.clients.join(", "))
}

/// `text` as a code span: within more backticks in a row than it has itself.
fn code(text: &str) -> String {
    let text = plain(text);
    let runs = text.split(|character| character != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or_default() + 1);
    // A blank on each side is taken off again, which lets a backtick stand at either end.
    if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) || text.is_empty() {
        return format!("{fence} {text} {fence}");
    }
    format!("{fence}{text}{fence}")
}

/// The same for a table.
fn cell(text: &str) -> String {
    code(&text.replace('|', "\u{a6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_holds_it_stays_within_its_code_span() {
        assert_eq!(code("a.example.com"), "`a.example.com`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code("a\n# b"), "`a\\u{a}# b`");
        assert_eq!(cell("a|b"), "`a¦b`");
    }
}
