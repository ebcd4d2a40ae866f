//! Deciding: what Cedar says of a name, port by port.
//!
//! Any error in the evaluation of any policy denies the whole question: Cedar
//! itself would skip the failing policy, and a skipped forbid permits.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy_core::ast::{EntityUID, Request};
use cedar_policy_core::entities::Entities;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::super::decision::{Decision, Denial, Opening, Permit, PolicyId, Reason};
use super::super::name::Name;
use super::super::query::{Port, Protocol, Query};
use super::super::time::WallTime;
use super::Policy;
use super::answer::{Answer, Failed, holds};
use super::circumstances::Circumstances;
use super::clause::{Asked, Clause, Mentions, View};
use super::ports::merged;
use super::slice::{Slice, runs};

/// How long a decision holds if a policy looks at the time.
pub(super) const TIMED: Duration = Duration::from_secs(60);

/// A question being put to a policy.
pub(super) struct Inquiry<'a> {
    pub(super) policy: &'a Policy,
    pub(super) query: &'a Query,
    pub(super) now: WallTime,
}

/// A decision, and whether it is to be remembered under the name: it depends on
/// the agent and the question alone, and is not remembered for every name of
/// its slice.
pub(super) struct Ruling {
    pub(super) decision: Decision,
    pub(super) lasts: bool,
}

/// A decision for every name of a slice, and the policies that permitted.
#[derive(Debug)]
pub(super) struct Common {
    decision: Decision,
    permitting: Box<[u32]>,
}

impl Common {
    pub(super) fn denied(denial: Denial) -> Self {
        Self { decision: Decision::Deny(denial), permitting: [].into() }
    }
}

/// One evaluation failed, or could not even be put: the ids of the policies
/// to blame, if any.
pub(super) struct Erring(Vec<PolicyId>);

impl From<Erring> for Denial {
    fn from(Erring(policies): Erring) -> Self {
        Self { reason: Reason::PolicyError, policies: policies.into() }
    }
}

impl From<Failed> for Erring {
    fn from(Failed: Failed) -> Self {
        Self(Vec::new())
    }
}

/// What Cedar said of a run of ports.
struct Finding {
    opening: Opening,
    answer: Answer,
}

/// A denial by the default, and the policies that say that it is.
fn not_permitted(default: &Arc<[PolicyId]>) -> Denial {
    Denial { reason: Reason::NotPermitted, policies: Arc::clone(default) }
}

