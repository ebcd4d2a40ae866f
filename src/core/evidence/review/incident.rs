//! What befell the daemon while the session went on.

use super::super::limited::Limited;
use super::super::plain::{plain, plain_within};
use super::super::record::Record;
use super::super::tally::Tally;
use super::story::{Gravity, Incident};

/// Incidents that are told apart.
const INCIDENTS: usize = 100;

/// The incidents of a journal.
#[derive(Debug)]
pub(super) struct Incidents(Limited<(Gravity, String, String), Row>);

/// How often, and how much all in all.
#[derive(Debug)]
struct Row {
    times: Tally,
    amount: u64,
}

impl Default for Incidents {
    fn default() -> Self {
        Self(Limited::to(INCIDENTS))
    }
}

impl Incidents {
    pub(super) fn add(&mut self, record: &Record) {
        let Some((gravity, told)) = told(record) else { return };
        let key = (gravity, record.event.clone(), told);
        let begun = || Row { times: Tally::begun(record.time), amount: 0 };
        let Some(row) = self.0.entry(key, begun) else { return };
        row.times.add(record.time);
        row.amount = match record.event.as_str() {
            // This one counts from the daemon's start.
            "audit.mode" => row.amount.max(record.count.unwrap_or_default()),
            _ => row.amount.saturating_add(record.count.or(record.packets).unwrap_or_default()),
        };
    }

    /// All of them, the gravest first, then as they came; and the number of
    /// events left out.
    pub(super) fn told(self) -> (Vec<Incident>, u64) {
        let beyond = self.0.beyond();
        let entries = self.0.into_entries();
        let mut incidents: Vec<_> = entries
            .map(|((gravity, event, told), row)| Incident {
                told: told.replace(AMOUNT, &row.amount.to_string()),
                event: plain_within(&event, 40),
                gravity,
                times: row.times,
            })
            .collect();
        incidents.sort_by_key(|incident| (incident.gravity, incident.times.first));
        (incidents, beyond)
    }
}

/// Stands where the sum of all amounts belongs. No text from outside has it:
/// it is not printable.
const AMOUNT: &str = "\u{1}";

fn told(record: &Record) -> Option<(Gravity, String)> {
    let path = || plain_within(record.path.as_deref().unwrap_or("?"), 100);
    let who = || match (&record.agent, record.client) {
        (Some(agent), _) => plain(agent),
        (None, Some(client)) => client.to_string(),
        (None, None) => "strangers".to_owned(),
    };
    let told = match record.event.as_str() {
        "audit.mode" => (Gravity::Alarm, format!("AUDIT MODE: nothing was denied; {AMOUNT} questions would have been")),
        "journal.lost" => (Gravity::Alarm, format!("{AMOUNT} lines of the journal were lost; the counters have them")),
        "packets.lost" => {
            (Gravity::Alarm, format!("the kernel dropped packets faster than could be told, {AMOUNT} times"))
        }
        "policy.refused" => (Gravity::Alarm, format!("policy {} was refused; the one in force stayed", path())),
        "config.refused" => (Gravity::Alarm, format!("configuration {} was refused; the one in force stayed", path())),
        "table.repaired" => (Gravity::Alarm, "somebody changed the table of rules; that was undone".to_owned()),
        "table.restored" => (Gravity::Alarm, "the table of rules was put back with every lease".to_owned()),
        "cap.reached" => {
            let cap = plain_within(record.cap.as_deref().unwrap_or("?"), 60);
            (Gravity::Warning, format!("{} met the cap {cap} {AMOUNT} times", who()))
        }
        "packets.summarised" => (Gravity::Warning, format!("{AMOUNT} more packets of {} were dropped", who())),
        "table.adopted" => (Gravity::Note, "the daemon took over its table and what was open".to_owned()),
        "policy.loaded" => (Gravity::Note, format!("policy {} came into force", path())),
        "config.loaded" => (Gravity::Note, format!("configuration {} came into force", path())),
        "policy.revoked" => (Gravity::Note, format!("the policy closed {AMOUNT} elements that it no longer permits")),
        "operator.revoked" => (Gravity::Note, format!("leases of {} were closed by hand, {AMOUNT} elements", who())),
        "container.unknown" => {
            let container = plain_within(record.container.as_deref().unwrap_or("?"), 60);
            (Gravity::Warning, format!("container {container} was on a walled network and acted as nobody"))
        }
        "engine.lost" => (Gravity::Warning, "the containers' engine did not answer; nobody new was known".to_owned()),
        "wall.up" => (Gravity::Note, "the wall went up".to_owned()),
        "daemon.stopped" => {
            let cause = plain_within(record.cause.as_deref().unwrap_or("?"), 40);
            (Gravity::Warning, format!("the daemon was stopped by {cause}; the default drop stood"))
        }
        _ => return None,
    };
    Some(told)
}
