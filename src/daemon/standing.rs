//! How reloads stand: what the rest of the daemon, and so the operator, knows
//! of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::control::{RefusedPolicy, ReloadReport, ReloadTotals, Watching};
use crate::core::config::{Config, PolicyMode};

/// How reloads stand.
pub(super) struct Standing {
    running: ArcSwap<Config>,
    told: Mutex<Told>,
}

/// What the operator is told of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// When something was last put into force (RFC 3339).
    pub(super) loaded_at: String,
    pub(super) watch: Watching,
    pub(super) waiting: Vec<String>,
    pub(super) totals: ReloadTotals,
    /// The last attempt, if it failed.
    pub(super) refused: Option<RefusedPolicy>,
}

impl Standing {
    /// Right after the start, with the configuration that runs.
    pub(super) fn new(running: Config) -> Self {
        let told = Told { loaded_at: Timestamp::now().to_string(), ..Told::default() };
        Self { running: ArcSwap::from_pointee(running), told: Mutex::new(told) }
    }

    /// Something was put into force.
    pub(super) fn load(&self, running: Config, waiting: Vec<String>) {
        self.running.store(Arc::new(running));
        let mut told = self.told();
        told.loaded_at = Timestamp::now().to_string();
        told.waiting = waiting;
        told.refused = None;
        told.totals.loaded += 1;
    }

    /// Something cannot be used.
    pub(super) fn refuse(&self, problems: Vec<String>) {
        let mut told = self.told();
        told.refused = Some(RefusedPolicy { at: Timestamp::now().to_string(), problems });
        told.totals.refused += 1;
    }

    /// Files were touched and say what they said.
    pub(super) fn count_unchanged(&self) {
        self.told().totals.unchanged += 1;
    }

    /// How the files are watched; a failure is logged once.
    pub(super) fn set_watch(&self, watch: Watching) {
        let mut told = self.told();
        if let Watching::Failed(reason) = &watch
            && told.watch != watch
        {
            tracing::warn!("changes of the configuration and the policy may go unnoticed until a reload: {reason}");
        }
        told.watch = watch;
    }

    /// For people who look at the service.
    pub(super) fn in_one_line(&self) -> String {
        let running = self.running.load();
        let audit = if running.policy.mode == PolicyMode::Audit { "AUDIT MODE, nothing is denied; " } else { "" };
        let listen: Vec<_> = running.dns.listen.iter().map(ToString::to_string).collect();
        let told = self.told();
        let refused = if told.refused.is_some() { "; a newer policy is refused" } else { "" };
        format!("{audit}answering on {}; policy loaded {}{refused}", listen.join(", "), told.loaded_at)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the reloader.
#[derive(Clone)]
pub(super) struct Reloading {
    requests: mpsc::Sender<oneshot::Sender<ReloadReport>>,
    standing: Arc<Standing>,
}

impl Reloading {
    pub(super) const fn new(requests: mpsc::Sender<oneshot::Sender<ReloadReport>>, standing: Arc<Standing>) -> Self {
        Self { requests, standing }
    }

    /// Has everything read again; `None` when the daemon is about to stop.
    pub(super) async fn reload(&self) -> Option<ReloadReport> {
        let (reply, report) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        report.await.ok()
    }

    /// The configuration that runs.
    pub(super) fn running(&self) -> Arc<Config> {
        self.standing.running.load_full()
    }

    /// What the operator is told.
    pub(super) fn told(&self) -> Told {
        self.standing.told().clone()
    }

    /// For people who look at the service.
    pub(super) fn in_one_line(&self) -> String {
        self.standing.in_one_line()
    }
}