impl Inquiry<'_> {
    /// Whether the question may be asked upstream.
    pub(super) fn by_name(&self) -> Ruling {
        if !self.query.kind.leads_to_connections() {
            return self.records();
        }
        let slice = self.slice(&self.query.name);
        let lasts = lasts(slice.mentions);
        let decide = || self.connections(&slice, View::ByName, None);
        match slice.of_any_host().filter(|_| lasts) {
            Some(clauses) => {
                let common = self.policy.decisions.of_slice(&self.query.agent, clauses, decide);
                Ruling { decision: self.of_this_name(&common), lasts: false }
            }
            None => Ruling { decision: decide().decision, lasts },
        }
    }

    /// Which ports are open on one address, and by which policies.
    pub(super) fn by_address(&self, address: IpAddr) -> Decision {
        self.connections(&self.slice(&self.query.name), View::Exact, Some(address)).decision
    }

    /// Whether one port of the name may be connected to, at `address` if one
    /// is given.
    pub(super) fn connection(&self, protocol: Protocol, port: Port, address: Option<IpAddr>) -> Decision {
        let view = if address.is_some() { View::Exact } else { View::ByName };
        let slice = self.slice(&self.query.name);
        match self.survey(&slice, &self.query.name, view, address, &[Opening { protocol, ports: port.into() }]) {
            Ok(findings) => self.summary(&slice, &findings).decision,
            Err(erring) => Decision::Deny(erring.into()),
        }
    }

    /// The forbids that cover `alias`, on any of the ports that the question
    /// opens.
    pub(super) fn alias(&self, alias: &Name) -> Result<BTreeSet<PolicyId>, Erring> {
        if !self.query.kind.leads_to_connections() {
            let (answer, _) = self.record_answer(alias)?;
            return Ok(if answer.is_forbidden() { self.ids(answer.reasons()) } else { BTreeSet::new() });
        }
        let (name, slice, alias_slice) = (&self.query.name, self.slice(&self.query.name), self.slice(alias));
        let opened: Vec<_> = self
            .survey(&slice, name, View::ByName, None, &openings(&[&slice, &alias_slice]))?
            .into_iter()
            .filter(|finding| finding.answer.is_permitted())
            .map(|finding| finding.opening)
            .collect();
        let mut forbidding = self.forbids(&self.survey(&alias_slice, alias, View::ByName, None, &opened)?);
        // A forbid that looks at the address judges the addresses under the
        // name asked for. One that could match under the alias alone would
        // never be looked at again.
        if alias_slice.mentions.ip {
            for opening in opened {
                let under_name = self.forbids(&self.survey(&slice, name, View::Wary, None, &[opening])?);
                let under_alias = self.forbids(&self.survey(&alias_slice, alias, View::Wary, None, &[opening])?);
                forbidding.extend(under_alias.difference(&under_name).cloned());
            }
        }
        Ok(forbidding)
    }

    fn connections(&self, slice: &Slice, view: View, address: Option<IpAddr>) -> Common {
        match self.survey(slice, &self.query.name, view, address, &openings(&[slice])) {
            Ok(findings) => self.summary(slice, &findings),
            Err(erring) => Common::denied(erring.into()),
        }
    }

    fn summary(&self, slice: &Slice, findings: &[Finding]) -> Common {
        let mut openings = Vec::new();
        let mut permitting = BTreeSet::new();
        for finding in findings.iter().filter(|finding| finding.answer.is_permitted()) {
            openings.push(finding.opening);
            permitting.extend(finding.answer.reasons().iter().copied());
        }
        let permitting: Box<[u32]> = permitting.into_iter().collect();
        let decision = match openings.is_empty() {
            true => Decision::Deny(self.denial(findings)),
            false => Decision::Permit(self.permit(slice.mentions, &permitting, merged(openings))),
        };
        Common { decision, permitting }
    }

    /// What is decided for every name of a slice, for the name asked for.
    fn of_this_name(&self, Common { decision, permitting }: &Common) -> Decision {
        match decision {
            Decision::Permit(permit) => {
                Decision::Permit(Permit { unnamed: self.unnamed(permitting), ..permit.clone() })
            }
            Decision::Deny(denial) => Decision::Deny(denial.clone()),
        }
    }

    /// A forbid is the reason if it covers every port, or if without forbids
    /// there would be a port to open.
    fn denial(&self, findings: &[Finding]) -> Denial {
        let everywhere = findings.iter().all(|finding| finding.answer.is_forbidden());
        let overridden = |finding: &Finding| finding.answer.is_forbidden() && finding.answer.has_permit();
        if !everywhere && !findings.iter().any(overridden) {
            return not_permitted(&self.policy.default.connecting);
        }
        Denial { reason: Reason::Forbidden, policies: self.forbids(findings).into_iter().collect() }
    }

    /// The policies whose scope holds for the asker and `host`.
    pub(super) fn slice(&self, host: &Name) -> Slice {
        let policy = self.policy;
        let vocabulary = &policy.vocabulary;
        let (principal, action) = (policy.standing(&self.query.agent), &policy.connecting);
        let resource = policy.slices.nameless(&vocabulary.resource, &vocabulary.domain, host.ancestors());
        let clause = |number| policy.clause(number);

        let mut slice = Slice::of(host.clone());
        slice.add(policy.slices.matching(&principal, action, &resource), clause);
        for &port in policy.ports_of.get(host.as_str()).into_iter().flatten() {
            let id = format!("{host}:{port}");
            if let Some(resource) = policy.slices.named(&resource, &vocabulary.resource, &id) {
                slice.add_at(port, policy.slices.matching_by_name(&principal, action, &resource), clause);
            }
        }
        slice
    }

    /// Asks once per run, about its first port.
    fn survey(
        &self,
        slice: &Slice,
        host: &Name,
        view: View,
        address: Option<IpAddr>,
        openings: &[Opening],
    ) -> Result<Vec<Finding>, Erring> {
        let policy = self.policy;
        if slice.is_empty() {
            let unheard = |&opening| Finding { opening, answer: Answer::default() };
            return Ok(openings.iter().map(unheard).collect());
        }
        let principal = policy.principals.entity(&self.query.agent, &policy.vocabulary);
        let circumstances =
            Circumstances::new(&policy.vocabulary, principal, self.query.client, self.now, address, slice.mentions)?;
        let connections = OnceCell::new();
        let connections = || {
            connections.get_or_init(|| {
                let domains: HashSet<_> = host.ancestors().map(|domain| policy.vocabulary.domain(domain)).collect();
                let ports: BTreeSet<_> = openings.iter().map(|opening| opening.ports.first()).collect();
                let heard = ports.into_iter().filter(|port| slice.has_say_on(*port));
                circumstances.connections(host.as_str(), &domains, heard.map(|port| (port, format!("{host}:{port}"))))
            })
        };

        let mut findings: Vec<Finding> = Vec::with_capacity(openings.len());
        let mut asked: BTreeMap<Port, usize> = BTreeMap::new();
        for &opening in openings {
            let (protocol, port) = (opening.protocol, opening.ports.first());
            if !slice.mentions.protocol
                && let Some(same) = asked.get(&port).and_then(|index| findings.get(*index))
            {
                let answer = same.answer.clone();
                findings.push(Finding { opening, answer });
                continue;
            }
            let request = || connections().as_ref().map_err(|failed| *failed)?.request(protocol, port);
            let answer = policy.ask(slice.on(port), view, request)?;
            asked.insert(port, findings.len());
            findings.push(Finding { opening, answer });
        }
        Ok(findings)
    }

    fn records(&self) -> Ruling {
        let (answer, mentions) = match self.record_answer(&self.query.name) {
            Ok(found) => found,
            Err(erring) => return Ruling { decision: Decision::Deny(erring.into()), lasts: false },
        };
        let decision = if answer.is_permitted() {
            Decision::Permit(self.permit(mentions, answer.reasons(), Vec::new()))
        } else if answer.is_forbidden() {
            let policies = self.ids(answer.reasons()).into_iter().collect();
            Decision::Deny(Denial { reason: Reason::Forbidden, policies })
        } else {
            Decision::Deny(not_permitted(&self.policy.default.querying))
        };
        Ruling { decision, lasts: lasts(mentions) }
    }

    fn record_answer(&self, name: &Name) -> Result<(Answer, Mentions), Erring> {
        let policy = self.policy;
        let vocabulary = &policy.vocabulary;
        let domain = vocabulary.domain(name.as_str());
        let parents: HashSet<_> = name.ancestors().skip(1).map(|parent| vocabulary.domain(parent)).collect();
        let resource = policy.slices.standing(&domain, &parents);
        let slice = policy.slices.matching(&policy.standing(&self.query.agent), &policy.querying, &resource);

        let clauses = slice.iter().filter_map(|number| policy.clause(*number));
        let mentions = clauses.fold(Mentions::default(), |mentions, clause| mentions.or(clause.mentions));
        let principal = policy.principals.entity(&self.query.agent, vocabulary);
        let circumstances = Circumstances::new(vocabulary, principal, self.query.client, self.now, None, mentions)?;
        let request = || circumstances.records(domain, parents, &self.query.kind.to_string());
        Ok((policy.ask(slice.into_iter(), View::Exact, request)?, mentions))
    }

    fn forbids(&self, findings: &[Finding]) -> BTreeSet<PolicyId> {
        let forbidden = findings.iter().filter(|finding| finding.answer.is_forbidden());
        forbidden.flat_map(|finding| self.ids(finding.answer.reasons())).collect()
    }

    fn ids(&self, clauses: &[u32]) -> BTreeSet<PolicyId> {
        self.policy.ids(clauses)
    }

    /// What the policies `clauses` permit together.
    fn permit(&self, mentions: Mentions, clauses: &[u32], openings: Vec<Opening>) -> Permit {
        Permit {
            policies: self.ids(clauses).into_iter().collect(),
            judges_addresses: mentions.ip && !openings.is_empty(),
            openings: openings.into(),
            valid_for: mentions.now.then_some(TIMED),
            unnamed: self.unnamed(clauses),
            would_deny: None,
        }
    }

    /// How many labels of the name, from the left, none of these policies
    /// names.
    fn unnamed(&self, clauses: &[u32]) -> usize {
        let name = &self.query.name;
        let clauses = clauses.iter().filter_map(|number| self.policy.clause(*number));
        let unnamed = clauses.map(|clause| {
            if clause.resources.iter().any(|(host, _)| host == name) {
                return 0;
            }
            let domain = self.policy.domain_of(clause);
            let is_domain = |parent: &str| domain.as_ref().is_some_and(|domain| domain.eid().as_ref() == parent);
            name.ancestors().position(is_domain).unwrap_or(name.labels().count())
        });
        unnamed.min().unwrap_or(0)
    }
}

