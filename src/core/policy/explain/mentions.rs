//! The names and ports that a policy's text mentions, and how near a name
//! comes to them.

use std::net::IpAddr;

use cedar_policy_core::ast::{EntityUID, Expr, ExprKind, Literal, Pattern, PatternElem, Policy};
use ipnet::IpNet;

use super::super::super::name::Name;
use super::super::super::query::Port;
use super::super::super::target::Target;

/// Names further apart than this many slips of the pen are different names.
const SLIPS: usize = 2;

/// A place on the net that a policy mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mention {
    /// A host, and the port where one goes with it.
    Host(Name, Option<Port>),
    /// A domain and every name below it.
    Within(Name),
    /// Addresses, and their port.
    Addresses(IpNet, Port),
}

/// How near a name comes to one that is mentioned; the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    /// It is that name.
    Same,
    /// It is spelt nearly so.
    Misspelt,
    /// It belongs to the same owner: the same registrable domain.
    SameOwner,
    /// It is another name altogether.
    Far,
}

impl Mention {
    /// How near `name` comes.
    pub(super) fn nearness(&self, name: &Name) -> Nearness {
        let (mentioned, is_same) = match self {
            Self::Host(host, _) => (host, host == name),
            Self::Within(domain) => (domain, name.is_within(domain)),
            Self::Addresses(..) => return Nearness::Far,
        };
        if is_same {
            return Nearness::Same;
        }
        let comparable = match self {
            Self::Within(domain) => of_as_many_labels(name, domain),
            _ => name.as_str(),
        };
        if is_misspelt(comparable, mentioned.as_str()) {
            return Nearness::Misspelt;
        }
        let owner = psl::domain_str(name.as_str());
        if owner.is_some() && owner == psl::domain_str(mentioned.as_str()) {
            return Nearness::SameOwner;
        }
        Nearness::Far
    }
}

/// What an entity's id says of places.
pub(super) fn of_entity(entity: &EntityUID) -> Option<Mention> {
    let id: &str = entity.eid().as_ref();
    match entity.entity_type().name().basename().to_string().as_str() {
        "Resource" => match id.parse().ok()? {
            Target::Host { name, service } => Some(Mention::Host(name, service.map(|service| service.port))),
            Target::Addresses { network, service } => Some(Mention::Addresses(network, service.port)),
        },
        "Domain" => Name::parse(id).ok().map(Mention::Within),
        _ => None,
    }
}

/// The places a condition mentions.
pub(super) fn places(condition: &Expr) -> Vec<Mention> {
    condition.subexpressions().filter_map(place).collect()
}

/// The ports that `policy` mentions, and that may matter for `host`.
pub(super) fn ports(policy: &Policy, host: &Name) -> Vec<Port> {
    let resource = policy.resource_constraint();
    let scope = resource.as_inner().get_euid().and_then(|entity| of_entity(entity));
    let condition = policy.non_scope_constraints();
    let numbers = condition.into_iter().flat_map(Expr::subexpressions).filter_map(|part| match part.expr_kind() {
        ExprKind::Lit(Literal::Long(number)) => u16::try_from(*number).ok().and_then(Port::new),
        _ => None,
    });
    let places = scope.into_iter().chain(condition.into_iter().flat_map(places));
    let of_places = places.filter_map(|place| match place {
        Mention::Host(name, port) if name == *host => port,
        _ => None,
    });
    numbers.chain(of_places).collect()
}

fn place(part: &Expr) -> Option<Mention> {
    match part.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(entity)) => of_entity(entity),
        ExprKind::Lit(Literal::String(text)) if text.contains('.') && text.parse::<IpAddr>().is_err() => {
            Name::parse(text).ok().map(|name| Mention::Host(name, None))
        }
        ExprKind::Like { pattern, .. } => domain_of(pattern).map(Mention::Within),
        _ => None,
    }
}

/// `example.com` of `*.example.com`.
fn domain_of(pattern: &Pattern) -> Option<Name> {
    let characters = pattern.get_elems().iter().skip_while(|element| **element == PatternElem::Wildcard);
    let text: Option<String> = characters
        .map(|element| match element {
            PatternElem::Char(character) => Some(*character),
            PatternElem::Wildcard => None,
        })
        .collect();
    Name::parse(text?.strip_prefix('.')?).ok()
}

/// The end of `name` that has as many labels as `domain`.
fn of_as_many_labels<'a>(name: &'a Name, domain: &Name) -> &'a str {
    let excess = name.labels().count().saturating_sub(domain.labels().count());
    name.ancestors().nth(excess).unwrap_or(name.as_str())
}

/// Another digit is another host, not a slip of the pen.
fn is_misspelt(written: &str, meant: &str) -> bool {
    let without_digits = |text: &str| text.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    if without_digits(written) == without_digits(meant) || written.len().abs_diff(meant.len()) > SLIPS {
        return false;
    }
    let slips = strsim::osa_distance(written, meant);
    slips <= SLIPS && slips * 4 <= meant.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn the_nearest_name_is_the_one_somebody_meant() {
        let host = Mention::Host(name("registry.example.com"), None);
        let domain = Mention::Within(name("example.com"));
        for (mention, written, nearness) in [
            (&host, "registry.example.com", Nearness::Same),
            (&host, "regsitry.example.com", Nearness::Misspelt),
            (&host, "a.registry.example.com", Nearness::Misspelt),
            (&host, "docs.example.com", Nearness::SameOwner),
            (&host, "registry.example.org", Nearness::Far),
            (&domain, "a.b.example.com", Nearness::Same),
            (&domain, "a.b.exmaple.com", Nearness::Misspelt),
            (&domain, "evilexample.com", Nearness::Far),
            (&Mention::Host(name("api1.example.com"), None), "api2.example.com", Nearness::SameOwner),
        ] {
            assert_eq!(mention.nearness(&name(written)), nearness, "{written} for {mention:?}");
        }
    }

    #[test]
    fn a_condition_mentions_names_and_no_addresses() {
        let condition = "context.host == \"git.example.com\" || context.host like \"*.example.net\" || \
                         resource in Domain::\"example.org\" || context.ip.isInRange(ip(\"192.0.2.7\"))";
        let expression = cedar_policy::Expression::from_str(condition).unwrap();
        let mut mentioned: Vec<_> = places(expression.as_ref()).iter().map(|place| format!("{place:?}")).collect();
        mentioned.sort();
        assert_eq!(
            mentioned,
            ["Host(Name(git.example.com), None)", "Within(Name(example.net))", "Within(Name(example.org))"]
        );
    }
}
