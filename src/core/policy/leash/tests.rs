//! Texts of Leash's dialect, and what becomes of them.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::core::decision::Decision;
use crate::core::name::Name;
use crate::core::query::{Client, Port, Protocol, Query, RecordKind};
use crate::core::time::WallTime;

fn agent(name: &str) -> Agent {
    Agent::parse(name).unwrap()
}

fn import(text: &str) -> Imported {
    import_for(text, None)
}

fn import_for(text: &str, agent: Option<&Agent>) -> Imported {
    imported("leash.cedar", text, "out.cedar", agent).unwrap_or_else(|refused| panic!("{refused:?}\n{text}"))
}

/// The messages of a refusal, each with its place.
fn refusal(text: &str) -> String {
    match imported("leash.cedar", text, "out.cedar", None) {
        Err(Refused::Original(problems)) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
        other => panic!("{other:?}\n{text}"),
    }
}

/// Whether the rewritten policies let `who` connect to `host` at `port`.
fn lets(imported: &Imported, who: &str, host: &str, port: u16) -> bool {
    let sources = Sources { policies: vec![("out.cedar".to_owned(), imported.text.clone())], ..Sources::default() };
    let policy = Policy::load(&sources, CatchAllForbid::Strict).unwrap().policy;
    let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let query = Query {
        client,
        addresses: [client].into(),
        agent: agent(who),
        name: Name::parse(host).unwrap(),
        kind: RecordKind::A,
        dnssec_ok: false,
        checking_disabled: false,
    };
    let port = Port::new(port).unwrap();
    let address = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    Protocol::ALL.into_iter().all(|protocol| {
        matches!(policy.decide_connection(&query, protocol, port, address, WallTime(0)), Decision::Permit(_))
    })
}

/// `permit` of what is in brackets.
fn permit(hosts: &str) -> String {
    format!("permit (principal, action == Action::\"NetworkConnect\", resource)\nwhen {{ resource in [ {hosts} ] }};\n")
}

fn forbid(hosts: &str) -> String {
    permit(hosts).replacen("permit", "forbid", 1)
}

/// Everything Leash guards, in one file.
const WORKSHOP: &str = r#"// The workshop's own rules.
permit (principal, action in [Action::"FileOpen", Action::"FileOpenReadOnly", Action::"FileOpenReadWrite"], resource)
when { resource in [ Dir::"/workspace/" ] };

permit (principal, action == Action::"ProcessExec", resource)
when { resource in [ Dir::"/bin/", Dir::"/usr/bin/" ] };

// Our own services.
permit (principal, action == Action::"NetworkConnect", resource)
when {
  resource in [
    Host::"api.example.com:443", // the model
    Host::"db.example.com",
    Host::"*.packages.example.org"
  ]
};

@id("no-ads")
@why("they track")
forbid (principal, action == Action::"NetworkConnect", resource)
when { resource in [ Host::"*.ads.example.net" ] };

forbid (principal, action == Action::"McpCall", resource == MCP::Tool::"shell")
when { resource in [ MCP::Server::"mcp.example.com" ] };

forbid (principal, action == Action::"McpCall", resource)
when { resource in [ MCP::Server::"mcp.example.net" ] };

permit (principal, action == Action::"HttpRewrite", resource == Host::"api.example.com")
when { context.header == "Authorization" && context.value == "Bearer x" };
// The end.
"#;

#[test]
fn a_whole_file_is_rewritten_and_nothing_of_it_is_dropped_in_silence() {
    let imported = import(WORKSHOP);
    assert_eq!(imported.policies, 5, "{}", imported.text);
    assert_eq!(imported.doubts, []);
    for (host, port, expected) in [
        ("api.example.com", 443, true),
        ("api.example.com", 80, false),
        ("db.example.com", 5432, true),
        ("a.db.example.com", 5432, false),
        ("a.packages.example.org", 443, true),
        ("a.b.packages.example.org", 1, true),
        ("packages.example.org", 443, false),
        ("evilpackages.example.org", 443, false),
        ("mcp.example.net", 443, false),
        ("other.example.com", 443, false),
    ] {
        assert_eq!(lets(&imported, "claude", host, port), expected, "{host}:{port}\n{}", imported.text);
    }
    let outside: Vec<_> = imported.outside.iter().map(ToString::to_string).collect();
    let lines: Vec<_> = outside.iter().filter_map(|problem| problem.split(':').nth(1)).collect();
    assert_eq!(lines, ["2", "5", "23", "29"], "{outside:#?}");
    assert!(outside.iter().all(|problem| problem.contains("outside this firewall")), "{outside:#?}");
    for comment in [
        "// The workshop's own rules.",
        "ports: `FileOpen`, `FileOpenReadOnly`, `FileOpenReadWrite`.\n",
        "// leash.cedar:5: not here: outside this firewall",
        "// Our own services.",
        "// the model",
        "// leash.cedar:12: api.example.com:443\n",
        "// leash.cedar:14: *.packages.example.org\n",
        "// leash.cedar:23: not here: outside this firewall",
        "// leash.cedar:27: mcp.example.net\n// - Leash closes the whole host of a forbidden MCP server",
        "ports: `HttpRewrite`.\n",
        "// The end.",
        "@why(\"they track\")\n@id(\"no-ads\")\nforbid (",
    ] {
        assert!(imported.text.contains(comment), "{comment}\n{}", imported.text);
    }
    assert!(imported.text.lines().all(|line| line.chars().count() <= 80), "{}", imported.text);
}

