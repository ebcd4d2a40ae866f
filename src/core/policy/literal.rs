//! The ids of `Resource`, `Domain` and `Agent`: Cedar takes any string, and a
//! misspelt one would silently match nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::name::Name;
use super::super::problem::{Place, Problem};
use super::super::query::{Agent, Port};
use super::super::rule::Rule;
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

    fn new(rule: Rule, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { rule, message: message.into(), help: help.into() }
    }

    fn address(id: &str) -> Self {
        Self::new(
            Rule::AddressForm,
            format!("`{id}` is an address: address literals are not supported yet"),
            "name the host instead",
        )
    }
}

/// The id of a `Resource`: `host:port`.
pub(super) fn resource(id: &str) -> Result<(Name, Port), Fault> {
    if is_address(id) {
        return Err(Fault::address(id));
    }
    let Some((host, port)) = id.rsplit_once(':') else {
        let message = format!("`{id}` names no port");
        let help = format!("write `{id}:443`, or `resource in Domain::\"{id}\"` for every port and every name below");
        return Err(Fault::new(Rule::ResourceForm, message, help));
    };
    if is_address(host) {
        return Err(Fault::address(id));
    }
    let host = name(host)?;
    let port = port.parse().map_err(|error| {
        Fault::new(Rule::ResourceForm, format!("`{port}` is no port: {error}"), format!("write the id as `{host}:443`"))
    })?;
    Ok((host, port))
}

/// The id of a `Domain`: a name.
pub(super) fn domain(id: &str) -> Result<Name, Fault> {
    if is_address(id) {
        return Err(Fault::address(id));
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

fn is_address(text: &str) -> bool {
    text.starts_with('[')
        || text.contains('/') && text.rsplit_once(':').map_or(text, |(host, _)| host).parse::<IpNet>().is_ok()
        || text.parse::<IpNet>().is_ok()
        || text.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_a_canonical_host_and_a_port() {
        let (host, port) = resource("api.example.com:443").unwrap();
        assert_eq!((host.as_str(), port.number()), ("api.example.com", 443));
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
    fn an_address_is_refused_and_never_taken_for_a_name() {
        for id in ["192.0.2.7:5432", "10.20.0.0/16:5432", "[2001:db8::1]:443", "2001:db8::1", "192.0.2.7", "10.0.0.0/8"]
        {
            assert!(resource(id).unwrap_err().message.contains("not supported yet"), "{id}");
        }
        for id in ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"] {
            assert!(domain(id).unwrap_err().message.contains("not supported yet"), "{id}");
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
