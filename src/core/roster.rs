//! [`Roster`]: the containers on walled networks, as whom they act, and where
//! their frames may come from.
//!
//! An engine gives the address of a container that has stopped to the next one.
//! So an address alone is nobody: it stands for a container only together with
//! the port of the bridge and the hardware address that the engine gave to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::config::{ClientEntry, DockerAgent, InterfaceName};
use super::query::{Agent, Client};

/// The label that says as whom a container acts.
pub const AGENT_LABEL: &str = "cedarwall.agent";

/// The label that names the team it acts in: whose policies hold for it.
pub const POLICY_LABEL: &str = "cedarwall.policy";

/// A container on at least one walled network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's name for it, which no other container ever has.
    pub id: Arc<str>,
    /// What people call it.
    pub name: String,
    /// Its label [`AGENT_LABEL`], as it stands.
    pub label: Option<String>,
    /// Its label [`POLICY_LABEL`], as it stands.
    pub team: Option<String>,
    /// The walled networks it is on.
    pub attachments: Vec<Attachment>,
    /// The networks it is on that are not walled.
    pub other_networks: Vec<String>,
    /// Whether it was told which resolver to ask.
    pub has_resolver: bool,
}

/// A container's end of one walled network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The bridge's port that leads to it, once it is there.
    pub port: Option<InterfaceName>,
    /// Its hardware address.
    pub hardware: HardwareAddress,
    /// The addresses that the engine gave to it.
    pub addresses: Vec<IpAddr>,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareAddress([u8; 6]);

impl HardwareAddress {
    /// Parses six octets in hexadecimal, between colons.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let is_octet = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = parts.next().filter(is_octet)?;
            *octet = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(octets))
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The link-local address that a host makes of it (RFC 4291 appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Frames with this source may come from this port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    /// The bridge's port.
    pub port: InterfaceName,
    /// The hardware address.
    pub hardware: HardwareAddress,
    /// The address.
    pub address: IpAddr,
}

/// Who is on the walled networks at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Who acts as somebody, by each container's id.
    pub members: BTreeMap<Arc<str>, Member>,
    /// All that may be sent, known or unknown.
    pub bindings: BTreeSet<Binding>,
    /// Containers on walled networks that act as nobody, and why.
    pub strangers: BTreeMap<Arc<str>, Stranger>,
}

/// A container that acts as somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What people call it.
    pub name: String,
    /// Its addresses, and as whom it acts.
    pub entry: ClientEntry,
}

/// A container on a walled network that acts as nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// What people call it.
    pub name: String,
    /// Its addresses on walled networks.
    pub addresses: Vec<IpAddr>,
    /// Why.
    pub why: Why,
}

/// Why a container acts as nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has no label, and no rule fits it.
    Unlabelled,
    /// Its label names no agent that there could be.
    BadLabel(String),
    /// Its label names no team that there could be.
    BadPolicyLabel(String),
    /// It is on networks without a wall, too.
    OtherNetworks(Vec<String>),
    /// Nobody told it whom to ask: the engine's own resolver asks for it, and not
    /// always from its network.
    NoResolver,
    /// Another container is said to have the same address.
    SharedAddress(IpAddr),
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlabelled => write!(formatter, "it has no label {AGENT_LABEL}, and no [[docker.agent]] fits it"),
            Self::BadLabel(label) => write!(formatter, "its label {AGENT_LABEL}={label:?} names no agent"),
            Self::BadPolicyLabel(label) => write!(formatter, "its label {POLICY_LABEL}={label:?} names no team"),
            Self::OtherNetworks(networks) => {
                write!(formatter, "it is on networks without a wall, too: {}", networks.join(", "))
            }
            Self::NoResolver => {
                write!(formatter, "it was started without --dns, so the engine resolves for it past the wall")
            }
            Self::SharedAddress(address) => write!(formatter, "another container has its address {address}, too"),
        }
    }
}

