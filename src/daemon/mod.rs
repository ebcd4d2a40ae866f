//! Wiring: what is started in which order, and how it ends.
//!
//! The wall stands before anybody is answered, and stays when the daemon goes,
//! for the next one to take over: rules first, then the firewall, the listeners last. On a signal the
//! listeners finish what they have, and the table is left as it is, so that
//! nothing opens by accident; `cedarwall down` is the way to take it away.

mod adoption;
mod audit;
mod background;
mod containers;
mod exposure;
mod house;
mod naming;
mod packets;
mod principals;
mod reading;
mod reload;
mod service;
mod standing;
mod statics;
mod traffic;
mod watching;
mod witness;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::adoption::Adoption;
use self::background::Background;
use self::containers::Containers;
use self::exposure::Exposures;
use self::house::{DaemonHouse, Insight};
use self::naming::Naming;
use self::packets::Packets;
use self::principals::Principals;
use self::reading::{Fingerprint, Present};
use self::reload::{Parts, Reloader};
use self::service::ServiceManager;
use self::standing::Reloading;
use self::traffic::TrafficTeller;
use self::witness::Witness;
use crate::attribution::{self, Tracer};
use crate::clients::Clients;
use crate::clients::docker::Engine;
use crate::control::{self, ControlSocket};
use crate::core::config::{Config, Mode, PolicyMode, PolicySettings};
use crate::core::event::{Event, Report};
use crate::core::identities::Identities;
use crate::core::lease::Generation;
use crate::core::policy::{Loaded, Policy};
use crate::core::problem::Problem;
use crate::core::process::Ends;
use crate::core::screen::Rules;
use crate::core::time::{Ttl, WallTime};
use crate::dns::{self, Capture, Forwarder, Glance, Handler, Hooks, Listeners, Settings, Sinkhole};
use crate::gate::{Edition, Gate, InForce};
use crate::journal::{self, Journal};
use crate::nft::conntrack::Originals;
use crate::nft::firewall::{Firewall, Setup};
use crate::nft::{self, adopt, protect};
use crate::{host, policy_files};

