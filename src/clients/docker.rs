//! The edge to Docker's engine: which container has which address.
//!
//! The engine says which addresses it gave to a container, and the kernel to
//! which port of the bridge the container's link leads. Only where both agree
//! is an address somebody's.

mod ports;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::models::{ContainerInspectResponse, EndpointSettings, EventMessage, EventMessageTypeEnum};
use bollard::{API_DEFAULT_VERSION, Docker as Connection};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::ports::{Changes, Ports};
use crate::core::config::{Docker, DockerAgent, InterfaceName};
use crate::core::event::{Event, Report};
use crate::core::roster::{AGENT_LABEL, Attachment, Container, HardwareAddress, POLICY_LABEL, Roster};

/// How long the engine may take over one answer, seconds.
const PATIENCE: u64 = 10;
/// How long the daemon's start waits for it.
const FIRST: Duration = Duration::from_secs(3);
/// How soon an engine that is away is looked for again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often everything is asked anew, whatever was heard.
const ROUND: Duration = Duration::from_secs(30);
/// What a network says of its bridge, unless that has the engine's own name.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// What is known of the engine's containers, kept up to date.
pub struct Engine {
    settings: Docker,
    /// The rules of the moment.
    rules: watch::Receiver<Vec<DockerAgent>>,
    connection: Option<Connection>,
    /// The bridge of each network, by the network's id.
    bridges: HashMap<String, Option<InterfaceName>>,
    containers: BTreeMap<Arc<str>, Seen>,
    told: watch::Sender<Arc<Roster>>,
}

/// A container as the engine last told of it.
struct Seen {
    container: Container,
    /// The bridge of each of its attachments.
    bridges: Vec<InterfaceName>,
    sandbox: PathBuf,
    pid: Option<u32>,
}

impl Engine {
    /// Asks the engine for all there are. Where it does not answer, nobody is
    /// known yet.
    pub async fn start(
        settings: Docker,
        rules: watch::Receiver<Vec<DockerAgent>>,
    ) -> (Self, watch::Receiver<Arc<Roster>>) {
        let (told, roster) = watch::channel(Arc::default());
        let (bridges, containers) = Default::default();
        let mut engine = Self { settings, rules, connection: None, bridges, containers, told };
        match timeout(FIRST, engine.meet()).await {
            Ok(Ok(())) => engine.publish(),
            Ok(Err(error)) => tracing::warn!("{}", engine.away(&error)),
            Err(_) => tracing::warn!("{}", engine.away(&io::Error::from(io::ErrorKind::TimedOut).into())),
        }
        (engine, roster)
    }

    /// Follows it until it is dropped.
    pub async fn follow(mut self, journal: impl Report) {
        let mut is_away = self.connection.is_none();
        loop {
            let reason = match self.attend(&journal, &mut is_away).await {
                Ok(()) => io::Error::other("it ended its list of events").into(),
                Err(error) => error,
            };
            // Those that are known stay known; their ports are still watched for.
            if !std::mem::replace(&mut is_away, true) {
                journal.report(Event::EngineLost { path: self.socket(), problem: reason.to_string() });
            }
            self.connection = None;
            sleep(AGAIN).await;
            self.publish();
        }
    }

