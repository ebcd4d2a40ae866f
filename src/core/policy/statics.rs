//! Addresses that policies name themselves: what they open without DNS.
//!
//! A connection to an address is judged under every literal that covers it,
//! `Resource::"10.20.0.0/16:5432"` as well as `Resource::"10.20.0.7:5432"`: it
//! is open if one of them is permitted, by a policy that names that literal,
//! and none is forbidden. A literal that no permit names opens nothing, and so
//! neither does a permit of every resource.
//!
//! A network is judged piece by piece: Cedar knows an address only through
//! comparisons with networks, so between two neighbouring bounds of the
//! networks that policies speak of one address speaks for all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::super::decision::{Decision, Denial, Opening, Permit, PolicyId, Reason};
use super::super::lease::{StaticGrant, Statics};
use super::super::query::{Agent, Client, Port, Protocol};
use super::super::time::WallTime;
use super::Policy;
use super::answer::Answer;
use super::circumstances::{Circumstances, Target};
use super::clause::{Mentions, View};
use super::decide::{Erring, TIMED};
use super::literal::AddressLiteral;

/// Addresses as numbers, the first and the last.
type Span = (u128, u128);

/// Who asks, and when.
#[derive(Clone, Copy)]
struct Asker<'a> {
    agent: &'a Agent,
    client: Client,
    now: WallTime,
}

/// The networks whose bounds Cedar's own tests of an address look at
/// (`isLoopback`, `isMulticast`).
const CLASSES: [&str; 4] = ["127.0.0.0/8", "224.0.0.0/4", "::1/128", "ff00::/8"];

impl Policy {
    /// What `client`, acting as `agent`, may reach at addresses that policies
    /// name themselves: disjoint, of the client's family. A literal that
    /// fails to evaluate opens nothing, as one that is forbidden.
    pub fn statics(&self, agent: &Agent, client: Client, now: WallTime) -> Statics {
        let asker = Asker { agent, client, now };
        let mut open: BTreeMap<(Protocol, Port), Vec<Span>> = BTreeMap::new();
        let mut closed = open.clone();
        let mut mentions = Mentions::default();
        for literal in self.literals.iter().filter(|literal| client.reaches(literal.network().addr())) {
            let slice = self.slice_of_literal(agent, *literal);
            mentions = mentions.or(self.mentions_of(&slice));
            for protocol in Protocol::ALL {
                for piece in self.pieces(&slice, *literal, client) {
                    let ports = (protocol, literal.port());
                    match self.ask_literal(asker, *literal, &slice, protocol, address(client, piece.0)) {
                        Ok(answer) if answer.is_forbidden() => closed.entry(ports).or_default().push(piece),
                        Ok(answer) if self.opens(&answer, *literal) => open.entry(ports).or_default().push(piece),
                        Ok(_) => {}
                        Err(_) => closed.entry(ports).or_default().push(piece),
                    }
                }
            }
        }
        let grants = open.into_iter().flat_map(|((protocol, port), spans)| {
            let closed = united(closed.remove(&(protocol, port)).unwrap_or_default());
            without(&united(spans), &closed).into_iter().map(move |(first, last)| StaticGrant {
                client,
                first: address(client, first),
                last: address(client, last),
                protocol,
                ports: port.into(),
            })
        });
        Statics { grants: grants.collect(), valid_for: mentions.now.then_some(TIMED) }
    }

    /// Decides a connection to one port of an address, by the literals that
    /// cover it.
    pub fn decide_static(
        &self,
        agent: &Agent,
        client: Client,
        address: IpAddr,
        protocol: Protocol,
        port: Port,
        now: WallTime,
    ) -> Decision {
        let asker = Asker { agent, client, now };
        let (mut permitting, mut forbidding) = (BTreeSet::new(), BTreeSet::new());
        let mut mentions = Mentions::default();
        let covering = |literal: &&AddressLiteral| literal.port() == port && literal.network().contains(&address);
        for literal in self.literals.iter().filter(covering) {
            let slice = self.slice_of_literal(agent, *literal);
            mentions = mentions.or(self.mentions_of(&slice));
            match self.ask_literal(asker, *literal, &slice, protocol, address) {
                Ok(answer) if answer.is_forbidden() => forbidding.extend(self.ids(answer.reasons())),
                Ok(answer) if self.opens(&answer, *literal) => permitting.extend(self.ids(answer.reasons())),
                Ok(_) => {}
                Err(erring) => return Decision::Deny(erring.into()),
            }
        }
        let listed = |policies: BTreeSet<PolicyId>| policies.into_iter().collect();
        if !forbidding.is_empty() {
            return Decision::Deny(Denial { reason: Reason::Forbidden, policies: listed(forbidding) });
        }
        if permitting.is_empty() {
            return Decision::Deny(Denial::by_default(Reason::NotPermitted));
        }
        Decision::Permit(Permit {
            policies: listed(permitting),
            openings: [Opening { protocol, ports: port.into() }].into(),
            judges_addresses: false,
            valid_for: mentions.now.then_some(TIMED),
            unnamed: 0,
            would_deny: None,
        })
    }

