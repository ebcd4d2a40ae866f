//! The story as one HTML file that needs nothing else: no script, no font, no
//! picture from anywhere. maud escapes every text that stands in it.

use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::shown::{Clock, counted, frequency, grouped, name, octets, questions, session, times, totals, why};
use crate::core::evidence::chain::Actor;
use crate::core::evidence::plain::plain;
use crate::core::evidence::remedy::Remedy;
use crate::core::evidence::review::story::{AgentStory, Denied, Dropped, Gravity, Incident, Reached, Slot, Story};

const STYLE: &str = include_str!("review.css");

/// Nothing is fetched and nothing runs, whatever should stand in the page.
const SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(super) fn write(out: &mut dyn Write, story: &Story, top: usize) -> io::Result<()> {
    writeln!(out, "{}", page(story, top).into_string())
}

fn page(story: &Story, top: usize) -> Markup {
    let teller = Teller { clock: Clock::of(story), top };
    let denied = story.totals.denied.saturating_add(story.totals.would_deny);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(SECURITY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Network review: " (counted(denied, "question", "questions")) " denied, " (session(story)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Network review" }
                    p { (session(story)) }
                    ul.totals { @for total in totals(&story.totals) { li { (total) } } }
                    (teller.alarms(story))
                }
                main {
                    (teller.denied(story))
                    (teller.timeline(&story.timeline))
                    (teller.dropped(story))
                    (teller.reached(story))
                    (teller.incidents(story))
                }
                footer { p { "Made by cedarwall review. Times are UTC." } }
            }
        }
    }
}

struct Teller {
    clock: Clock,
    top: usize,
}

impl Teller {
    fn alarms(&self, story: &Story) -> Markup {
        let unreadable = story.totals.unreadable_lines;
        let alarms: Vec<_> = story.incidents.iter().filter(|incident| incident.gravity == Gravity::Alarm).collect();
        html! {
            @if !alarms.is_empty() || unreadable > 0 {
                section.alarms aria-label="Alarms" {
                    ul {
                        @for alarm in alarms { li { (plain(&alarm.told)) ", " (self.clock.span(&alarm.times)) } }
                        @if unreadable > 0 {
                            li { (counted(unreadable, "line", "lines")) " of the journal cannot be read" }
                        }
                    }
                }
            }
        }
    }

    fn denied(&self, story: &Story) -> Markup {
        let agents: Vec<_> = story.agents.iter().filter(|agent| !agent.denied.is_empty()).collect();
        html! {
            section aria-labelledby="denied" {
                h2 #denied { "Denied" }
                @if agents.is_empty() { p { "Nothing was denied." } }
                @for agent in agents {
                    h3 { (agent.title()) }
                    table role="table" {
                        caption { "What was denied to " (agent.title()) " (" (agent.clients.join(", ")) ")" }
                        (head(&["Name", "Asked by", "Why", "How often", "To permit it"]))
                        tbody role="rowgroup" {
                            @for denied in agent.denied.iter().take(self.top) { (self.denied_name(denied)) }
                        }
                    }
                    (self.denied_more(agent))
                }
            }
        }
    }

    fn denied_name(&self, denied: &Denied) -> Markup {
        html! {
            tr role="row" {
                th.name scope="row" role="rowheader" {
                    @let (title, examples) = name(denied);
                    code { (title) }
                    @if let Some(examples) = examples { span.detail { (examples) } }
                    @if !denied.ports.is_empty() { span.detail { "on " (joined(&denied.ports)) } }
                    @if !denied.types.is_empty() { span.detail { "asked for " (joined(&denied.types)) } }
                }
                td role="cell" data-label="Asked by" { (actors(&denied.actors, denied.more_actors)) }
                td role="cell" data-label="Why" { (why(denied)) }
                td role="cell" data-label="How often" {
                    (frequency(denied)) span.detail { (self.clock.span(&denied.questions)) }
                }
                td role="cell" data-label="To permit it" { (remedy(&denied.remedy)) }
            }
        }
    }

