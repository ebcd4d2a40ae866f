//! How one policy follows another, and what that ends.
//!
//! A policy is read and loaded away from the threads that answer; whatever is
//! wrong with it, the one in force stays. Once the new one is in force, the
//! firewall opens nothing any more that an older one permitted, and what was
//! opened so far is judged again. ARCHITECTURE.md says why nothing slips
//! through in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use super::background::Background;
use super::{statics, wall_time};
use crate::clients::Clients;
use crate::control::{RefusedPolicy, ReloadReport};
use crate::core::config::CatchAllForbid;
use crate::core::event::{Event, Report};
use crate::core::judge::judge;
use crate::core::ledger::revision::{Holding, Verdict};
use crate::core::policy::Loaded;
use crate::core::problem::Problem;
use crate::gate::InForce;
use crate::journal::Journal;
use crate::nft;
use crate::nft::firewall::{Closed, Firewall};
use crate::policy_files;

/// Requests to load the policy again that may wait for one that is under way.
const QUEUE: usize = 16;
/// The shortest rest between two looks at policies that look at the time, and
/// how soon a look that failed is repeated.
const REST: Duration = Duration::from_secs(1);

/// The task that loads the policy again when it is told to, and looks after
/// what the policy opens by itself.
pub(super) struct Reloader {
    path: PathBuf,
    reading: CatchAllForbid,
    in_force: Arc<ArcSwap<InForce>>,
    clients: Clients,
    firewall: Firewall,
    background: Background,
    journal: Arc<Journal>,
    requests: mpsc::Receiver<oneshot::Sender<ReloadReport>>,
    refused: Arc<ArcSwapOption<RefusedPolicy>>,
    /// When the addresses that the policy names have to be judged again.
    renewal: Option<Instant>,
}

/// What the rest of the daemon knows of the reloader.
#[derive(Clone)]
pub(super) struct Reloading {
    requests: mpsc::Sender<oneshot::Sender<ReloadReport>>,
    refused: Arc<ArcSwapOption<RefusedPolicy>>,
}

impl Reloading {
    /// Has the policy loaded again; `None` when the daemon is about to stop.
    pub(super) async fn reload(&self) -> Option<ReloadReport> {
        let (reply, report) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        report.await.ok()
    }

    /// The last attempt, if it failed.
    pub(super) fn refused(&self) -> Option<RefusedPolicy> {
        self.refused.load().as_deref().cloned()
    }
}

