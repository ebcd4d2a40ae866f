//! [`Rule`]: what a policy's author is told about, each by a word of its own.

use std::fmt;

use serde::{Serialize, Serializer};

/// A rule that a policy can break. Its code is stable: people write it into
/// their CI's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The text is not Cedar.
    Syntax,
    /// Cedar's validator refuses it against the schema.
    Schema,
    /// A `Resource` id that is not `host:port`.
    ResourceForm,
    /// A name that is not in the one form that names have here.
    NameForm,
    /// An address or a network that is not in its one form.
    AddressForm,
    /// An `Agent` id that no client could have.
    AgentForm,
    /// The port in anything but a comparison with integer literals.
    PortUse,
    /// A use of an entity or a record that has no exact answer here.
    EntityUse,
    /// `like` with a leading `*` that is not followed by a dot.
    LeadingWildcard,
    /// `like` with a trailing `*`.
    TrailingWildcard,
    /// A pattern that no name matches.
    DeadPattern,
    /// A condition nested too deep.
    TooDeep,
    /// An `@id` that cannot be used, or is used twice.
    PolicyId,
    /// `links.json` and the templates do not go together.
    TemplateLink,
    /// A template that nothing links.
    UnlinkedTemplate,
    /// `entities.json` is not usable.
    Entities,
    /// A forbid over everything.
    CatchAllForbid,
    /// A permit that a forbid covers entirely.
    DeadPermit,
    /// A permit or forbid that another of the same effect covers entirely.
    Shadowed,
    /// Two policies that say the same.
    Duplicate,
    /// An agent that nothing else knows.
    UnknownAgent,
    /// A team that nobody is in.
    UnknownTeam,
    /// A domain that is nearly another one of the same policy, or ends in
    /// nothing that exists.
    UnknownDomain,
    /// A permit on everything below a public suffix.
    PublicSuffix,
    /// A permit of everything.
    PermitsEverything,
    /// A name that mixes scripts, or looks like another.
    MixedScripts,
    /// A policy that no query can reach.
    Unreachable,
    /// No policy at all.
    NoPolicy,
}

impl Rule {
    /// Every rule, in the order of the document.
    pub const ALL: [Self; 28] = [
        Self::Syntax,
        Self::Schema,
        Self::ResourceForm,
        Self::NameForm,
        Self::AddressForm,
        Self::AgentForm,
        Self::PortUse,
        Self::EntityUse,
        Self::LeadingWildcard,
        Self::TrailingWildcard,
        Self::DeadPattern,
        Self::TooDeep,
        Self::PolicyId,
        Self::TemplateLink,
        Self::UnlinkedTemplate,
        Self::Entities,
        Self::CatchAllForbid,
        Self::DeadPermit,
        Self::Shadowed,
        Self::Duplicate,
        Self::UnknownAgent,
        Self::UnknownTeam,
        Self::UnknownDomain,
        Self::PublicSuffix,
        Self::PermitsEverything,
        Self::MixedScripts,
        Self::Unreachable,
        Self::NoPolicy,
    ];

    /// The word it is known by.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Schema => "schema",
            Self::ResourceForm => "resource-form",
            Self::NameForm => "name-form",
            Self::AddressForm => "address-form",
            Self::AgentForm => "agent-form",
            Self::PortUse => "port-use",
            Self::EntityUse => "entity-use",
            Self::LeadingWildcard => "leading-wildcard",
            Self::TrailingWildcard => "trailing-wildcard",
            Self::DeadPattern => "dead-pattern",
            Self::TooDeep => "too-deep",
            Self::PolicyId => "policy-id",
            Self::TemplateLink => "template-link",
            Self::UnlinkedTemplate => "unlinked-template",
            Self::Entities => "entities",
            Self::CatchAllForbid => "catch-all-forbid",
            Self::DeadPermit => "dead-permit",
            Self::Shadowed => "shadowed",
            Self::Duplicate => "duplicate",
            Self::UnknownAgent => "unknown-agent",
            Self::UnknownTeam => "unknown-team",
            Self::UnknownDomain => "unknown-domain",
            Self::PublicSuffix => "public-suffix",
            Self::PermitsEverything => "permits-everything",
            Self::MixedScripts => "mixed-scripts",
            Self::Unreachable => "unreachable",
            Self::NoPolicy => "no-policy",
        }
    }

    /// What it is about, in one sentence without a final full stop.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Syntax => "the text is not Cedar",
            Self::Schema => "Cedar's validator refuses the policy",
            Self::ResourceForm => "a Resource's id is host:port",
            Self::NameForm => "a name is lower case, in ASCII, without a trailing dot",
            Self::AddressForm => "an address or a network is written in its one form",
            Self::AgentForm => "an Agent's id is one that a client can have",
            Self::PortUse => "the port may only be compared with integer literals",
            Self::EntityUse => "entities and records are asked only what has an exact answer",
            Self::LeadingWildcard => "a leading * is followed by a dot",
            Self::TrailingWildcard => "a trailing * also matches names of other owners",
            Self::DeadPattern => "a pattern matches some name",
            Self::TooDeep => "a condition is not nested too deep",
            Self::PolicyId => "each policy has a usable id of its own",
            Self::TemplateLink => "links.json and the templates go together",
            Self::UnlinkedTemplate => "a template is linked",
            Self::Entities => "entities.json is usable",
            Self::CatchAllForbid => "a forbid over everything voids every permit",
            Self::DeadPermit => "a permit is not covered by a forbid",
            Self::Shadowed => "a policy is not covered by a wider one of the same effect",
            Self::Duplicate => "no two policies say the same",
            Self::UnknownAgent => "an agent is known",
            Self::UnknownTeam => "a team has somebody in it",
            Self::UnknownDomain => "a domain is spelled as elsewhere and ends in what exists",
            Self::PublicSuffix => "no permit covers everybody's names below a public suffix",
            Self::PermitsEverything => "no permit covers everything",
            Self::MixedScripts => "a name does not mix scripts or pass for another",
            Self::Unreachable => "some query can reach a policy",
            Self::NoPolicy => "there is a policy",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
