//! What each permitting policy leads to: ports, and the kernel's sets.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use cedar_policy_core::ast;
use ipnet::IpNet;

use super::super::super::decision::{Opening, Permit, PolicyId};
use super::super::super::lease::{Aliases, Generation, Grant, Key, Wanted};
use super::super::super::name::Name;
use super::super::super::query::{Port, PortRange, Protocol, RecordKind};
use super::super::super::question::Question;
use super::super::super::target::Target;
use super::super::super::time::Ttl;
use super::super::Policy;
use super::super::address::{Bound, without_address};
use super::super::ports::merged;
use super::mentions;
use super::scene::Scene;

/// One policy's part in a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which policy.
    pub policy: PolicyId,
    /// What it opens, and as what it is kept; empty for a record that leads
    /// to no connection.
    pub placements: Vec<Placement>,
}

/// What a run of ports comes to in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The ports.
    pub opening: Opening,
    /// Where they are kept.
    pub kept: Kept,
}

/// Where the kernel keeps what a policy opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As leases: these elements for each address of the answer. Their own
    /// address is of the right family and no more.
    Leases(Vec<Key>),
    /// For as long as the wall stands: addresses that the policy names.
    Static(IpNet),
}

/// The part of each policy of `permit`.
pub(super) fn shares(policy: &Policy, question: &Question, permit: &Permit) -> Vec<Share> {
    let share = |id: &PolicyId| Share {
        policy: id.clone(),
        placements: openings(policy, question, permit, id)
            .into_iter()
            .map(|opening| placed(question, opening))
            .collect(),
    };
    permit.policies.iter().map(share).collect()
}

/// The openings of `permit` that policy `id` alone leads to.
fn openings(policy: &Policy, question: &Question, permit: &Permit, id: &PolicyId) -> Vec<Opening> {
    let Target::Host { name, .. } = question.target() else { return permit.openings.to_vec() };
    let Some(statement) = policy.statement(id) else { return Vec::new() };
    let starts = starts(statement.ast(), name, permit);
    let ends = starts.iter().skip(1).map(|next| Port::new(next.number() - 1)).chain([Some(Port::MAX)]);
    let runs: Vec<_> = starts.iter().zip(ends).filter_map(|(first, last)| PortRange::new(*first, last?)).collect();

    let mut openings = Vec::new();
    for (protocol, ports) in Protocol::ALL.into_iter().flat_map(|protocol| runs.iter().map(move |run| (protocol, *run)))
    {
        let is_open = |opening: &Opening| opening.protocol == protocol && opening.ports.contains(ports.first());
        if permit.openings.iter().any(is_open)
            && applies(policy, statement.ast(), question, name, (protocol, ports.first()))
        {
            openings.push(Opening { protocol, ports });
        }
    }
    merged(openings)
}

/// Where runs start whose ports neither the policy nor the permit can tell
/// apart.
fn starts(ast: &ast::Policy, host: &Name, permit: &Permit) -> BTreeSet<Port> {
    let edges = permit.openings.iter().flat_map(|opening| {
        [Some(opening.ports.first()), opening.ports.last().number().checked_add(1).and_then(Port::new)]
    });
    let own = mentions::ports(ast, host).into_iter();
    let own = own.flat_map(|port| [Some(port), port.number().checked_add(1).and_then(Port::new)]);
    [Some(Port::MIN)].into_iter().chain(edges).chain(own).flatten().collect()
}

/// Whether a policy matches a connection. Where no address is named, one that
/// suits it best is assumed, as deciding by the name does.
fn applies(policy: &Policy, ast: &ast::Policy, question: &Question, host: &Name, service: (Protocol, Port)) -> bool {
    let Some(scene) = Scene::connection(policy, question, host, service, question.address()) else { return false };
    let holds = |condition: &ast::Expr| match question.address() {
        Some(_) => scene.holds(condition) == Ok(true),
        None => without_address(condition, Bound::Some).is_some_and(|lenient| scene.holds(&lenient) == Ok(true)),
    };
    scene.covers(ast) && ast.non_scope_constraints().is_none_or(holds)
}

fn placed(question: &Question, opening: Opening) -> Placement {
    let name = match question.target() {
        Target::Addresses { network, .. } => return Placement { opening, kept: Kept::Static(*network) },
        Target::Host { name, .. } => name.clone(),
    };
    let is_ipv6 = question.address().is_some_and(|address| address.is_ipv6()) || question.kind() == RecordKind::Aaaa;
    let address = if is_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let client = question.client();
    let grant = Grant { client, address, openings: Arc::new([opening]) };
    let wanted = Wanted {
        client,
        name,
        grants: vec![grant],
        ttl: Ttl::ZERO,
        at_most: None,
        aliases: Aliases::default(),
        generation: Generation::default(),
    };
    Placement { opening, kept: Kept::Leases(wanted.keys().collect()) }
}