    /// Asks for everything, and again for whatever changes, as long as the
    /// engine is there.
    async fn attend(&mut self, journal: &impl Report, is_away: &mut bool) -> Result<(), EngineError> {
        let mut changes = Changes::listen()?;
        // Heard from before anything is asked, so that nothing is missed.
        let mut events = self.events().await?;
        self.meet().await?;
        self.publish();
        if std::mem::replace(is_away, false) {
            journal.report(Event::EngineFound { path: self.socket(), containers: self.containers.len() });
        }
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.hear(&event?).await?,
                    None => return Ok(()),
                },
                changed = changes.next() => changed?,
                Ok(()) = self.rules.changed() => {}
                () = sleep(ROUND) => self.meet().await?,
            }
            self.publish();
        }
    }

    async fn events(&mut self) -> Result<BoxStream<'static, Result<EventMessage, EngineError>>, EngineError> {
        let connection = self.connection().await?;
        Ok(Box::pin(connection.events(None)))
    }

    async fn connection(&mut self) -> Result<Connection, EngineError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let path = self.settings.socket.to_string_lossy();
        let connection = Connection::connect_with_unix(&path, PATIENCE, API_DEFAULT_VERSION)?;
        let connection = connection.negotiate_version().await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Everything, as it is now.
    async fn meet(&mut self) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        self.bridges.clear();
        let listed = connection.list_containers(None).await?;
        let ids: Vec<_> = listed.into_iter().filter_map(|container| container.id).collect();
        self.containers.retain(|id, _| ids.iter().any(|listed| **listed == **id));
        for id in ids {
            self.ask_about(&id).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, event: &EventMessage) -> Result<(), EngineError> {
        let Some(actor) = &event.actor else { return Ok(()) };
        let id = match event.typ {
            Some(EventMessageTypeEnum::CONTAINER) => actor.id.clone(),
            Some(EventMessageTypeEnum::NETWORK) => {
                self.bridges.clear();
                actor.attributes.as_ref().and_then(|attributes| attributes.get("container").cloned())
            }
            _ => None,
        };
        match id {
            Some(id) => self.ask_about(&id).await,
            None => Ok(()),
        }
    }

    async fn ask_about(&mut self, id: &str) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let told = match connection.inspect_container(id, None).await {
            Ok(told) => told,
            Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => {
                self.containers.remove(id);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.read(told).await? {
            Some(seen) => _ = self.containers.insert(Arc::clone(&seen.container.id), seen),
            None => _ = self.containers.remove(id),
        }
        Ok(())
    }

    /// What the engine told of a container; `None` if it is on no walled
    /// network.
    async fn read(&mut self, told: ContainerInspectResponse) -> Result<Option<Seen>, EngineError> {
        let Some(id) = told.id else { return Ok(None) };
        let name = told.name.unwrap_or_default().trim_start_matches('/').to_owned();
        let mut labels = told.config.and_then(|config| config.labels).unwrap_or_default();
        let (label, team) = (labels.remove(AGENT_LABEL), labels.remove(POLICY_LABEL));
        let has_resolver = told.host_config.and_then(|host| host.dns).is_some_and(|servers| !servers.is_empty());
        let settings = told.network_settings.unwrap_or_default();
        let (mut attachments, mut bridges, mut other_networks) = (Vec::new(), Vec::new(), Vec::new());
        for (network, endpoint) in settings.networks.unwrap_or_default() {
            let Some(attachment) = attachment(&network, &endpoint) else { continue };
            match self.bridge_of(endpoint.network_id.as_deref().unwrap_or(&network)).await? {
                Some(bridge) if self.settings.bridges.contains(&bridge) => {
                    attachments.push(attachment);
                    bridges.push(bridge);
                }
                _ => other_networks.push(network),
            }
        }
        if attachments.is_empty() {
            return Ok(None);
        }
        other_networks.sort_unstable();
        let pid = told.state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let sandbox = settings.sandbox_key.unwrap_or_default().into();
        let container = Container { id: id.into(), name, label, team, attachments, other_networks, has_resolver };
        Ok(Some(Seen { container, bridges, sandbox, pid }))
    }

    async fn bridge_of(&mut self, network: &str) -> Result<Option<InterfaceName>, EngineError> {
        if let Some(bridge) = self.bridges.get(network) {
            return Ok(bridge.clone());
        }
        let told = self.connection().await?.inspect_network(network, None).await?;
        let bridge = (told.driver.as_deref() == Some("bridge"))
            .then(|| {
                let id = told.id.as_deref().unwrap_or_default();
                let own = format!("br-{}", id.get(..12).unwrap_or(id));
                told.options.and_then(|mut options| options.remove(BRIDGE_NAME)).unwrap_or(own)
            })
            .and_then(|name| InterfaceName::parse(&name));
        self.bridges.insert(network.to_owned(), bridge.clone());
        Ok(bridge)
    }

    /// Tells who is there now, if that is something else than before.
    fn publish(&mut self) {
        let ports = Ports::look().unwrap_or_else(|error| {
            tracing::error!("the kernel does not tell of its links, so nobody is known on a bridge: {error}");
            Ports::default()
        });
        for seen in self.containers.values_mut() {
            seen.find_ports(&ports);
        }
        let containers = self.containers.values().map(|seen| &seen.container);
        let roster = Roster::of(containers, &self.rules.borrow_and_update());
        self.told.send_if_modified(|told| {
            let has_changed = **told != roster;
            if has_changed {
                *told = Arc::new(roster);
            }
            has_changed
        });
    }

    fn socket(&self) -> String {
        self.settings.socket.display().to_string()
    }

    fn away(&self, error: &EngineError) -> String {
        format!(
            "Docker's engine does not answer at {}, so none of its containers is known yet: {error}; start it, or set \
             `docker.socket`",
            self.socket()
        )
    }
}

impl Seen {
    fn find_ports(&mut self, ports: &Ports) {
        let number = ports::number_of(&self.sandbox, self.pid).unwrap_or_else(|error| {
            tracing::debug!("the namespace of {} is not there: {error}", self.container.name);
            None
        });
        for (attachment, bridge) in self.container.attachments.iter_mut().zip(&self.bridges) {
            attachment.port = number.and_then(|number| ports.leading_to(number, bridge));
        }
    }
}

/// `None` while it has no address.
fn attachment(network: &str, endpoint: &EndpointSettings) -> Option<Attachment> {
    let told = [&endpoint.ip_address, &endpoint.global_ipv6_address];
    let addresses: Vec<IpAddr> = told.into_iter().flatten().filter_map(|address| address.parse().ok()).collect();
    let hardware = HardwareAddress::parse(endpoint.mac_address.as_deref()?)?;
    (!addresses.is_empty()).then(|| Attachment { network: network.to_owned(), port: None, hardware, addresses })
}
