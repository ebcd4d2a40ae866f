//! The ids of `Resource`, `Domain` and `Agent`: Cedar takes any string, and a
//! misspelt one would silently match nothing.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::super::name::Name;
use super::super::problem::{Place, Problem};
use super::super::query::{Agent, Port};
use super::super::rule::Rule;
use super::super::sinkhole;
use super::statement::one_line;

/// What is wrong with an id, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) rule: Rule,
    pub(super) message: String,
    pub(super) help: String,
}

impl Fault {
    /// The same as a problem at `place`.
    pub(super) fn at(self, place: Place) -> Problem {
        Problem::error(place, one_line(&self.message)).with_help(one_line(&self.help)).of(self.rule)
    }

    /// A string where the port is compared with something.
    pub(super) fn port_as_text(text: &str) -> Self {
        let help = match text.parse::<Port>() {
            Ok(port) => format!("write it without quotation marks: `{port}`"),
            Err(_) => "write a number from 1 to 65535, such as `443`".to_owned(),
        };
        Self::new(Rule::PortUse, format!("the port is a number and `\"{text}\"` is a text"), help)
    }

    pub(super) fn new(rule: Rule, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { rule, message: message.into(), help: help.into() }
    }
}

/// The id of a `Resource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResourceId {
    /// `api.example.com:443`.
    Host(Name, Port),
    /// `192.0.2.7:5432`, `10.20.0.0/16:5432`, `[2001:db8::1]:443`.
    Address(AddressLiteral),
}

/// An address or a network, and a port, that a policy names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressLiteral {
    /// The network; of a single address, that address alone.
    network: IpNet,
    port: Port,
}

impl AddressLiteral {
    /// The network; of a single address, that address alone.
    pub const fn network(self) -> IpNet {
        self.network
    }

    /// The port.
    pub const fn port(self) -> Port {
        self.port
    }

    /// What a policy sees as the host: `192.0.2.7`, `10.20.0.0/16`.
    pub fn host(self) -> String {
        if self.network.prefix_len() == self.network.max_prefix_len() {
            return self.network.addr().to_string();
        }
        self.network.to_string()
    }
}

impl fmt::Display for AddressLiteral {
    /// As a `Resource`'s id spells it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network {
            IpNet::V4(_) => write!(formatter, "{}:{}", self.host(), self.port),
            IpNet::V6(_) => write!(formatter, "[{}]:{}", self.host(), self.port),
        }
    }
}

impl FromStr for AddressLiteral {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        address(text).unwrap_or_else(|| Err(fault_of_form(text))).map_err(|fault| fault.to_string())
    }
}

/// The id of a `Resource`: `host:port`.
pub(super) fn resource(id: &str) -> Result<ResourceId, Fault> {
    if let Some(literal) = address(id) {
        return literal.map(ResourceId::Address);
    }
    let Some((host, port)) = id.rsplit_once(':') else {
        let message = format!("`{id}` names no port");
        let help = format!("write `{id}:443`, or `resource in Domain::\"{id}\"` for every port and every name below");
        return Err(Fault::new(Rule::ResourceForm, message, help));
    };
    let host = name(host)?;
    Ok(ResourceId::Host(host.clone(), numbered(port, &host)?))
}

fn numbered(port: &str, host: &dyn fmt::Display) -> Result<Port, Fault> {
    port.parse().map_err(|error| {
        let message = format!("`{port}` is no port: {error}");
        Fault::new(Rule::ResourceForm, message, format!("write the id as `{host}:443`"))
    })
}

/// `id` as an address or a network with a port; `None` if it is meant to be a
/// name.
fn address(id: &str) -> Option<Result<AddressLiteral, Fault>> {
    if let Some(inner) = id.strip_prefix('[') {
        let Some((network, port)) = inner.split_once("]:") else { return Some(Err(fault_of_form(id))) };
        return Some(literal(network, Some(port), id));
    }
    let (network, port) = match id.rsplit_once(':') {
        Some((network, port)) if !network.contains(':') => (network, Some(port)),
        Some(_) if id.parse::<IpAddr>().is_ok() || id.parse::<IpNet>().is_ok() => {
            let help = format!("write `[{id}]:443`, with the port meant");
            return Some(Err(Fault::new(Rule::AddressForm, format!("`{id}` names no port"), help)));
        }
        Some(_) => return None,
        None => (id, None),
    };
    let looks_like_one = network.contains('/') && !network.contains("//")
        || network.split('.').all(|label| !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_digit()));
    looks_like_one.then(|| literal(network, port, id))
}

fn literal(network: &str, port: Option<&str>, id: &str) -> Result<AddressLiteral, Fault> {
    let parsed = match network.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => network.parse::<IpNet>().map_err(|_| fault_of_form(id))?,
    };
    let canonical = canonical(parsed);
    let Some(port) = port else {
        let literal = AddressLiteral { network: canonical, port: Port::MIN };
        let host = literal.to_string();
        let host = host.strip_suffix(":1").unwrap_or(&host);
        let message = format!("`{id}` names no port");
        return Err(Fault::new(Rule::AddressForm, message, format!("write `{host}:443`, with the port meant")));
    };
    let literal = AddressLiteral { network: canonical, port: numbered(port, &network)? };
    if literal.to_string() != id {
        let message = format!("`{id}` would never match: an address is written in one form only");
        return Err(Fault::new(Rule::AddressForm, message, format!("write `{literal}`")));
    }
    if sinkhole::covers_all_of(canonical) {
        let message = format!("`{id}` is in the sinkhole, where denied names lead, and no packet gets there");
        let help = format!("take it out: {} and {} are never open", sinkhole::RANGE4, sinkhole::RANGE6);
        return Err(Fault::new(Rule::AddressForm, message, help));
    }
    Ok(literal)
}