impl Policy {
    /// Puts a request to policies whose scope holds. It is made up only if
    /// one of them has a condition.
    pub(super) fn ask(
        &self,
        clauses: impl Iterator<Item = u32>,
        view: View,
        request: impl FnOnce() -> Result<(Request, Arc<Entities>), Failed>,
    ) -> Result<Answer, Erring> {
        let mut answer = Answer::default();
        let mut open = Vec::new();
        for (number, clause) in clauses.filter_map(|number| Some((number, self.clause(number)?))) {
            match clause.asked(view) {
                Asked::Absent => {}
                Asked::Holds => answer.count(number, clause.effect, Ok(true)),
                Asked::If(condition) => open.push((number, clause.effect, condition)),
            }
        }
        if open.is_empty() {
            return Ok(answer);
        }
        let (request, entities) = request()?;
        let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
        for (number, effect, condition) in open {
            answer.count(number, effect, holds(&evaluator, condition));
        }
        if answer.errors.is_empty() {
            return Ok(answer);
        }
        Err(Erring(self.ids(&answer.errors).into_iter().collect()))
    }

    /// The domain that the scope of a policy names.
    fn domain_of(&self, clause: &Clause) -> Option<Arc<EntityUID>> {
        let constraint = self.statements.get(clause.statement as usize)?.ast().resource_constraint();
        let domain = constraint.as_inner().get_euid()?;
        (domain.entity_type() == &self.vocabulary.domain).then(|| Arc::clone(domain))
    }

    /// The ids of these policies.
    pub(super) fn ids(&self, clauses: &[u32]) -> BTreeSet<PolicyId> {
        let clauses = clauses.iter().filter_map(|number| self.clause(*number));
        let statements = clauses.filter_map(|clause| self.statements.get(clause.statement as usize));
        statements.map(|statement| statement.id.clone()).collect()
    }
}

/// Every protocol's ports in runs that no policy of `slices` can tell apart.
fn openings(slices: &[&Slice]) -> Vec<Opening> {
    let runs = runs(slices);
    Protocol::ALL.into_iter().flat_map(|protocol| runs.iter().map(move |&ports| Opening { protocol, ports })).collect()
}

/// Whether nothing but the agent and the question decides.
const fn lasts(mentions: Mentions) -> bool {
    !mentions.now && !mentions.client
}
