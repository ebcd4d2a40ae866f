//! How one policy, and one configuration, follows another, and what that ends.
//!
//! Both are read away from the threads that answer; whatever is wrong with
//! either, what was in force stays, all of it. Once the new is in force, the
//! firewall opens nothing any more that the old permitted, and what was opened
//! so far is judged again. ARCHITECTURE.md says why nothing slips through in
//! between.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use super::audit;
use super::background::Background;
use super::containers::Containers;
use super::reading::{self, Found, Present, Unusable, Usable, What};
use super::service::ServiceManager;
use super::standing::{Reloading, Standing};
use super::watching::{Quiet, Watch};
use super::{screening, statics, wall_time};
use crate::clients::Clients;
use crate::control::{ReloadReport, Watching};
use crate::core::config::{Config, PolicyMode, Step};
use crate::core::event::{Event, Report};
use crate::core::identities::Identities;
use crate::core::judge::judge;
use crate::core::ledger::revision::Verdict;
use crate::core::policy::Policy;
use crate::dns::{Forwarder, Settings, Sinkhole};
use crate::gate::{Edition, InForce};
use crate::journal::Journal;
use crate::nft::firewall::{Closed, Firewall};
use crate::{host, nft};

/// Requests to read everything again that may wait for one that is under way.
const QUEUE: usize = 16;
/// The shortest rest between two looks at policies that look at the time, and
/// how soon a look that failed is repeated.
const REST: Duration = Duration::from_secs(1);

/// What of the daemon a reload changes.
pub(super) struct Parts {
    pub(super) in_force: Arc<ArcSwap<InForce>>,
    pub(super) clients: Clients,
    pub(super) forwarder: Forwarder,
    pub(super) answering: Arc<ArcSwap<Settings>>,
    pub(super) sinkhole: Sinkhole,
    pub(super) firewall: Firewall,
    pub(super) background: Background,
    pub(super) journal: Arc<Journal>,
    pub(super) service: ServiceManager,
    pub(super) containers: Containers,
    pub(super) edition: Edition,
}

/// The task that reads configuration and policy again when it is told to or
/// when they change, and looks after what the policy opens by itself.
pub(super) struct Reloader {
    file: PathBuf,
    pub(super) present: Present,
    pub(super) parts: Parts,
    standing: Arc<Standing>,
    requests: mpsc::Receiver<oneshot::Sender<ReloadReport>>,
    watch: Arc<Mutex<Watch>>,
    quiet: Quiet,
    /// When the addresses that the policy names have to be judged again.
    renewal: Option<Instant>,
}

/// Why everything is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The start: files may have changed before they were watched.
    Start,
    /// Somebody said so.
    Told,
    /// Files have changed.
    Change,
}