impl Roster {
    /// Who `containers` are by their labels and, where they have none, by the
    /// first of `rules` that fits. A container counts once the ports that lead
    /// to it are known.
    pub fn of<'a>(containers: impl Iterator<Item = &'a Container>, rules: &[DockerAgent]) -> Self {
        let mut roster = Self::default();
        let mut seen: BTreeMap<IpAddr, Arc<str>> = BTreeMap::new();
        for container in containers {
            let bound: Vec<_> = container.attachments.iter().filter_map(|end| Some((end, end.port.clone()?))).collect();
            let addresses: Vec<_> = bound.iter().flat_map(|(end, _)| &end.addresses).copied().collect();
            if addresses.is_empty() {
                continue;
            }
            let shared = addresses.iter().copied().find(|address| seen.contains_key(address));
            for (end, port) in &bound {
                roster.bindings.extend(bindings(end, port));
            }
            let verdict = match shared {
                Some(address) => {
                    if let Some(other) = seen.get(&address).cloned() {
                        roster.expel(&other, Why::SharedAddress(address));
                    }
                    Err(Why::SharedAddress(address))
                }
                None => agent_of(container, rules),
            };
            addresses.iter().for_each(|address| drop(seen.insert(*address, Arc::clone(&container.id))));
            let (id, name) = (Arc::clone(&container.id), container.name.clone());
            match verdict {
                Ok(agent) => {
                    let addresses: Vec<_> = addresses.into_iter().map(Client::new).collect();
                    let entry = ClientEntry { addresses: addresses.into(), agent };
                    roster.members.insert(id, Member { name, entry });
                }
                Err(why) => _ = roster.strangers.insert(id, Stranger { name, addresses, why }),
            }
        }
        roster
    }

    /// The clients, as the configuration would name them.
    pub fn entries(&self) -> impl Iterator<Item = &ClientEntry> {
        self.members.values().map(|member| &member.entry)
    }

    /// The addresses that stand for another container than in `former`, or for
    /// none: what was opened for them was opened for somebody else.
    pub fn changed_hands(&self, former: &Self) -> Vec<Client> {
        let holders = |roster: &Self| -> BTreeMap<Client, (Arc<str>, Agent)> {
            let each = |(id, member): (&Arc<str>, &Member)| {
                let agent = member.entry.agent.clone();
                let holder = (Arc::clone(id), agent);
                member.entry.addresses.iter().map(|client| (*client, holder.clone())).collect::<Vec<_>>()
            };
            roster.members.iter().flat_map(each).collect()
        };
        let now = holders(self);
        holders(former)
            .into_iter()
            .filter(|(client, holder)| now.get(client) != Some(holder))
            .map(|(client, _)| client)
            .collect()
    }

    /// What of this roster is in `other`, too.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let stays = |(id, member): &(&Arc<str>, &Member)| other.members.get(*id) == Some(*member);
        let members = self.members.iter().filter(stays).map(|(id, member)| (Arc::clone(id), member.clone())).collect();
        let bindings = self.bindings.intersection(&other.bindings).cloned().collect();
        Self { members, bindings, strangers: BTreeMap::new() }
    }

    fn expel(&mut self, id: &Arc<str>, why: Why) {
        if let Some(Member { name, entry }) = self.members.remove(id) {
            let addresses = entry.addresses.iter().map(|client| client.address()).collect();
            self.strangers.insert(Arc::clone(id), Stranger { name, addresses, why });
        }
    }
}

fn bindings(end: &Attachment, port: &InterfaceName) -> Vec<Binding> {
    let hardware = end.hardware;
    let own = std::iter::once(IpAddr::V6(hardware.link_local()));
    let addresses = end.addresses.iter().copied().chain(own);
    addresses.map(|address| Binding { port: port.clone(), hardware, address }).collect()
}

fn agent_of(container: &Container, rules: &[DockerAgent]) -> Result<Agent, Why> {
    if !container.other_networks.is_empty() {
        return Err(Why::OtherNetworks(container.other_networks.clone()));
    }
    if !container.has_resolver {
        return Err(Why::NoResolver);
    }
    let fits = |rule: &&DockerAgent| rule.fits(&container.name, container.attachments.iter().map(|end| &*end.network));
    let agent = match &container.label {
        Some(label) => Agent::parse(label).map_err(|_| Why::BadLabel(label.clone()))?,
        None => rules.iter().find(fits).map(|rule| rule.agent.clone()).ok_or(Why::Unlabelled)?,
    };
    match &container.team {
        Some(team) => agent.in_team(team).map_err(|_| Why::BadPolicyLabel(team.clone())),
        None => Ok(agent),
    }
}

#[cfg(test)]
mod tests;
