//! One policy of Leash's: who, what and where to, as far as it is about the
//! network.

use cedar_policy_core::ast::PrincipalOrResourceConstraint as Constraint;
use cedar_policy_core::ast::{self, ActionConstraint, Effect, EntityReference, EntityUID};
use cedar_policy_core::parser::Loc;

use super::super::super::problem::{Place, Problem};
use super::super::super::query::Agent;
use super::Original;
use super::condition::{self, Kind, Resource};
use super::target::{Host, Target};

/// A policy understood.
pub(super) struct Rewritten<'a> {
    pub(super) policy: &'a ast::Policy,
    pub(super) place: Place,
    /// Whom a permit is for; `None` is everybody.
    pub(super) agent: Option<Agent>,
    /// Whether it was said to be for somebody, which Leash does not look at.
    pub(super) named_somebody: bool,
    pub(super) aims: Vec<Aim>,
    /// What of it has nothing to do with a firewall.
    pub(super) outside: Vec<Problem>,
}

/// One host of a policy.
pub(super) struct Aim {
    /// The host as it was written.
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) target: Target,
    /// Whether it was an MCP server, all of which Leash closes.
    pub(super) is_server: bool,
}

impl Rewritten<'_> {
    pub(super) fn is_permit(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }
}

/// Reads `policy`; its permit is for `agent` if there is one.
///
/// # Errors
/// Each place that has no exact counterpart.
pub(super) fn rewritten<'a>(
    original: &Original<'_>,
    policy: &'a ast::Policy,
    agent: Option<&Agent>,
) -> Result<Rewritten<'a>, Vec<Problem>> {
    let alone = |problem| vec![problem];
    let place = original.place(policy.loc());
    let is_permit = policy.effect() == Effect::Permit;
    let actions = actions(original, policy).map_err(alone)?;
    let about = |id: &str| actions.iter().any(|(action, _)| action.eq_ignore_ascii_case(id));
    let connects = about("NetworkConnect");
    let forbids_calls = about("McpCall") && !is_permit;

    let mut found = Found::default();
    if connects || forbids_calls {
        let resources = resources(original, policy, &place).map_err(alone)?;
        let has_tool = resources.iter().any(|resource| matches!(resource.kind(), Kind::Tool));
        // Leash closes the network to a server of which it forbids all.
        let closes_servers = forbids_calls && !has_tool;
        resources.into_iter().for_each(|resource| found.sort_in(resource, connects, closes_servers));
    }
    let is_closed = found.aims.iter().any(|aim| aim.is_server);
    let foreign = |action: &str| match action.to_ascii_lowercase().as_str() {
        "networkconnect" => false,
        "mcpcall" => !is_closed,
        _ => true,
    };
    found.outside.extend(outside(actions.iter().filter(|(action, _)| foreign(action))));

    let Found { aims, mut outside, mut problems } = found;
    outside.sort_by(|left, right| left.place.cmp(&right.place));
    if is_permit {
        problems.extend(aims.iter().filter_map(unportable));
    }
    let agent = match agent {
        _ if !is_permit || aims.is_empty() => None,
        Some(agent) => Some(agent.clone()),
        None => principal(original, policy).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        }),
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let named_somebody = !matches!(policy.principal_constraint().as_inner(), Constraint::Any);
    Ok(Rewritten { policy, place, agent, named_somebody, aims, outside })
}

/// What the resources of one policy come to.
#[derive(Default)]
struct Found {
    aims: Vec<Aim>,
    outside: Vec<Problem>,
    problems: Vec<Problem>,
}

impl Found {
    fn sort_in(&mut self, resource: Resource, connects: bool, closes_servers: bool) {
        let (id, is_server) = match resource.kind() {
            Kind::Host if connects => (resource.id, false),
            Kind::Zone if connects => (format!("*.{}", resource.id.strip_prefix("*.").unwrap_or(&resource.id)), false),
            Kind::Server if closes_servers => (resource.id, true),
            // Told once, with the action.
            Kind::Server | Kind::Tool => return,
            Kind::Network => {
                let message = format!("`{}` is a network, which Leash does not enforce", resource.id);
                let problem = Problem::error(resource.place, message).with_help("name the hosts, or leave it out");
                return self.problems.push(problem);
            }
            Kind::Host | Kind::Zone | Kind::Other => {
                let named = format!("{}::\"{}\"", resource.name, resource.id);
                let message = format!("`{named}` is no host to connect to: Leash leaves it out, and so does this");
                return self.outside.push(Problem::warning(resource.place, message));
            }
        };
        match Target::parse(&id) {
            Ok(target) => self.aims.push(Aim { id, place: resource.place, target, is_server }),
            Err(fault) => self.problems.push(Problem::error(resource.place, fault.message).with_help(fault.help)),
        }
    }
}

