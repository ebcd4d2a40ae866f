//! What the daemon tells its operator.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::mode_name;
use super::reload::Reloading;
use crate::clients::Clients;
use crate::control::{House, HouseStatus, KernelCounter, KernelCounts, LeaseRow, RefusedRow, ReloadReport};
use crate::core::config::{Config, Mode, PacketVerdict};
use crate::core::query::{Client, PortRange};
use crate::gate::InForce;
use crate::nft::firewall::{Firewall, LeaseView, StaticView};
use crate::nft::inspect;

/// The running daemon, as the control interface sees it. It exists once the
/// wall stands and questions are answered.
pub(super) struct DaemonHouse {
    config: Config,
    in_force: Arc<ArcSwap<InForce>>,
    clients: Clients,
    firewall: Firewall,
    reloading: Reloading,
    started: Instant,
}

impl DaemonHouse {
    pub(super) fn new(
        config: Config,
        in_force: Arc<ArcSwap<InForce>>,
        clients: Clients,
        firewall: Firewall,
        reloading: Reloading,
    ) -> Self {
        Self { config, in_force, clients, firewall, reloading, started: Instant::now() }
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

fn spell(ports: PortRange) -> String {
    if ports == PortRange::ALL { "every".to_owned() } else { ports.to_string() }
}

impl House for DaemonHouse {
    fn is_ready(&self) -> bool {
        self.firewall.is_standing()
    }

    async fn status(&self) -> HouseStatus {
        let (Mode::Gateway { interfaces } | Mode::Sidecar { interfaces }) = &self.config.wall.mode;
        HouseStatus {
            uptime_seconds: self.started.elapsed().as_secs(),
            mode: mode_name(&self.config.wall.mode).to_owned(),
            table: format!("inet {}", self.config.wall.table.as_str()),
            verdict: match self.config.wall.verdict {
                PacketVerdict::Drop => "drop".to_owned(),
                PacketVerdict::Reject => "reject".to_owned(),
            },
            interfaces: interfaces.iter().map(|interface| interface.as_str().to_owned()).collect(),
            listen: self.config.dns.listen.iter().map(ToString::to_string).collect(),
            upstream: self.config.dns.upstream.iter().map(ToString::to_string).collect(),
            policy: self.config.policy.path.display().to_string(),
            policies: self.in_force.load().policy.len(),
            clients: self.clients.len(),
            leases: self.firewall.leases().await.len(),
            statics: self.firewall.statics().await.len(),
            refused: self.reloading.refused(),
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

    async fn reload(&self) -> Result<ReloadReport, String> {
        self.reloading.reload().await.ok_or_else(|| "the daemon is about to stop".to_owned())
    }

    async fn kernel(&self) -> Result<KernelCounts, String> {
        let table = self.config.wall.table.clone();
        // `nft` takes its time with large sets; answers must not wait for it.
        let read = tokio::task::spawn_blocking(move || Ok((inspect::counters(&table)?, inspect::refused(&table)?)));
        let (counters, refused) =
            read.await.map_err(|error| error.to_string())?.map_err(|error: crate::nft::Error| error.to_string())?;
        Ok(KernelCounts {
            counters: counters
                .into_iter()
                .map(|counter| KernelCounter { name: counter.name, packets: counter.packets, bytes: counter.bytes })
                .collect(),
            refused: refused
                .into_iter()
                .map(|flow| RefusedRow {
                    client: flow.client,
                    agent: self.agent(Client::new(flow.client)),
                    address: flow.address,
                    protocol: flow.protocol,
                    port: flow.port,
                    packets: flow.packets,
                })
                .collect(),
        })
    }
}
