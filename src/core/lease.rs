//! Leases: what the kernel holds open, for whom, and until when.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::decision::{Failure, Opening, Reason};
use super::name::Name;
use super::query::{Client, Port, PortRange, Protocol};
use super::time::Ttl;

/// Runs of up to this many ports are listed port by port, in a hash set; a
/// wider run goes to an interval set, which the kernel copies at each commit.
const LISTED_PORTS: u16 = 64;

/// One address of an answer, and the ports the policy permits on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The source address it opens for.
    pub client: Client,
    /// The address.
    pub address: IpAddr,
    /// Its ports; not empty.
    pub openings: Arc<[Opening]>,
}

/// What an answer needs open before it may be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// On whose account it counts.
    pub client: Client,
    /// Under which name: the question's.
    pub name: Name,
    /// Addresses and ports; empty for answers that lead to no connection.
    pub grants: Vec<Grant>,
    /// The TTL the answer would like to carry.
    pub ttl: Ttl,
    /// The longest the lease may live, where the policy looks at the time.
    pub at_most: Option<Duration>,
    /// The aliases that led from the name to the addresses.
    pub aliases: Aliases,
    /// The policy that permitted it.
    pub generation: Generation,
}

/// The aliases that led from a name to its addresses, in their order. Most
/// names have none, and those take no room.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aliases(Option<Arc<Vec<Name>>>);

impl Aliases {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().flat_map(|names| names.iter())
    }
}

impl FromIterator<Name> for Aliases {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        Self((!names.is_empty()).then(|| Arc::new(names)))
    }
}

/// Which policy decided: the first since the daemon's start, the second, and
/// so on. What an older one decided opens nothing any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u32);

impl Generation {
    /// The policy the daemon starts with.
    pub const FIRST: Self = Self(1);

    /// The policy that replaces this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Wanted {
    /// The kernel elements it comes to.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.grants.iter().flat_map(|grant| {
            grant.openings.iter().flat_map(|opening| {
                Ports::listing(opening.ports).map(|ports| Key {
                    client: grant.client,
                    address: grant.address,
                    protocol: opening.protocol,
                    ports,
                })
            })
        })
    }
}

/// Addresses that a policy names itself, open to a client without DNS: one
/// element of `static4` or `static6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticGrant {
    /// The source address it opens for; of the family of the addresses.
    pub client: Client,
    /// The first address.
    pub first: IpAddr,
    /// The last address, of the same family and not below the first.
    pub last: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Which ports.
    pub ports: PortRange,
}

impl StaticGrant {
    /// Whether a flow of `client` to `address` and `port` is one of those it
    /// opens.
    pub fn covers(&self, client: Client, address: IpAddr, protocol: Protocol, port: Port) -> bool {
        self.client == client
            && self.protocol == protocol
            && self.first.is_ipv4() == address.is_ipv4()
            && (self.first..=self.last).contains(&address)
            && self.ports.contains(port)
    }

    /// Its addresses as a person writes them: an address, a prefix, or both
    /// ends.
    pub fn addresses(&self) -> String {
        let prefixes: Vec<IpNet> = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::from).take(2).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::from).take(2).collect()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
        };
        match prefixes.as_slice() {
            _ if self.first == self.last => self.first.to_string(),
            [prefix] => prefix.to_string(),
            _ => format!("{}-{}", self.first, self.last),
        }
    }
}

impl From<&Key> for StaticGrant {
    /// The flows that a lease opens.
    fn from(key: &Key) -> Self {
        let Key { client, address, protocol, ports } = *key;
        Self { client, first: address, last: address, protocol, ports: ports.range() }
    }
}

/// What a client may reach at addresses that policies name themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statics {
    /// Disjoint, of the client's family.
    pub grants: Vec<StaticGrant>,
    /// How long this holds if a policy in play looks at the time; then it has
    /// to be worked out again. `None` if time does not matter.
    pub valid_for: Option<Duration>,
}

/// What one kernel element opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// For whom.
    pub client: Client,
    /// To where.
    pub address: IpAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// On which ports; this also says in which of the sets it lives.
    pub ports: Ports,
}

/// The ports of one kernel element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// One port: `lease4`, `lease6`.
    One(Port),
    /// Every port: `lease4_all_ports`, `lease6_all_ports`.
    All,
    /// A wide run: `lease4_port_range`, `lease6_port_range`.
    Run(PortRange),
}

impl Ports {
    /// The cheapest elements for a run of ports.
    pub(super) fn listing(range: PortRange) -> Box<dyn Iterator<Item = Self>> {
        if range == PortRange::ALL {
            return Box::new(std::iter::once(Self::All));
        }
        if range.count() > LISTED_PORTS {
            return Box::new(std::iter::once(Self::Run(range)));
        }
        Box::new(range.ports().map(Self::One))
    }

    /// The run of ports it stands for.
    pub fn range(self) -> PortRange {
        match self {
            Self::One(port) => port.into(),
            Self::All => PortRange::ALL,
            Self::Run(range) => range,
        }
    }
}

/// The proof that everything wanted is open. Only the firewall makes one, and
/// an answer cannot be built without it (G1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an answer needs the lease it rests on"]
pub struct Opened {
    ttl: Ttl,
}

impl Opened {
    /// States that the kernel has acknowledged a lease which outlives an
    /// answer of this TTL.
    pub(crate) const fn acknowledged(ttl: Ttl) -> Self {
        Self { ttl }
    }

    /// The longest TTL the answer may carry (G5).
    pub const fn ttl(self) -> Ttl {
        self.ttl
    }
}

/// Why nothing was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A cap says no.
    Denied(Reason),
    /// The kernel refused, or did not answer.
    Failed(Failure),
    /// The policy that permitted it is no longer in force: judge again.
    Superseded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_policy_are_written_as_a_person_would() {
        let written = |first: &str, last: &str| {
            let first: IpAddr = first.parse().unwrap();
            let last = last.parse().unwrap();
            StaticGrant { client: Client::new(first), first, last, protocol: Protocol::Tcp, ports: PortRange::ALL }
                .addresses()
        };
        assert_eq!(written("192.0.2.7", "192.0.2.7"), "192.0.2.7");
        assert_eq!(written("10.20.0.0", "10.20.255.255"), "10.20.0.0/16");
        assert_eq!(written("2001:db8::", "2001:db8::ffff"), "2001:db8::/112");
        assert_eq!(written("10.20.0.1", "10.20.0.9"), "10.20.0.1-10.20.0.9");
        assert_eq!(written("0.0.0.0", "255.255.255.255"), "0.0.0.0/0");
    }
}