impl Reloader {
    /// A reloader of the configuration in `file`, where what is `present` is
    /// in force.
    pub(super) fn new(file: PathBuf, present: Present, parts: Parts) -> (Self, Reloading) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let standing = Arc::new(Standing::new(present.running.clone()));
        let reloading = Reloading::new(sender, Arc::clone(&standing));
        let watch = Arc::new(Mutex::new(Watch::new()));
        let reloader = Self { file, present, parts, standing, requests, watch, quiet: Quiet::default(), renewal: None };
        (reloader, reloading)
    }

    /// Watches the files from here on, where the configuration says so, and
    /// takes up what has changed since they were first read.
    pub(super) async fn begin(&mut self) {
        if self.present.running.policy.watch {
            self.reload(Cause::Start).await;
        }
    }

    /// Opens what the policy in force names by address, and closes what it
    /// named before.
    ///
    /// # Errors
    /// When the kernel does not hold it afterwards.
    async fn open_statics(&mut self) -> Result<Closed, nft::Error> {
        let in_force = self.parts.in_force.load_full();
        let judged = spawn_blocking(move || statics::wanted(&in_force.policy, &in_force.identities, wall_time()));
        let (wanted, valid_for) = judged.await.unwrap_or_else(|error| {
            tracing::error!("judging the addresses that the policy names broke off, so all are closed: {error}");
            (Vec::new(), Some(REST))
        });
        self.renewal = valid_for.map(|valid_for| Instant::now() + valid_for.max(REST));
        self.parts.firewall.set_statics(wanted).await
    }

    /// Has the policy in force judge what was open before the daemon began.
    ///
    /// # Errors
    /// When the kernel does not hold what the policy says afterwards.
    pub(super) async fn judge_adopted(&mut self) -> Result<(), nft::Error> {
        let closed = self.enforce(self.parts.in_force.load_full(), None).await?;
        self.tell(closed);
        Ok(())
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        let changed = lock(&self.watch).changed();
        loop {
            // Where nothing has to be renewed or read, the branch is off.
            let renewal = self.renewal.unwrap_or_else(Instant::now);
            let complete = self.quiet.until().unwrap_or_else(Instant::now);
            tokio::select! {
                Some(()) = hangup.recv() => drop(self.reload(Cause::Told).await),
                Some(reply) = self.requests.recv() => {
                    let report = self.reload(Cause::Told).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(report);
                }
                Ok(()) = self.parts.containers.changed() => self.enlist().await,
                () = changed.notified() => self.quiet.disturb(Instant::now()),
                () = sleep_until(complete), if self.quiet.until().is_some() => drop(self.reload(Cause::Change).await),
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

    async fn reload(&mut self, cause: Cause) -> ReloadReport {
        if cause == Cause::Told {
            self.parts.service.reloading();
        }
        self.quiet = Quiet::default();
        let (file, present, watch) = (self.file.clone(), self.present.clone(), Arc::clone(&self.watch));
        // The watches first: what changes while it is read is read again.
        let read = self.parts.background.run(move || {
            let watching = set_up(&watch, &file, &present.wanted);
            (watching, reading::read(&file, &present, cause == Cause::Told))
        });
        let report = match read.await {
            Ok((watching, found)) => {
                self.standing.set_watch(watching);
                self.take(found, cause).await
            }
            Err(error) => {
                let problems = vec![format!("loading it broke off: {error}")];
                let path = self.present.running.policy.path.clone();
                self.refuse(Unusable { what: What::Policy, path, problems })
            }
        };
        self.parts.service.reloaded(&self.standing.in_one_line());
        report
    }

    async fn take(&mut self, found: Found, cause: Cause) -> ReloadReport {
        match found {
            Found::Unchanged => {
                if cause == Cause::Change {
                    self.standing.count_unchanged();
                }
                ReloadReport { loaded: true, ..ReloadReport::default() }
            }
            Found::Unusable(reading, unusable) => {
                self.present.read_last = reading;
                self.refuse(unusable)
            }
            Found::Usable(usable) => {
                self.parts.service.reloading();
                self.enact(*usable).await
            }
        }
    }

    fn refuse(&self, unusable: Unusable) -> ReloadReport {
        let Unusable { what, path, problems } = unusable;
        self.standing.refuse(problems.clone());
        let path = path.display().to_string();
        self.parts.journal.report(match what {
            What::Configuration => Event::ConfigRefused { path: path.clone(), problems: problems.clone() },
            What::Policy => Event::PolicyRefused { path: path.clone(), problems: problems.clone() },
        });
        ReloadReport { loaded: false, policy: path, problems, ..ReloadReport::default() }
    }

    /// Puts what was read into force. The order matters: first nobody is
    /// judged by the old any more, then the firewall takes nothing of it any
    /// more, then what it opened is judged.
    async fn enact(&mut self, usable: Usable) -> ReloadReport {
        let Usable { reading, fingerprint, wanted, step, is_configured_anew, policy, warnings } = usable;
        let Step { config, waiting } = step;
        let former = std::mem::replace(
            &mut self.present,
            Present { wanted, running: config.clone(), policy: Arc::clone(&policy), fingerprint, read_last: reading },
        );
        if is_watched_otherwise(&former.wanted, &self.present.wanted) {
            self.quiet.disturb(Instant::now());
        }
        self.replace_parts(&former.running, &config);
        let in_force = self.replace_law(&config, policy);
        // The rules look at the configuration only where nothing is denied, and
        // otherwise stay as they were loaded.
        let audits = [former.running.policy.mode, config.policy.mode].contains(&PolicyMode::Audit);
        let rules = audits.then(|| nft::ruleset::render(&config, &host::identity(), self.parts.containers.known()));

        let waiting: Vec<_> = waiting.into_iter().map(ToOwned::to_owned).collect();
        let mut report = ReloadReport {
            loaded: true,
            policy: config.policy.path.display().to_string(),
            policies: in_force.policy.len(),
            waiting: waiting.clone(),
            warnings: warnings.clone().unwrap_or_default(),
            ..ReloadReport::default()
        };
        if former.running.policy.mode != config.policy.mode {
            audit::tell(&self.parts.journal, config.policy.mode);
        }
        if is_configured_anew {
            let path = self.file.display().to_string();
            self.parts.journal.report(Event::ConfigLoaded { path, waiting: waiting.clone() });
        }
        if let Some(warnings) = warnings {
            let (path, policies) = (report.policy.clone(), report.policies);
            self.parts.journal.report(Event::PolicyLoaded { path, policies, warnings });
        }
        self.parts.containers.go_by(&config);
        self.standing.load(config, waiting);

        match self.enforce(in_force, rules).await {
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

    /// What each part goes by, other than the law.
    fn replace_parts(&self, former: &Config, config: &Config) {
        let Parts { forwarder, answering, edition, .. } = &self.parts;
        let asks_as_before = former.dns.upstream == config.dns.upstream
            && former.dns.upstream_timeout == config.dns.upstream_timeout
            && former.dns.cache_entries == config.dns.cache_entries;
        // With another rule, what is in the cache was screened wrongly.
        if !asks_as_before || screening(former) != screening(config) {
            forwarder.replace(&config.dns, screening(config));
        }
        answering.store(Arc::new(Settings::from(&config.dns)));
        edition.turn();
    }

    /// Policy, clients and ranges: from here on, queries are judged by them.
    pub(super) fn replace_law(&self, config: &Config, policy: Arc<Policy>) -> Arc<InForce> {
        let Parts { in_force, clients, background, edition, .. } = &self.parts;
        // What the configuration says of an address counts.
        let entries = self.parts.containers.known().entries().chain(&config.clients);
        let identities = Arc::new(Identities::new(entries));
        let now = Arc::new(InForce {
            policy,
            identities: Arc::clone(&identities),
            allow_ranges: config.wall.allow_ranges.as_slice().into(),
            mode: config.policy.mode,
            generation: in_force.load().generation.next(),
        });
        let former = in_force.swap(Arc::clone(&now));
        clients.replace(identities);
        edition.turn();
        tokio::spawn(let_go(former, background.clone()));
        now
    }

    /// Has the firewall take nothing any more that was permitted before, and
    /// closes what is permitted no longer; where other `rules` are wanted, all
    /// that these let through no longer before anything else.
    ///
    /// # Errors
    /// When the kernel does not hold it afterwards.
    pub(super) async fn enforce(
        &mut self,
        in_force: Arc<InForce>,
        rules: Option<String>,
    ) -> Result<Closed, nft::Error> {
        let clients = in_force.identities.iter().map(|(client, _)| client.address()).collect();
        self.parts.firewall.set_terms(self.present.running.lease, clients).await?;
        let holdings = self.parts.firewall.supersede(in_force.generation).await?;
        // If it fails, what leases have opened is closed all the same.
        let ruled = match rules {
            Some(rules) => self.parts.firewall.set_rules(rules, in_force.mode).await,
            None => Ok(()),
        };
        let named = self.open_statics().await;
        let (to_judge, law, sinkhole) = (holdings.clone(), Arc::clone(&in_force), self.parts.sinkhole.clone());
        let judged = self.parts.background.run(move || judge(in_force.law(), to_judge, wall_time()));
        let verdicts = judged.await.unwrap_or_else(|error| {
            tracing::error!("judging what is open broke off, so all of it is closed: {error}");
            holdings.into_iter().map(Verdict::nothing_for).collect()
        });
        let leased = self.parts.firewall.revoke(verdicts).await?;
        // It opens and closes nothing: what leads there is refused whatever it
        // is known as.
        if let Err(error) = self.parts.background.run(move || sinkhole.judge(law.law(), wall_time())).await {
            tracing::error!("judging the names in the sinkhole broke off: {error}");
        }
        ruled?;
        let named = named?;
        Ok(Closed {
            leases: leased.leases,
            elements: named.elements + leased.elements,
            flows: named.flows + leased.flows,
        })
    }

    pub(super) fn tell(&self, closed: Closed) {
        let Closed { leases, elements, flows } = closed;
        if leases + elements + flows > 0 {
            self.parts.journal.report(Event::PolicyRevoked { leases, elements, flows });
        }
    }
}

/// Has the files of the configuration that is `wanted` watched, if it says so.
fn set_up(watch: &Mutex<Watch>, file: &Path, wanted: &Config) -> Watching {
    let mut watch = lock(watch);
    if !wanted.policy.watch {
        watch.take_down();
        return Watching::Off;
    }
    match watch.set_up(file, &wanted.policy.path) {
        Ok(()) => Watching::On,
        Err(reason) => Watching::Failed(reason),
    }
}

fn is_watched_otherwise(former: &Config, wanted: &Config) -> bool {
    former.policy.path != wanted.policy.path || former.policy.watch != wanted.policy.watch
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
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
