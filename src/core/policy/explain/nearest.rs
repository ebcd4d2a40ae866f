//! For a denial, the permit that came nearest, and what stood in its way.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy_core::ast::{ActionConstraint, Effect, EntityUID, Policy as Ast, PrincipalOrResourceConstraint};
use ipnet::IpNet;

use super::super::super::decision::{Denial, PolicyId, Reason};
use super::super::super::query::{Port, Protocol};
use super::super::super::question::Question;
use super::super::super::target::{Service, Target};
use super::super::Policy;
use super::super::schema::{CONNECT, QUERY};
use super::super::statement::Statement;
use super::Failure;
use super::conjuncts::{Stumble, stumble};
use super::mentions::{self, Mention, Nearness};
use super::scene::Scene;

/// Conditions are evaluated for so many permits at most, the likeliest first.
const EVALUATED: usize = 256;
/// Ports that are tried for a permit where none was asked for.
const TRIED: usize = 32;

/// What each obstacle weighs: of two permits, the lighter is nearer.
mod weight {
    pub(super) const CONDITION: u32 = 2;
    pub(super) const PORT: u32 = 2;
    pub(super) const MISSPELT: u32 = 3;
    pub(super) const PRINCIPAL: u32 = 4;
    pub(super) const SAME_OWNER: u32 = 5;
    pub(super) const ACTION: u32 = 8;
    /// A permit for something else altogether is not near at all.
    pub(super) const FAR: u32 = 100;
}

/// The permit that came nearest to permitting what was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Which.
    pub policy: PolicyId,
    /// What stood in its way; not empty.
    pub obstacles: Vec<Obstacle>,
}

/// What keeps a permit from permitting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is for somebody else.
    Principal {
        /// For whom, as Cedar writes it, and how: `members of Team::"x"`.
        wanted: String,
        /// Who asked.
        asked: String,
    },
    /// It is about another action.
    Action {
        /// About which.
        wanted: String,
        /// Which was asked for.
        asked: &'static str,
    },
    /// It is for another name or address.
    Destination {
        /// For which.
        wanted: String,
        /// What was asked for.
        asked: String,
        /// Whether that looks like a slip of the pen.
        is_near_miss: bool,
    },
    /// It is for another port.
    Port {
        /// For which.
        wanted: Port,
        /// Which was asked for.
        asked: Port,
    },
    /// A part of its condition does not hold.
    Condition(Stumble),
    /// It matches, and forbids override it.
    Overridden(Arc<[PolicyId]>),
}

impl Obstacle {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Principal { .. } => "principal",
            Self::Action { .. } => "action",
            Self::Destination { .. } => "destination",
            Self::Port { .. } => "port",
            Self::Condition(_) => "condition",
            Self::Overridden(_) => "overridden",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal { wanted, asked } => write!(formatter, "it is for {wanted}, not {asked}"),
            Self::Action { wanted, asked } => write!(formatter, "it is about {wanted}, not {asked}"),
            Self::Destination { wanted, asked, is_near_miss: false } => {
                write!(formatter, "it is for {wanted}, not {asked}")
            }
            Self::Destination { wanted, asked, is_near_miss: true } => {
                write!(formatter, "it is for {wanted}, not {asked}: a slip of the pen?")
            }
            Self::Port { wanted, asked } => write!(formatter, "its port is {wanted}, not {asked}"),
            Self::Condition(Stumble { text, error: None, .. }) => {
                write!(formatter, "its condition is false here: `{text}`")
            }
            Self::Condition(Stumble { text, error: Some(error), .. }) => {
                write!(formatter, "its condition fails: `{text}`: {error}")
            }
            Self::Overridden(forbids) => {
                formatter.write_str("it matches, and is overridden by ")?;
                for (index, forbid) in forbids.iter().enumerate() {
                    write!(formatter, "{}`{forbid}`", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}

/// The permit nearest to permitting what `denial` denies, if any is near.
pub(super) fn nearest(policy: &Policy, question: &Question, denial: &Denial) -> Option<Nearest> {
    let view = View::new(policy, question)?;
    let permits = policy.statements.iter().filter(|statement| statement.ast().effect() == Effect::Permit);
    let mut scoped: Vec<_> = permits
        .map(|statement| view.scope(statement.ast(), statement))
        .filter(|candidate| candidate.weight < weight::FAR)
        .collect();
    scoped.sort_by_key(|candidate| candidate.weight);

    let mut best: Option<Candidate<'_>> = None;
    for candidate in scoped.into_iter().take(EVALUATED) {
        if best.as_ref().is_some_and(|best| best.weight <= candidate.weight) {
            break;
        }
        let candidate = view.judged(candidate, denial);
        let is_nearer = best.as_ref().is_none_or(|best| candidate.weight < best.weight);
        if is_nearer && !candidate.obstacles.is_empty() {
            best = Some(candidate);
        }
    }
    best.map(|best| Nearest { policy: best.statement.id.clone(), obstacles: best.obstacles })
}

/// Where the policies that `denial` blames failed.
pub(super) fn failures(policy: &Policy, question: &Question, denial: &Denial) -> Vec<Failure> {
    let Some(view) = View::new(policy, question) else { return Vec::new() };
    let statements = denial.policies.iter().filter_map(|id| policy.statement(id));
    let failure = |statement: &Statement| {
        let mut stumbles = view.scenes(statement.ast()).into_iter().filter(|scene| scene.covers(statement.ast()));
        let failed = stumbles.find_map(|scene| {
            stumble(statement, &scene, question.address().is_some()).filter(|stumble| stumble.error.is_some())
        });
        failed.map(|stumble| Failure { policy: statement.id.clone(), stumble })
    };
    statements.filter_map(failure).collect()
}

/// A permit, and how far it is from permitting.
struct Candidate<'a> {
    statement: &'a Statement,
    weight: u32,
    obstacles: Vec<Obstacle>,
    /// Whether its condition speaks of the request at all.
    is_comparable: bool,
}

impl Candidate<'_> {
    fn add(&mut self, weight: u32, obstacle: Obstacle) {
        self.weight += weight;
        self.obstacles.push(obstacle);
    }
}

/// A question, as permits are held against it.
struct View<'a> {
    policy: &'a Policy,
    question: &'a Question,
    /// A request that has the right principal and action.
    scene: Scene,
}

