//! [`Question`]: what somebody asks about a policy, without any query having
//! been sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::query::{Agent, Client, Query, RecordKind};
use super::target::Target;
use super::time::WallTime;

/// Whether an agent may reach a target, at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    client: Client,
    agent: Agent,
    target: Target,
    address: Option<IpAddr>,
    kind: RecordKind,
    at: WallTime,
}

/// What a [`Question`] may say beyond who, what and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Particulars {
    /// The address the agent asks from; the local host's if it is not said.
    pub client: Option<Client>,
    /// An address of the host.
    pub address: Option<IpAddr>,
    /// The record type; A or AAAA, as the address has it, if it is not said.
    pub kind: Option<RecordKind>,
}

impl Question {
    /// The question whether `agent` may reach `target` at a time.
    ///
    /// # Errors
    /// Particulars that do not go with the target.
    pub fn new(agent: Agent, target: Target, at: WallTime, particulars: Particulars) -> Result<Self, QuestionError> {
        let Particulars { client, address, kind } = particulars;
        let opens_nothing = kind.is_some_and(|kind| !kind.leads_to_connections());
        match &target {
            Target::Addresses { .. } if kind.is_some() => return Err(QuestionError::AddressesHaveNoRecords),
            Target::Addresses { .. } if address.is_some() => return Err(QuestionError::AddressOfAddresses),
            Target::Host { service, .. } if opens_nothing && (service.is_some() || address.is_some()) => {
                return Err(QuestionError::RecordsOpenNothing);
            }
            _ => {}
        }
        let of_address =
            if address.is_some_and(|address| address.is_ipv6()) { RecordKind::Aaaa } else { RecordKind::A };
        Ok(Self {
            client: client.unwrap_or_else(|| local(&target)),
            agent,
            target,
            address,
            kind: kind.unwrap_or(of_address),
            at,
        })
    }

    /// Who asks.
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// From which address.
    pub const fn client(&self) -> Client {
        self.client
    }

    /// For what.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Under which address of the host, if one is named.
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// By which type of record.
    pub const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// When.
    pub const fn at(&self) -> WallTime {
        self.at
    }

    /// The query by which the agent would ask; `None` for addresses, which
    /// need no query.
    pub fn query(&self) -> Option<Query> {
        let Target::Host { name, .. } = &self.target else { return None };
        Some(Query {
            client: self.client,
            addresses: [self.client].into(),
            agent: self.agent.clone(),
            name: name.clone(),
            kind: self.kind,
            dnssec_ok: false,
            checking_disabled: false,
        })
    }
}

/// The local host, in the family of the addresses that are meant.
fn local(target: &Target) -> Client {
    let is_ipv6 = matches!(target, Target::Addresses { network, .. } if network.addr().is_ipv6());
    Client::new(if is_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() })
}

/// Why a question makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// A port or an address, and a type that opens nothing.
    #[error("a record of this type opens no port and no address; ask for the name alone")]
    RecordsOpenNothing,
    /// A type, and addresses.
    #[error("addresses are reached without DNS; a type goes with a name")]
    AddressesHaveNoRecords,
    /// An address of an address.
    #[error("an address of the host goes with the host's name, not with an address")]
    AddressOfAddresses,
}
