//! [`Refusal`]: that somebody was refused something, or would have been.

use super::super::decision::Reason;
use super::super::query::RecordKind;
use super::record::Record;

/// What a record tells of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The name.
    pub hostname: &'a str,
    /// Why, by [`Reason::code`].
    pub reason: &'a str,
    /// The policies that decided.
    pub policies: &'a [String],
    /// Whether audit mode let it pass.
    pub would: bool,
    /// The type asked for; `None` where somebody connected instead of asking.
    pub kind: Option<RecordKind>,
}

impl<'a> Refusal<'a> {
    /// The refusal in `record`, if it tells of one.
    pub fn of(record: &'a Record) -> Option<Self> {
        let hostname = record.hostname.as_deref()?;
        let kind = record.kind.as_deref().and_then(|kind| kind.parse().ok());
        match (record.event.as_str(), &record.would_deny) {
            ("query.answered" | "query.empty", Some(would)) => {
                Some(Self { hostname, reason: &would.reason, policies: &would.policies, would: true, kind })
            }
            ("query.denied" | "connect.denied" | "client.unknown", _) => {
                let reason = record.reason.as_deref().unwrap_or_default();
                Some(Self { hostname, reason, policies: &record.policies, would: false, kind })
            }
            _ => None,
        }
    }

    /// The refusal in `record` of something that somebody may have wanted: not
    /// of what a resolver's search list made of it.
    pub fn of_wanted(record: &'a Record) -> Option<Self> {
        Self::of(record).filter(|_| record.search != Some(true))
    }

    /// The reason, if this release knows it.
    pub fn known_reason(&self) -> Option<Reason> {
        known_reason(self.reason)
    }
}

/// The reason of this code.
pub fn known_reason(code: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.code() == code)
}
