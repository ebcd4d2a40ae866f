use super::*;
use crate::core::config::{CatchAllForbid, DenyAnswer, PacketVerdict};
use crate::core::query::Agent;

fn routes(text: &str) -> Vec<Route> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_subnet_that_a_route_covers_is_never_chosen() {
    let half: Ipv4Net = "10.213.0.0/17".parse().unwrap();
    for seed in (0..=u16::MAX).step_by(97) {
        let chosen = Addresses::choose(&[half], seed).unwrap();
        assert!(!half.contains(&chosen.wall) && !half.contains(&chosen.client), "{chosen:?}");
        assert_eq!(u32::from(chosen.wall) + 1, u32::from(chosen.client));
    }
}

#[test]
fn the_second_pool_is_used_when_the_first_is_taken_by_a_wider_route() {
    let chosen = Addresses::choose(&["10.0.0.0/8".parse().unwrap()], 7).unwrap();
    assert_eq!(chosen.wall, Ipv4Addr::new(172, 29, 0, 29));
}

#[test]
fn no_subnet_is_chosen_when_everything_is_taken() {
    assert_eq!(Addresses::choose(&["10.0.0.0/8".parse().unwrap(), "172.16.0.0/12".parse().unwrap()], 0), None);
}

#[test]
fn the_default_route_takes_no_network_but_leads_out() {
    let routes = routes(
        r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
            {"dst":"192.0.2.0/24","dev":"eth0","flags":[]},
            {"dst":"10.8.0.0/16","dev":"tun0","flags":[]},
            {"type":"local","dst":"127.0.0.1","dev":"lo","flags":[]},
            {"dst":"fe80::/64","dev":"eth0","flags":[]},
            {"type":"blackhole","dst":"198.51.100.0/24","flags":[]}]"#,
    );
    assert_eq!(taken(&routes).len(), 4);
    assert_eq!(uplinks(&routes, &[]), BTreeSet::from(["eth0".to_owned()]));
    assert_eq!(
        uplinks(&routes, &["10.8.3.0/24".parse().unwrap()]),
        BTreeSet::from(["eth0".to_owned(), "tun0".to_owned()])
    );
}

#[test]
fn resolv_conf_is_read_as_the_manual_page_says() {
    let text = "# nameserver 192.0.2.1\n; comment\nsearch example.com\nnameserver 127.0.0.53\n  nameserver\t2001:db8::1 \nnameserver fe80::1%eth0\nnameservers 192.0.2.9\noptions edns0\n";
    assert_eq!(nameservers(text), ["127.0.0.53:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
}

#[test]
fn the_configuration_is_toml_and_survives_odd_paths() {
    let settings = Settings {
        policy: "/srv/a \"quoted\" \\ folder/policies".into(),
        agent: Agent::parse("claude").unwrap(),
        catch_all_forbid: CatchAllForbid::DefaultDeny,
        allow_ranges: vec!["203.0.113.0/24".parse().unwrap()],
        upstream: Vec::new(),
        deny: DenyAnswer::Nxdomain,
        verdict: PacketVerdict::Drop,
        journal: None,
        json: false,
        command: vec!["true".to_owned()],
    };
    let addresses =
        Addresses { wall: Ipv4Addr::new(10, 213, 0, 1), client: Ipv4Addr::new(10, 213, 0, 2), prefix6: None };
    let text = configuration(&settings, Id(0x1a2b), addresses, &["[2001:db8::1]:53".parse().unwrap()]);
    let parsed: toml::Table = text.parse().unwrap();
    assert_eq!(parsed["policy"]["path"].as_str(), settings.policy.to_str());
    assert_eq!(parsed["policy"]["catch_all_forbid"].as_str(), Some("default-deny"));
    assert_eq!(parsed["policy"]["watch"].as_bool(), Some(false), "the command may own its policy");
    assert_eq!(parsed["dns"]["upstream"][0].as_str(), Some("udp://[2001:db8::1]:53"));
    assert_eq!(parsed["wall"]["table"].as_str(), Some("cedarwall_run_1a2b"));
    assert_eq!(parsed["wall"]["interfaces"][0].as_str(), Some("cedarwall-1a2b"));
    assert_eq!(parsed["client"][0]["address"][0].as_str(), Some("10.213.0.2"));
}

#[test]
fn a_link_name_fits_the_kernels_fifteen_octets() {
    assert!(Id(u16::MAX).link().len() <= 15);
}

#[test]
fn an_uplink_that_did_not_forward_before_takes_no_new_flows() {
    let addresses = Addresses::choose(&[], 1).unwrap();
    let narrow = nat_rules(Id(1), addresses, &BTreeSet::from([(Family::Ipv4, "eth0".to_owned())]));
    assert!(narrow.contains("meta nfproto ipv4 iifname \"eth0\" ct state != { established, related } drop"));
    let router = nat_rules(Id(1), addresses, &BTreeSet::new());
    assert!(!router.contains("drop"));
}

#[test]
fn ipv6_comes_from_a_unique_local_prefix_and_belongs_to_the_same_agent() {
    let mut addresses = Addresses::choose(&[], 1).unwrap();
    assert_eq!((addresses.wall6(), addresses.client6()), (None, None));
    addresses.add_ipv6(u64::MAX);
    assert_eq!(addresses.wall6(), "fdff:ffff:ffff::1".parse().ok());
    assert_eq!(addresses.client6(), "fdff:ffff:ffff::2".parse().ok());
    assert!(nat_rules(Id(1), addresses, &BTreeSet::new()).contains("ip6 saddr fdff:ffff:ffff::2"));
}
