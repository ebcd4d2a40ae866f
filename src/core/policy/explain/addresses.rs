//! Addresses that a policy names itself: permitted without DNS.

use ipnet::IpNet;

use super::super::super::decision::{Decision, Denial, Opening, Permit, Reason};
use super::super::super::query::Protocol;
use super::super::super::question::Question;
use super::super::super::target::Service;
use super::super::Policy;
use super::{either, united};

/// Decides about `network`: permitted if every address of it is open, on the
/// port, by one of the protocols that are meant.
pub(super) fn decide(policy: &Policy, question: &Question, network: IpNet, service: Service) -> Decision {
    // The kernel's sets hold addresses of the client's family alone.
    if !question.client().reaches(network.addr()) {
        return Decision::Deny(Denial::by_default(Reason::NotPermitted));
    }
    either(service.protocols().map(|protocol| by_protocol(policy, question, network, service, protocol)))
}

fn by_protocol(policy: &Policy, question: &Question, network: IpNet, service: Service, protocol: Protocol) -> Decision {
    let (start, end) = (network.network(), network.broadcast());
    let decide = |address| {
        let (agent, client) = (question.agent(), question.client());
        policy.decide_static(agent, client, address, protocol, service.port, question.at())
    };
    let (first, last) = match (decide(start), decide(end)) {
        (Decision::Permit(first), Decision::Permit(last)) => (first, last),
        (Decision::Deny(denial), _) | (_, Decision::Deny(denial)) => return Decision::Deny(denial),
    };
    // Both ends may be open with something closed between them.
    let statics = policy.statics(question.agent(), question.client(), question.at());
    let is_covered = statics.grants.iter().any(|grant| {
        let is_of_port = grant.protocol == protocol && grant.ports.contains(service.port);
        is_of_port && grant.first <= start && end <= grant.last
    });
    if !is_covered {
        return Decision::Deny(Denial::by_default(Reason::NotPermitted));
    }
    Decision::Permit(Permit {
        policies: united(&first.policies, &last.policies),
        openings: [Opening { protocol, ports: service.port.into() }].into(),
        judges_addresses: false,
        valid_for: statics.valid_for,
        unnamed: 0,
        would_deny: None,
    })
}
