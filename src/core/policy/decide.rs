//! Deciding: what Cedar says of a name, port by port.
//!
//! Any error in the evaluation of any policy denies the whole question: Cedar
//! itself would skip the failing policy, and a skipped forbid permits.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use cedar_policy::{
    AuthorizationError, Context, Decision as Verdict, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression,
};

use super::super::decision::{Decision, Denial, Opening, Permit, PolicyId, Reason};
use super::super::name::Name;
use super::super::query::{Port, PortRange, Protocol, Query};
use super::super::time::WallTime;
use super::Policy;
use super::ports::merged;

/// How long a decision holds if a policy looks at the time.
const TIMED: Duration = Duration::from_secs(60);

/// A question being put to a policy.
pub(super) struct Inquiry<'a> {
    pub(super) policy: &'a Policy,
    pub(super) query: &'a Query,
    pub(super) now: WallTime,
}

/// One evaluation failed, or could not even be put: the ids of the policies
/// to blame, if any.
pub(super) struct Failed(Vec<PolicyId>);

impl From<Failed> for Denial {
    fn from(Failed(policies): Failed) -> Self {
        Self { reason: Reason::PolicyError, policies }
    }
}

/// What Cedar said, and the policies that decided.
struct Answer {
    permitted: bool,
    policies: BTreeSet<PolicyId>,
}

impl Answer {
    fn is_forbidden(&self) -> bool {
        !self.permitted && !self.policies.is_empty()
    }
}

/// What Cedar said of a run of ports.
struct Finding {
    opening: Opening,
    answer: Answer,
}

