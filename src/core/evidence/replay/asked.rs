//! What a line of a journal asked, so that it can be asked again.

use std::net::IpAddr;

use super::super::record::Record;
use super::super::refusal::{Refusal, known_reason};
use super::super::wanted::usable_name;
use super::Verdict;
use crate::core::decision::{Decision, Opening, Reason};
use crate::core::policy::Policy;
use crate::core::query::{Agent, Client, Port, PortRange, Protocol, Query, RecordKind};
use crate::core::question::{Particulars, Question};
use crate::core::target::{Service, Target};
use crate::core::time::WallTime;

/// A question that can be put to a policy.
#[derive(Debug)]
pub(super) struct Asked {
    query: Query,
    what: What,
    at: WallTime,
    /// The addresses that the answer had.
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
enum What {
    /// Records of the query's name.
    Name,
    /// A connection to the query's name.
    Connection(Protocol, Port, Option<IpAddr>),
    /// A connection to an address that no name led to.
    Address(Question),
}

impl Asked {
    /// What `record` asked; `None` where it is no question.
    ///
    /// # Errors
    /// Why it cannot be put to a policy.
    pub(super) fn of(record: &Record) -> Result<Option<Self>, &'static str> {
        match record.event.as_str() {
            "query.answered" | "query.empty" | "query.denied" | "query.failed" => Self::of_query(record).map(Some),
            "client.unknown" => Err("questions of clients that act as no agent"),
            "connect.denied" => {
                let Some(hostname) = record.hostname.as_deref() else { return Ok(None) };
                // The address is one of the sinkhole, which no policy is about.
                Self::of_connection(record, hostname, None).map(Some)
            }
            "packet.dropped" | "traffic.counted" => {
                let Some(address) = record.address else { return Ok(None) };
                match record.hostnames.first() {
                    Some(hostname) => Self::of_connection(record, hostname, Some(address)).map(Some),
                    None => Self::of_address(record, address).map(Some),
                }
            }
            _ => Ok(None),
        }
    }

    fn of_query(record: &Record) -> Result<Self, &'static str> {
        let kind = record.kind.as_deref().and_then(|kind| kind.parse().ok());
        let kind: RecordKind = kind.ok_or("questions whose type the journal does not tell")?;
        let hostname = record.hostname.as_deref().unwrap_or_default();
        let addresses = record.opened.iter().map(IpAddr::to_canonical).collect();
        Ok(Self { query: query(record, hostname, kind)?, what: What::Name, at: at(record), addresses })
    }

    fn of_connection(record: &Record, hostname: &str, address: Option<IpAddr>) -> Result<Self, &'static str> {
        let (protocol, port) = service(record)?;
        let is_six = address.or(record.client).is_some_and(|address| address.to_canonical().is_ipv6());
        let kind = if is_six { RecordKind::Aaaa } else { RecordKind::A };
        let what = What::Connection(protocol, port, address.map(|address| address.to_canonical()));
        Ok(Self { query: query(record, hostname, kind)?, what, at: at(record), addresses: Vec::new() })
    }

    fn of_address(record: &Record, address: IpAddr) -> Result<Self, &'static str> {
        let (protocol, port) = service(record)?;
        let address = address.to_canonical();
        let target = Target::Addresses { network: address.into(), service: Service { port, protocol: Some(protocol) } };
        let (agent, client) = party(record)?;
        let particulars = Particulars { client: Some(client), ..Particulars::default() };
        let question = Question::new(agent, target, at(record), particulars)
            .map_err(|_| "connections that no policy can be asked about")?;
        // Of this query, nothing but who asks is looked at.
        let query = query(record, "address.invalid", RecordKind::A)?;
        Ok(Self { query, what: What::Address(question), at: at(record), addresses: Vec::new() })
    }

    pub(super) const fn agent(&self) -> &Agent {
        &self.query.agent
    }

    /// What was asked for, for people.
    pub(super) fn target(&self) -> String {
        match &self.what {
            What::Name => self.query.name.to_string(),
            What::Connection(protocol, port, _) => format!("{}:{port}/{protocol}", self.query.name),
            What::Address(question) => question.target().to_string(),
        }
    }

    pub(super) fn kind(&self) -> String {
        match &self.what {
            What::Name => self.query.kind.to_string(),
            What::Connection(..) | What::Address(_) => "connection".to_owned(),
        }
    }

    /// What `policy` says to it.
    pub(super) fn put_to(&self, policy: &Policy) -> Verdict {
        match &self.what {
            What::Address(question) => Verdict::of(&policy.judge(question)),
            What::Connection(protocol, port, address) => {
                Verdict::of(&policy.decide_connection(&self.query, *protocol, *port, *address, self.at))
            }
            What::Name => self.by_name(policy),
        }
    }

    /// By the name, and where the policy looks at addresses, by each that the
    /// answer had.
    fn by_name(&self, policy: &Policy) -> Verdict {
        let decision = policy.decide(&self.query, self.at);
        let mut verdict = Verdict::of(&decision);
        let Decision::Permit(permit) = decision else { return verdict };
        if !permit.judges_addresses || self.addresses.is_empty() {
            return verdict;
        }
        let mut openings = Vec::new();
        verdict = Verdict::denied();
        for address in &self.addresses {
            let of_address = Verdict::of(&policy.decide_address(&self.query, *address, self.at));
            verdict.permitted |= of_address.permitted;
            verdict.policies.extend(of_address.policies);
            openings.extend(of_address.openings.unwrap_or_default());
        }
        Verdict { openings: Some(openings), ..verdict }
    }

    /// What the journal says that became of it.
    ///
    /// # Errors
    /// Why that does not tell what the policy said.
    pub(super) fn recorded(&self, record: &Record) -> Result<Verdict, &'static str> {
        if let Some(refusal) = Refusal::of(record) {
            return match known_reason(refusal.reason) {
                Some(Reason::NotPermitted | Reason::Forbidden | Reason::PolicyError) => {
                    Ok(Verdict { policies: refusal.policies.iter().cloned().collect(), ..Verdict::denied() })
                }
                Some(Reason::ForbiddenAlias | Reason::NoPermittedAddress) => {
                    Err("questions denied for an alias or an address, which need --against")
                }
                _ => Err("questions that a cap denied"),
            };
        }
        let openings = match record.event.as_str() {
            "query.answered" => Some(record.ports.iter().filter_map(|ports| openings(ports)).collect()),
            "query.empty" | "query.failed" => None,
            _ => return Err("packets and connections, of which the journal does not tell why; they need --against"),
        };
        let policies = record.policies.iter().cloned().collect();
        Ok(Verdict { permitted: true, openings, policies, depends_on_address: false })
    }
}

