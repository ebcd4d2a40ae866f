//! The stable word for each kind of event.

use super::Event;
use crate::core::decision::{Denial, Reason};

impl Event {
    /// The [code](Self::code) of each kind of event.
    pub const CODES: [&str; 34] = [
        "query.answered",
        "query.empty",
        "query.denied",
        "client.unknown",
        "query.failed",
        "lease.opened",
        "lease.refreshed",
        "lease.expired",
        "lease.revoked",
        "connect.denied",
        "packet.dropped",
        "packets.summarised",
        "packets.lost",
        "traffic.counted",
        "audit.mode",
        "policy.loaded",
        "policy.refused",
        "policy.revoked",
        "config.loaded",
        "config.refused",
        "operator.revoked",
        "wall.up",
        "table.adopted",
        "table.restored",
        "table.repaired",
        "journal.lost",
        "stream.lost",
        "cap.reached",
        "daemon.stopped",
        "container.known",
        "container.gone",
        "container.unknown",
        "engine.lost",
        "engine.found",
    ];

    /// A stable word for each kind of event.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QueryAnswered { .. } => "query.answered",
            Self::QueryEmpty { .. } => "query.empty",
            Self::QueryDenied { denial: Denial { reason: Reason::UnknownClient, .. }, .. } => "client.unknown",
            Self::QueryDenied { .. } => "query.denied",
            Self::QueryFailed { .. } => "query.failed",
            Self::LeaseOpened(_) => "lease.opened",
            Self::LeaseRefreshed(_) => "lease.refreshed",
            Self::LeaseExpired(_) => "lease.expired",
            Self::ConnectDenied { .. } => "connect.denied",
            Self::PacketDropped { .. } => "packet.dropped",
            Self::PacketsSummarised { .. } => "packets.summarised",
            Self::PacketsLost { .. } => "packets.lost",
            Self::TrafficCounted { .. } => "traffic.counted",
            Self::AuditMode { .. } => "audit.mode",
            Self::PolicyLoaded { .. } => "policy.loaded",
            Self::PolicyRefused { .. } => "policy.refused",
            Self::ConfigLoaded { .. } => "config.loaded",
            Self::ConfigRefused { .. } => "config.refused",
            Self::LeaseRevoked(_) => "lease.revoked",
            Self::OperatorRevoked { .. } => "operator.revoked",
            Self::PolicyRevoked { .. } => "policy.revoked",
            Self::WallUp { .. } => "wall.up",
            Self::TableAdopted { .. } => "table.adopted",
            Self::TableRestored { .. } => "table.restored",
            Self::TableRepaired { .. } => "table.repaired",
            Self::JournalLost { .. } => "journal.lost",
            Self::StreamLost { .. } => "stream.lost",
            Self::ContainerKnown(_) => "container.known",
            Self::ContainerGone(_) => "container.gone",
            Self::ContainerUnknown { .. } => "container.unknown",
            Self::EngineLost { .. } => "engine.lost",
            Self::EngineFound { .. } => "engine.found",
            Self::CapReached(_) => "cap.reached",
            Self::Stopped { .. } => "daemon.stopped",
        }
    }
}
