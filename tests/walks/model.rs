//! What must be open, and what may be.
//!
//! The model knows nothing of the daemon's insides: it knows the policy's
//! text, what was asked, and what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Names that the walks ask for.
pub const NAMES: usize = 10;
/// How much longer than its term an element may be seen: the kernel keeps what
/// nobody takes out two seconds longer; and an answer's way, and what a listing
/// rounds.
const SLACK: Duration = Duration::from_millis(3500);

/// A client of the laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    Agent,
    Other,
}

impl Who {
    pub const BOTH: [Self; 2] = [Self::Agent, Self::Other];

    pub fn namespace(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Other => "other",
        }
    }

    pub fn wall(self) -> &'static str {
        match self {
            Self::Agent => "10.77.0.1:53",
            Self::Other => "10.77.1.1:53",
        }
    }

    /// Its address of the family of `address`.
    pub fn towards(self, address: IpAddr) -> IpAddr {
        let text = match (self, address) {
            (Self::Agent, IpAddr::V4(_)) => "10.77.0.2",
            (Self::Agent, IpAddr::V6(_)) => "fd77::2",
            (Self::Other, IpAddr::V4(_)) => "10.77.1.2",
            (Self::Other, IpAddr::V6(_)) => "fd77:1::2",
        };
        text.parse().expect("an address")
    }
}

/// What one policy permits one client on one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// TCP to these.
    Ports(&'static [u16]),
    /// Every port, TCP and UDP.
    Every,
}

impl Permit {
    fn covers(self, protocol: &str, port: u16) -> bool {
        match self {
            Self::Ports(ports) => protocol == "tcp" && ports.contains(&port),
            Self::Every => true,
        }
    }

    /// A few ports that stand for all it opens.
    fn samples(self) -> &'static [u16] {
        match self {
            Self::Ports(ports) => ports,
            Self::Every => &[1, 80, 443, 65_535],
        }
    }
}

/// A policy, and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    permits: BTreeMap<(Who, usize), Permit>,
}

impl Policy {
    pub fn random(random: &mut fastrand::Rng) -> Self {
        let mut permits = BTreeMap::new();
        for who in Who::BOTH {
            for name in 0..NAMES {
                let permit = match random.u8(0..10) {
                    0..4 => Permit::Ports(&[443]),
                    4..6 => Permit::Ports(&[80, 443]),
                    6..8 => Permit::Every,
                    _ => continue,
                };
                permits.insert((who, name), permit);
            }
        }
        Self { permits }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for ((who, name), permit) in &self.permits {
            let client = who.towards(IpAddr::from([0, 0, 0, 0]));
            let is_client = format!("context.client == ip(\"{client}\")");
            match permit {
                Permit::Every => {
                    text += &format!(
                        "permit(principal, action == Action::\"net.connect\", resource in Domain::\"{}\")\n    \
                         when {{ {is_client} }};\n",
                        host(*name)
                    );
                }
                Permit::Ports(ports) => {
                    for port in *ports {
                        text += &format!(
                            "permit(principal, action == Action::\"net.connect\", resource == \
                             Resource::\"{}:{port}\")\n    when {{ context.protocol == Protocol::\"tcp\" && \
                             {is_client} }};\n",
                            host(*name)
                        );
                    }
                }
            }
        }
        text
    }

    pub fn permits(&self, who: Who, name: usize) -> Option<Permit> {
        self.permits.get(&(who, name)).copied()
    }
}

pub fn host(name: usize) -> String {
    format!("h{name}.example.com")
}

/// An element of the kernel's sets, as far as the model cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub client: IpAddr,
    pub address: IpAddr,
    pub protocol: String,
    /// `None`: every port.
    pub port: Option<u16>,
    pub names: Vec<String>,
}

/// Somebody asked, and what that led to may be open until then.
#[derive(Clone, Copy, Debug)]
struct Asked {
    who: Who,
    name: usize,
    until: Instant,
}

/// An answer that has to be true until then.
#[derive(Clone, Debug)]
pub struct Promise {
    pub who: Who,
    pub name: usize,
    pub address: IpAddr,
    pub ports: BTreeSet<u16>,
    pub until: Instant,
}