#[test]
fn what_leash_starts_with_permits_every_name() {
    let text = permit("Host::\"*\"");
    let imported = import(&text);
    assert!(lets(&imported, "claude", "any.example.com", 9));
    assert!(imported.text.contains("Every name, and not every address"), "{}", imported.text);
}

#[test]
fn the_forms_of_naming_a_host_are_one() {
    for condition in [
        "resource == Host::\"api.example.com:443\"",
        "Host::\"api.example.com:443\" == resource",
        "resource in Host::\"api.example.com:443\"",
        "resource in [Net::Hostname::\"api.example.com:443\"]",
        "context.hostname == \"api.example.com:443\"",
        "context.hostname like \"api.example.com:443\"",
        "resource == Host::\"api.example.com:443\" || resource == Host::\"b.example.com:443\"",
    ] {
        let imported = import(&format!(
            "permit(principal, action == Action::\"NetworkConnect\", resource) when {{ {condition} }};"
        ));
        assert!(lets(&imported, "claude", "api.example.com", 443), "{condition}\n{}", imported.text);
        assert!(!lets(&imported, "claude", "api.example.com", 444), "{condition}");
        assert!(!lets(&imported, "claude", "c.example.com", 443), "{condition}");
    }
    let scope =
        import("permit(principal, action in [Action::\"networkconnect\"], resource == Host::\"api.example.com:443\");");
    assert!(lets(&scope, "claude", "api.example.com", 443));
    let zone = "permit(principal, action == Action::\"NetworkConnect\", resource in Net::DnsZone::\"example.com\");";
    assert!(lets(&import(zone), "claude", "a.example.com", 443) && !lets(&import(zone), "claude", "example.com", 443));
}

#[test]
fn a_forbid_overrides_and_is_for_everybody_whomever_it_names() {
    let text = permit("Host::\"*.example.com\"")
        + "forbid(principal == User::\"other\", action == Action::\"NetworkConnect\", resource == Host::\"a.example.com\");";
    let imported = import(&text);
    assert!(lets(&imported, "claude", "b.example.com", 443));
    assert!(!lets(&imported, "claude", "a.example.com", 443));
    assert!(imported.text.contains("so this is for\n// everybody."), "{}", imported.text);
}

#[test]
fn a_permit_is_for_whom_it_names_or_for_the_agent_of_the_command_line() {
    let text = "permit(principal == User::\"claude\", action == Action::\"NetworkConnect\", resource == \
                Host::\"a.example.com:443\");";
    let named = import(text);
    assert!(lets(&named, "claude", "a.example.com", 443) && !lets(&named, "other", "a.example.com", 443));
    let chosen = import_for(text, Some(&agent("other")));
    assert!(!lets(&chosen, "claude", "a.example.com", 443) && lets(&chosen, "other", "a.example.com", 443));
    let anybody = import(&permit("Host::\"a.example.com:443\""));
    assert!(lets(&anybody, "claude", "a.example.com", 443) && lets(&anybody, "other", "a.example.com", 443));

    let group = text.replace("principal == User", "principal in Group");
    assert!(refusal(&group).contains("leash.cedar:1:1: error: this principal is not one agent"));
    assert!(lets(&import_for(&group, Some(&agent("other"))), "other", "a.example.com", 443));
}

#[test]
fn a_forbid_over_everything_stays_and_is_doubted() {
    let imported = import(&(permit("Host::\"a.example.com:443\"") + &forbid("Host::\"*\"")));
    assert!(!lets(&imported, "claude", "a.example.com", 443));
    assert!(imported.text.contains("This denies everything, whatever is permitted."), "{}", imported.text);
    assert!(!imported.doubts.is_empty());
}

#[test]
fn a_forbidden_address_is_forbidden_under_every_name() {
    let imported = import(&(permit("Host::\"*\"") + &forbid("Host::\"192.0.2.7:443\"")));
    assert!(!lets(&imported, "claude", "a.example.com", 443));
    assert!(lets(&imported, "claude", "a.example.com", 80));
    let every_port = import(&(permit("Host::\"*\"") + &forbid("Host::\"192.0.2.7\"")));
    assert!(!lets(&every_port, "claude", "a.example.com", 80));
}