/// Without host bits, and IPv4 where IPv6 merely wraps it.
fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    if let IpNet::V6(six) = network
        && let Some(four) = six.addr().to_ipv4_mapped()
        && let Some(length) = six.prefix_len().checked_sub(96)
        && let Ok(four) = Ipv4Net::new(four, length)
    {
        return IpNet::V4(four);
    }
    network
}

fn fault_of_form(id: &str) -> Fault {
    Fault::new(
        Rule::AddressForm,
        format!("`{id}` is no address with a port"),
        "write `192.0.2.7:5432`, `10.20.0.0/16:5432`, `[2001:db8::1]:443` or `[2001:db8::/32]:443`",
    )
}

/// The id of a `Domain`: a name.
pub(super) fn domain(id: &str) -> Result<Name, Fault> {
    if id.parse::<IpAddr>().is_ok() || id.parse::<IpNet>().is_ok() || address(id).is_some() {
        let message = format!("`{id}` is an address, and no domain");
        let help = "name the address with its port: resource == Resource::\"192.0.2.7:5432\"";
        return Err(Fault::new(Rule::AddressForm, message, help));
    }
    name(id)
}

/// The id of an `Agent`.
pub(super) fn agent(id: &str) -> Result<Agent, Fault> {
    Agent::parse(id)
        .map_err(|error| Fault::new(Rule::AgentForm, format!("`{id}` is no agent's name"), error.to_string()))
}

/// A name in the one form it has in a question.
pub(super) fn name(text: &str) -> Result<Name, Fault> {
    let name = Name::parse(text).map_err(|error| {
        let help = match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
            Some(domain) => format!("for every name below, write `resource in Domain::\"{domain}\"`"),
            None => "write a host name such as `api.example.com`".to_owned(),
        };
        Fault::new(Rule::NameForm, format!("`{text}` is no host name: {error}"), help)
    })?;
    if name.as_str() != text {
        let message = format!("`{text}` would never match: names are lower case, in ASCII, without a trailing dot");
        return Err(Fault::new(Rule::NameForm, message, format!("write `{name}`")));
    }
    Ok(name)
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.message, self.help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_a_canonical_host_and_a_port() {
        let host = Name::parse("api.example.com").unwrap();
        let port = Port::new(443).unwrap();
        assert_eq!(resource("api.example.com:443"), Ok(ResourceId::Host(host, port)));
        for id in [
            "api.example.com",
            "api.example.com:",
            "api.example.com:0",
            "api.example.com:0443",
            "api.example.com:65536",
            "API.example.com:443",
            "api.example.com.:443",
            "b\u{fc}cher.example:443",
            "*.example.com:443",
            "https://api.example.com:443",
            ":443",
            "",
        ] {
            assert!(resource(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn an_address_has_one_form_and_is_never_taken_for_a_name() {
        for id in ["192.0.2.7:5432", "10.20.0.0/16:5432", "[2001:db8::1]:443", "[2001:db8::/32]:443", "0.0.0.0/0:1"] {
            let Ok(ResourceId::Address(literal)) = resource(id) else { panic!("{id}") };
            assert_eq!(literal.to_string(), id);
        }
        for (id, instead) in [
            ("10.20.0.1/16:5432", "write `10.20.0.0/16:5432`"),
            ("10.0.0.1/32:5432", "write `10.0.0.1:5432`"),
            ("[2001:DB8::1]:443", "write `[2001:db8::1]:443`"),
            ("[2001:db8:0::1]:443", "write `[2001:db8::1]:443`"),
            ("[::ffff:192.0.2.7]:443", "write `192.0.2.7:443`"),
            ("[192.0.2.7]:443", "write `192.0.2.7:443`"),
            ("192.0.2.7", "write `192.0.2.7:443`, with the port meant"),
            ("2001:db8::1", "write `[2001:db8::1]:443`, with the port meant"),
            ("192.0.2.7:0", "write the id as `192.0.2.7:443`"),
        ] {
            assert_eq!(resource(id).unwrap_err().help, instead, "{id}");
        }
        for id in
            ["10.0.0.0/33:1", "[2001:db8::1]", "[2001:db8::1", "300.1.1.1:80", "1.2.3:80", "[api.example.com]:443"]
        {
            assert_eq!(resource(id).unwrap_err().rule, Rule::AddressForm, "{id}");
        }
        for id in ["198.18.0.0/15:443", "198.19.0.7:443", "[100::7]:443"] {
            assert!(resource(id).unwrap_err().message.contains("the sinkhole"), "{id}");
        }
        assert!(resource("198.0.0.0/8:443").is_ok(), "the rest of it can be opened");
        for id in ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"] {
            assert_eq!(domain(id).unwrap_err().rule, Rule::AddressForm, "{id}");
        }
    }

    #[test]
    fn what_would_never_match_is_told_in_its_right_form() {
        assert_eq!(domain("Example.COM.").unwrap_err().help, "write `example.com`");
        assert_eq!(
            domain("*.example.com").unwrap_err().help,
            "for every name below, write `resource in Domain::\"example.com\"`"
        );
    }
}
