use super::*;
use crate::core::sinkhole;

const GATEWAY_CONFIG: &str = r#"
[dns]
listen = ["10.77.0.1:53", "[fd77::1]:53"]
upstream = ["udp://192.0.2.53:53", "tcp://[2001:db8::53]:53"]
[policy]
path = "policies"
[wall]
interfaces = ["veth-agent", "veth-ci"]
[lease]
set_size = 5000
per_client = 100
[[client]]
address = "10.77.0.2"
agent = "claude"
"#;

fn rendered(change: impl Fn(String) -> String) -> String {
    let config = Config::parse("c.toml", &change(GATEWAY_CONFIG.to_owned())).unwrap();
    render(
        &config,
        &Identity { uid: 65353, cgroup: Some("/system.slice/cedarwall.service".into()) },
        &Roster::default(),
    )
}

fn sidecar(text: String) -> String {
    text.replace("[wall]", "[wall]\nmode = \"sidecar\"").replace("\"10.77.0.2\"", "\"127.0.0.1\"")
}

fn added(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("add ")).collect()
}

#[test]
fn a_gateway_walls_its_interfaces_and_answers_dns_on_both_transports() {
    let text = rendered(|text| text);
    assert_eq!(
        added(&text),
        [
            "add element inet cedarwall walled { \"veth-agent\", \"veth-ci\" }",
            "add element inet cedarwall dns4 { 10.77.0.1 . udp . 53 }",
            "add element inet cedarwall dns4 { 10.77.0.1 . tcp . 53 }",
            "add element inet cedarwall dns6 { fd77::1 . udp . 53 }",
            "add element inet cedarwall dns6 { fd77::1 . tcp . 53 }",
            "add element inet cedarwall client4 { 10.77.0.2 }",
        ]
    );
}

#[test]
fn what_was_there_is_replaced_in_the_same_transaction() {
    let text = rendered(|text| text);
    assert!(text.starts_with("table inet cedarwall\ndelete table inet cedarwall\n# Cedarwall in gateway mode"));
}

#[test]
fn a_sidecar_lets_out_its_own_user_and_cgroup_to_its_upstream_servers_only() {
    let text = rendered(sidecar);
    assert_eq!(
        added(&text),
        [
            "add element inet cedarwall dns4 { 10.77.0.1 . udp . 53 }",
            "add element inet cedarwall dns4 { 10.77.0.1 . tcp . 53 }",
            "add element inet cedarwall dns6 { fd77::1 . udp . 53 }",
            "add element inet cedarwall dns6 { fd77::1 . tcp . 53 }",
            "add element inet cedarwall upstream4 { 192.0.2.53 . udp . 53 }",
            "add element inet cedarwall upstream4 { 192.0.2.53 . tcp . 53 }",
            "add element inet cedarwall upstream6 { 2001:db8::53 . tcp . 53 }",
            "add rule inet cedarwall daemon meta skuid 65353 \
             socket cgroupv2 level 2 \"system.slice/cedarwall.service\" goto admit_own",
        ]
    );
    assert!(text.contains("type filter hook egress device \"veth-agent\""));
    assert!(text.contains("type filter hook egress device \"veth-ci\""));
}

#[test]
fn another_table_name_is_used_everywhere() {
    for text in [
        rendered(|text| text.replace("[wall]", "[wall]\ntable = \"wall_2\"")),
        rendered(|text| sidecar(text).replace("[wall]", "[wall]\ntable = \"wall_2\"")),
    ] {
        let named = text.lines().filter(|line| !line.starts_with('#') && line.contains("cedarwall"));
        let named: Vec<_> = named.filter(|line| !line.contains("cedarwall.service")).collect();
        assert_eq!(named, Vec::<&str>::new());
    }
}

#[test]
fn only_the_lease_sets_take_the_configured_size() {
    let text = rendered(|text| text);
    assert_eq!(text.matches("\t\tsize 5000\n").count(), 6);
    assert_eq!(text.matches("\t\tsize 65536\n").count(), 15);
}

#[test]
fn the_rules_know_the_sinkhole_that_answers_name() {
    for text in [rendered(|text| text), rendered(sidecar)] {
        for (family, range) in [("ip", sinkhole::RANGE4.to_string()), ("ip6", sinkhole::RANGE6.to_string())] {
            for end in ["jump sinkhole", "goto refuse_at_once"] {
                assert_eq!(text.matches(&format!("\t\t{family} daddr {range} {end}\n")).count(), 1, "{range} {end}");
            }
        }
    }
}

fn audited(text: String) -> String {
    text.replace("path = \"policies\"", "path = \"policies\"\nmode = \"audit\"")
}

#[test]
fn only_audit_mode_has_rules_that_let_through_what_is_denied() {
    for (enforcing, audit, rules) in [
        (rendered(|text| text), rendered(audited), 15),
        (rendered(sidecar), rendered(|text| sidecar(audited(text))), 11),
    ] {
        let rest = audit.strip_prefix(enforcing.as_str()).expect("nothing else differs");
        assert_eq!(added(rest).len(), rules, "{rest}");
        assert!(!enforcing.contains("0x20000000"));
        for chain in ["audit", "audited"] {
            let empty = format!("\tchain {chain} {{\n\t}}\n");
            assert!(enforcing.contains(&empty) || !enforcing.contains(&format!("chain {chain} {{")), "{chain}");
            assert!(!enforcing.contains(&format!("add rule inet cedarwall {chain} ")));
        }
    }
}

#[test]
fn every_meter_takes_the_configured_rate() {
    for (text, meters) in [(rendered(with_rate), 3), (rendered(|text| sidecar(with_rate(text))), 2)] {
        assert_eq!(text.matches("limit rate over").count(), meters);
        assert_eq!(text.matches("limit rate over 77/second burst 20 packets").count(), meters);
    }
}

fn with_rate(text: String) -> String {
    text.replace("[wall]", "[wall]\ndns_packets_per_second = 77")
}

#[test]
fn rejection_is_added_only_when_asked_for() {
    assert!(!rendered(|text| text).contains("add rule inet cedarwall verdict"));
    let text = rendered(|text| text.replace("[wall]", "[wall]\nverdict = \"reject\""));
    assert_eq!(text.matches("add rule inet cedarwall verdict").count(), 2);
}