fn query(record: &Record, hostname: &str, kind: RecordKind) -> Result<Query, &'static str> {
    let (agent, client) = party(record)?;
    let name = usable_name(hostname).ok_or("names that no policy can name")?;
    let addresses = [client].into();
    Ok(Query { client, addresses, agent, name, kind, dnssec_ok: false, checking_disabled: false })
}

fn party(record: &Record) -> Result<(Agent, Client), &'static str> {
    let agent = record.agent.as_deref().and_then(|agent| Agent::parse(agent).ok());
    let client = record.client.ok_or("lines that name no client")?;
    Ok((agent.ok_or("questions of clients that act as no agent")?, Client::new(client)))
}

fn service(record: &Record) -> Result<(Protocol, Port), &'static str> {
    let protocol = record.protocol.as_deref().and_then(|protocol| protocol.parse().ok());
    let port = record.port.and_then(Port::new);
    protocol.zip(port).ok_or("packets of a protocol that no policy can name")
}

fn at(record: &Record) -> WallTime {
    WallTime(record.time.as_millisecond())
}

/// `443/tcp`, `8000-8010/udp` or `every port/tcp`, as an [`Opening`] shows
/// itself.
fn openings(text: &str) -> Option<Opening> {
    let (ports, protocol) = text.rsplit_once('/')?;
    let protocol = protocol.parse().ok()?;
    let ports = match ports.split_once('-') {
        _ if ports == "every port" => PortRange::ALL,
        Some((first, last)) => PortRange::new(first.parse().ok()?, last.parse().ok()?)?,
        None => ports.parse::<Port>().ok()?.into(),
    };
    Some(Opening { protocol, ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_read_as_they_are_written() {
        let port = |number| Port::new(number).unwrap();
        for ports in [PortRange::ALL, port(443).into(), PortRange::new(port(80), port(90)).unwrap()] {
            for protocol in Protocol::ALL {
                let opening = Opening { protocol, ports };
                assert_eq!(openings(&opening.to_string()), Some(opening));
            }
        }
        for wrong in ["", "443", "443/sctp", "90-80/tcp", "0/tcp"] {
            assert_eq!(openings(wrong), None, "{wrong}");
        }
    }
}
