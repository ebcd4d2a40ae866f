//! What the daemon tells its operator.

use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::exposure::Exposures;
use super::mode_name;
use super::service::ServiceManager;
use super::standing::{Reloading, Told};
use super::traffic::TrafficDesk;
use crate::clients::Clients;
use crate::control::{
    ExposureRow, House, HouseStatus, KernelCounter, KernelCounts, LeaseRow, RefusedRow, ReloadReport, RevokeReport,
    RevokeRequest, TrafficRow,
};
use crate::core::config::{Mode, PacketVerdict};
use crate::core::event::{Event, Report};
use crate::core::query::{Client, PortRange};
use crate::gate::InForce;
use crate::journal::Journal;
use crate::nft::firewall::{Closed, Firewall, LeaseView, Selection, StaticView, Withdrawn};
use crate::nft::{self, inspect};

/// The running daemon, as the control interface sees it. It exists once the
/// wall stands and questions are answered.
pub(super) struct DaemonHouse {
    in_force: Arc<ArcSwap<InForce>>,
    clients: Clients,
    firewall: Firewall,
    reloading: Reloading,
    service: ServiceManager,
    journal: Arc<Journal>,
    insight: Insight,
    started: Instant,
}

/// What the daemon has learned beside its work.
pub(super) struct Insight {
    /// Which names share an address.
    pub(super) exposures: Exposures,
    /// What went through.
    pub(super) traffic: TrafficDesk,
    /// Tells of what is told in sums.
    pub(super) repeats: Box<dyn Fn() + Send + Sync>,
    /// Whether processes are named, and if not, why.
    pub(super) processes: String,
}

impl DaemonHouse {
    pub(super) fn new(
        in_force: Arc<ArcSwap<InForce>>,
        clients: Clients,
        firewall: Firewall,
        reloading: Reloading,
        service: ServiceManager,
        journal: Arc<Journal>,
        insight: Insight,
    ) -> Self {
        Self { in_force, clients, firewall, reloading, service, journal, insight, started: Instant::now() }
    }

    fn agent(&self, client: Client) -> Option<String> {
        self.clients.identify(client).map(|identity| identity.agent.to_string())
    }

    fn lease_row(&self, lease: &LeaseView) -> LeaseRow {
        LeaseRow {
            client: lease.key.client.address(),
            agent: self.agent(lease.key.client),
            address: lease.key.address.to_string(),
            protocol: lease.key.protocol,
            ports: spell(lease.key.ports.range()),
            seconds_left: Some(lease.left.as_secs()),
            names: lease.names.clone(),
        }
    }

    fn static_row(&self, view: &StaticView) -> LeaseRow {
        LeaseRow {
            client: view.grant.client.address(),
            agent: self.agent(view.grant.client),
            address: view.grant.addresses(),
            protocol: view.grant.protocol,
            ports: spell(view.grant.ports),
            seconds_left: view.left.map(|left| left.as_secs()),
            names: Vec::new(),
        }
    }
}

