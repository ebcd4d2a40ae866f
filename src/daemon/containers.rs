//! The containers of an engine as clients: who comes, who goes, and in which
//! order the wall is told.
//!
//! A container's address is another one's a moment after it has stopped. So
//! first whoever is no longer there sends nothing any more, then what was open
//! for it is closed, and only then may somebody else send from there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::reload::Reloader;
use crate::core::config::{Config, DockerAgent};
use crate::core::event::{ContainerTold, Event, Report};
use crate::core::roster::{Member, Roster, Stranger};
use crate::host;
use crate::journal::Journal;
use crate::nft::firewall::Selection;
use crate::nft::{self, members};

/// How soon what the kernel did not take is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the wall knows of the containers.
pub(super) struct Containers {
    /// Those that the wall goes by.
    known: Arc<Roster>,
    /// Those there are.
    present: watch::Receiver<Arc<Roster>>,
    /// As whom the engine's watcher takes them.
    rules: watch::Sender<Vec<DockerAgent>>,
}

impl Containers {
    /// Those of the `present` that the wall was put up with.
    pub(super) fn new(mut present: watch::Receiver<Arc<Roster>>, rules: watch::Sender<Vec<DockerAgent>>) -> Self {
        let known = Arc::clone(&present.borrow_and_update());
        Self { known, present, rules }
    }

    /// Those that the wall goes by.
    pub(super) fn known(&self) -> &Roster {
        &self.known
    }

    /// Comes back when there are others.
    pub(super) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.present.changed().await
    }

    /// Has containers taken for whom the configuration says.
    pub(super) fn go_by(&self, config: &Config) {
        let agents = config.docker.as_ref().map(|docker| docker.agents.clone()).unwrap_or_default();
        self.rules.send_if_modified(|rules| {
            let has_changed = *rules != agents;
            *rules = agents;
            has_changed
        });
    }
}

impl Reloader {
    /// Has the wall go by the containers that are there now.
    pub(super) async fn enlist(&mut self) {
        let present = Arc::clone(&self.parts.containers.present.borrow_and_update());
        let former = Arc::clone(&self.parts.containers.known);
        if present == former {
            return;
        }
        if let Err(error) = self.replace_containers(&former, &present).await {
            tracing::error!("containers that have come or gone are not taken up: {error}");
            sleep(AGAIN).await;
            self.parts.containers.present.mark_changed();
            return;
        }
        tell(&self.parts.journal, &former, &present);
    }

    async fn replace_containers(&mut self, former: &Roster, present: &Arc<Roster>) -> Result<(), nft::Error> {
        self.fill(&former.meet(present)).await?;
        let config = self.present.running.clone();
        self.parts.containers.known = Arc::clone(present);
        let in_force = self.replace_law(&config, Arc::clone(&self.present.policy));
        let closed = self.enforce(in_force, None).await?;
        self.tell(closed);
        let changed = present.changed_hands(former);
        if !changed.is_empty() {
            self.parts.firewall.withdraw(Selection { clients: changed, name: None }).await?;
        }
        self.fill(present).await
    }

    async fn fill(&self, roster: &Roster) -> Result<(), nft::Error> {
        let config = &self.present.running;
        let ruleset = nft::ruleset::render(config, &host::identity(), roster);
        self.parts.firewall.fill(members::of(config, roster), ruleset).await
    }
}

/// Tells of everybody who was there when the daemon began.
pub(super) fn tell_first(journal: &Journal, present: &Roster) {
    tell(journal, &Roster::default(), present);
}

fn tell(journal: &Journal, former: &Roster, present: &Roster) {
    for (id, member) in former.members.iter().filter(|(id, member)| present.members.get(*id) != Some(*member)) {
        journal.report(Event::ContainerGone(told(id, member)));
    }
    for (id, member) in present.members.iter().filter(|(id, member)| former.members.get(*id) != Some(*member)) {
        journal.report(Event::ContainerKnown(told(id, member)));
    }
    for (id, stranger) in present.strangers.iter().filter(|(id, one)| former.strangers.get(*id) != Some(*one)) {
        let Stranger { name, addresses, why } = stranger;
        let container =
            ContainerTold { id: id.to_string(), name: name.clone(), agent: None, addresses: addresses.clone() };
        journal.report(Event::ContainerUnknown { container, why: why.to_string() });
    }
}

fn told(id: &str, member: &Member) -> ContainerTold {
    let Member { name, entry } = member;
    let addresses = entry.addresses.iter().map(|client| client.address()).collect();
    ContainerTold { id: id.to_owned(), name: name.clone(), agent: Some(entry.agent.clone()), addresses }
}