    fn denied_more(&self, agent: &AgentStory) -> Markup {
        let more = agent.denied.len().saturating_sub(self.top) as u64;
        html! {
            @if more > 0 || agent.denied_beyond > 0 || !agent.denied_below.is_empty() {
                ul.more {
                    @if more > 0 { li { "and " (counted(more, "name more", "names more")) } }
                    @for below in agent.denied_below.iter().take(self.top) {
                        li {
                            "further names below " code { (plain(&below.domain)) } ", asked "
                            (times(below.questions.count))
                        }
                    }
                    @if agent.denied_beyond > 0 {
                        li { "and " (counted(agent.denied_beyond, "denial", "denials")) " of names beyond those" }
                    }
                }
            }
        }
    }

    fn timeline(&self, slots: &[Slot]) -> Markup {
        let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return html! {} };
        let most = slots.iter().map(|slot| slot.answered.max(slot.denied)).max().unwrap_or(1).max(1);
        let each = counted(u64::try_from(first.seconds).unwrap_or_default(), "second", "seconds");
        let bars = slots.iter().enumerate().flat_map(|(index, slot)| {
            [(slot.answered, false), (slot.denied, true)].map(|(count, is_denied)| bar(index, count, is_denied, most))
        });
        html! {
            section aria-labelledby="timeline" {
                h2 #timeline { "Time line" }
                figure {
                    svg viewBox=(format!("0 0 {} 100", slots.len() * 10)) preserveAspectRatio="none" role="img"
                        aria-labelledby="timeline-title" {
                        title #timeline-title {
                            "Questions answered, above, and denied, below, in slots of " (each) " each; at most "
                            (grouped(most)) " in a slot"
                        }
                        line.axis x1="0" y1="50" x2=(slots.len() * 10) y2="50" {}
                        @for bar in bars { (bar) }
                    }
                    figcaption {
                        span { (self.clock.time(first.from)) }
                        span {
                            span.key.answered {} " answered " span.key.denied {} " denied; a bar is " (each)
                            ", the highest " (grouped(most))
                        }
                        span { (self.clock.time(last.from)) }
                    }
                }
            }
        }
    }

    fn dropped(&self, story: &Story) -> Markup {
        let agents: Vec<_> =
            story.agents.iter().filter(|agent| !agent.dropped.is_empty() || agent.dropped_beyond > 0).collect();
        html! {
            @if !agents.is_empty() {
                section aria-labelledby="dropped" {
                    h2 #dropped { "Dropped packets" }
                    @for agent in agents {
                        h3 { (agent.title()) }
                        @if !agent.dropped.is_empty() {
                            table role="table" {
                                caption { "Packets of " (agent.title()) " that the kernel let go no further" }
                                (head(&["Destination", "Known as", "Sent by", "Packets"]))
                                tbody role="rowgroup" {
                                    @for dropped in agent.dropped.iter().take(self.top) { (self.dropped_to(dropped)) }
                                }
                            }
                        }
                        @let listed = agent.dropped.iter().skip(self.top).map(|dropped| dropped.packets.count);
                        @let more = listed.fold(agent.dropped_beyond, u64::saturating_add);
                        @if more > 0 { ul.more { li { "and " (counted(more, "packet more", "packets more")) } } }
                    }
                }
            }
        }
    }

    fn dropped_to(&self, dropped: &Dropped) -> Markup {
        html! {
            tr role="row" {
                th.name scope="row" role="rowheader" {
                    code { (dropped.address) } span.detail { (plain(&dropped.service)) }
                }
                td role="cell" data-label="Known as" {
                    @if dropped.hostnames.is_empty() && dropped.hostnames_of_others.is_empty() { "no name" }
                    (joined(&dropped.hostnames))
                    @if !dropped.hostnames_of_others.is_empty() {
                        span.detail { "to others " (joined(&dropped.hostnames_of_others)) }
                    }
                }
                td role="cell" data-label="Sent by" { (actors(&dropped.actors, dropped.more_actors)) }
                td role="cell" data-label="Packets" {
                    (grouped(dropped.packets.count)) span.detail { (self.clock.span(&dropped.packets)) }
                }
            }
        }
    }

    fn reached(&self, story: &Story) -> Markup {
        let agents: Vec<_> = story.agents.iter().filter(|agent| !agent.reached.is_empty()).collect();
        html! {
            @if !agents.is_empty() {
                section aria-labelledby="reached" {
                    h2 #reached { "Reached" }
                    @for agent in agents {
                        h3 { (agent.title()) }
                        table role="table" {
                            caption { "What " (agent.title()) " reached, and how much" }
                            (head(&["Name", "Policies", "Questions", "Connections", "Octets", "When"]))
                            tbody role="rowgroup" {
                                @for reached in agent.reached.iter().take(self.top) { (self.reached_host(reached)) }
                            }
                        }
                        @let more = (agent.reached.len().saturating_sub(self.top) as u64)
                            .saturating_add(agent.reached_beyond);
                        @if more > 0 { ul.more { li { "and " (grouped(more)) " more" } } }
                    }
                }
            }
        }
    }

    fn reached_host(&self, reached: &Reached) -> Markup {
        html! {
            tr role="row" {
                th.name scope="row" role="rowheader" {
                    code { (plain(&reached.host)) }
                    @if !reached.ports.is_empty() { span.detail { "on " (joined(&reached.ports)) } }
                }
                td role="cell" data-label="Policies" { (joined(&reached.policies)) }
                td.number role="cell" data-label="Questions" { (questions(reached)) }
                td.number role="cell" data-label="Connections" { (grouped(reached.connections)) }
                td.number role="cell" data-label="Octets" { (octets(reached.bytes)) }
                td role="cell" data-label="When" { (self.clock.span(&reached.events)) }
            }
        }
    }

    fn incidents(&self, story: &Story) -> Markup {
        html! {
            @if !story.incidents.is_empty() {
                section aria-labelledby="daemon" {
                    h2 #daemon { "The daemon" }
                    table role="table" {
                        caption { "What befell the daemon, the gravest first" }
                        (head(&["What", "When", "How often"]))
                        tbody role="rowgroup" { @for incident in &story.incidents { (self.incident(incident)) } }
                    }
                    @if story.more_incidents > 0 {
                        ul.more { li { "and " (counted(story.more_incidents, "event more", "events more")) } }
                    }
                }
            }
        }
    }

    fn incident(&self, incident: &Incident) -> Markup {
        html! {
            tr.alarm[incident.gravity == Gravity::Alarm] role="row" {
                th scope="row" role="rowheader" { (plain(&incident.told)) }
                td role="cell" data-label="When" { (self.clock.span(&incident.times)) }
                td role="cell" data-label="How often" { (grouped(incident.times.count)) }
            }
        }
    }
}