/// How long queries in flight may take to finish once the daemon is told to
/// stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the daemon cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// The host lacks something.
    #[error(transparent)]
    Host(#[from] host::Lack),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] policy_files::Error),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] nft::Error),
    /// The listeners.
    #[error(transparent)]
    Listen(#[from] dns::BindError),
    /// The listeners of what is captured.
    #[error(
        "{0}; captured questions arrive there: name another port with `dns_capture_port` in the section [wall], or set \
         dns_capture = false"
    )]
    Capture(dns::BindError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// A part ended that never should; the wall stays closed.
    #[error("{0} ended unexpectedly; the wall stays closed")]
    Ended(&'static str),
    /// The runtime, or its signals.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// Runs the daemon on the configuration in `file` until it is told to stop.
///
/// # Errors
/// When it cannot start. It never starts open: whatever fails after the rules
/// are loaded leaves them loaded.
pub fn serve(config: Config, file: &Path) -> Result<(), Error> {
    let config = host::complete(config);
    host::keep_to_small_pages();
    host::take_up_capabilities()?;
    host::require(&config)?;
    let tracer = tracer(&config)?;
    for advice in host::advise(&config) {
        tracing::warn!("{advice}");
    }
    let background = Background::start()?;
    let settings = config.policy.clone();
    let (loaded, fingerprint) = background.first(move || first_policy(&settings)).map_err(io::Error::other)??;
    let journal = Arc::new(Journal::open(config.journal.path.as_deref().map(|path| (path, config.journal.rotation)))?);
    let runtime = Runtime::new()?;
    let result = runtime.block_on(stand(&config, file, loaded, fingerprint, background, &journal, tracer));
    journal.close();
    result
}

/// Puts the wall up, answers until a signal comes, and lets go.
async fn stand(
    config: &Config,
    file: &Path,
    loaded: Loaded,
    fingerprint: Fingerprint,
    background: Background,
    journal: &Arc<Journal>,
    tracer: Tracer,
) -> Result<(), Error> {
    let service = ServiceManager::from_environment()?;
    // From here on it means: read everything again.
    let hangup = signal(SignalKind::hangup())?;
    // Two daemons would undo each other's work: the socket is taken first.
    let control = ControlSocket::bind(&config.control.socket)?;
    journal.report(policy_event(config, &loaded));

    let protect = config.wall.protect && protect::is_possible();
    let edition = Edition::default();
    let (rules, agents) =
        watch::channel(config.docker.as_ref().map(|docker| docker.agents.clone()).unwrap_or_default());
    let (engine, roster) = match config.docker.clone() {
        Some(settings) => {
            let (engine, roster) = Engine::start(settings, agents).await;
            (Some(engine), roster)
        }
        None => (None, watch::channel(Arc::default()).1),
    };
    let containers = Containers::new(roster, rules);
    let first_containers = containers.known().clone();
    let wall = adopt::stand(config, &host::identity(), containers.known(), protect)?;
    let adoption = Adoption::of(config, &wall.adopted);
    let setup = Setup {
        table: config.wall.table.clone(),
        ruleset: wall.ruleset,
        loaded: wall.loaded,
        settings: config.lease,
        mode: config.wall.mode.clone(),
        protect,
        members: nft::members::of(config, containers.known()),
        edition: edition.clone(),
    };
    let identities = Arc::new(Identities::new(containers.known().entries().chain(&config.clients)));
    let clients = Clients::new(Arc::clone(&identities));
    let principals = Principals::new(clients.clone(), config.wall.mode.is_sidecar());
    let firewall = Firewall::start(setup, wall.adopted, Naming::new(principals.clone(), Arc::clone(journal)))?;

    let _alive = OnDrop(tokio::spawn(service.clone().keep_alive(firewall.clone())));

    let policy = Arc::new(loaded.policy);
    let in_force = Arc::new(ArcSwap::from_pointee(InForce {
        policy: Arc::clone(&policy),
        identities,
        allow_ranges: config.wall.allow_ranges.as_slice().into(),
        mode: config.policy.mode,
        generation: Generation::FIRST,
    }));
    let forwarder = Forwarder::new(&config.dns, screening(config));
    let gate = Gate::new(Arc::clone(&in_force), forwarder.clone(), firewall.clone(), config.names);
    let witness = Witness::new(Arc::clone(journal));
    let denials = Arc::clone(journal);
    let tracer = Arc::new(tracer);
    let processes = tracer.standing().to_owned();
    let hooks = Hooks {
        now: wall_time,
        denials: Arc::new(move |client| denials.denied_to(client)),
        trace: tracing_queries(Arc::clone(&tracer)),
        capture: capture(config),
        glance: glance(firewall.clone()),
        edition: edition.clone(),
    };
    let handler = Handler::new(gate, clients.clone(), Settings::from(&config.dns), hooks, witness.clone());
    let hooks = packet_hooks(tracer, handler.sinkhole(), config.wall.mode.is_sidecar());
    let packets = Packets::start(config, witness.clone(), principals.clone(), hooks)?;
    let traffic = TrafficTeller::start(config.wall.table.clone(), witness.clone(), principals.clone())?;
    let exposures = Exposures::new(witness.clone(), principals);
    let handler = Arc::new(handler);
    let repeats = Arc::clone(&handler);
    let repeats = Box::new(move || repeats.tell_repeats());
    let insight = Insight { exposures, traffic: traffic.desk(), repeats, processes };

    let parts = Parts {
        in_force: Arc::clone(&in_force),
        clients: clients.clone(),
        forwarder: forwarder.clone(),
        answering: handler.settings(),
        sinkhole: handler.sinkhole(),
        firewall: firewall.clone(),
        background,
        journal: Arc::clone(journal),
        service: service.clone(),
        containers,
        edition,
    };
    let present = Present::first(config, policy, fingerprint);
    let (mut reloader, reloading) = Reloader::new(file.to_owned(), present, parts);
    reloader.judge_adopted().await?;
    adoption.finish(&firewall, journal).await?;
    witness.remember(&firewall.leases().await);
    if config.policy.mode == PolicyMode::Enforce {
        // Of a daemon before this one; no rule lets them through.
        tokio::task::spawn_blocking(nft::conntrack::end_audited);
    }
    reloader.begin().await;

    let _audit = OnDrop(tokio::spawn(audit::keep_telling(Arc::clone(&in_force), Arc::clone(journal))));
    let listeners = Listeners::bind(&config.dns.listen, (&config.dns).into())?;
    let listeners = listeners.and(&config.captures()).map_err(Error::Capture)?;
    let (stop, stopping) = watch::channel(false);
    let house =
        DaemonHouse::new(in_force, clients, firewall, reloading.clone(), service.clone(), Arc::clone(journal), insight);
    let operator = control.serve(Arc::new(house), Arc::clone(journal), stopped(stopping.clone()));
    let mut operator = tokio::spawn(operator);
    let mut resolver = tokio::spawn(listeners.serve(handler, stopping));
    let mut reloader = tokio::spawn(reloader.run(hangup));
    journal.report(up_event(config));
    containers::tell_first(journal, &first_containers);
    let _engine = engine.map(|engine| OnDrop(tokio::spawn(engine.follow(Arc::clone(journal)))));
    let _readiness = OnDrop(tokio::spawn(become_ready(forwarder, service.clone(), reloading)));

    let cause = tokio::select! {
        cause = signalled() => cause?,
        _ = &mut resolver => return Err(Error::Ended("the DNS listeners")),
        _ = &mut operator => return Err(Error::Ended("the control socket")),
        _ = &mut reloader => return Err(Error::Ended("the reloading")),
    };
    service.stopping();
    stop.send_replace(true);
    let drained = timeout(DRAIN, async { (resolver.await, operator.await) }).await;
    if drained.is_err() {
        tracing::warn!("some queries were still in flight after {} s", DRAIN.as_secs());
    }
    // Each tells what it has left.
    drop((packets, traffic));
    journal.report(Event::Stopped { cause });
    Ok(())
}

/// Who asks, for the handler.
fn tracing_queries(tracer: Arc<Tracer>) -> Arc<dyn Fn(Ends) -> dns::Tracing + Send + Sync> {
    Arc::new(move |ends| Box::pin(tracer.trace(ends)))
}

/// Each listener's look at the kernel.
fn glance(firewall: Firewall) -> Arc<dyn Fn() -> Glance + Send + Sync> {
    Arc::new(move || match firewall.lookout() {
        Ok(mut lookout) => Glance::new(move || lookout.holds()),
        Err(error) => {
            tracing::warn!("each question takes the long way, as nftables cannot be looked at otherwise: {error}");
            Glance::blind()
        }
    })
}

/// Where what is captured was sent, as the kernel knows.
fn capture(config: &Config) -> Capture {
    let originals = Originals::default();
    let sent = move |ends: Ends| {
        originals.of(ends).unwrap_or_else(|error| {
            tracing::debug!("the kernel does not say where {} had sent a captured question: {error}", ends.client);
            None
        })
    };
    Capture::new(config.captures(), Arc::new(sent))
}

/// Who sends, and which denied name leads there, for what tells of packets.
fn packet_hooks(tracer: Arc<Tracer>, sinkhole: Sinkhole, is_sidecar: bool) -> packets::Hooks {
    packets::Hooks {
        trace: Arc::new(move |flow| tracer.trace_connect(flow)),
        sinkhole: Arc::new(move |client, address| sinkhole.named(client, address, is_sidecar)),
    }
}

/// Says that the wall is ready, once an upstream server has answered or is
/// known not to.
async fn become_ready(forwarder: Forwarder, service: ServiceManager, reloading: Reloading) {
    for (server, failure) in forwarder.probe().await {
        tracing::warn!("the upstream server {server} does not answer: {failure}");
    }
    service.ready(&reloading.in_one_line());
}

/// Who finds out which process was denied. Whatever comes of it, all threads
/// started later have no capability for that.
fn tracer(config: &Config) -> io::Result<Tracer> {
    if !config.evidence.processes {
        attribution::give_up()?;
        return Ok(Tracer::off());
    }
    let tracer = Tracer::start(config.wall.mode.is_sidecar(), config.evidence.hold)?;
    if tracer.standing() != "on" {
        tracing::warn!(
            "denials will not name the process that asked: {}; see SECURITY.md for what it takes, or set processes = \
             false in the section [evidence]",
            tracer.standing()
        );
    }
    Ok(tracer)
}

/// A task that ends with whoever holds this.
struct OnDrop(JoinHandle<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The policy that the daemon starts with, and what stands for its text.
fn first_policy(settings: &PolicySettings) -> Result<(Loaded, Fingerprint), policy_files::Error> {
    let sources = policy_files::read(&settings.path)?;
    let fingerprint = Fingerprint::of(&sources, settings.catch_all_forbid);
    let loaded = Policy::load(&sources, settings.catch_all_forbid).map_err(policy_files::Error::Wrong)?;
    Ok((loaded, fingerprint))
}

/// The rules for what comes back from upstream.
fn screening(config: &Config) -> Rules {
    Rules { allow_ranges: config.wall.allow_ranges.clone(), max_ttl: Ttl::within(config.lease.max) }
}

fn policy_event(config: &Config, loaded: &Loaded) -> Event {
    Event::PolicyLoaded {
        path: config.policy.path.display().to_string(),
        policies: loaded.policy.len(),
        warnings: loaded.warnings.iter().map(Problem::on_one_line).collect(),
    }
}

fn up_event(config: &Config) -> Event {
    Event::WallUp {
        table: config.wall.table.as_str().to_owned(),
        mode: mode_name(&config.wall.mode),
        listen: config.dns.listen.iter().map(ToString::to_string).collect(),
    }
}

const fn mode_name(mode: &Mode) -> &'static str {
    match mode {
        Mode::Gateway { .. } => "gateway",
        Mode::Sidecar { .. } => "sidecar",
    }
}

/// Comes back when the daemon is told to stop.
async fn signalled() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone can never say stop: that is a stop, too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
