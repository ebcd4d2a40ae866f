//! Which class of OCSF an event belongs to, and what it says of its outcome.

use super::super::record::Record;

/// The classes that our events fall into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// DNS Activity.
    Dns,
    /// Network Activity, and which.
    Network(Activity),
    /// Device Config State Change: the wall's rules, policy and configuration.
    Config,
    /// Application Lifecycle: the daemon starts (true) or stops.
    Lifecycle(bool),
    /// Application Error: something was lost.
    Error,
    /// Base Event: what no class is about.
    Other,
}

/// What of OCSF's network activities happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// A connection was refused.
    Refuse,
    /// Traffic was counted.
    Traffic,
    /// What OCSF has no number for: leases.
    Other,
}

impl Class {
    /// The class of the events with this code.
    pub(super) fn of(code: &str) -> Self {
        match code {
            "query.answered" | "query.empty" | "query.denied" | "query.failed" | "client.unknown" => Self::Dns,
            "connect.denied" | "packet.dropped" | "packets.summarised" => Self::Network(Activity::Refuse),
            "traffic.counted" => Self::Network(Activity::Traffic),
            "lease.opened" | "lease.refreshed" | "lease.expired" | "lease.revoked" => Self::Network(Activity::Other),
            "policy.loaded" | "policy.refused" | "policy.revoked" | "config.loaded" | "config.refused"
            | "operator.revoked" | "table.adopted" | "table.restored" | "table.repaired" => Self::Config,
            "wall.up" => Self::Lifecycle(true),
            "daemon.stopped" => Self::Lifecycle(false),
            "packets.lost" | "journal.lost" | "stream.lost" | "engine.lost" => Self::Error,
            _ => Self::Other,
        }
    }

    /// The numbers of its category and itself, and its name.
    pub(super) const fn names(self) -> (u32, u32, &'static str) {
        match self {
            Self::Dns => (4, 4003, "DNS Activity"),
            Self::Network(_) => (4, 4001, "Network Activity"),
            Self::Config => (5, 5019, "Device Config State Change"),
            Self::Lifecycle(_) => (6, 6002, "Application Lifecycle"),
            Self::Error => (6, 6008, "Application Error"),
            Self::Other => (0, 0, "Base Event"),
        }
    }

    /// The number and the name of what happened; our own code where OCSF has
    /// no number.
    pub(super) fn activity(self, code: &str) -> (u32, String) {
        let (number, name) = match self {
            Self::Dns => (6, "Traffic"),
            Self::Network(Activity::Refuse) => (5, "Refuse"),
            Self::Network(Activity::Traffic) => (6, "Traffic"),
            Self::Config => (1, "Log"),
            Self::Lifecycle(true) => (3, "Start"),
            Self::Lifecycle(false) => (4, "Stop"),
            Self::Error => (1, "General Error"),
            Self::Network(Activity::Other) | Self::Other => (99, code),
        };
        (number, name.to_owned())
    }
}

/// How it ended, in OCSF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// 1 informational, 2 low, 3 medium, 4 high.
    pub(super) severity_id: u32,
    /// 1 allowed, 2 denied, 3 observed; none where nothing was asked of the
    /// wall.
    pub(super) action_id: Option<u32>,
    /// 1 allowed, 2 blocked, 6 dropped, 15 detected, 24 access revoked, 27
    /// error.
    pub(super) disposition_id: u32,
    /// 1 success, 2 failure.
    pub(super) status_id: u32,
}

impl Outcome {
    /// The outcome of `record`.
    pub(super) fn of(record: &Record) -> Self {
        let (severity_id, action_id, disposition_id, status_id) = match record.event.as_str() {
            "query.answered" | "query.empty" if record.would_deny.is_some() && record.search != Some(true) => {
                (3, Some(3), 15, 1)
            }
            "query.answered" | "query.empty" | "lease.opened" | "lease.refreshed" | "traffic.counted" => {
                (1, Some(1), 1, 1)
            }
            "query.denied" if record.search == Some(true) => (1, Some(2), 2, 2),
            "query.denied" | "client.unknown" | "connect.denied" => (3, Some(2), 2, 2),
            "packet.dropped" | "packets.summarised" => (3, Some(2), 6, 2),
            "lease.expired" => (1, Some(3), 17, 1),
            "lease.revoked" | "policy.revoked" | "operator.revoked" => (2, Some(2), 24, 1),
            "query.failed" => (2, Some(2), 27, 2),
            "policy.refused" | "config.refused" => (4, None, 0, 2),
            "cap.reached" => (3, Some(2), 2, 2),
            "table.repaired" | "table.restored" => (4, None, 0, 1),
            "audit.mode" => (4, Some(3), 15, 1),
            "packets.lost" | "journal.lost" | "stream.lost" | "engine.lost" => (3, None, 0, 2),
            "container.unknown" => (3, Some(2), 2, 2),
            _ => (1, None, 0, 1),
        };
        Self { severity_id, action_id, disposition_id, status_id }
    }
}