#[test]
fn a_permitted_address_is_written_as_an_address_and_a_port() {
    let text = import(&permit("Host::\"192.0.2.7:5432\"")).text;
    assert!(text.contains("resource == Resource::\"192.0.2.7:5432\""), "{text}");
    let refused = refusal(&permit("Host::\"192.0.2.7\""));
    assert!(refused.contains("leash.cedar:2:22: error: `192.0.2.7` is an address without a port"), "{refused}");
    let refused = refusal(&(permit("Host::\"192.0.2.7:443\"") + &forbid("Host::\"192.0.2.7\"")));
    assert!(refused.contains("leash.cedar:2:22: error: `192.0.2.7:443` is permitted here"), "{refused}");
}

#[test]
fn what_has_no_exact_counterpart_is_refused_with_its_place() {
    let network = "permit(principal, action == Action::\"NetworkConnect\", resource)";
    for (text, expected) in [
        (permit("Host::\"a.example.com:https\""), "2:22: error: `https` is no port"),
        (permit("Host::\"a.example.com\", Host::\"*b.example.com\""), "2:45: error: `*b.example.com` has a `*`"),
        (permit("Net::IpRange::\"10.0.0.0/8\""), "2:22: error: `10.0.0.0/8` is a network"),
        (permit(""), "1:1: error: this policy names no host"),
        (format!("{network};"), "1:1: error: this policy names no host"),
        (format!("{network} unless {{ resource == Host::\"a.example.com\" }};"), "error: this condition"),
        (format!("{network} when {{ context.hour > 8 }};"), "1:72: error: this condition"),
        (
            format!(
                "{network} when {{ resource == Host::\"a.example.com\" && context.hostname == \"b.example.com\" }};"
            ),
            "1:72: error: several conditions",
        ),
        (
            "permit(principal, action == Action::\"NetworkConnect\", resource == Host::\"a.example.com\") when { \
             resource in [Host::\"b.example.com\"] };"
                .to_owned(),
            "error: a condition beside",
        ),
        ("permit(principal, action == Action::\"NetworkConnect\", resource is Host);".to_owned(), "1:1: error: a type"),
        (
            "permit(principal, action, resource == Host::\"a.example.com\");".to_owned(),
            "1:1: error: this policy names no action",
        ),
        (
            "permit(principal == ?principal, action == Action::\"NetworkConnect\", resource);".to_owned(),
            "1:1: error: a template",
        ),
        ("permit(principal, action == Net::\"Connect\", resource);".to_owned(), "1:"),
        ("permit(".to_owned(), "1:"),
    ] {
        let refused = refusal(&text);
        assert!(
            refused.contains(&format!("leash.cedar:{expected}")) || refused.contains(expected),
            "{text}\n{refused}"
        );
    }
}

#[test]
fn one_refusal_refuses_the_whole_and_each_is_told() {
    let text = WORKSHOP.to_owned() + &permit("Host::\"a:0\"") + &forbid("Host::\"::1\"");
    assert_eq!(refusal(&text).matches("error: ").count(), 2);
}

#[test]
fn no_text_of_the_original_becomes_a_policy() {
    let evil = "x\\npermit(principal, action, resource);//";
    for text in [
        format!("@id(\"{evil}\") @note(\"\\\"); {evil}\")\n{}", permit("Host::\"a.example.com:443\"")),
        format!("permit(principal, action == Action::\"{evil}\", resource);"),
        permit(&format!("Host::\"a.example.com:443\", Dir::\"{evil}\"")),
        format!("// a\u{2028}permit\r// {}\n{}", "b\u{b}c", permit("Host::\"a.example.com:443\"")),
    ] {
        match imported("leash.cedar", &text, "out.cedar", None) {
            Ok(imported) => assert!(imported.policies <= 1, "{}", imported.text),
            Err(Refused::Result { problems, .. }) => assert!(!problems.is_empty()),
            Err(Refused::Original(problems)) => panic!("{problems:?}"),
        }
    }
    let file = "a\npermit(principal, action, resource);";
    let imported = imported(file, &permit("Host::\"a.example.com:443\""), "out.cedar", None).unwrap();
    assert_eq!(imported.policies, 1, "{}", imported.text);
}

#[test]
fn ids_are_kept_numbered_and_never_twice() {
    let text = format!(
        "@id(\"leash-2\")\n{}{}",
        permit("Host::\"a.example.com:1\""),
        permit("Host::\"b.example.com:1\", Host::\"c.example.com:1\"")
    ) + &permit("Host::\"d.example.com:1\"")
        + &format!("@id(\"leash-2-1\")\n{}", permit("Host::\"e.example.com:1\""));
    let imported = import(&text);
    let ids: Vec<_> = imported.text.lines().filter(|line| line.starts_with("@id")).collect();
    let expected = ["leash-2", "leash-2-1", "leash-2-2", "leash-3", "leash-2-1-again"];
    assert_eq!(ids, expected.map(|id| format!("@id(\"{id}\")")));
}

#[test]
fn an_empty_file_is_an_empty_policy() {
    for text in ["", "// nothing\n", "permit(principal, action == Action::\"FileOpen\", resource);"] {
        assert_eq!(import(text).policies, 0);
    }
}