/// Everything the kernel's sets are held against.
#[derive(Debug)]
pub struct Model {
    pub policy: Policy,
    addresses: Vec<Vec<IpAddr>>,
    asked: Vec<Asked>,
    promises: Vec<Promise>,
    longest: Duration,
}

impl Model {
    /// A model in which nothing was asked yet. No lease lives longer than
    /// `longest`.
    pub fn new(policy: Policy, addresses: Vec<Vec<IpAddr>>, longest: Duration) -> Self {
        Self { policy, addresses, asked: Vec::new(), promises: Vec::new(), longest }
    }

    /// A question is about to be asked.
    pub fn asks(&mut self, who: Who, name: usize, now: Instant) {
        if self.policy.permits(who, name).is_some() {
            self.asked.push(Asked { who, name, until: now + self.longest + SLACK });
        }
    }

    /// The term of a question begins when its answer comes, at the latest.
    pub fn was_answered(&mut self, who: Who, name: usize, now: Instant) {
        let asked = self.asked.iter_mut().filter(|asked| asked.who == who && asked.name == name);
        asked.for_each(|asked| asked.until = asked.until.max(now + self.longest + SLACK));
    }

    /// An answer to a question asked at `since` names `address` for `ttl`
    /// seconds.
    pub fn promised(&mut self, who: Who, name: usize, address: IpAddr, ttl: u32, since: Instant) {
        let permit = self.policy.permits(who, name);
        let permit = permit.unwrap_or_else(|| panic!("{who:?} was told of {}, which is denied", host(name)));
        assert!(self.addresses[name].contains(&address), "{} was said to be {address}", host(name));
        let ports = permit.samples().iter().copied().collect();
        let until = since + Duration::from_secs(u64::from(ttl));
        self.promises.push(Promise { who, name, address, ports, until });
    }

    /// Another policy is in force, and all that it forbids was closed.
    pub fn changes(&mut self, policy: Policy) {
        self.policy = policy;
        for promise in &mut self.promises {
            let permit = self.policy.permits(promise.who, promise.name);
            promise.ports.retain(|port| permit.is_some_and(|permit| permit.covers("tcp", *port)));
        }
    }

    /// A name was revoked by hand, for every client, or all names were.
    pub fn revoked(&mut self, name: Option<usize>) {
        let is_meant = |other: usize| name.is_none_or(|name| name == other);
        self.promises.retain(|promise| !is_meant(promise.name));
        self.asked.retain(|asked| !is_meant(asked.name));
    }

    /// The table went with all it held while nobody looked after it.
    pub fn lost_everything(&mut self) {
        self.promises.clear();
        self.asked.clear();
    }

    /// What the model says must be open.
    pub fn promises(&self, now: Instant) -> impl Iterator<Item = &Promise> {
        self.promises.iter().filter(move |promise| promise.until > now && !promise.ports.is_empty())
    }

    /// Holds what the kernel held, at some moment between `before` and
    /// `after`, against what must and what may be open.
    pub fn judge(&mut self, elements: &[Element], before: Instant, after: Instant) -> Result<(), String> {
        self.asked.retain(|asked| asked.until > before);
        self.promises.retain(|promise| promise.until > before);
        for element in elements {
            if !self.may_be_open(element) {
                return Err(format!("open, and may not be: {element:?}"));
            }
        }
        for promise in self.promises(after) {
            for port in &promise.ports {
                let client = promise.who.towards(promise.address);
                let opens = |element: &Element| {
                    element.client == client
                        && element.address == promise.address
                        && element.protocol == "tcp"
                        && element.port.is_none_or(|other| other == *port)
                };
                if !elements.iter().any(opens) {
                    return Err(format!("promised, and not open: port {port} of {promise:?}"));
                }
            }
        }
        Ok(())
    }

    /// Somebody asked for a name that leads there and may still be used.
    fn may_be_open(&self, element: &Element) -> bool {
        self.asked.iter().any(|asked| {
            let permit = self.policy.permits(asked.who, asked.name);
            let covers = |permit: Permit| match element.port {
                Some(port) => permit.covers(&element.protocol, port),
                None => permit == Permit::Every,
            };
            element.names.contains(&host(asked.name))
                && self.addresses[asked.name].contains(&element.address)
                && asked.who.towards(element.address) == element.client
                && permit.is_some_and(covers)
        })
    }
}
