//! The counters: how many queries ended how.

use std::fmt;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde::{Deserialize, Serialize};

use crate::core::cap::{Cap, Reached};
use crate::core::decision::{Denial, Failure, Reason};
use crate::core::event::{Event, Subject};
use crate::core::query::Agent;

/// How many queries ended how, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryTotals {
    /// With records, every address in them open.
    pub answered: u64,
    /// Permitted, without such a record.
    pub empty: u64,
    /// Denied by the policy or a guard.
    pub denied: u64,
    /// Permitted, and then something broke.
    pub failed: u64,
    /// Denied besides, at or below a search suffix: no alarm.
    #[serde(default)]
    pub denied_search: u64,
    /// Of those answered or empty, what would have been denied but for audit
    /// mode.
    #[serde(default)]
    pub would_deny: u64,
}

/// How often somebody else's changes to the nftables table were undone, since
/// the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTotals {
    /// Loaded anew, with every live lease.
    pub restored: u64,
    /// Elements alone put right.
    pub repaired: u64,
}

/// Every counter, and the registry that names them.
#[derive(Debug)]
pub(super) struct Counters {
    registry: Registry,
    answered: Counter,
    empty: Counter,
    denied: Counter,
    denied_search: Counter,
    failed: Counter,
    denials: Family<DeniedLabels, Counter>,
    would_deny: Family<DeniedLabels, Counter>,
    would_deny_in_all: Counter,
    audit_mode: Gauge,
    failures: Family<FailedLabels, Counter>,
    restored: Counter,
    repaired: Counter,
    caps: Family<CapLabels, Counter>,
    lost: Counter,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Agents come from the operator's own list and reasons from a closed one, so
/// no client can grow this family.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeniedLabels {
    agent: AgentLabel,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedLabels {
    failure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CapLabels {
    cap: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AgentLabel(Option<Agent>);

impl From<&Option<Agent>> for AgentLabel {
    fn from(agent: &Option<Agent>) -> Self {
        Self(agent.as_ref().map(Agent::without_team))
    }
}

impl EncodeLabelValue for AgentLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.as_ref().map_or("(unknown)", Agent::as_str).encode(encoder)
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        let outcomes = Family::<OutcomeLabels, Counter>::default();
        let outcome = |outcome| outcomes.get_or_create_owned(&OutcomeLabels { outcome });
        let mut counters = Self {
            registry: Registry::with_prefix("cedarwall"),
            answered: outcome("answered"),
            empty: outcome("empty"),
            denied: outcome("denied"),
            denied_search: outcome("denied_search"),
            failed: outcome("failed"),
            denials: Family::default(),
            would_deny: Family::default(),
            would_deny_in_all: Counter::default(),
            audit_mode: Gauge::default(),
            failures: Family::default(),
            restored: Counter::default(),
            repaired: Counter::default(),
            caps: Family::default(),
            lost: Counter::default(),
            // 64 us (a cache hit) to 4 s (every upstream server silent).
            seconds: Histogram::new(exponential_buckets(64e-6, 4.0, 9)),
        };
        // A counter that appears only with its first step has no rate there.
        for failure in Failure::ALL {
            counters.failures.get_or_create_owned(&FailedLabels { failure: failure.code() });
        }
        for cap in Cap::ALL {
            counters.caps.get_or_create_owned(&CapLabels { cap: cap.code() });
        }
        for reason in Reason::ALL {
            counters.denials.get_or_create_owned(&DeniedLabels { agent: AgentLabel(None), reason: reason.code() });
            counters.would_deny.get_or_create_owned(&DeniedLabels { agent: AgentLabel(None), reason: reason.code() });
        }

        let registry = &mut counters.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running release of Cedarwall", version);
        registry.register("queries", "Queries by how they ended", outcomes);
        let help = "Queries denied, by agent and reason";
        registry.register("denied", help, counters.denials.clone());
        let help = "Queries that only audit mode did not deny, by agent and reason";
        registry.register("would_deny", help, counters.would_deny.clone());
        let help = "Whether nothing is denied: 1 in audit mode, otherwise 0";
        registry.register("audit_mode", help, counters.audit_mode.clone());
        let help = "Permitted queries that got no answer, by what failed";
        registry.register("failed", help, counters.failures.clone());
        let help = "How often a cap was met, by cap";
        registry.register("cap_reached", help, counters.caps.clone());
        let help = "From a permitted question's arrival to its answer";
        registry.register_with_unit("query", help, Unit::Seconds, counters.seconds.clone());
        let help = "Times the nftables table was put back whole";
        registry.register("table_restored", help, counters.restored.clone());
        let help = "Times elements of the nftables table were put right that somebody else had changed";
        registry.register("table_repaired", help, counters.repaired.clone());
        let help = "Lines missing from the journal; their events are counted here all the same";
        registry.register("journal_dropped", help, counters.lost.clone());
        counters
    }

    /// Counts `event`.
    pub(super) fn count(&self, event: &Event) {
        match event {
            Event::QueryAnswered { subject, micros, would_deny, times, .. } => {
                self.answered.inc_by(*times);
                (0..*times).for_each(|_| self.observe(*micros));
                self.count_audited(subject, would_deny.as_ref());
            }
            Event::QueryEmpty { subject, micros, would_deny, .. } => {
                self.empty.inc();
                self.observe(*micros);
                self.count_audited(subject, would_deny.as_ref());
            }
            Event::QueryDenied { subject: Subject { search: true, .. }, times, .. } => {
                self.denied_search.inc_by(*times);
            }
            Event::QueryDenied { subject, denial, times, .. } => {
                self.denied.inc_by(*times);
                let labels = DeniedLabels { agent: AgentLabel::from(&subject.agent), reason: denial.reason.code() };
                self.denials.get_or_create_owned(&labels).inc_by(*times);
            }
            Event::QueryFailed { failure, micros, .. } => {
                self.failed.inc();
                self.failures.get_or_create_owned(&FailedLabels { failure: failure.code() }).inc();
                self.observe(*micros);
            }
            Event::TableRestored { .. } => _ = self.restored.inc(),
            Event::TableRepaired { .. } => _ = self.repaired.inc(),
            Event::CapReached(Reached { cap, count, .. }) => {
                self.caps.get_or_create_owned(&CapLabels { cap: cap.code() }).inc_by(*count);
            }
            Event::LeaseOpened(_)
            | Event::LeaseRefreshed(_)
            | Event::LeaseExpired(_)
            | Event::ConnectDenied { .. }
            | Event::PacketDropped { .. }
            | Event::PacketsSummarised { .. }
            | Event::PacketsLost { .. }
            | Event::TrafficCounted { .. }
            | Event::AuditMode { .. }
            | Event::PolicyLoaded { .. }
            | Event::PolicyRefused { .. }
            | Event::ConfigLoaded { .. }
            | Event::ConfigRefused { .. }
            | Event::LeaseRevoked(_)
            | Event::OperatorRevoked { .. }
            | Event::PolicyRevoked { .. }
            | Event::WallUp { .. }
            | Event::TableAdopted { .. }
            | Event::JournalLost { .. }
            | Event::StreamLost { .. }
            | Event::ContainerKnown(_)
            | Event::ContainerGone(_)
            | Event::ContainerUnknown { .. }
            | Event::EngineLost { .. }
            | Event::EngineFound { .. }
            | Event::Stopped { .. } => {}
        }
    }

    fn count_audited(&self, subject: &Subject, would_deny: Option<&Denial>) {
        let Some(denial) = would_deny.filter(|_| !subject.search) else { return };
        self.would_deny_in_all.inc();
        let labels = DeniedLabels { agent: AgentLabel::from(&subject.agent), reason: denial.reason.code() };
        self.would_deny.get_or_create_owned(&labels).inc();
    }

    pub(super) fn set_audit_mode(&self, is_audit: bool) {
        self.audit_mode.set(i64::from(is_audit));
    }

    /// Counts lines that will not be written.
    pub(super) fn lose(&self, lines: u64) {
        self.lost.inc_by(lines);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    pub(super) fn queries(&self) -> QueryTotals {
        QueryTotals {
            answered: self.answered.get(),
            empty: self.empty.get(),
            denied: self.denied.get(),
            failed: self.failed.get(),
            denied_search: self.denied_search.get(),
            would_deny: self.would_deny_in_all.get(),
        }
    }

    pub(super) fn table(&self) -> TableTotals {
        TableTotals { restored: self.restored.get(), repaired: self.repaired.get() }
    }

    pub(super) fn encode(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = encode_registry(text, &self.registry);
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds above 2^53 are 285 years")]
    fn observe(&self, micros: u64) {
        self.seconds.observe(micros as f64 / 1e6);
    }
}
