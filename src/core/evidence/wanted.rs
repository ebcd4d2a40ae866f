//! [`Wanted`]: what a client was after, as far as a policy can speak of it.

use std::net::IpAddr;

use unicode_security::{GeneralSecurityProfile, MixedScript};

use super::super::name::Name;
use super::super::query::{Agent, Port, RecordKind};

/// What somebody wanted, in a policy's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// To connect to one port of a host.
    Connection(Name, Port),
    /// To connect to ports of a registrable domain and everything below it.
    Below(Name, Port),
    /// A record that leads to no connection.
    Record(Name, RecordKind),
    /// Such a record of a registrable domain or of anything below it.
    RecordBelow(Name, RecordKind),
    /// To connect to one port of an address that no name led to.
    Address(IpAddr, Port),
}

impl Wanted {
    /// The one policy that permits just this to `agent`, without annotations.
    pub fn permit(&self, agent: &Agent) -> String {
        let principal = format!("principal == Agent::\"{agent}\"");
        match self {
            Self::Connection(name, port) => connect(&principal, &format!("resource == Resource::\"{name}:{port}\"")),
            Self::Address(address, port) => {
                let resource = match address.to_canonical() {
                    IpAddr::V4(four) => format!("{four}:{port}"),
                    IpAddr::V6(six) => format!("[{six}]:{port}"),
                };
                connect(&principal, &format!("resource == Resource::\"{resource}\""))
            }
            Self::Below(name, port) => format!(
                "permit ({principal}, action == Action::\"net.connect\", resource in Domain::\"{name}\") \
                 when {{ context.port == {port} }};"
            ),
            Self::Record(name, kind) => record(&principal, &format!("resource == Domain::\"{name}\""), *kind),
            Self::RecordBelow(name, kind) => record(&principal, &format!("resource in Domain::\"{name}\""), *kind),
        }
    }
}

fn connect(principal: &str, resource: &str) -> String {
    format!("permit ({principal}, action == Action::\"net.connect\", {resource});")
}

fn record(principal: &str, resource: &str, kind: RecordKind) -> String {
    format!("permit ({principal}, action == Action::\"dns.query\", {resource}) when {{ context.qtype == \"{kind}\" }};")
}

/// The name that a journal's `hostname` stands for, if a policy can name it.
///
/// What ends in a number is none: a policy would read `192.0.2.7` as the
/// address, which is open without any question.
pub fn usable_name(hostname: &str) -> Option<Name> {
    let name = Name::parse(hostname).ok()?;
    let ends_in_a_number = name.labels().last()?.bytes().all(|octet| octet.is_ascii_digit());
    (!ends_in_a_number && name.as_str() == hostname).then_some(name)
}

/// The agent of this id, if a policy can name it: Cedar refuses an id that mixes
/// scripts, or has characters that pass for others (UTS 39).
pub fn usable_agent(id: &str) -> Option<Agent> {
    let is_plain = |character: char| matches!(character, ' '..='~') || character.identifier_allowed();
    Agent::parse(id).ok().filter(|_| id.chars().all(is_plain) && id.is_single_script())
}

/// The domain that somebody registered to have `name` in it, by the public
/// suffix list; `None` for a public suffix itself.
pub fn registrable(name: &Name) -> Option<Name> {
    Name::parse(psl::domain_str(name.as_str())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn an_agent_that_no_policy_can_name_is_none() {
        for id in ["claude", "ci job 7", "a+b@example.com/x", "größe", "агент"] {
            assert!(usable_agent(id).is_some(), "{id}");
        }
        for id in ["", "a\"b", "a\nb", "\u{202f}", "a\u{202e}b", "ఎA", "🉑", "cla\u{443}de"] {
            assert!(usable_agent(id).is_none(), "{id:?}");
        }
    }

    #[test]
    fn an_address_in_the_place_of_a_name_is_no_name() {
        for hostname in ["192.0.2.7", "1.2.3", "7", "a.123", "", "A.example.com", "a b", "a.example.com.", "ü.example"]
        {
            assert_eq!(usable_name(hostname), None, "{hostname}");
        }
        for hostname in ["a.example.com", "7.example.com", "localhost", "_443._tcp.example.com", "a.1x"] {
            assert!(usable_name(hostname).is_some(), "{hostname}");
        }
    }

    #[test]
    fn a_registrable_domain_is_one_owners() {
        for (of, domain) in [
            ("a.b.example.com", Some("example.com")),
            ("example.co.uk", Some("example.co.uk")),
            ("me.github.io", Some("me.github.io")),
            ("github.io", None),
            ("com", None),
        ] {
            assert_eq!(registrable(&name(of)).map(|name| name.to_string()).as_deref(), domain, "{of}");
        }
    }
}