impl Inquiry<'_> {
    /// Whether the question may be asked upstream.
    pub(super) fn by_name(&self) -> Decision {
        if !self.query.kind.leads_to_connections() {
            return self.records();
        }
        self.connections(&self.policy.sets.by_name, None)
    }

    /// Which ports are open on one address, and by which policies.
    pub(super) fn by_address(&self, address: IpAddr) -> Decision {
        self.connections(&self.policy.sets.exact, Some(address))
    }

    /// Whether one port of the name may be connected to, at `address` if one
    /// is given.
    pub(super) fn connection(&self, protocol: Protocol, port: Port, address: Option<IpAddr>) -> Decision {
        let set = if address.is_some() { &self.policy.sets.exact } else { &self.policy.sets.by_name };
        match self.survey(set, &self.query.name, address, &[Opening { protocol, ports: port.into() }]) {
            Ok(findings) => self.summary(findings),
            Err(failed) => Decision::Deny(failed.into()),
        }
    }

    /// The forbids that cover `alias`, on any of the ports that the question
    /// opens.
    pub(super) fn alias(&self, alias: &Name) -> Result<BTreeSet<PolicyId>, Failed> {
        let sets = &self.policy.sets;
        if !self.query.kind.leads_to_connections() {
            let answer = self.record_answer(&sets.exact, alias)?;
            return Ok(if answer.is_forbidden() { answer.policies } else { BTreeSet::new() });
        }
        let opened: Vec<_> = self
            .survey(&sets.by_name, &self.query.name, None, &self.openings(&[&self.query.name, alias]))?
            .into_iter()
            .filter(|finding| finding.answer.permitted)
            .map(|finding| finding.opening)
            .collect();
        let mut forbidding = forbids(self.survey(&sets.by_name, alias, None, &opened)?);
        // A forbid that looks at the address judges the addresses under the
        // name asked for. One that could match under the alias alone would
        // never be looked at again.
        if !sets.wary.is_empty() {
            for opening in opened {
                let under_name = forbids(self.survey(&sets.wary, &self.query.name, None, &[opening])?);
                let under_alias = forbids(self.survey(&sets.wary, alias, None, &[opening])?);
                forbidding.extend(under_alias.difference(&under_name).cloned());
            }
        }
        Ok(forbidding)
    }

    fn connections(&self, set: &PolicySet, address: Option<IpAddr>) -> Decision {
        match self.survey(set, &self.query.name, address, &self.openings(&[&self.query.name])) {
            Ok(findings) => self.summary(findings),
            Err(failed) => Decision::Deny(failed.into()),
        }
    }

    fn summary(&self, findings: Vec<Finding>) -> Decision {
        let mut openings = Vec::new();
        let mut permitting = BTreeSet::new();
        for finding in findings.iter().filter(|finding| finding.answer.permitted) {
            openings.push(finding.opening);
            permitting.extend(finding.answer.policies.iter().cloned());
        }
        if openings.is_empty() {
            return Decision::Deny(self.denial(findings));
        }
        Decision::Permit(self.permit(permitting, merged(openings)))
    }

    fn permit(&self, policies: BTreeSet<PolicyId>, openings: Vec<Opening>) -> Permit {
        Permit {
            policies: policies.into_iter().collect(),
            judges_addresses: self.policy.mentions_ip && !openings.is_empty(),
            openings: openings.into(),
            valid_for: self.policy.mentions_now.then_some(TIMED),
        }
    }

    /// A forbid is the reason if it covers every port, or if without forbids
    /// there would be a port to open.
    fn denial(&self, findings: Vec<Finding>) -> Denial {
        let everywhere = findings.iter().all(|finding| finding.answer.is_forbidden());
        let forbidden: Vec<_> =
            findings.iter().filter(|finding| finding.answer.is_forbidden()).map(|finding| finding.opening).collect();
        let overridden = |opening| {
            let permits = self.survey(&self.policy.sets.permits, &self.query.name, None, &[opening]);
            permits.is_ok_and(|findings| findings.iter().any(|finding| finding.answer.permitted))
        };
        if !everywhere && !forbidden.into_iter().any(overridden) {
            return Denial::by_default(Reason::NotPermitted);
        }
        Denial { reason: Reason::Forbidden, policies: forbids(findings).into_iter().collect() }
    }

    /// Every protocol's ports in runs whose ports no policy can tell apart
    /// under any of `names`.
    fn openings(&self, names: &[&Name]) -> Vec<Opening> {
        let starts: BTreeSet<_> =
            names.iter().flat_map(|name| self.policy.breakpoints.intervals(name)).map(PortRange::first).collect();
        let ends = starts.iter().skip(1).map(|next| Port::new(next.number() - 1)).chain([Some(Port::MAX)]);
        let runs: Vec<_> = starts.iter().zip(ends).filter_map(|(first, last)| PortRange::new(*first, last?)).collect();
        Protocol::ALL
            .into_iter()
            .flat_map(|protocol| runs.iter().map(move |&ports| Opening { protocol, ports }))
            .collect()
    }

    /// Asks once per run, about its first port.
    fn survey(
        &self,
        set: &PolicySet,
        host: &Name,
        address: Option<IpAddr>,
        openings: &[Opening],
    ) -> Result<Vec<Finding>, Failed> {
        let vocabulary = &self.policy.vocabulary;
        let ports: BTreeSet<_> = openings.iter().map(|opening| opening.ports.first()).collect();
        let mut entities = Vec::with_capacity(ports.len() + 1);
        for port in ports {
            entities.push(self.resource(host, port)?);
        }
        let entities = self.store(entities)?;

        let mut context = self.context()?;
        context.push(("host".to_owned(), RestrictedExpression::new_string(host.to_string())));
        if let Some(address) = address {
            context.push(("ip".to_owned(), RestrictedExpression::new_ip(address.to_canonical().to_string())));
        }
        let ask = |opening: Opening| {
            let port = opening.ports.first();
            let mut context = context.clone();
            context.push(("port".to_owned(), RestrictedExpression::new_long(port.number().into())));
            let protocol = RestrictedExpression::new_entity_uid(vocabulary.protocol(opening.protocol));
            context.push(("protocol".to_owned(), protocol));
            let answer = self.ask(set, &vocabulary.connect, vocabulary.resource(host, port), context, &entities)?;
            Ok(Finding { opening, answer })
        };
        openings.iter().copied().map(ask).collect()
    }

    fn records(&self) -> Decision {
        match self.record_answer(&self.policy.sets.exact, &self.query.name) {
            Err(failed) => Decision::Deny(failed.into()),
            Ok(answer) if answer.permitted => Decision::Permit(self.permit(answer.policies, Vec::new())),
            Ok(answer) if answer.is_forbidden() => {
                Decision::Deny(Denial { reason: Reason::Forbidden, policies: answer.policies.into_iter().collect() })
            }
            Ok(_) => Decision::Deny(Denial::by_default(Reason::NotPermitted)),
        }
    }

    fn record_answer(&self, set: &PolicySet, name: &Name) -> Result<Answer, Failed> {
        let vocabulary = &self.policy.vocabulary;
        let domain = vocabulary.domain(name.as_str());
        let parents = name.ancestors().skip(1).map(|parent| vocabulary.domain(parent)).collect();
        let entities = self.store(vec![Entity::new_no_attrs(domain.clone(), parents)])?;
        let mut context = self.context()?;
        context.push(("qtype".to_owned(), RestrictedExpression::new_string(self.query.kind.to_string())));
        self.ask(set, vocabulary.action_for(self.query.kind), domain, context, &entities)
    }

    fn resource(&self, host: &Name, port: Port) -> Result<Entity, Failed> {
        let vocabulary = &self.policy.vocabulary;
        let attributes = HashMap::from([
            ("host".to_owned(), RestrictedExpression::new_string(host.to_string())),
            ("port".to_owned(), RestrictedExpression::new_long(port.number().into())),
        ]);
        let domains = host.ancestors().map(|domain| vocabulary.domain(domain)).collect();
        Entity::new(vocabulary.resource(host, port), attributes, domains).map_err(|_| Failed(Vec::new()))
    }

    fn store(&self, mut entities: Vec<Entity>) -> Result<Entities, Failed> {
        entities.push(self.policy.principals.entity(&self.query.agent, &self.policy.vocabulary));
        Entities::from_entities(entities, None).map_err(|_| Failed(Vec::new()))
    }

    /// What both actions' contexts have.
    fn context(&self) -> Result<Vec<(String, RestrictedExpression)>, Failed> {
        let now = jiff::Timestamp::from_millisecond(self.now.0).map_err(|_| Failed(Vec::new()))?;
        let now = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        Ok(vec![
            ("client".to_owned(), RestrictedExpression::new_ip(self.query.client.to_string())),
            ("now".to_owned(), RestrictedExpression::new_datetime(now)),
        ])
    }

    fn ask(
        &self,
        set: &PolicySet,
        action: &EntityUid,
        resource: EntityUid,
        context: Vec<(String, RestrictedExpression)>,
        entities: &Entities,
    ) -> Result<Answer, Failed> {
        let principal = self.policy.vocabulary.agent(&self.query.agent);
        let context = Context::from_pairs(context).map_err(|_| Failed(Vec::new()))?;
        let request =
            Request::new(principal, action.clone(), resource, context, None).map_err(|_| Failed(Vec::new()))?;
        let response = self.policy.authorizer.is_authorized(&request, set, entities);

        let erring: BTreeSet<_> = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| policy_id(error.policy_id()))
            .collect();
        if !erring.is_empty() {
            return Err(Failed(erring.into_iter().collect()));
        }
        Ok(Answer {
            permitted: response.decision() == Verdict::Allow,
            policies: response.diagnostics().reason().map(policy_id).collect(),
        })
    }
}

fn forbids(findings: Vec<Finding>) -> BTreeSet<PolicyId> {
    let forbidden = findings.into_iter().filter(|finding| finding.answer.is_forbidden());
    forbidden.flat_map(|finding| finding.answer.policies).collect()
}

fn policy_id(id: &cedar_policy::PolicyId) -> PolicyId {
    PolicyId::new(id.as_ref())
}
