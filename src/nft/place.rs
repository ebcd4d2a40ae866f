//! [`Place`]: where an element of a lease or static set is, in the kernel's own
//! octets. Somebody else may have put there what no lease can be, such as a
//! run of clients; that, too, has to be named, to be taken out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::conntrack::Flow;
use crate::core::lease::{Key, Ports, StaticGrant};
use crate::core::query::{Client, Port, PortRange, Protocol};

/// What the key of a set consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Layout {
    set: &'static str,
    is_ipv6: bool,
    has_port: bool,
    is_interval: bool,
}

/// Every set of which we know what it has to hold.
const LAYOUTS: [Layout; 8] = [
    Layout { set: "lease4", is_ipv6: false, has_port: true, is_interval: false },
    Layout { set: "lease6", is_ipv6: true, has_port: true, is_interval: false },
    Layout { set: "lease4_all_ports", is_ipv6: false, has_port: false, is_interval: false },
    Layout { set: "lease6_all_ports", is_ipv6: true, has_port: false, is_interval: false },
    Layout { set: "lease4_port_range", is_ipv6: false, has_port: true, is_interval: true },
    Layout { set: "lease6_port_range", is_ipv6: true, has_port: true, is_interval: true },
    Layout { set: "static4", is_ipv6: false, has_port: true, is_interval: true },
    Layout { set: "static6", is_ipv6: true, has_port: true, is_interval: true },
];

/// The place of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    layout: Layout,
    key: Vec<u8>,
    /// The other end; in an interval set always, elsewhere never.
    end: Option<Vec<u8>>,
}

/// Whether `set` is one of those that hold what leases and policies open.
pub fn is_kept(set: &str) -> bool {
    LAYOUTS.iter().any(|layout| layout.set == set)
}

impl Place {
    /// The place of an element as the kernel tells it; `None` if it is not one
    /// of a lease or static set, or not in their form.
    pub fn told(set: &str, key: Vec<u8>, end: Option<Vec<u8>>) -> Option<Self> {
        let layout = *LAYOUTS.iter().find(|layout| layout.set == set)?;
        let end = match (layout.is_interval, end) {
            (true, end) => Some(end.unwrap_or_else(|| key.clone())),
            (false, None) => None,
            (false, Some(_)) => return None,
        };
        let place = Self { layout, key, end };
        place.span().map(|_| place)
    }

    /// The place of a lease.
    pub fn of_lease(key: &Key) -> Self {
        let point =
            |port| concatenation(key.client, key.address, key.protocol, (key.ports != Ports::All).then_some(port));
        let range = key.ports.range();
        let layout = |layout: &&Layout| {
            layout.is_ipv6 == key.address.is_ipv6()
                && layout.set.starts_with("lease")
                && layout.has_port == (key.ports != Ports::All)
                && layout.is_interval == matches!(key.ports, Ports::Run(_))
        };
        let layout = LAYOUTS.iter().find(layout).copied().unwrap_or(FALLBACK);
        let end = layout.is_interval.then(|| point(range.last()));
        Self { layout, key: point(range.first()), end }
    }

    /// The place of addresses that the policy names.
    pub fn of_static(grant: &StaticGrant) -> Self {
        let point = |address, port| concatenation(grant.client, address, grant.protocol, Some(port));
        let name = if grant.first.is_ipv4() { "static4" } else { "static6" };
        let layout = LAYOUTS.iter().find(|layout| layout.set == name).copied().unwrap_or(FALLBACK);
        let end = Some(point(grant.last, grant.ports.last()));
        Self { layout, key: point(grant.first, grant.ports.first()), end }
    }

    /// The set.
    pub const fn set(&self) -> &'static str {
        self.layout.set
    }

    /// The key; in an interval set its lower end.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The upper end, in an interval set.
    pub fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// The lease that is here, if any can be.
    pub fn lease(&self) -> Option<Key> {
        let span = self.span()?;
        let ports = match (self.layout.has_port, self.layout.is_interval) {
            (false, _) => Ports::All,
            (true, false) => Ports::One(Port::new(*span.ports.start())?),
            (true, true) => Ports::Run(span.port_range()?),
        };
        let key = Key { client: span.client(), address: *span.addresses.start(), protocol: span.protocol()?, ports };
        (Self::of_lease(&key) == *self).then_some(key)
    }

    /// The addresses named by a policy that are here, if any can be.
    pub fn static_grant(&self) -> Option<StaticGrant> {
        let span = self.span()?;
        let (first, last) = span.addresses.clone().into_inner();
        let grant =
            StaticGrant { client: span.client(), first, last, protocol: span.protocol()?, ports: span.port_range()? };
        (Self::of_static(&grant) == *self).then_some(grant)
    }

    /// Whether an element here lets `flow` begin.
    pub fn covers(&self, flow: &Flow) -> bool {
        self.span().is_some_and(|span| {
            flow.client.reaches(*span.clients.start())
                && span.clients.contains(&flow.client.address())
                && flow.address.is_ipv4() == span.addresses.start().is_ipv4()
                && span.addresses.contains(&flow.address)
                && span.protocols.contains(&flow.protocol.number())
                && span.ports.contains(&flow.port.number())
        })
    }

    /// Whether an element here lets anything begin but TCP and UDP.
    pub fn covers_strays(&self) -> bool {
        self.span().is_none_or(|span| span.protocol().is_none())
    }

    fn span(&self) -> Option<Span> {
        let low = Point::read(self.layout, &self.key)?;
        let high = Point::read(self.layout, self.end.as_deref().unwrap_or(&self.key))?;
        let ports = match (low.port, high.port) {
            (Some(low), Some(high)) => low..=high,
            _ => 0..=u16::MAX,
        };
        Some(Span {
            clients: low.client..=high.client,
            addresses: low.address..=high.address,
            protocols: low.protocol..=high.protocol,
            ports,
        })
    }
}

