//! Judging again what is open, when a new policy comes into force: the same
//! questions as on a query's journey, without asking anybody upstream.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::config::PolicyMode;
use super::decision::{Decision, Opening};
use super::identities::{Identities, Identity};
use super::lease::Aliases;
use super::ledger::revision::{Holding, Verdict};
use super::name::Name;
use super::policy::Policy;
use super::query::{Client, PortRange, Query, RecordKind};
use super::ranges;
use super::time::WallTime;

/// By what it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Law<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Who asks from which address; whoever is unknown may nothing.
    pub identities: &'a Identities,
    /// Special-purpose ranges that answers may carry all the same.
    pub allow_ranges: &'a [IpNet],
    /// Whether what the policy denies is denied.
    pub mode: PolicyMode,
}

/// Who reached which address, under which name and over which aliases.
type Question = (Client, Name, Aliases, IpAddr);

/// Judges `holdings` under `law`.
pub fn judge(law: Law<'_>, holdings: Vec<Holding>, now: WallTime) -> Vec<Verdict> {
    // Many elements rest on one answer: each port of a run is one.
    let mut known: HashMap<Question, Arc<[Opening]>> = HashMap::new();
    let mut judged = Vec::with_capacity(holdings.len());
    for holding in holdings {
        let question = (holding.asked_by, holding.name.clone(), holding.aliases.clone(), holding.key.address);
        let openings = known.entry(question).or_insert_with(|| openings(law, &holding, now));
        let of_protocol = openings.iter().filter(|opening| opening.protocol == holding.key.protocol);
        let permitted: Vec<PortRange> = of_protocol.map(|opening| opening.ports).collect();
        judged.push(Verdict { holding, permitted });
    }
    judged
}

impl Law<'_> {
    /// Whether `client` may not even ask where `name` is.
    pub fn denies(self, client: Client, name: &Name, now: WallTime) -> bool {
        if self.mode == PolicyMode::Audit {
            return false;
        }
        let query = self.question(client, name, RecordKind::A);
        query.is_some_and(|query| matches!(self.policy.decide(&query, now), Decision::Deny(_)))
    }

    /// The question of `client`; `None` from a stranger.
    fn question(self, client: Client, name: &Name, kind: RecordKind) -> Option<Query> {
        let Identity { agent, addresses } = self.identities.of(client).cloned()?;
        let name = name.clone();
        Some(Query { client, addresses, agent, name, kind, dnssec_ok: false, checking_disabled: false })
    }
}

/// What would be opened for the holding's name on its address.
fn openings(law: Law<'_>, holding: &Holding, now: WallTime) -> Arc<[Opening]> {
    let Law { policy, allow_ranges, .. } = law;
    let address = holding.key.address;
    let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
    let Some(query) = law.question(holding.asked_by, &holding.name, kind) else { return Arc::default() };
    if !ranges::is_open(address, allow_ranges) {
        return Arc::default();
    }
    if law.mode == PolicyMode::Audit {
        return Opening::every().into();
    }
    let Decision::Permit(permit) = policy.decide(&query, now) else { return Arc::default() };
    if holding.aliases.iter().any(|alias| policy.forbids_alias(&query, alias, now).is_some()) {
        return Arc::default();
    }
    if permit.judges_addresses { policy.openings_of(&query, address, now) } else { permit.openings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::config::{CatchAllForbid, ClientEntry};
    use crate::core::lease::{Key, Ports};
    use crate::core::policy::Sources;
    use crate::core::query::{Agent, Port, Protocol};

    const NOW: WallTime = WallTime(1_700_000_000_000);

    fn verdict(policy: &str, aliases: &[&str], agent: Option<&str>) -> Vec<PortRange> {
        verdict_within(policy, aliases, agent, &["203.0.113.0/24".parse().unwrap()])
    }

    fn verdict_within(policy: &str, aliases: &[&str], agent: Option<&str>, allow_ranges: &[IpNet]) -> Vec<PortRange> {
        verdict_in(PolicyMode::Enforce, policy, aliases, agent, allow_ranges)
    }

    fn verdict_in(
        mode: PolicyMode,
        policy: &str,
        aliases: &[&str],
        agent: Option<&str>,
        allow_ranges: &[IpNet],
    ) -> Vec<PortRange> {
        let sources = Sources { policies: vec![("p.cedar".into(), policy.into())], ..Sources::default() };
        let policy = Policy::load(&sources, CatchAllForbid::Strict).unwrap().policy;
        let client = Client::new("10.77.0.2".parse().unwrap());
        let ports = Ports::One(Port::new(443).unwrap());
        let address = "203.0.113.7".parse().unwrap();
        let holding = Holding {
            key: Key { client, address, protocol: Protocol::Tcp, ports },
            name: Name::parse("api.example.com").unwrap(),
            asked_by: client,
            aliases: aliases.iter().map(|alias| Name::parse(alias).unwrap()).collect(),
        };
        let entry = |agent| ClientEntry { addresses: Arc::from([client]), agent: Agent::parse(agent).unwrap() };
        let identities = Identities::new(&agent.map(entry).into_iter().collect::<Vec<_>>());
        let law = Law { policy: &policy, identities: &identities, allow_ranges, mode };
        judge(law, vec![holding], NOW).remove(0).permitted
    }

    const PERMIT: &str = r#"permit(principal == Agent::"claude", action == Action::"net.connect", resource == Resource::"api.example.com:443");"#;

    #[test]
    fn what_a_query_would_open_is_permitted_still() {
        let port = Port::new(443).unwrap();
        assert_eq!(verdict(PERMIT, &[], Some("claude")), [port.into()]);
        assert_eq!(verdict(PERMIT, &["eu.example.net"], Some("claude")), [port.into()]);
    }

    #[test]
    fn another_agent_a_stranger_and_a_forbidden_alias_may_nothing() {
        let forbid = r#"forbid(principal, action == Action::"net.connect", resource in Domain::"example.net");"#;
        assert_eq!(verdict(PERMIT, &[], Some("ci")), []);
        assert_eq!(verdict(PERMIT, &[], None), []);
        assert_eq!(verdict(&format!("{PERMIT}{forbid}"), &["eu.example.net"], Some("claude")), []);
    }

    #[test]
    fn an_address_in_a_range_that_is_allowed_no_longer_may_nothing() {
        assert_eq!(verdict_within(PERMIT, &[], Some("claude"), &[]), []);
    }

    #[test]
    fn audit_mode_closes_nothing_but_what_is_special_or_a_strangers() {
        let ranges = ["203.0.113.0/24".parse().unwrap()];
        let verdict = |agent, ranges| verdict_in(PolicyMode::Audit, "", &[], agent, ranges);
        assert_eq!(verdict(Some("claude"), &ranges), [PortRange::ALL]);
        assert_eq!((verdict(None, &ranges), verdict(Some("claude"), &[])), (vec![], vec![]));
    }

    #[test]
    fn an_address_that_the_policy_now_judges_is_judged() {
        let within = |range: &str| {
            format!(
                "{} when {{ context has ip && context.ip.isInRange(ip(\"{range}\")) }};",
                PERMIT.trim_end_matches(';')
            )
        };
        assert_eq!(verdict(&within("203.0.113.0/24"), &[], Some("claude")).len(), 1);
        assert_eq!(verdict(&within("192.0.2.0/24"), &[], Some("claude")), []);
    }
}
