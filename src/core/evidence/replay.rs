//! [`Replay`]: what a journal's questions come to under another policy.
//!
//! Against a second policy, each question is decided by both, at the time and
//! with the addresses that the journal tells. Against the journal itself, it
//! is compared with what was said then; what then depended on more than the
//! policy, and so cannot be compared, is counted.

mod asked;

use std::collections::BTreeSet;

use serde::Serialize;

use super::limited::Limited;
use super::record::Record;
use super::tally::Tally;
use crate::core::decision::{Decision, Opening};
use crate::core::policy::Policy;
use crate::core::query::{Port, PortRange, Protocol};

use self::asked::Asked;

/// Differences that are told one by one.
const DIFFERENCES: usize = 5000;
/// Policies that are told of one difference.
const FEW: usize = 12;

/// A replay while a journal is read.
#[derive(Debug)]
pub struct Replay<'a> {
    policy: &'a Policy,
    against: Option<&'a Policy>,
    compared: u64,
    newly_permitted: u64,
    newly_denied: u64,
    skipped: Limited<&'static str, u64>,
    differences: Limited<(Change, String, String, String), Difference>,
}

/// In which direction a question's answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// What was denied is permitted, or more of its ports are.
    NewlyPermitted,
    /// What was permitted is denied, or fewer of its ports are open.
    NewlyDenied,
}

/// A question whose answer changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In which direction.
    pub change: Change,
    /// Who asked.
    pub agent: String,
    /// What for: a name, or a destination with its port.
    pub target: String,
    /// By which type of record, or `connection`.
    pub kind: String,
    /// The ports that are opened or closed by it, `443/tcp`; none where the
    /// question leads to no connection.
    pub ports: Vec<String>,
    /// The policies that decide before.
    pub before: BTreeSet<String>,
    /// The policies that decide after; none for the default.
    pub after: BTreeSet<String>,
    /// Whether a policy looks at the address, which the journal does not
    /// tell: then some addresses may come out otherwise.
    pub depends_on_address: bool,
    /// How often it was asked, first and last.
    pub questions: Tally,
}

/// What a whole journal came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Questions that were decided anew.
    pub compared: u64,
    /// How many of them are newly permitted.
    pub newly_permitted: u64,
    /// How many of them are newly denied.
    pub newly_denied: u64,
    /// What could not be compared, and how often.
    pub skipped: Vec<(String, u64)>,
    /// The differences, each question once.
    pub differences: Vec<Difference>,
    /// Questions with a difference beyond those told.
    pub more_differences: u64,
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    permitted: bool,
    /// What is opened; for a question without connections, nothing. `None`
    /// where nobody knows.
    openings: Option<Vec<Opening>>,
    policies: BTreeSet<String>,
    depends_on_address: bool,
}

impl<'a> Replay<'a> {
    /// A replay with `policy`, compared with `against`, or with what the
    /// journal says.
    pub const fn new(policy: &'a Policy, against: Option<&'a Policy>) -> Self {
        Self {
            policy,
            against,
            compared: 0,
            newly_permitted: 0,
            newly_denied: 0,
            skipped: Limited::to(16),
            differences: Limited::to(DIFFERENCES),
        }
    }

    /// Takes the next line.
    pub fn add(&mut self, record: &Record) {
        let asked = match Asked::of(record) {
            Ok(Some(asked)) => asked,
            Ok(None) => return,
            Err(why) => return self.skip(record, why),
        };
        let before = match self.against {
            Some(policy) => asked.put_to(policy),
            None => match asked.recorded(record) {
                Ok(verdict) => verdict,
                Err(why) => return self.skip(record, why),
            },
        };
        self.compared = self.compared.saturating_add(record.questions());
        let after = asked.put_to(self.policy);
        if before.permitted || after.permitted {
            self.compare(record, &asked, &before, &after);
        }
    }