impl<'a> View<'a> {
    fn new(policy: &'a Policy, question: &'a Question) -> Option<Self> {
        let service = match question.target() {
            Target::Host { service, .. } => service.map_or(Port::MIN, |service| service.port),
            Target::Addresses { service, .. } => service.port,
        };
        let scene = match question.target() {
            Target::Host { name, .. } if is_of_records(question) => Scene::records(policy, question, name)?,
            Target::Host { name, .. } => Scene::connection(policy, question, name, (Protocol::Tcp, service), None)?,
            Target::Addresses { network, .. } => {
                let service = Service { port: service, protocol: None };
                let literal = Target::Addresses { network: *network, service }.to_string().parse().ok()?;
                Scene::literal(policy, question, literal, Protocol::Tcp, network.addr())?
            }
        };
        Some(Self { policy, question, scene })
    }

    /// `statement` by its scope alone.
    fn scope(&self, ast: &Ast, statement: &'a Statement) -> Candidate<'a> {
        let mut candidate = Candidate { statement, weight: 0, obstacles: Vec::new(), is_comparable: true };
        if !self.scene.is_for(ast) {
            let asked = self.policy.vocabulary.agent(self.question.agent()).to_string();
            candidate.add(weight::PRINCIPAL, Obstacle::Principal { wanted: principals(ast), asked });
        }
        if !self.scene.is_about(ast) {
            let asked = if is_of_records(self.question) { QUERY } else { CONNECT };
            candidate.add(weight::ACTION, Obstacle::Action { wanted: actions(ast), asked });
            candidate.is_comparable = false;
        }
        self.destination(ast, &mut candidate);
        candidate
    }

    fn destination(&self, ast: &Ast, candidate: &mut Candidate<'a>) {
        let constraint = ast.resource_constraint();
        let scope = constraint.as_inner().get_euid().and_then(|entity| mentions::of_entity(entity));
        let is_exact = matches!(constraint.as_inner(), PrincipalOrResourceConstraint::Eq(_));
        match (self.question.target(), scope) {
            (Target::Host { name, service }, Some(mention)) => {
                let mention = match mention {
                    Mention::Within(domain) if is_exact => Mention::Host(domain, None),
                    other => other,
                };
                let nearness = mention.nearness(name);
                self.add_destination(&mention, nearness, candidate);
                if let (Mention::Host(_, Some(wanted)), Some(service)) = (&mention, service)
                    && *wanted != service.port
                {
                    candidate.add(weight::PORT, Obstacle::Port { wanted: *wanted, asked: service.port });
                }
            }
            // What the condition says of names is told by the condition.
            (Target::Host { name, .. }, None) => {
                let mentioned = ast.non_scope_constraints().map(mentions::places).unwrap_or_default();
                let nearness = mentioned.iter().map(|mention| mention.nearness(name)).min().unwrap_or(Nearness::Same);
                candidate.weight += weight_of(nearness);
            }
            (Target::Addresses { network, service }, Some(mention @ Mention::Addresses(..))) => {
                let Mention::Addresses(wanted, port) = &mention else { return };
                if !wanted.contains(network) {
                    let is_same_family = wanted.addr().is_ipv4() == network.addr().is_ipv4();
                    let nearness = if is_same_family { Nearness::SameOwner } else { Nearness::Far };
                    self.add_destination(&mention, nearness, candidate);
                }
                if *port != service.port {
                    candidate.add(weight::PORT, Obstacle::Port { wanted: *port, asked: service.port });
                }
            }
            (Target::Addresses { .. }, _) => candidate.weight += weight::FAR,
        }
    }

    fn add_destination(&self, mention: &Mention, nearness: Nearness, candidate: &mut Candidate<'a>) {
        if nearness == Nearness::Same {
            return;
        }
        let wanted = match mention {
            Mention::Host(name, _) => name.to_string(),
            Mention::Within(domain) => format!("{domain} and the names below it"),
            Mention::Addresses(network, _) => written(*network),
        };
        let asked = match self.question.target() {
            Target::Host { name, .. } => name.to_string(),
            Target::Addresses { network, .. } => written(*network),
        };
        let is_near_miss = nearness == Nearness::Misspelt;
        candidate.add(weight_of(nearness), Obstacle::Destination { wanted, asked, is_near_miss });
    }

    /// `candidate` with its condition: on the port and protocol that suit it
    /// best, where the question leaves them open.
    fn judged(&self, mut candidate: Candidate<'a>, denial: &Denial) -> Candidate<'a> {
        if candidate.is_comparable {
            let mut least: Option<Stumble> = None;
            for scene in self.scenes(candidate.statement.ast()) {
                match stumble(candidate.statement, &scene, self.question.address().is_some()) {
                    None => {
                        least = None;
                        break;
                    }
                    // A later part is a nearer miss.
                    Some(found) if least.as_ref().is_none_or(|least| found.place > least.place) => least = Some(found),
                    Some(_) => {}
                }
            }
            if let Some(stumble) = least {
                let weight = if stumble.is_about_name { 0 } else { weight::CONDITION };
                candidate.add(weight, Obstacle::Condition(stumble));
            }
        }
        if candidate.obstacles.is_empty() && denial.reason == Reason::Forbidden {
            candidate.obstacles.push(Obstacle::Overridden(Arc::clone(&denial.policies)));
        }
        candidate
    }

    /// The requests that the question stands for, as far as `ast` can tell
    /// them apart.
    fn scenes(&self, ast: &Ast) -> Vec<Scene> {
        let (name, service) = match self.question.target() {
            Target::Host { name, service } => (name, service),
            Target::Addresses { network, service } => return self.scenes_at(ast, network.addr(), *service),
        };
        if is_of_records(self.question) {
            return Scene::records(self.policy, self.question, name).into_iter().collect();
        }
        let ports = match service {
            Some(service) => vec![service.port],
            None => {
                let mentioned = mentions::ports(ast, name).into_iter();
                let around = mentioned.flat_map(|port| {
                    let number = port.number();
                    [Some(number), number.checked_add(1), number.checked_sub(1)]
                        .into_iter()
                        .flatten()
                        .filter_map(Port::new)
                });
                around.chain(Port::new(443)).take(TRIED).collect()
            }
        };
        let protocols: Vec<_> = match service {
            Some(service) => service.protocols().collect(),
            None => Protocol::ALL.to_vec(),
        };
        let services = ports.iter().flat_map(|port| protocols.iter().map(move |protocol| (*protocol, *port)));
        services
            .filter_map(|service| Scene::connection(self.policy, self.question, name, service, self.question.address()))
            .collect()
    }
}

/// As the literal that a policy's scope names.
impl View<'_> {
    fn scenes_at(&self, ast: &Ast, address: IpAddr, service: Service) -> Vec<Scene> {
        let constraint = ast.resource_constraint();
        let named = constraint.as_inner().get_euid().and_then(|entity| AsRef::<str>::as_ref(entity.eid()).parse().ok());
        let Some(literal) = named else { return Vec::new() };
        let scene = |protocol| Scene::literal(self.policy, self.question, literal, protocol, address);
        service.protocols().filter_map(scene).collect()
    }
}

/// A network of one address is that address.
fn written(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

const fn weight_of(nearness: Nearness) -> u32 {
    match nearness {
        Nearness::Same => 0,
        Nearness::Misspelt => weight::MISSPELT,
        Nearness::SameOwner => weight::SAME_OWNER,
        Nearness::Far => weight::FAR,
    }
}

fn is_of_records(question: &Question) -> bool {
    !question.kind().leads_to_connections()
}

fn principals(ast: &Ast) -> String {
    let constraint = ast.principal_constraint();
    let Some(entity) = constraint.as_inner().get_euid() else { return "other principals".to_owned() };
    match constraint.as_inner() {
        PrincipalOrResourceConstraint::Eq(_) => entity.to_string(),
        _ => format!("members of {entity}"),
    }
}

fn actions(ast: &Ast) -> String {
    let id = |entity: &EntityUID| AsRef::<str>::as_ref(entity.eid()).to_owned();
    match ast.action_constraint() {
        ActionConstraint::Any => "other actions".to_owned(),
        ActionConstraint::Eq(entity) => id(entity),
        ActionConstraint::In(entities) => entities.iter().map(|entity| id(entity)).collect::<Vec<_>>().join(", "),
    }
}
