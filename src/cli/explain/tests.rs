use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn explained(line: &[&str]) -> (ExitCode, String) {
    let line = Line::parse_from([&["explain"], line].concat());
    let mut out = Vec::new();
    let code = execute(&line.arguments, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80) || text.starts_with('{'), "{text}");
    (code, text)
}

#[test]
fn a_permit_is_told_with_its_ports_its_policy_and_its_leases() {
    let (code, out) = explained(&["--policy", "policies/team", "--agent", "release", "git.example.com"]);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(out.contains("  22/tcp\n  443/tcp\n"), "{out}");
    assert!(out.contains("release-git (policies/team/team.cedar:14)\n  @id(\"release-git\")\n"), "{out}");
    assert!(out.contains("  -> 22/tcp: one element of lease4 for each address of the answer\n"), "{out}");
}

#[test]
fn a_denial_has_its_own_exit_status_and_reason() {
    let team = ["--policy", "policies/team", "--agent", "claude"];
    for (target, word) in [
        ("git.example.com:22/tcp", "No policy decided"),
        ("git.example.com:22/tcp", "  it is for Agent::\"release\", not Agent::\"claude\"\n"),
        ("a.telemetry.example.com", "no-telemetry (policies/team/team.cedar:47)"),
        ("registry.example.org:80", "it opens 443/tcp, 443/udp."),
        ("registry.example.org:80", "nearest permit: builders-registry (policies/team/team.cedar:5)\n"),
        ("registry.example.org:80", "`context.port == 443`\n  (policies/team/team.cedar:10:8)"),
        ("192.0.2.7:5432", "no policy permits this name"),
    ] {
        let (code, out) = explained(&[&team[..], &[target]].concat());
        assert_eq!(code, ExitCode::from(DENIED), "{out}");
        assert!(out.contains(word), "{word} in {out}");
    }
}

#[test]
fn an_address_is_judged_where_one_is_named() {
    let team = ["--policy", "policies/team", "--agent", "claude"];
    let (_, out) = explained(&[&team[..], &["db.example.com"]].concat());
    assert!(out.contains("Name one\nwith --ip"), "{out}");
    let (code, _) = explained(&[&team[..], &["--ip", "192.0.2.7", "db.example.com:5432"]].concat());
    assert_eq!(code, ExitCode::SUCCESS);
    let (code, out) = explained(&[&team[..], &["--ip", "198.51.100.7", "db.example.com"]].concat());
    assert_eq!(code, ExitCode::from(DENIED));
    assert!(out.contains("`context.ip.isInRange(ip(\"192.0.2.0/24\"))`"), "{out}");
}

#[test]
fn a_type_without_connections_is_a_question_of_dns_query() {
    let team = ["--policy", "policies/team", "--agent", "claude"];
    let (code, out) = explained(&[&team[..], &["--type", "txt", "example.org"]].concat());
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(out.starts_with("permitted: Agent::\"claude\" may ask for example.org (type TXT)\n"), "{out}");
    let (code, out) = explained(&[&team[..], &["--type", "SRV", "example.org"]].concat());
    assert_eq!(code, ExitCode::from(DENIED));
    assert!(out.contains("`[\"MX\", \"TXT\"].contains(context.qtype)`"), "{out}");
    let line = Line::parse_from([&["explain"], &team[..], &["--type", "TXT", "example.org:53"]].concat());
    assert!(execute(&line.arguments, &mut Vec::new()).unwrap_err().to_string().contains("opens no port"));
}

#[test]
fn json_says_the_same() {
    let (_, out) = explained(&["--policy", "policies/team", "--agent", "release", "--json", "git.example.com:22"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["permitted"], true);
    assert_eq!(json["openings"], json!([{ "protocol": "tcp", "first": 22, "last": 22 }]));
    assert_eq!(json["policies"][0]["id"], "release-git");
    let leads_to = json!({ "opening": { "protocol": "tcp", "first": 22, "last": 22 }, "set": "lease4", "elements": 1 });
    assert_eq!(json["policies"][0]["leads_to"], json!([leads_to]));

    let (_, out) = explained(&["--policy", "policies/team", "--agent", "claude", "--json", "registry.example.org:80"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["permitted"], &json["reason_code"]), (&json!(false), &json!("not_permitted")));
    assert_eq!(json["nearest"]["id"], "builders-registry");
    let obstacle = &json["nearest"]["obstacles"][0];
    assert_eq!((&obstacle["kind"], &obstacle["part"]["place"]["line"]), (&json!("condition"), &json!(10)));
}

#[test]
fn a_policy_has_to_be_named_and_named_once() {
    for line in [
        &["explain", "--agent", "a", "example.com"][..],
        &["explain", "--policy", "p", "--config", "c", "--agent", "a", "example.com"],
        &["explain", "--policy", "p", "--agent", "a", "--at", "yesterday", "example.com"],
    ] {
        assert!(Line::try_parse_from(line).is_err(), "{line:?}");
    }
}