/// The path as somebody elsewhere has to write it.
fn whole(path: &Path) -> String {
    absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn named(view: &StaticView) -> String {
    format!("{} {}/{}", view.grant.addresses(), spell(view.grant.ports), view.grant.protocol)
}

pub(super) fn spell(ports: PortRange) -> String {
    if ports == PortRange::ALL { "every".to_owned() } else { ports.to_string() }
}

impl House for DaemonHouse {
    fn is_ready(&self) -> bool {
        self.service.is_ready() && self.firewall.is_standing()
    }

    fn tell_repeats(&self) {
        (self.insight.repeats)();
    }

    async fn status(&self) -> HouseStatus {
        let config = self.reloading.running();
        let Told { loaded_at, watch, waiting, totals, refused } = self.reloading.told();
        let (Mode::Gateway { interfaces } | Mode::Sidecar { interfaces }) = &config.wall.mode;
        HouseStatus {
            uptime_seconds: self.started.elapsed().as_secs(),
            mode: mode_name(&config.wall.mode).to_owned(),
            table: format!("inet {}", config.wall.table.as_str()),
            verdict: match config.wall.verdict {
                PacketVerdict::Drop => "drop".to_owned(),
                PacketVerdict::Reject => "reject".to_owned(),
            },
            interfaces: interfaces.iter().map(|interface| interface.as_str().to_owned()).collect(),
            listen: config.dns.listen.iter().map(ToString::to_string).collect(),
            upstream: config.dns.upstream.iter().map(ToString::to_string).collect(),
            journal: config.journal.path.as_deref().map(whole),
            policy: config.policy.path.display().to_string(),
            policies: self.in_force.load().policy.len(),
            policy_mode: config.policy.mode.as_str().to_owned(),
            loaded_at,
            watch,
            waiting,
            reloads: totals,
            processes: self.insight.processes.clone(),
            clients: self.clients.known().len(),
            leases: self.firewall.leases().await.len(),
            statics: self.firewall.statics().await.len(),
            refused,
        }
    }

    async fn leases(&self) -> Vec<LeaseRow> {
        let mut rows: Vec<_> = self.firewall.leases().await.iter().map(|lease| self.lease_row(lease)).collect();
        rows.extend(self.firewall.statics().await.iter().map(|view| self.static_row(view)));
        rows.sort_by(|left, right| {
            (&left.names, left.client, &left.address).cmp(&(&right.names, right.client, &right.address))
        });
        rows
    }

    async fn exposure(&self) -> Vec<ExposureRow> {
        self.insight.exposures.of(&self.firewall.leases().await, self.in_force.load().law())
    }

    async fn traffic(&self) -> Vec<TrafficRow> {
        self.insight.traffic.tell().await
    }

    async fn reload(&self) -> Result<ReloadReport, String> {
        self.reloading.reload().await.ok_or_else(|| "the daemon is about to stop".to_owned())
    }

    async fn revoke(&self, request: RevokeRequest) -> Result<RevokeReport, String> {
        let RevokeRequest { agent, name } = request;
        let clients = self.clients.known().addresses_of(&agent);
        let agent_is_known = !clients.is_empty();
        let selection = Selection { clients: clients.clone(), name: name.clone() };
        let Withdrawn { names, shared, closed } =
            self.firewall.withdraw(selection).await.map_err(|error| error.to_string())?;
        // In sidecar mode they open from every address of this namespace.
        let everybody = self.reloading.running().wall.mode.is_sidecar();
        let is_theirs = |view: &&StaticView| everybody || clients.contains(&view.grant.client);
        let report = RevokeReport {
            agent_is_known,
            names: names.iter().map(ToString::to_string).collect(),
            closed_elements: closed.elements,
            shared_elements: shared,
            ended_flows: closed.flows,
            named_by_policy: self.firewall.statics().await.iter().filter(is_theirs).map(named).collect(),
        };
        if report.found() {
            let Closed { leases, elements, flows } = closed;
            self.journal.report(Event::OperatorRevoked { agent, name, leases, elements, flows });
        }
        Ok(report)
    }

    async fn counters(&self) -> Result<Vec<KernelCounter>, String> {
        let table = self.reloading.running().wall.table.clone();
        Ok(told(read(move || inspect::counters(&table)).await?))
    }

    async fn kernel(&self) -> Result<KernelCounts, String> {
        let table = self.reloading.running().wall.table.clone();
        let both = read(move || Ok((inspect::counters(&table)?, inspect::refused(&table)?)));
        let (counters, refused) = both.await?;
        let row = |flow: inspect::RefusedFlow| RefusedRow {
            client: flow.client,
            agent: self.agent(Client::new(flow.client)),
            address: flow.address,
            protocol: flow.protocol,
            port: flow.port,
            packets: flow.packets,
        };
        Ok(KernelCounts { counters: told(counters), refused: refused.into_iter().map(row).collect() })
    }
}

/// Large sets take their time; answers must not wait for it.
async fn read<T: Send + 'static>(work: impl FnOnce() -> Result<T, nft::Error> + Send + 'static) -> Result<T, String> {
    let read = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

fn told(counters: Vec<inspect::KernelCounter>) -> Vec<KernelCounter> {
    let told = counters.into_iter();
    told.map(|counter| KernelCounter { name: counter.name, packets: counter.packets, bytes: counter.bytes }).collect()
}