/// Never used: every family and kind of ports has its set.
const FALLBACK: Layout = Layout { set: "lease4", is_ipv6: false, has_port: true, is_interval: false };

/// What an element covers, in each field of its key.
struct Span {
    clients: RangeInclusive<IpAddr>,
    addresses: RangeInclusive<IpAddr>,
    protocols: RangeInclusive<u8>,
    ports: RangeInclusive<u16>,
}

impl Span {
    /// The client of a lease; whoever reads it compares the whole place.
    fn client(&self) -> Client {
        Client::new(*self.clients.start())
    }

    fn protocol(&self) -> Option<Protocol> {
        let of_ours = |protocol: &Protocol| self.protocols == (protocol.number()..=protocol.number());
        Protocol::ALL.into_iter().find(of_ours)
    }

    fn port_range(&self) -> Option<PortRange> {
        PortRange::new(Port::new(*self.ports.start())?, Port::new(*self.ports.end())?)
    }
}

/// One end of an element.
struct Point {
    client: IpAddr,
    address: IpAddr,
    protocol: u8,
    port: Option<u16>,
}

impl Point {
    fn read(layout: Layout, octets: &[u8]) -> Option<Self> {
        let length = if layout.is_ipv6 { 16 } else { 4 };
        let (client, rest) = octets.split_at_checked(length)?;
        let (address, rest) = rest.split_at_checked(length)?;
        let (protocol, port) = match (layout.has_port, rest) {
            (true, [protocol, _, _, _, high, low, _, _]) => (*protocol, Some(u16::from_be_bytes([*high, *low]))),
            (false, [protocol, _, _, _]) => (*protocol, None),
            _ => return None,
        };
        Some(Self { client: ip(client)?, address: ip(address)?, protocol, port })
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::from(Ipv6Addr::from(octets)))).ok()
}

/// client . address . protocol . port, each field padded to 32 bits as the
/// kernel's registers are. Client and address are of one family: a client
/// reaches an address only from an address of the same family.
fn concatenation(client: Client, address: IpAddr, protocol: Protocol, port: Option<Port>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for address in [client.address(), address] {
        match address {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
    }
    bytes.extend_from_slice(&[protocol.number(), 0, 0, 0]);
    if let Some(port) = port {
        bytes.extend_from_slice(&port.number().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(is_ipv6: bool) -> BoxedStrategy<IpAddr> {
        if is_ipv6 {
            any::<Ipv6Addr>().prop_filter("mapped", |ip| ip.to_ipv4_mapped().is_none()).prop_map(IpAddr::from).boxed()
        } else {
            any::<Ipv4Addr>().prop_map(IpAddr::from).boxed()
        }
    }

    fn ports() -> impl Strategy<Value = PortRange> {
        (1..=u16::MAX, 1..=u16::MAX).prop_map(|(one, two)| {
            PortRange::new(Port::new(one.min(two)).unwrap(), Port::new(one.max(two)).unwrap()).unwrap()
        })
    }

    fn keys() -> impl Strategy<Value = Key> {
        let ports = prop_oneof![
            Just(Ports::All),
            ports().prop_map(Ports::Run),
            ports().prop_map(|run| Ports::One(run.first()))
        ];
        let ends = any::<bool>().prop_flat_map(|is_ipv6| (addresses(is_ipv6), addresses(is_ipv6)));
        (ends, 0..2_usize, ports).prop_map(|((client, address), protocol, ports)| Key {
            client: Client::new(client),
            address,
            protocol: Protocol::ALL[protocol],
            ports,
        })
    }

    fn read_back(place: &Place) -> Option<Place> {
        Place::told(place.set(), place.key().to_vec(), place.end().map(<[u8]>::to_vec))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(key in keys()) {
            let place = Place::of_lease(&key);
            prop_assert_eq!(place.set(), super::super::element::set_of(&key));
            prop_assert_eq!(read_back(&place).and_then(|place| place.lease()), Some(key));
            let grant = StaticGrant::from(&key);
            let place = Place::of_static(&grant);
            prop_assert_eq!(read_back(&place).and_then(|place| place.static_grant()), Some(grant));
            let Key { client, address, protocol, ports } = key;
            let flow = Flow { client, address, protocol, port: ports.range().last() };
            prop_assert!(place.covers(&flow));
        }

        #[test]
        fn no_octets_make_it_panic(
            set in 0..8_usize,
            key in prop::collection::vec(any::<u8>(), 0..50),
            end in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        ) {
            if let Some(place) = Place::told(LAYOUTS[set].set, key, end) {
                let _ = (place.lease(), place.static_grant(), place.covers_strays());
            }
        }
    }

    #[test]
    fn a_run_of_clients_is_no_lease_and_covers_each_of_them() {
        let low = vec![10, 0, 0, 1, 192, 0, 2, 7, 6, 0, 0, 0, 1, 187, 0, 0];
        let high = vec![10, 0, 0, 9, 192, 0, 2, 7, 132, 0, 0, 0, 1, 187, 0, 0];
        let place = Place::told("static4", low, Some(high)).unwrap();
        let flow = |client: &str, port| Flow {
            client: Client::new(client.parse().unwrap()),
            address: "192.0.2.7".parse().unwrap(),
            protocol: Protocol::Udp,
            port: Port::new(port).unwrap(),
        };
        assert!(place.covers(&flow("10.0.0.5", 443)) && place.covers_strays());
        assert!(!place.covers(&flow("10.0.0.10", 443)) && !place.covers(&flow("10.0.0.5", 444)));
        assert_eq!((place.lease(), place.static_grant()), (None, None));
    }
}
