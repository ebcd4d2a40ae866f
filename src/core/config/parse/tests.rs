//! What the configuration's reader promises.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::core::config::{InterfaceName, Transport, Upstream};
use crate::core::name::Name;

const SHIPPED: &str = include_str!("../../../../cedarwall.toml");

const MINIMAL: &str = r#"
[dns]
listen = ["10.77.0.1:53"]
upstream = ["udp://192.0.2.53:53"]
[wall]
interfaces = ["veth-agent"]
[[client]]
address = "10.77.0.2"
agent = "claude"
"#;

fn refusals(text: &str) -> Vec<String> {
    Config::parse("c.toml", text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The one refusal of the minimal file after `from` became `to`.
fn refusal(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "{from}");
    let refusals = refusals(&MINIMAL.replacen(from, to, 1));
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    refusals[0].clone()
}

#[test]
fn the_shipped_file_holds_the_defaults_but_for_its_policy() {
    let story = "[policy]\npath = \"policies/story\"\ncatch_all_forbid = \"default-deny\"\n";
    let minimal = format!("{MINIMAL}{story}");
    assert_eq!(Config::parse("cedarwall.toml", SHIPPED), Config::parse("minimal.toml", &minimal));
    assert!(Config::parse("cedarwall.toml", SHIPPED).is_ok());
}

#[test]
fn the_shipped_file_documents_every_option() {
    for (table, keys) in TABLES {
        let headers = [format!("\n[{table}]\n"), format!("\n[[{table}]]\n"), format!("\n#[[{table}]]\n")];
        let section = headers.iter().find_map(|header| SHIPPED.split_once(header)).unwrap().1;
        let section = section.split("\n[").next().unwrap();
        for key in keys {
            let documented = section.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{key} = ")));
            assert!(documented, "[{table}] {key}");
        }
    }
}

#[test]
fn what_the_shipped_file_leaves_out_can_be_turned_on() {
    let turned_on: String = SHIPPED
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse("cedarwall.toml", &turned_on).unwrap();
    assert_eq!(config.journal.path, Some("/var/log/cedarwall/events.jsonl".into()));
}

#[test]
fn every_value_arrives_where_it_belongs() {
    let config = Config::parse(
        "c.toml",
        r#"
        [dns]
        upstream = ["tcp://[2001:db8::53]", "udp://192.0.2.53:5353"]
        deny = "refused"
        deny_ttl = "1m"
        cache_entries = 0
        max_in_flight = 7
        max_connections = 8
        idle_timeout = "2s"
        upstream_timeout = "500ms"
        in_flight_per_client = 3
        queries_per_second = 20
        search = ["Corp.Example.com.", "internal"]
        [policy]
        path = "wall.cedar"
        catch_all_forbid = "default-deny"
        watch = false
        mode = "audit"
        [wall]
        mode = "sidecar"
        verdict = "reject"
        protect = true
        allow_ranges = ["10.20.0.0/16", "fd77::1"]
        table = "wall_2"
        dns_packets_per_second = 100
        [lease]
        min = "5s"
        max = "2h"
        grace = "3s"
        per_client = 0x10
        set_size = 1_000
        per_name = 8
        total = 900
        [[client]]
        address = "::ffff:127.0.0.1"
        agent = "ci job"
        [control]
        socket = "/run/wall.sock"
        [journal]
        path = "events.jsonl"
        [names]
        per_minute = 30
        octets_per_minute = 500
        bits_per_minute = 4000
        [evidence]
        processes = false
        hold = "50ms"
        "#,
    )
    .unwrap()
    .relative_to("/etc/cedarwall".as_ref());
    let seconds = Duration::from_secs;
    assert_eq!(
        config,
        Config {
            dns: Dns {
                listen: vec!["127.0.0.1:53".parse().unwrap()],
                upstream: vec![
                    Upstream { transport: Transport::Tcp, address: "[2001:db8::53]:53".parse().unwrap() },
                    Upstream { transport: Transport::Udp, address: "192.0.2.53:5353".parse().unwrap() },
                ],
                deny: DenyAnswer::Refused,
                deny_ttl: seconds(60),
                cache_entries: 0,
                max_in_flight: 7,
                max_connections: 8,
                idle_timeout: seconds(2),
                upstream_timeout: Duration::from_millis(500),
                in_flight_per_client: 3,
                queries_per_second: 20,
                burst: 40,
                search: ["corp.example.com", "internal"].map(|name| Name::parse(name).unwrap()).into(),
            },
            policy: PolicySettings {
                path: "/etc/cedarwall/wall.cedar".into(),
                catch_all_forbid: CatchAllForbid::DefaultDeny,
                watch: false,
                mode: PolicyMode::Audit,
            },
            wall: Wall {
                mode: Mode::Sidecar { interfaces: Vec::new() },
                verdict: PacketVerdict::Reject,
                allow_ranges: vec!["10.20.0.0/16".parse().unwrap(), "fd77::1/128".parse().unwrap()],
                table: TableName::parse("wall_2").unwrap(),
                protect: true,
                dns_packets_per_second: 100,
                log_group: 1053,
                dns_capture: None,
            },
            lease: LeaseSettings {
                min: seconds(5),
                max: seconds(7200),
                grace: seconds(3),
                per_client: 16,
                set_size: 1000,
                per_name: 8,
                total: 900,
            },
            clients: vec![ClientEntry {
                addresses: [crate::core::query::Client::new("127.0.0.1".parse().unwrap())].into(),
                agent: crate::core::query::Agent::parse("ci job").unwrap(),
            }],
            control: Control { socket: "/run/wall.sock".into() },
            journal: Journal { path: Some("/etc/cedarwall/events.jsonl".into()), rotation: Rotation::default() },
            names: NameLimits { per_minute: 30, octets_per_minute: 500, bits_per_minute: 4000 },
            evidence: Evidence { processes: false, hold: Duration::from_millis(50) },
            docker: None,
        }
    );
}

const DOCKER: &str = "[dns]\nlisten = [\"10.88.0.1\"]\nupstream = [\"udp://192.0.2.53\"]\n[wall]\n\
    interfaces = [\"agents\", \"veth-ci\"]\n[docker]\nenabled = true\n";

#[test]
fn an_engine_needs_no_client_tables_and_its_rules_keep_their_order() {
    let rules = "bridges = [\"agents\"]\n[[docker.agent]]\nnetwork = \"ci\"\nname = \"ci-*\"\nagent = \"ci\"\n\
        [[docker.agent]]\nagent = \"claude\"\n";
    let docker = Config::parse("c.toml", &format!("{DOCKER}{rules}")).unwrap().docker.unwrap();
    assert_eq!(docker.socket, Path::new("/run/docker.sock"));
    assert_eq!(docker.bridges.iter().map(InterfaceName::as_str).collect::<Vec<_>>(), ["agents"]);
    let fits = |name, network| docker.agents.iter().find(|rule| rule.fits(name, [network].into_iter())).unwrap();
    assert_eq!(fits("ci-7", "ci").agent.as_str(), "ci");
    assert_eq!(fits("ci-7", "other").agent.as_str(), "claude");
    let all = Config::parse("c.toml", DOCKER).unwrap().docker.unwrap();
    assert_eq!(all.bridges.len(), 2, "every walled interface");
}

#[test]
fn an_engine_is_for_gateways_and_its_bridges_are_walled() {
    let told = |text: &str| Config::parse("c.toml", text).unwrap_err()[0].to_string();
    let strange = told(&format!("{DOCKER}bridges = [\"docker0\"]\n"));
    assert!(strange.starts_with("c.toml:8:12: error: the bridge docker0 is no walled interface"), "{strange}");
    let sidecar = told(&DOCKER.replace("[wall]", "[wall]\nmode = \"sidecar\""));
    assert!(sidecar.contains("`docker.enabled` says nothing in sidecar mode"), "{sidecar}");
    assert!(told(&format!("{DOCKER}agent = 7\n")).contains("write each one as [[docker.agent]]"));
    assert!(told(&DOCKER.replace("enabled = true", "")).contains("no [[client]] table"));
}

#[test]
fn a_gateway_captures_unless_told_otherwise_and_a_sidecar_cannot() {
    let captures = |from: &str, to: &str| {
        let config = Config::parse("c.toml", &MINIMAL.replacen(from, to, 1)).unwrap();
        config.captures().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(captures("", ""), ["10.77.0.1:1054"]);
    let both = "[\"fe80::1\", \"[fd77::1]:5300\", \"10.77.0.1\", \"10.77.1.1\", \"fd77:1::1\"]";
    assert_eq!(captures("[\"10.77.0.1:53\"]", both), ["10.77.0.1:1054", "[fd77::1]:1054"]);
    assert_eq!(captures("10.77.0.1:53", "127.0.0.1:53"), Vec::<String>::new());
    assert_eq!(captures("[wall]", "[wall]\ndns_capture_port = 5353"), ["10.77.0.1:5353"]);
    assert_eq!(captures("[wall]", "[wall]\ndns_capture = false"), Vec::<String>::new());
    assert_eq!(captures("[wall]", "[wall]\nmode = \"sidecar\"\ndns_capture = false"), Vec::<String>::new());
    let told = refusal("[wall]", "[wall]\nmode = \"sidecar\"\ndns_capture = true");
    assert!(told.contains("c.toml:7:15: error: `wall.dns_capture` is of gateway mode"), "{told}");
    let told = refusal("10.77.0.1:53", "10.77.0.1:1054");
    assert!(told.contains("`wall.dns_capture_port` is one of the wall's own listeners, 10.77.0.1:1054"), "{told}");
    assert!(refusal("[wall]", "[wall]\ndns_capture_port = 53").contains("dns_capture_port"));
}

#[test]
fn a_search_suffix_is_a_domain_and_stands_once() {
    for wrong in ["", ".", "*.example.com", ".example.com", "a b"] {
        let told = refusal("[wall]", &format!("search = [{wrong:?}]\n[wall]"));
        assert!(told.contains("write a domain"), "{told}");
    }
    assert!(refusal("[wall]", "search = [\"a.example\", \"A.example.\"]\n[wall]").contains("stands here twice"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let told = refusal("listen = [", "lisen = []\nlisten = [");
    assert_eq!(told, "c.toml:3:1: error: there is no key in [dns] named \"lisen\"\n  help: did you mean `listen`?");
    let told = refusal("[wall]", "[leases]\nmin = \"1s\"\n[wall]");
    assert_eq!(told, "c.toml:5:2: error: there is no table named \"leases\"\n  help: did you mean `lease`?");
    assert!(refusal("agent =", "colour = 1\nagent =").contains("there are: address, agent"));
}

#[test]
fn every_problem_is_told_at_its_place_in_the_files_order() {
    let text = MINIMAL
        .replace("10.77.0.1:53", "0.0.0.0:53")
        .replace("udp://", "tls://")
        .replace("\"veth-agent\"", "\"veth-agent\", 7, \"a b\"")
        .replace("claude", "a\\\"b");
    let told = refusals(&text);
    let places: Vec<_> = told.iter().map(|line| line.split(": error").next().unwrap()).collect();
    assert_eq!(places, ["c.toml:3:11", "c.toml:4:13", "c.toml:6:29", "c.toml:6:32", "c.toml:9:9"], "{told:#?}");
}

#[test]
fn a_wildcard_listener_is_refused_with_the_reason() {
    for wildcard in ["0.0.0.0:53", "[::]:53", "[::ffff:0.0.0.0]:53", "0.0.0.0", "::"] {
        assert!(refusal("10.77.0.1:53", wildcard).contains("answers from the wrong one"), "{wildcard}");
    }
}

#[test]
fn a_bad_value_says_what_is_allowed() {
    for (from, to, expected) in [
        ("10.77.0.1:53", "dns.example.com:53", "this is no address"),
        ("10.77.0.1:53", "10.77.0.1:0", "a port from 1 to 65535"),
        ("udp://192.0.2.53:53", "192.0.2.53", "no udp:// or tcp://"),
        ("udp://192.0.2.53:53", "udp://dns.example.com", "no IP address"),
        ("udp://192.0.2.53:53", "udp://10.77.0.1:53", "would ask itself"),
        ("[\"udp://192.0.2.53:53\"]", "\"udp://192.0.2.53:53\"", "is a list, not text"),
        ("[\"udp://192.0.2.53:53\"]", "[]", "name at least one"),
        ("\"udp://192.0.2.53:53\"", "\"udp://192.0.2.53\", \"udp://192.0.2.53:53\"", "twice"),
        ("listen =", "deny = \"nxdomian\"\nlisten =", "did you mean \"nxdomain\"?"),
        ("listen =", "deny_ttl = 10\nlisten =", "takes text, not a whole number"),
        ("listen =", "deny_ttl = \"10\"\nlisten =", "from 1s to 1h"),
        ("listen =", "deny_ttl = \"2h\"\nlisten =", "too long"),
        ("listen =", "deny_ttl = \"99999999999999999999h\"\nlisten =", "this is no duration"),
        ("listen =", "max_in_flight = 0\nlisten =", "from 1 to 1000000"),
        ("listen =", "max_in_flight = -1\nlisten =", "from 1 to 1000000"),
        ("[wall]", "[policy]\nmode = \"auditing\"\n[wall]", "did you mean \"audit\"?"),
        ("interfaces = [\"veth-agent\"]", "", "a gateway needs at least one interface"),
        ("[wall]", "[wall]\nallow_ranges = [\"10.20.0.1/16\"]", "did you mean \"10.20.0.0/16\"?"),
        ("[wall]", "[wall]\ntable = \"Wall\"", "lower-case letter"),
        ("[wall]", "[lease]\nmin = \"2h\"\n[wall]", "longer than `lease.max`"),
        ("[wall]", "[lease]\nper_client = 70000\n[wall]", "more than `lease.set_size`"),
        ("[wall]", "[lease]\nper_name = 5000\n[wall]", "more than `lease.per_client`"),
        ("[wall]", "[lease]\ntotal = 70000\n[wall]", "more than `lease.set_size`"),
        ("[wall]", "[lease]\ntotal = 100\n[wall]", "less than `lease.per_client`"),
        ("listen =", "in_flight_per_client = 5000\nlisten =", "more than `dns.max_in_flight`"),
        ("[wall]", "[names]\nper_minute = 0\n[wall]", "from 1 to"),
        ("[wall]", "[control]\nsocket = \"control.sock\"\n[wall]", "absolute path"),
        ("address = \"10.77.0.2\"", "", "`client.address` is missing"),
        ("10.77.0.2", "10.77.0.0/24", "one IPv4 or IPv6 address"),
        ("[[client]]", "[client]", "write each one as [[client]]"),
        ("[dns]", "journal = 1\n[dns]", "write it as [journal]"),
        ("[dns]", "[dns", "this is not TOML"),
        ("[wall]", "listen = []\n[wall]", "this is not TOML"),
    ] {
        let told = refusal(from, to);
        assert!(told.contains(expected), "{to}: {told}");
        assert!(told.starts_with("c.toml:"), "{told}");
    }
}

#[test]
fn one_address_acts_as_one_agent() {
    let twice = format!("{MINIMAL}[[client]]\naddress = \"::ffff:10.77.0.2\"\nagent = \"other\"\n");
    assert!(refusals(&twice)[0].contains("the address 10.77.0.2 stands here twice"));
}

#[test]
fn a_client_may_have_an_address_of_each_family() {
    let both = MINIMAL.replacen("address = \"10.77.0.2\"", "address = [\"10.77.0.2\", \"fd77::2\"]", 1);
    let config = Config::parse("c.toml", &both).unwrap();
    let addresses: Vec<_> = config.clients[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.77.0.2", "fd77::2"]);
}

#[test]
fn an_empty_file_says_all_that_is_missing() {
    let told = refusals("").join("\n");
    for missing in ["`dns.listen`", "`dns.upstream`", "`wall.interfaces`", "[[client]]"] {
        assert!(told.contains(missing), "{missing}: {told}");
    }
}

#[test]
fn a_gateway_without_upstream_servers_asks_those_of_its_host_but_never_itself() {
    let without = MINIMAL.replace("upstream = [\"udp://192.0.2.53:53\"]\n", "");
    let nameservers =
        ["10.77.0.1:53", "127.0.0.53:53", "192.0.2.1:53", "127.0.0.53:53"].map(|text| text.parse().unwrap());
    let told = |text: &str| {
        let config = Config::parse_on_host("c.toml", text, &nameservers).map_err(|problems| problems.len())?;
        Ok(config.dns.upstream.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(told(&without), Ok(vec!["udp://127.0.0.53:53".to_owned(), "udp://192.0.2.1:53".to_owned()]));
    assert_eq!(told(MINIMAL), Ok(vec!["udp://192.0.2.53:53".to_owned()]));
    let sidecar = without.replace("[wall]", "[wall]\nmode = \"sidecar\"");
    assert_eq!(told(&sidecar), Err(1), "those of its host may be the wall itself");
    assert!(Config::parse_on_host("c.toml", &without, &nameservers[..1]).is_err());
}

#[test]
fn a_thousand_problems_are_not_a_thousand_lines() {
    let text: String = (0..1000).map(|number| format!("k{number} = 1\n")).collect();
    let told = refusals(&text);
    assert_eq!(told.len(), 51);
    assert!(told[50].starts_with("error: and 95"), "{}", told[50]);
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in ".{0,200}") {
        let _ = Config::parse("c.toml", &text);
    }

    #[test]
    fn a_hostile_value_never_panics_and_is_refused_at_its_place(
        table in 0..TABLES.len(),
        key in 0_usize..9,
        value in prop_oneof![
            "[0-9a-zA-Z:/.\\[\\]\"' -]{0,24}",
            "\"[0-9a-zé:/.\\[\\] -]{0,24}\"",
            "\\[(\"[0-9a-z:/.-]{0,12}\", ){0,3}\\]",
            "[0-9]{1,24}",
        ],
    ) {
        let (table, keys) = TABLES[table];
        let key = keys[key % keys.len()];
        let header = if table == "client" { "[[client]]" } else { &format!("[{table}]") };
        let text = format!("{header}\n{key} = {value}\n");
        if let Err(problems) = Config::parse("c.toml", &text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.place.as_ref().is_none_or(|place| place.line <= 3)));
        }
    }
}

#[test]
fn the_sinkhole_is_a_way_to_deny_and_no_range_that_can_be_allowed() {
    let config = |lines: &str| Config::parse("c.toml", &MINIMAL.replace("[wall]", lines));
    let parsed = config("deny = \"sinkhole\"\n[wall]\nallow_ranges = [\"0.0.0.0/0\"]").unwrap();
    assert_eq!(parsed.dns.deny, DenyAnswer::Sinkhole);
    for range in ["198.18.0.0/15", "198.19.7.0/24", "100::/64", "100::9"] {
        let refusal = refusal("[wall]", &format!("[wall]\nallow_ranges = [{range:?}]"));
        assert!(refusal.contains("that is the sinkhole"), "{refusal}");
    }
}
