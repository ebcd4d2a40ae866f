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
dns_capture = false
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
fn a_few_interfaces_are_named_by_the_rules_and_many_are_looked_up() {
    let rules = |interfaces: &[&str]| -> Vec<String> {
        let text = rendered(|text| text.replace("[\"veth-agent\", \"veth-ci\"]", &format!("{interfaces:?}")));
        let asking = text.lines().filter_map(|line| line.strip_prefix("\t\t"));
        asking.filter(|line| line.starts_with("iifname ") || line.starts_with("oifname ")).map(str::to_owned).collect()
    };
    let ends = ["jump arriving", "jump to_host", "drop", "goto from_walled", "goto to_walled"];
    let many = rules(&["a0", "a1", "a2", "a3", "a4"]);
    assert_eq!(many.len(), ends.len());
    for (rule, end) in many.iter().zip(ends) {
        assert!(rule.ends_with(&format!("ifname @walled {end}")), "{rule}");
    }
    let few = ["a0", "a1", "a2", "a3"];
    let named = many.iter().flat_map(|rule| few.map(|name| rule.replace("@walled", &format!("\"{name}\""))));
    assert_eq!(rules(&few), named.collect::<Vec<_>>());
}

#[test]
fn dns_to_the_wall_is_known_by_every_port_it_answers_at() {
    let ports = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| line.ends_with(" goto to_wall")).map(str::trim_start);
        lines.filter_map(|line| line.split(" ip").next()).map(str::to_owned).collect()
    };
    assert_eq!(ports(rendered(|text| text)), ["th dport { 53 }"; 2]);
    let two = rendered(|text| text.replace("10.77.0.1:53", "10.77.0.1:5353"));
    assert_eq!(ports(two), ["th dport { 53, 5353 }"; 2]);
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

fn capturing(text: String) -> String {
    text.replace("dns_capture = false", "dns_capture = true")
}

#[test]
fn what_is_captured_is_sent_on_to_the_first_address_of_its_family_and_let_in_as_such_alone() {
    let (without, with) = (rendered(|text| text), rendered(capturing));
    let rest = with.strip_prefix(without.as_str()).expect("nothing else differs");
    assert!(rest.contains("type nat hook prerouting priority dstnat - 10; policy accept;"), "{rest}");
    assert_eq!(
        added(rest),
        [
            "add element inet cedarwall captured4 { 10.77.0.1 . udp . 1054 }",
            "add element inet cedarwall captured4 { 10.77.0.1 . tcp . 1054 }",
            "add element inet cedarwall captured6 { fd77::1 . udp . 1054 }",
            "add element inet cedarwall captured6 { fd77::1 . tcp . 1054 }",
            "add rule inet cedarwall capturing meta nfproto ipv4 jump bounded",
            "add rule inet cedarwall capturing meta nfproto ipv4 meta l4proto { tcp, udp } \
             counter name captured_dns dnat ip to 10.77.0.1:1054",
            "add rule inet cedarwall captured ct status dnat ip daddr . meta l4proto . th dport @captured4 jump asking",
            "add rule inet cedarwall captured ct status dnat ip daddr . meta l4proto . th dport @captured4 accept",
            "add rule inet cedarwall capturing meta nfproto ipv6 jump bounded",
            "add rule inet cedarwall capturing meta nfproto ipv6 meta l4proto { tcp, udp } \
             counter name captured_dns dnat ip6 to [fd77::1]:1054",
            "add rule inet cedarwall captured ct status dnat ip6 daddr . meta l4proto . th dport @captured6 jump asking",
            "add rule inet cedarwall captured ct status dnat ip6 daddr . meta l4proto . th dport @captured6 accept",
        ]
    );
}

#[test]
fn nothing_is_captured_where_it_is_off_or_the_family_has_no_address() {
    let nothing = |text: &str| !text.contains("dnat") && !text.contains("type nat");
    assert!(nothing(&rendered(|text| text)) && nothing(&rendered(sidecar)));
    let four = rendered(|text| capturing(text.replace(", \"[fd77::1]:53\"", "")));
    assert!(four.contains("dnat ip to 10.77.0.1:1054") && !four.contains("dnat ip6 to"), "{four}");
    let other =
        rendered(|text| capturing(text.replace("[wall]", "[wall]\ntable = \"wall_2\"\ndns_capture_port = 2053")));
    assert!(other.contains("add rule inet wall_2 capturing meta nfproto ipv4 jump bounded"), "{other}");
    assert!(other.contains("dnat ip to 10.77.0.1:2053") && !other.contains("table inet cedarwall {"), "{other}");
}

/// Both files look up what is open in the same sets.
#[test]
fn what_the_policy_opens_is_captured_nowhere() {
    let text = rendered(capturing);
    let opened = text.lines().filter(|line| line.starts_with("\t\tip") && line.ends_with(" goto admit"));
    let opened: Vec<_> = opened.map(|line| line.replace("goto admit", "return")).collect();
    assert_eq!(opened.len(), 8);
    let chain = text.split("\tchain capturing {\n").nth(1).unwrap();
    assert_eq!(chain.lines().filter(|line| line.contains("@lease") || line.contains("@static")).collect::<Vec<_>>(), {
        opened.iter().map(String::as_str).collect::<Vec<_>>()
    });
}

fn audited(text: String) -> String {
    text.replace("path = \"policies\"", "path = \"policies\"\nmode = \"audit\"")
}

#[test]
fn only_audit_mode_has_rules_that_let_through_what_is_denied() {
    for (enforcing, audit, rules) in [
        (rendered(|text| text), rendered(audited), 13),
        (rendered(sidecar), rendered(|text| sidecar(audited(text))), 9),
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
