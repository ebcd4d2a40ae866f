//! The story for people at a terminal, in 80 columns; what was denied comes
//! first.

use std::io::{self, Write};

use super::super::output::{COLUMNS, filled};
use super::shown::{Clock, counted, frequency, grouped, name, octets, questions, session, times, totals, why};
use crate::core::evidence::chain::Actor;
use crate::core::evidence::plain::{plain, plain_within};
use crate::core::evidence::remedy::Remedy;
use crate::core::evidence::review::story::{AgentStory, Denied, Dropped, Gravity, Incident, Reached, Story};

/// Incidents that are told at most.
const INCIDENTS: usize = 20;

pub(super) fn write(out: &mut dyn Write, story: &Story, top: usize, coloured: bool) -> io::Result<()> {
    Teller { out, clock: Clock::of(story), top, coloured }.story(story)
}

struct Teller<'a> {
    out: &'a mut dyn Write,
    clock: Clock,
    top: usize,
    coloured: bool,
}

impl Teller<'_> {
    fn story(&mut self, story: &Story) -> io::Result<()> {
        let agents = counted(story.agents.len() as u64, "agent", "agents");
        self.paragraph("", &format!("{}, {agents}", session(story)))?;
        self.paragraph("", &totals(&story.totals).join(", "))?;
        for incident in story.incidents.iter().filter(|incident| incident.gravity == Gravity::Alarm) {
            self.incident(incident)?;
        }
        if story.totals.unreadable_lines > 0 {
            let lines = counted(story.totals.unreadable_lines, "line", "lines");
            self.paragraph("! ", &format!("{lines} of the journal cannot be read"))?;
        }

        let denied: Vec<_> = story.agents.iter().filter(|agent| !agent.denied.is_empty()).collect();
        self.heading("DENIED")?;
        if denied.is_empty() {
            writeln!(self.out, "nothing")?;
        }
        for agent in denied {
            self.denied_to(agent)?;
        }
        self.dropped(story)?;
        self.reached(story)?;
        self.incidents(story)
    }

    fn denied_to(&mut self, agent: &AgentStory) -> io::Result<()> {
        self.agent(agent)?;
        for denied in agent.denied.iter().take(self.top) {
            self.denied(denied)?;
        }
        let more = agent.denied.len().saturating_sub(self.top);
        if more > 0 {
            self.paragraph("  ", &format!("and {}: see --top", counted(more as u64, "name more", "names more")))?;
        }
        for below in agent.denied_below.iter().take(self.top) {
            let (domain, questions) = (plain(&below.domain), times(below.questions.count));
            self.paragraph("  ", &format!("and further names below {domain}, asked {questions}"))?;
        }
        if agent.denied_beyond > 0 {
            let beyond = counted(agent.denied_beyond, "denial", "denials");
            self.paragraph("  ", &format!("and {beyond} of names beyond those"))?;
        }
        Ok(())
    }

    fn denied(&mut self, denied: &Denied) -> io::Result<()> {
        let (mut title, examples) = name(denied);
        if !denied.ports.is_empty() {
            title += &format!(" on {}", denied.ports.iter().map(|port| plain(port)).collect::<Vec<_>>().join(", "));
        }
        let title = self.marked("1;31", &title);
        let types = if denied.types.is_empty() { String::new() } else { format!(" ({})", denied.types.join(", ")) };
        self.filled("  ", "    ", &format!("{title}{types}"))?;
        if let Some(examples) = examples {
            self.paragraph("    ", &examples)?;
        }
        self.paragraph("    when    ", &format!("{}, {}", frequency(denied), self.clock.span(&denied.questions)))?;
        self.actors(&denied.actors, denied.more_actors)?;
        self.paragraph("    why     ", &why(denied))?;
        match &denied.remedy {
            Remedy::Permit { cedar, port_assumed } => {
                for line in cedar {
                    self.paragraph("    permit  ", line)?;
                }
                if *port_assumed {
                    self.paragraph("            ", "(nobody tried to connect, so port 443 is assumed)")?;
                }
            }
            Remedy::Other { what } => self.paragraph("    takes   ", what)?,
        }
        Ok(())
    }

    fn actors(&mut self, actors: &[(Actor, u64)], more: u64) -> io::Result<()> {
        for (actor, count) in actors {
            let count = if actors.len() > 1 { format!(" ({})", times(*count)) } else { String::new() };
            self.paragraph("    by      ", &format!("{actor}{count}"))?;
        }
        if more > 0 {
            self.paragraph("            ", &format!("and others, {}", times(more)))?;
        }
        Ok(())
    }

    fn dropped(&mut self, story: &Story) -> io::Result<()> {
        let agents: Vec<_> =
            story.agents.iter().filter(|agent| !agent.dropped.is_empty() || agent.dropped_beyond > 0).collect();
        if agents.is_empty() {
            return Ok(());
        }
        self.heading("DROPPED PACKETS")?;
        for agent in agents {
            self.agent(agent)?;
            for dropped in agent.dropped.iter().take(self.top) {
                self.dropped_to(dropped)?;
            }
            let listed = agent.dropped.iter().skip(self.top).map(|dropped| dropped.packets.count);
            let more = listed.fold(agent.dropped_beyond, u64::saturating_add);
            if more > 0 {
                self.paragraph("  ", &format!("and {}", counted(more, "packet more", "packets more")))?;
            }
        }
        Ok(())
    }

    fn dropped_to(&mut self, dropped: &Dropped) -> io::Result<()> {
        let Dropped { address, service, packets, .. } = dropped;
        let told = format!(
            "{address} {}  {}, {}",
            plain(service),
            counted(packets.count, "packet", "packets"),
            self.clock.span(packets)
        );
        self.filled("  ", "    ", &told)?;
        for (mark, names) in [("    was     ", &dropped.hostnames), ("    to others  ", &dropped.hostnames_of_others)] {
            if !names.is_empty() {
                self.paragraph(mark, &names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "))?;
            }
        }
        self.actors(&dropped.actors, dropped.more_actors)
    }

    fn reached(&mut self, story: &Story) -> io::Result<()> {
        let agents: Vec<_> = story.agents.iter().filter(|agent| !agent.reached.is_empty()).collect();
        if agents.is_empty() {
            return Ok(());
        }
        self.heading("REACHED")?;
        for agent in agents {
            self.agent(agent)?;
            for reached in agent.reached.iter().take(self.top) {
                self.reached_host(reached)?;
            }
            let more = agent.reached.len().saturating_sub(self.top) as u64;
            let more = more.saturating_add(agent.reached_beyond);
            if more > 0 {
                self.paragraph("  ", &format!("and {} more: see --top", grouped(more)))?;
            }
        }
        Ok(())
    }

    fn reached_host(&mut self, reached: &Reached) -> io::Result<()> {
        let mut told = plain_within(&reached.host, 300);
        if !reached.ports.is_empty() {
            told += &format!(" on {}", reached.ports.iter().map(|port| plain(port)).collect::<Vec<_>>().join(", "));
        }
        self.filled("  ", "    ", &told)?;
        let mut parts = vec![format!("{} questions", questions(reached))];
        if reached.answered + reached.empty + reached.failed == 0 {
            parts.clear();
        }
        if reached.connections > 0 || reached.bytes > 0 {
            parts.push(counted(reached.connections, "connection", "connections"));
            parts.push(octets(reached.bytes));
        }
        parts.push(self.clock.span(&reached.events));
        self.paragraph("    ", &parts.join(", "))
    }

    fn incidents(&mut self, story: &Story) -> io::Result<()> {
        let others: Vec<_> = story.incidents.iter().filter(|incident| incident.gravity != Gravity::Alarm).collect();
        if others.is_empty() {
            return Ok(());
        }
        self.heading("THE DAEMON")?;
        for incident in others.iter().take(INCIDENTS) {
            self.incident(incident)?;
        }
        let more = (others.len().saturating_sub(INCIDENTS) as u64).saturating_add(story.more_incidents);
        if more > 0 {
            self.paragraph("  ", &format!("and {}", counted(more, "event more", "events more")))?;
        }
        Ok(())
    }

    fn incident(&mut self, incident: &Incident) -> io::Result<()> {
        let mark = if incident.gravity == Gravity::Alarm { "! " } else { "  " };
        let often =
            if incident.times.count > 1 { format!(" ({})", times(incident.times.count)) } else { String::new() };
        let when = self.clock.span(&incident.times);
        self.paragraph(mark, &format!("{when}  {}{often}", plain(&incident.told)))
    }

    fn agent(&mut self, agent: &AgentStory) -> io::Result<()> {
        let title = self.marked("1", &agent.title());
        self.filled("", "  ", &format!("{title} ({})", agent.clients.join(", ")))
    }

    fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.marked("1", text);
        writeln!(self.out, "\n{text}")
    }

    /// `text` in bold or a colour, where that is wanted and it stays on one
    /// line.
    fn marked(&self, code: &str, text: &str) -> String {
        let fits = text.chars().count() + 4 <= usize::from(COLUMNS);
        if self.coloured && fits { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// `text` after `mark`, and below itself where it is long.
    fn paragraph(&mut self, mark: &str, text: &str) -> io::Result<()> {
        self.filled(mark, &" ".repeat(mark.chars().count()), text)
    }

    fn filled(&mut self, first: &str, others: &str, text: &str) -> io::Result<()> {
        filled(self.out, first, others, text)
    }
}