    /// All of it.
    pub fn outcome(self) -> Outcome {
        let more_differences = self.differences.beyond();
        Outcome {
            compared: self.compared,
            newly_permitted: self.newly_permitted,
            newly_denied: self.newly_denied,
            skipped: self.skipped.into_entries().map(|(why, count)| (why.to_owned(), count)).collect(),
            differences: self.differences.into_entries().map(|(_, difference)| difference).collect(),
            more_differences,
        }
    }

    fn skip(&mut self, record: &Record, why: &'static str) {
        if let Some(count) = self.skipped.entry(why, || 0) {
            *count = count.saturating_add(record.questions());
        }
    }

    fn compare(&mut self, record: &Record, asked: &Asked, before: &Verdict, after: &Verdict) {
        for (change, more, less) in [(Change::NewlyPermitted, after, before), (Change::NewlyDenied, before, after)] {
            let ports = match (&more.openings, &less.openings) {
                (Some(more), Some(less)) => beyond(more, less),
                _ => Vec::new(),
            };
            let is_permitted_alone = more.permitted && !less.permitted;
            if ports.is_empty() && !is_permitted_alone {
                continue;
            }
            let count = match change {
                Change::NewlyPermitted => &mut self.newly_permitted,
                Change::NewlyDenied => &mut self.newly_denied,
            };
            *count = count.saturating_add(record.questions());
            let key = (change, asked.agent().to_string(), asked.target(), asked.kind());
            let begun = || Difference {
                change,
                agent: asked.agent().to_string(),
                target: asked.target(),
                kind: asked.kind(),
                ports: ports.iter().map(Opening::to_string).collect(),
                before: BTreeSet::new(),
                after: BTreeSet::new(),
                depends_on_address: false,
                questions: Tally::begun(record.time),
            };
            let Some(difference) = self.differences.entry(key, begun) else { continue };
            difference.questions.add_many(record.time, record.questions());
            difference.depends_on_address |= more.depends_on_address || less.depends_on_address;
            for (told, verdict) in [(&mut difference.before, before), (&mut difference.after, after)] {
                told.extend(verdict.policies.iter().take(FEW.saturating_sub(told.len())).cloned());
            }
        }
    }
}

impl Verdict {
    /// Denied by default.
    const fn denied() -> Self {
        let policies = BTreeSet::new();
        Self { permitted: false, openings: Some(Vec::new()), policies, depends_on_address: false }
    }

    fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Permit(permit) => Self {
                permitted: true,
                openings: Some(permit.openings.to_vec()),
                policies: permit.policies.iter().map(ToString::to_string).collect(),
                depends_on_address: permit.judges_addresses,
            },
            Decision::Deny(denial) => {
                Self { policies: denial.policies.iter().map(ToString::to_string).collect(), ..Self::denied() }
            }
        }
    }
}

/// The runs of ports in `more` that are not in `less`.
fn beyond(more: &[Opening], less: &[Opening]) -> Vec<Opening> {
    let mut beyond = Vec::new();
    for protocol in Protocol::ALL {
        let mut of_less: Vec<PortRange> =
            less.iter().filter(|opening| opening.protocol == protocol).map(|opening| opening.ports).collect();
        of_less.sort();
        for opening in more.iter().filter(|opening| opening.protocol == protocol) {
            // The first port that is not yet known to be in `less`; none once past the last port there is.
            let mut next = Some(opening.ports.first());
            for range in &of_less {
                let Some(from) = next.filter(|from| *from <= opening.ports.last()) else { break };
                if range.last() < from || range.first() > opening.ports.last() {
                    continue;
                }
                let before = range.first().number().checked_sub(1).and_then(Port::new);
                if let Some(ports) = before.and_then(|last| PortRange::new(from, last)) {
                    beyond.push(Opening { protocol, ports });
                }
                next = range.last().number().checked_add(1).and_then(Port::new);
            }
            if let Some(ports) = next.and_then(|from| PortRange::new(from, opening.ports.last())) {
                beyond.push(Opening { protocol, ports });
            }
        }
    }
    beyond
}

#[cfg(test)]
mod tests;