/// The addresses that one policy permits and another forbids: a permitted
/// address is opened once and for all, which no forbid undoes.
pub(super) fn contradictions(rewritten: &[Rewritten<'_>]) -> Vec<Problem> {
    let aims = |permits: bool| {
        let chosen = rewritten.iter().filter(move |statement| statement.is_permit() == permits);
        chosen.flat_map(|statement| &statement.aims).filter(|aim| matches!(aim.target.host, Host::Address(_)))
    };
    let meet = |permit: &Aim, forbid: &Aim| {
        permit.target.host == forbid.target.host
            && (forbid.target.port.is_none() || forbid.target.port == permit.target.port)
    };
    let forbidden = |permit: &Aim| aims(false).find(|forbid| meet(permit, forbid)).map(|forbid| forbid.place.line);
    let found = aims(true).filter_map(|permit| {
        let line = forbidden(permit)?;
        let message = format!("`{}` is permitted here and forbidden in line {line}", permit.id);
        Some(Problem::error(permit.place.clone(), message).with_help("take one of the two out"))
    });
    found.collect()
}

/// The ids of the actions, and where they stand.
fn actions(original: &Original<'_>, policy: &ast::Policy) -> Result<Vec<(String, Place)>, Problem> {
    let entities = match policy.action_constraint() {
        ActionConstraint::Any => {
            let problem =
                Problem::error(original.place(policy.loc()), "this policy names no action; Leash leaves it out");
            return Err(problem.with_help("write `action == Action::\"NetworkConnect\"`, or delete the policy"));
        }
        ActionConstraint::Eq(action) => std::slice::from_ref(action),
        ActionConstraint::In(actions) => actions,
    };
    let place = |entity: &EntityUID| original.place(entity.loc().or(policy.loc()));
    Ok(entities.iter().map(|entity| (AsRef::<str>::as_ref(entity.eid()).to_owned(), place(entity))).collect())
}

/// The resources that the policy names, in its scope or in its condition.
fn resources(original: &Original<'_>, policy: &ast::Policy, place: &Place) -> Result<Vec<Resource>, Problem> {
    let named = |entity: &EntityUID| Resource::of(entity, original.place(entity.loc().or(policy.loc())));
    let in_scope = match policy.resource_constraint().as_inner() {
        Constraint::Any => None,
        Constraint::Eq(EntityReference::EUID(entity)) | Constraint::In(EntityReference::EUID(entity)) => {
            Some(named(entity))
        }
        _ => {
            let problem =
                Problem::error(place.clone(), "a type says nothing about hosts; Leash leaves such a policy out");
            return Err(problem.with_help("name the hosts: `resource == Host::\"api.example.com:443\"`"));
        }
    };
    match (in_scope, policy.non_scope_constraints()) {
        (Some(resource), None) => Ok(vec![resource]),
        (None, Some(condition)) => {
            let found = condition::resources(original, condition)?;
            if found.is_empty() { Err(nowhere(place)) } else { Ok(found) }
        }
        (None, None) => Err(nowhere(place)),
        // A tool in the scope and its server in the condition belong together.
        (Some(resource), Some(condition)) if matches!(resource.kind(), Kind::Tool) => {
            let mut found = condition::resources(original, condition)?;
            found.push(resource);
            Ok(found)
        }
        (Some(_), Some(condition)) => {
            let message = "a condition beside `resource == …`: Leash adds their hosts up, Cedar takes what they share";
            let problem = Problem::error(original.place(condition.source_loc()), message);
            Err(problem.with_help("write two policies, or one list of hosts"))
        }
    }
}

fn nowhere(place: &Place) -> Problem {
    Problem::error(place.clone(), "this policy names no host; Leash leaves it out")
        .with_help("name the hosts, `Host::\"*\"` if every one is meant, or delete the policy")
}

/// A permitted address is written with its port.
fn unportable(aim: &Aim) -> Option<Problem> {
    if aim.target.port.is_some() || !matches!(aim.target.host, Host::Address(_)) {
        return None;
    }
    let message = format!("`{}` is an address without a port, and Leash opens every one", aim.id);
    Some(Problem::error(aim.place.clone(), message).with_help(format!("name the port: `{}:443`", aim.id)))
}

/// Whom a permit is for, where the command line does not say.
fn principal(original: &Original<'_>, policy: &ast::Policy) -> Result<Option<Agent>, Problem> {
    let refused = |loc: Option<&Loc>| {
        Problem::error(original.place(loc.or(policy.loc())), "this principal is not one agent")
            .with_help("write `principal`, or say who is meant: --agent NAME")
    };
    match policy.principal_constraint().as_inner() {
        Constraint::Any => Ok(None),
        Constraint::Eq(EntityReference::EUID(entity)) => {
            Agent::parse(entity.eid().as_ref()).map(Some).map_err(|_| refused(entity.loc()))
        }
        _ => Err(refused(None)),
    }
}

/// What a policy says of other things than the network.
fn outside<'a>(actions: impl Iterator<Item = &'a (String, Place)>) -> Option<Problem> {
    let mut actions = actions.peekable();
    let (_, place) = actions.peek()?;
    let place = place.clone();
    let names: Vec<_> = actions.map(|(action, _)| format!("`{action}`")).collect();
    let message = format!("outside this firewall, which sees names, addresses and ports: {}", names.join(", "));
    Some(Problem::warning(place, message).with_help("keep another guard for it"))
}