fn head(titles: &[&str]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" {
                @for title in titles {
                    @let is_number = matches!(*title, "Questions" | "Connections" | "Octets");
                    th.number[is_number] scope="col" role="columnheader" { (title) }
                }
             }
        }
    }
}

fn actors(actors: &[(Actor, u64)], more: u64) -> Markup {
    html! {
        @if actors.is_empty() { "not recorded" }
        @for (actor, count) in actors {
            div.actor {
                @match actor {
                    Actor::Chain(steps) => {
                        @for (index, step) in steps.iter().enumerate() {
                            @if index > 0 { span.from { " ← " } }
                            code { (step) }
                        }
                    }
                    Actor::Missing(_) => { (actor) }
                }
                @if actors.len() > 1 { span.detail { (times(*count)) } }
            }
        }
        @if more > 0 { span.detail { "and others, " (times(more)) } }
    }
}

fn remedy(remedy: &Remedy) -> Markup {
    html! {
        @match remedy {
            Remedy::Permit { cedar, port_assumed } => {
                @for line in cedar { pre { code { (plain(line)) } } }
                @if *port_assumed { span.detail { "nobody tried to connect, so port 443 is assumed" } }
            }
            Remedy::Other { what } => { "takes " (plain(what)) }
        }
    }
}

/// A bar of the time line: answered upwards from the middle, denied
/// downwards.
fn bar(index: usize, count: u64, is_denied: bool, most: u64) -> Markup {
    if count == 0 {
        return html! {};
    }
    // At least a twentieth, so that one denial among thousands of answers is seen.
    let height = u128::from(count).saturating_mul(48).div_ceil(u128::from(most)).max(3);
    let y = if is_denied { 51 } else { 49_u128.saturating_sub(height) };
    html! {
        rect.denied[is_denied].answered[!is_denied] x=(index * 10 + 1) y=(y) width="8" height=(height) {}
    }
}

fn joined(texts: &[String]) -> String {
    texts.iter().map(|text| plain(text)).collect::<Vec<_>>().join(", ")
}
