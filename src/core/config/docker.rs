//! `[docker]`: clients that an engine tells of.

use std::path::PathBuf;

use wildmatch::WildMatch;

use super::InterfaceName;
use crate::core::query::Agent;

/// `[docker]`: the engine that is asked which container has which address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docker {
    /// Its Unix socket.
    pub socket: PathBuf,
    /// The bridges whose ports its containers have.
    pub bridges: Vec<InterfaceName>,
    /// As whom containers without a label act, in order.
    pub agents: Vec<DockerAgent>,
}

/// `[[docker.agent]]`: as whom some containers act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerAgent {
    /// Those on this network; on any where there is none.
    pub network: Option<String>,
    /// Those whose name is like this, `*` for any characters; of any name where
    /// there is none.
    pub name: Option<String>,
    /// The principal.
    pub agent: Agent,
}

impl DockerAgent {
    /// Whether it speaks of a container of this `name` on these `networks`.
    pub fn fits<'a>(&self, name: &str, mut networks: impl Iterator<Item = &'a str>) -> bool {
        self.network.as_ref().is_none_or(|wanted| networks.any(|network| network == wanted))
            && self.name.as_ref().is_none_or(|pattern| WildMatch::new(pattern).matches(name))
    }
}