impl Reloader {
    /// A reloader of the policy at `path`, which is `in_force`.
    pub(super) fn new(
        path: PathBuf,
        reading: CatchAllForbid,
        in_force: Arc<ArcSwap<InForce>>,
        clients: Clients,
        firewall: Firewall,
        background: Background,
        journal: Arc<Journal>,
    ) -> (Self, Reloading) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let refused: Arc<ArcSwapOption<RefusedPolicy>> = Arc::default();
        let reloading = Reloading { requests: sender, refused: Arc::clone(&refused) };
        (
            Self { path, reading, in_force, clients, firewall, background, journal, requests, refused, renewal: None },
            reloading,
        )
    }

    /// Opens what the policy in force names by address, and closes what it
    /// named before.
    ///
    /// # Errors
    /// When the kernel does not hold it afterwards.
    async fn open_statics(&mut self) -> Result<Closed, nft::Error> {
        let (in_force, clients) = (self.in_force.load_full(), self.clients.clone());
        let judged = spawn_blocking(move || statics::wanted(&in_force.policy, &clients, wall_time()));
        let (wanted, valid_for) = judged.await.unwrap_or_else(|error| {
            tracing::error!("judging the addresses that the policy names broke off, so all are closed: {error}");
            (Vec::new(), Some(REST))
        });
        self.renewal = valid_for.map(|valid_for| Instant::now() + valid_for.max(REST));
        self.firewall.set_statics(wanted).await
    }

    /// Has the policy in force judge what was open before the daemon began.
    ///
    /// # Errors
    /// When the kernel does not hold what the policy says afterwards.
    pub(super) async fn judge_adopted(&mut self) -> Result<(), nft::Error> {
        let closed = self.enforce(self.in_force.load_full()).await?;
        self.tell(closed);
        Ok(())
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        loop {
            // Where nothing has to be renewed, the branch is off.
            let renewal = self.renewal.unwrap_or_else(Instant::now);
            tokio::select! {
                Some(()) = hangup.recv() => drop(self.reload().await),
                Some(reply) = self.requests.recv() => {
                    let report = self.reload().await;
                    // Whoever asked may have gone.
                    let _ = reply.send(report);
                }
                () = sleep_until(renewal), if self.renewal.is_some() => self.renew().await,
                else => return,
            }
        }
    }

    async fn renew(&mut self) {
        match self.open_statics().await {
            Ok(closed) => self.tell(closed),
            Err(error) => {
                tracing::error!("{error}");
                self.renewal = Some(Instant::now() + REST);
            }
        }
    }

    async fn reload(&mut self) -> ReloadReport {
        let (path, reading) = (self.path.clone(), self.reading);
        match self.background.run(move || policy_files::load(&path, reading)).await {
            Ok(Ok(loaded)) => self.enact(loaded).await,
            Ok(Err(policy_files::Error::Wrong(problems))) => {
                self.refuse(problems.iter().map(Problem::on_one_line).collect())
            }
            Ok(Err(error)) => self.refuse(vec![error.to_string()]),
            Err(error) => self.refuse(vec![format!("loading it broke off: {error}")]),
        }
    }

    fn refuse(&self, problems: Vec<String>) -> ReloadReport {
        let at = Timestamp::now().to_string();
        self.refused.store(Some(Arc::new(RefusedPolicy { at, problems: problems.clone() })));
        let path = self.path.display().to_string();
        self.journal.report(Event::PolicyRefused { path: path.clone(), problems: problems.clone() });
        ReloadReport { loaded: false, policy: path, problems, ..ReloadReport::default() }
    }

    /// Puts the policy into force. The order matters: first nobody is judged
    /// by the old one any more, then the firewall takes nothing of it any
    /// more, then what it opened is judged.
    async fn enact(&mut self, loaded: Loaded) -> ReloadReport {
        let path = self.path.display().to_string();
        let policies = loaded.policy.len();
        let warnings: Vec<_> = loaded.warnings.iter().map(Problem::on_one_line).collect();
        let generation = self.in_force.load().generation.next();
        let in_force = Arc::new(InForce { policy: loaded.policy, generation });
        let former = self.in_force.swap(Arc::clone(&in_force));
        tokio::spawn(let_go(former, self.background.clone()));
        self.refused.store(None);
        self.journal.report(Event::PolicyLoaded { path: path.clone(), policies, warnings: warnings.clone() });

        let mut report = ReloadReport { loaded: true, policy: path, policies, warnings, ..ReloadReport::default() };
        match self.enforce(in_force).await {
            Ok(closed) => {
                report.closed_elements = closed.elements;
                report.ended_flows = closed.flows;
                self.tell(closed);
            }
            Err(error) => {
                tracing::error!("{error}");
                report.problems.push(error.to_string());
            }
        }
        report
    }

    async fn enforce(&mut self, in_force: Arc<InForce>) -> Result<Closed, nft::Error> {
        let holdings = self.firewall.supersede(in_force.generation).await?;
        let named = self.open_statics().await;
        let clients = self.clients.clone();
        let to_judge = holdings.clone();
        let judged = self.background.run(move || {
            let who = |client| clients.identify(client).map(|identity| (identity.agent, identity.addresses));
            judge(&in_force.policy, to_judge, &who, wall_time())
        });
        let verdicts = judged.await.unwrap_or_else(|error| {
            tracing::error!("judging what is open broke off, so all of it is closed: {error}");
            holdings.into_iter().map(nothing_for).collect()
        });
        let leased = self.firewall.revoke(verdicts).await?;
        let named = named?;
        Ok(Closed { elements: named.elements + leased.elements, flows: named.flows + leased.flows })
    }

    fn tell(&self, closed: Closed) {
        let Closed { elements, flows } = closed;
        if elements + flows > 0 {
            self.journal.report(Event::Revoked { elements, flows });
        }
    }
}

/// Drops a policy that is no longer in force where nobody waits for it: with
/// a hundred thousand policies that takes a while, and the last query that it
/// decides would otherwise have to do it.
async fn let_go(former: Arc<InForce>, background: Background) {
    while Arc::strong_count(&former) > 1 {
        sleep(REST).await;
    }
    if let Err(error) = background.run(move || drop(former)).await {
        tracing::debug!("a former policy: {error}");
    }
}

fn nothing_for(holding: Holding) -> Verdict {
    Verdict { holding, permitted: Vec::new() }
}