    /// Every address literal of the policies.
    pub fn literals(&self) -> impl Iterator<Item = AddressLiteral> + '_ {
        self.literals.iter().copied()
    }

    fn slice_of_literal(&self, agent: &Agent, literal: AddressLiteral) -> Vec<u32> {
        let resource = self.slices.standing(&self.vocabulary.resource(&literal.to_string()), []);
        self.slices.matching(&self.standing(agent), &self.connecting, &resource)
    }

    fn mentions_of(&self, slice: &[u32]) -> Mentions {
        let clauses = slice.iter().filter_map(|number| self.clause(*number));
        clauses.fold(Mentions::default(), |mentions, clause| mentions.or(clause.mentions))
    }

    /// Whether the policies that permit `literal` name it.
    fn opens(&self, answer: &Answer, literal: AddressLiteral) -> bool {
        let names = |number: &u32| self.clause(*number).is_some_and(|clause| clause.addresses.contains(&literal));
        answer.is_permitted() && answer.reasons().iter().any(names)
    }

    fn ask_literal(
        &self,
        asker: Asker<'_>,
        literal: AddressLiteral,
        slice: &[u32],
        protocol: Protocol,
        address: IpAddr,
    ) -> Result<Answer, Erring> {
        let principal = self.principals.entity(asker.agent, &self.vocabulary);
        let mentions = self.mentions_of(slice);
        let request = || {
            let circumstances =
                Circumstances::new(&self.vocabulary, principal, asker.client, asker.now, Some(address), mentions)?;
            let (id, host) = (literal.to_string(), literal.host());
            let domains = Default::default();
            circumstances.connection(Target { id: &id, host: &host, domains: &domains, protocol, port: literal.port() })
        };
        self.ask(slice.iter().copied(), View::Exact, request)
    }

    /// The parts of `literal` whose addresses no policy of `slice` can tell
    /// apart.
    fn pieces(&self, slice: &[u32], literal: AddressLiteral, client: Client) -> Vec<Span> {
        let whole = span(literal.network());
        if !self.mentions_of(slice).ip {
            return vec![whole];
        }
        let clauses = slice.iter().filter_map(|number| self.clause(*number));
        let classes = CLASSES.into_iter().filter_map(|network| network.parse().ok());
        let networks = clauses.flat_map(|clause| clause.networks.iter().copied());
        let spans = networks
            .chain(classes)
            .chain([IpNet::from(client.address())])
            .filter(|network| client.reaches(network.addr()))
            .map(span);
        let starts = spans.flat_map(|(first, last)| [Some(first), last.checked_add(1)]).flatten();
        let starts: BTreeSet<_> = starts.filter(|start| (whole.0..=whole.1).contains(start)).chain([whole.0]).collect();
        let ends = starts.iter().skip(1).map(|next| next - 1).chain([whole.1]);
        starts.iter().copied().zip(ends).collect()
    }
}

fn span(network: IpNet) -> Span {
    match network {
        IpNet::V4(four) => (four.network().to_bits().into(), four.broadcast().to_bits().into()),
        IpNet::V6(six) => (six.network().to_bits(), six.broadcast().to_bits()),
    }
}

/// The address of this number, in the client's family.
fn address(client: Client, number: u128) -> IpAddr {
    match client.address() {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

/// `spans` sorted, with those merged that touch or overlap.
fn united(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut united: Vec<Span> = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        match united.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => united.push((first, last)),
        }
    }
    united
}

/// What of `open` is not in `closed`; both as [`united`] gives them.
fn without(open: &[Span], closed: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut closed = closed.iter().peekable();
    for &(first, last) in open {
        let mut start = Some(first);
        while let Some((from, to)) = closed.peek().filter(|(from, _)| *from <= last) {
            if let Some(at) = start.filter(|at| at < from) {
                left.push((at, from - 1));
            }
            if *to >= last {
                start = None;
                break;
            }
            start = start.map(|at| at.max(to + 1));
            closed.next();
        }
        left.extend(start.filter(|start| *start <= last).map(|start| (start, last)));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        proptest::collection::vec((0u128..60, 0u128..12).prop_map(|(first, more)| (first, first + more)), 0..8)
    }

    proptest! {
        #[test]
        fn what_is_open_is_what_is_permitted_and_not_forbidden(open in spans(), closed in spans()) {
            let left = without(&united(open.clone()), &united(closed.clone()));
            let within = |spans: &[Span], number| spans.iter().any(|(first, last)| (*first..=*last).contains(&number));
            for number in 0..80 {
                prop_assert_eq!(within(&left, number), within(&open, number) && !within(&closed, number), "{}", number);
            }
            for pair in left.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "{:?}", left);
            }
        }
    }
}
