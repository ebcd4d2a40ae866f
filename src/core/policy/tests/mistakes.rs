//! The mistakes that people make, each told once, where it is, with what to
//! write.

use super::*;

const ENTITIES: &str = r#"[{"uid": {"type": "Agent", "id": "claude"}, "attrs": {}, "parents": []}]"#;

/// Policies, and everything that is said about them.
const MISTAKES: &[(&str, &str)] = &[
    (
        "permit(principal, action == Action::\"net.connect\", resource)\n\npermit(principal, action == Action::\"net.connect\", resource in Domain::\"example.com\");",
        "p.cedar:1:60: error: this policy does not end in `;`\n  help: write `);`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource in Domain::\"example.com\")",
        "p.cedar:1:85: error: this policy does not end in `;`\n  help: write `);`",
    ),
    (
        "@id(\"a\")\npermit(principal, action == Action::\"net.connect\", resource in Domain::\"example.com\")\n@id(\"b\")\npermit(principal, action == Action::\"net.connect\", resource in Domain::\"example.org\");",
        "p.cedar:2:85: error: this policy does not end in `;`\n  help: write `);`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port == 443 } // yes\nforbid(principal, action == Action::\"net.connect\", resource) when { context.port == 22 };",
        "p.cedar:1:89: error: this policy does not end in `;`\n  help: write `};`",
    ),
    (
        "permit(principal = Agent::\"claude\", action, resource in Domain::\"example.com\");",
        "p.cedar:1:18: error: `=` is no operator of Cedar\n  help: write `==`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port >= 1 && context.port = 443 };",
        "p.cedar:1:103: error: `=` is no operator of Cedar\n  help: write `==`",
    ),
    (
        "permit(principal == Agent::claude, action, resource in Domain::\"example.com\");",
        "p.cedar:1:21: error: the id in `Agent::claude` has no quotation marks\n  help: write `Agent::\"claude\"`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { principal == Agent::claude };",
        "p.cedar:1:82: error: the id in `Agent::claude` has no quotation marks\n  help: write `Agent::\"claude\"`",
    ),
    (
        "permit(principal == \"claude\", action, resource in Domain::\"example.com\");",
        "p.cedar:1:21: error: \"claude\" is a text and no entity\n  help: write `Agent::\"claude\"`, or `in Team::\"claude\"`",
    ),
    (
        "permit(principal, action == \"net.connect\", resource in Domain::\"example.com\");",
        "p.cedar:1:29: error: \"net.connect\" is a text and no entity\n  help: write `Action::\"net.connect\"`",
    ),
    (
        "permit(principal, action, resource in \"example.com\");",
        "p.cedar:1:39: error: \"example.com\" is a text and no entity\n  help: write `Resource::\"api.example.com:443\"`, or `in Domain::\"example.com\"`",
    ),
    (
        "permit(principal, action == Action::\"net.conect\", resource in Domain::\"example.com\");",
        "p.cedar:1:29: error: there is no action `Action::\"net.conect\"`\n  help: did you mean `Action::\"net.connect\"`?",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource in Domian::\"example.com\");",
        "p.cedar:1:64: error: there is no entity type `Domian`\n  help: did you mean `Domain`?",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port == \"443\" };",
        "p.cedar:1:85: error: the port is a number and `\"443\"` is a text\n  help: write it without quotation marks: `443`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port >= \"443\" };",
        "p.cedar:1:85: error: the port is a number and `\"443\"` is a text\n  help: write it without quotation marks: `443`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { [\"443\"].contains(context.port) };",
        "p.cedar:1:70: error: the port is a number and `\"443\"` is a text\n  help: write it without quotation marks: `443`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port in [80, 443] };",
        "p.cedar:1:69: error: `in` asks about entities, not about numbers and texts\n  help: write `[80, 443].contains(context.port)`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port == 443 and context.host == \"a.example.com\" };",
        "p.cedar:1:89: error: `and` is no operator of Cedar\n  help: write `&&`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.host == api.example.com };",
        "p.cedar:1:85: error: `api.example.com` has no quotation marks\n  help: write a host as a text: `context.host == \"api.example.com\"`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
        "p.cedar:1:69: error: `context.ip` may be absent: while only the name is known there is no address\n  help: test for it first: `context has ip && …`",
    ),
    (
        "permit(principal, action, resource) when { context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
        "p.cedar:1:44: error: `context.ip` does not exist for `dns.query`, which this policy covers\n  help: limit the policy: `action == Action::\"net.connect\"`, and test `context has ip` first",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context has ip && context.ip.isInRange(ip(\"10.0.0.0/33\")) };",
        "p.cedar:1:108: error: \"10.0.0.0/33\" is no address and no network\n  help: write one such as `ip(\"192.0.2.7\")`, `ip(\"10.0.0.0/8\")` or `ip(\"2001:db8::/32\")`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.protocol == Protocol::\"tpc\" };",
        "p.cedar:1:89: error: there is no `Protocol::\"tpc\"`\n  help: did you mean `Protocol::\"tcp\"`?",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.prot == Protocol::\"tcp\" };",
        "p.cedar:1:69: error: there is no `context.prot`\n  help: did you mean `port`?",
    ),
    (
        "permit(principal, action, resource) when { context.port == 443 };",
        "p.cedar:1:44: error: `context.port` does not exist for `dns.query`, which this policy covers\n  help: limit the policy: `action == Action::\"net.connect\"`",
    ),
    (
        "permit(principal, action, resource) when { context.qtype == \"MX\" };",
        "p.cedar:1:44: error: `context.qtype` does not exist for `net.connect`, which this policy covers\n  help: limit the policy: `action == Action::\"dns.query\"`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource == Domain::\"example.com\");",
        "p.cedar:1:64: error: the resource of `net.connect` is a host and port and never `Domain::\"example.com\"` itself\n  help: write `resource in Domain::\"example.com\"`, for the name and all below it",
    ),
    (
        "permit(principal, action == Action::\"dns.query\", resource == Resource::\"example.com:443\");",
        "p.cedar:1:62: error: the resource of `dns.query` is a Domain and never `Resource::\"example.com:443\"`\n  help: write `resource == Domain::\"example.com\"`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource == Resource::\"API.example.com.:443\");",
        "p.cedar:1:64: error: `API.example.com.` would never match: names are lower case, in ASCII, without a trailing dot\n  help: write `api.example.com`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource == Resource::\"api.example.com:70000\");",
        "p.cedar:1:64: error: `70000` is no port: a port is a number from 1 to 65535 without leading zeros\n  help: write the id as `api.example.com:443`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource == Resource::\"api.example.com\");",
        "p.cedar:1:64: error: `api.example.com` names no port\n  help: write `api.example.com:443`, or `resource in Domain::\"api.example.com\"` for every port and every name below",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource == Resource::\"api.example.com:443\") when { false };",
        "p.cedar:1:1: error: `p.cedar#1` never applies: its condition never holds\n  help: delete it, or mend the condition; after `unless`, it has to be false for the policy to apply",
    ),
    (
        "permit(principal == Agent::\"cluade\", action, resource in Domain::\"example.com\");",
        "p.cedar:1:21: warning: entities.json has no Agent `cluade`\n  help: did you mean `claude`?",
    ),
    (
        "permit(principal == Agent::\"cl\u{430}ude\", action, resource in Domain::\"example.com\");",
        "p.cedar:1:21: error: identifier `cl\u{430}ude` contains mixed scripts\n  help: write it in the letters of one script, none of them invisible",
    ),
    (
        "permit(principal, action == Action::\"dns.query\", resource) when { context.qtype == \"mx\" };",
        "p.cedar:1:84: warning: no question has the type `mx`\n  help: did you mean `MX`?",
    ),
    (
        "permit(principal, action == Action::\"dns.query\", resource) when { context.qtype == \"A\" };",
        "p.cedar:1:84: warning: no `dns.query` has the type `A`: such a question is answered by `net.connect`\n  help: permit net.connect to the name instead",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource in Domain::\"example.com\") when { context.host == \"api.example.org\" };",
        "p.cedar:1:94: warning: `p.cedar#1` never applies: this is no host of its resource\n  help: name a host that the resource covers",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.port == 80 && context.port == 443 };",
        "p.cedar:1:91: warning: `p.cedar#1` never applies: no port meets this together with the rest\n  help: ports are 1 to 65535; of alternatives, write `||`",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource in Domain::\"example.cmo\");",
        "p.cedar:1:64: warning: `example.cmo` ends in `.cmo`, and there is no such top-level domain\n  help: did you mean `example.com`?",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { context.host like \"*.com\" };",
        "p.cedar:1:69: warning: `p.cedar#1` permits names that anybody can register: `com` is a public suffix\n  help: name the domain you mean: Domain::\"example.com\"",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource in Domain::\"github.io\");",
        "p.cedar:1:64: warning: `p.cedar#1` permits names that anybody can have from the provider: `github.io` is a public suffix\n  help: name the domain you mean: Domain::\"example.github.io\"",
    ),
    (
        "permit(principal, action == Action::\"net.connect\", resource) when { true };",
        "p.cedar:1:1: warning: `p.cedar#1` permits everybody everything: every host, on every port\n  help: name what is needed, as in `resource in Domain::\"example.com\"`",
    ),
];

#[test]
fn a_mistake_is_told_once_where_it_is_with_what_to_write() {
    for (text, expected) in MISTAKES {
        let sources = Sources {
            policies: vec![("p.cedar".to_owned(), (*text).to_owned())],
            entities: Some(("entities.json".to_owned(), ENTITIES.to_owned())),
            ..Sources::default()
        };
        let problems = match Policy::load(&sources, CatchAllForbid::Strict) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(all, [*expected], "{text}");
        let place = problems[0].place.as_ref().unwrap();
        assert!(place.length > 0 && problems[0].rule.is_some(), "{text}: {:?}", problems[0]);
    }
}
