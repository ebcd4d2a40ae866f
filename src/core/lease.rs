//! Leases: what the kernel holds open, for whom, and until when.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    fn listing(range: PortRange) -> Box<dyn Iterator<Item = Self>> {
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
}
