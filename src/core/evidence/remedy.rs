//! [`Remedy`]: what it would take to permit what was refused.

use serde::Serialize;

use super::super::decision::Reason;
use super::super::query::{Port, RecordKind};
use super::plain::listed;
use super::wanted::{Wanted, usable_agent, usable_name};

/// The port that is assumed where a journal tells none.
pub const ASSUMED: u16 = 443;

/// What would have to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// These policies; a line each.
    Permit {
        /// Cedar.
        cedar: Vec<String>,
        /// Whether nobody knows which port was meant, so that 443 stands
        /// there.
        port_assumed: bool,
    },
    /// Something else than a further policy.
    Other {
        /// What, in one sentence without a full stop.
        what: String,
    },
}

impl Remedy {
    /// What would permit `agent` to reach `hostname`, refused for `reason`, on
    /// `ports`, or to have its records of `kinds`.
    pub fn of(
        agent: Option<&str>,
        hostname: &str,
        (reason, policies): (&str, &[String]),
        ports: &[Port],
        kinds: &[RecordKind],
    ) -> Self {
        if let Some(what) = obstacle(reason, policies) {
            return Self::Other { what };
        }
        let Some(agent) = agent.and_then(usable_agent) else {
            return Self::Other {
                what: "a [[client]] in the configuration with an agent that a policy can name".into(),
            };
        };
        let Some(name) = usable_name(hostname) else {
            return Self::Other { what: "another name: no policy can name this one".into() };
        };
        let connects = kinds.is_empty() || kinds.iter().any(|kind| kind.leads_to_connections());
        let assumed = Port::new(ASSUMED).filter(|_| ports.is_empty() && connects);
        let connections = ports.iter().copied().chain(assumed).map(|port| Wanted::Connection(name.clone(), port));
        let records = kinds.iter().filter(|kind| !kind.leads_to_connections());
        let records = records.map(|kind| Wanted::Record(name.clone(), *kind));
        let cedar = connections.chain(records).map(|wanted| wanted.permit(&agent)).collect();
        Self::Permit { cedar, port_assumed: assumed.is_some() }
    }
}

/// Why a permit would not help, and what would; `None` where it would.
pub fn obstacle(reason: &str, policies: &[String]) -> Option<String> {
    let forbids = || listed(policies.iter().map(String::as_str), 3);
    let Some(known) = super::refusal::known_reason(reason) else {
        return Some("nobody knows: this release does not know the reason".to_owned());
    };
    let what = match known {
        Reason::NotPermitted => return None,
        Reason::Forbidden => format!("a change of the forbid {}: no permit overrides it", forbids()),
        Reason::ForbiddenAlias => {
            format!("a change of the forbid {}, which covers a name that this one is an alias of", forbids())
        }
        Reason::PolicyError => format!("a policy that can be evaluated: mend {}", forbids()),
        Reason::UnknownClient => "a [[client]] in the configuration for this address".to_owned(),
        Reason::UnusableName => "another name: no policy can name this one".to_owned(),
        Reason::NoPermittedAddress => {
            "wall.allow_ranges in the configuration, or a policy that permits its addresses".to_owned()
        }
        Reason::TooManyLeases | Reason::TooManyLeasesOfName | Reason::TooManyLeasesInAll | Reason::LeaseSetFull => {
            format!("a higher cap under [lease] in the configuration ({known})")
        }
        Reason::TooManyNames | Reason::TooManyNameOctets | Reason::TooManyNameBits => {
            format!("a higher cap under [names] in the configuration, or a permit that names the name ({known})")
        }
        Reason::TooManyQueries => format!("a higher cap in the configuration ({known})"),
    };
    Some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    #[test]
    fn what_no_policy_permits_takes_a_permit_for_the_ports_that_are_known() {
        let denied = ("not_permitted", &[][..]);
        let Remedy::Permit { cedar, port_assumed } =
            Remedy::of(Some("claude"), "a.example.com", denied, &[port(80), port(8443)], &[RecordKind::A])
        else {
            panic!("no permit")
        };
        assert!(!port_assumed && cedar.len() == 2, "{cedar:?}");
        assert_eq!(
            cedar[1],
            "permit (principal == Agent::\"claude\", action == Action::\"net.connect\", \
             resource == Resource::\"a.example.com:8443\");"
        );
        let Remedy::Permit { cedar, port_assumed } = Remedy::of(Some("claude"), "a.example.com", denied, &[], &[])
        else {
            panic!("no permit")
        };
        assert!(port_assumed && cedar[0].contains("a.example.com:443"), "{cedar:?}");
    }

    #[test]
    fn a_record_that_leads_nowhere_takes_no_port() {
        let txt = "TXT".parse().unwrap();
        let Remedy::Permit { cedar, port_assumed } =
            Remedy::of(Some("claude"), "example.com", ("not_permitted", &[]), &[], &[txt])
        else {
            panic!("no permit")
        };
        assert!(!port_assumed && cedar.len() == 1 && cedar[0].contains("dns.query"), "{cedar:?}");
    }

    #[test]
    fn where_a_permit_would_not_help_none_is_given() {
        let forbids = ["no-telemetry".to_owned()];
        for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::NotPermitted) {
            let remedy = Remedy::of(Some("claude"), "a.example.com", (reason.code(), &forbids), &[], &[]);
            assert!(matches!(remedy, Remedy::Other { .. }), "{reason}: {remedy:?}");
        }
        for (agent, hostname) in [(None, "a.example.com"), (Some("a\"b"), "a.example.com"), (Some("a"), "192.0.2.7")] {
            let remedy = Remedy::of(agent, hostname, ("not_permitted", &[]), &[], &[]);
            assert!(matches!(remedy, Remedy::Other { .. }), "{agent:?} {hostname}: {remedy:?}");
        }
    }
}
