//! Addresses that a policy names itself: permitted without DNS.

use ipnet::IpNet;

use super::super::super::decision::{Decision, Denial, Reason};
use super::super::super::question::Question;
use super::super::super::target::Service;
use super::super::Policy;

/// Decides about `network`: permitted if every address of it is open, on the
/// port, by one of the protocols that are meant.
///
/// No policy can name an address yet, so none permits one.
pub(super) fn decide(_policy: &Policy, _question: &Question, _network: IpNet, _service: Service) -> Decision {
    Decision::Deny(Denial::by_default(Reason::NotPermitted))
}
