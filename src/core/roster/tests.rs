use super::*;

fn container(id: &str, label: Option<&str>, address: &str, port: Option<&str>) -> Container {
    let attachment = Attachment {
        network: "agents".into(),
        port: port.map(|port| InterfaceName::parse(port).unwrap()),
        hardware: HardwareAddress::parse("02:42:0a:58:00:02").unwrap(),
        addresses: vec![address.parse().unwrap()],
    };
    Container {
        id: id.into(),
        name: format!("ci-{id}"),
        label: label.map(ToOwned::to_owned),
        team: None,
        attachments: vec![attachment],
        other_networks: Vec::new(),
        has_resolver: true,
    }
}

fn roster(containers: &[Container]) -> Roster {
    Roster::of(containers.iter(), &[])
}

fn agents(roster: &Roster) -> Vec<(&str, &str)> {
    roster.members.iter().map(|(id, member)| (&**id, member.entry.agent.as_str())).collect()
}

#[test]
fn a_hardware_address_makes_the_link_local_address_that_linux_makes_of_it() {
    let hardware = HardwareAddress::parse("02:42:0A:58:00:02").unwrap();
    assert_eq!(hardware.to_string(), "02:42:0a:58:00:02");
    assert_eq!(hardware.link_local(), "fe80::42:aff:fe58:2".parse::<Ipv6Addr>().unwrap());
    for text in
        ["", "02:42:0a:58:00", "02:42:0a:58:00:02:03", "2:42:0a:58:00:02", "02-42-0a-58-00-02", "+2:42:0a:58:00:02"]
    {
        assert_eq!(HardwareAddress::parse(text), None, "{text}");
    }
}

#[test]
fn a_container_acts_as_its_label_says_and_otherwise_as_the_first_rule_that_fits() {
    let rule = |network: Option<&str>, name: Option<&str>, agent: &str| DockerAgent {
        network: network.map(ToOwned::to_owned),
        name: name.map(ToOwned::to_owned),
        agent: Agent::parse(agent).unwrap(),
    };
    let rules = [
        rule(Some("elsewhere"), None, "wrong"),
        rule(Some("agents"), Some("ci-b*"), "builder"),
        rule(None, Some("ci-?"), "ci"),
    ];
    let containers = [
        container("a", Some("claude"), "10.88.0.2", Some("veth1")),
        container("b", None, "10.88.0.3", Some("veth2")),
        container("c", None, "10.88.0.4", Some("veth3")),
        container("long", None, "10.88.0.5", Some("veth4")),
        container("d", Some(""), "10.88.0.6", Some("veth5")),
    ];
    let roster = Roster::of(containers.iter(), &rules);
    assert_eq!(agents(&roster), [("a", "claude"), ("b", "builder"), ("c", "ci")]);
    let why = |id: &str| &roster.strangers[id].why;
    assert_eq!((why("long"), why("d")), (&Why::Unlabelled, &Why::BadLabel(String::new())));
}

#[test]
fn a_label_puts_a_container_into_a_team_and_a_bad_one_makes_it_nobody() {
    let of = |team: &str| {
        let team = Some(team.to_owned());
        roster(&[Container { team, ..container("a", Some("claude"), "10.88.0.2", Some("veth1")) }])
    };
    let readers = of("readers");
    let agent = &readers.members["a"].entry.agent;
    assert_eq!((agent.as_str(), agent.team()), ("claude", Some("readers")));
    assert_eq!(of("").strangers["a"].why, Why::BadPolicyLabel(String::new()));
    // Under another policy it is somebody else.
    let address = Client::new("10.88.0.2".parse().unwrap());
    assert_eq!(of("writers").changed_hands(&readers), [address]);
    assert_eq!(of("readers").changed_hands(&readers), []);
}

#[test]
fn nobody_is_known_before_the_port_that_leads_to_it_and_strangers_are_bound_as_well() {
    let waiting = container("a", Some("claude"), "10.88.0.2", None);
    assert_eq!(roster(&[waiting]), Roster::default());
    let unlabelled = roster(&[container("b", None, "10.88.0.3", Some("veth2"))]);
    let bound: Vec<_> = unlabelled.bindings.iter().map(|binding| binding.address.to_string()).collect();
    assert_eq!(bound, ["10.88.0.3", "fe80::42:aff:fe58:2"]);
    assert_eq!(unlabelled.members.len(), 0);
}

#[test]
fn whoever_has_another_way_out_acts_as_nobody() {
    let of = |change: fn(&mut Container)| {
        let mut container = container("a", Some("claude"), "10.88.0.2", Some("veth1"));
        change(&mut container);
        roster(&[container]).strangers.remove("a").unwrap().why
    };
    let other = of(|container| container.other_networks = vec!["bridge".into()]);
    assert_eq!(other, Why::OtherNetworks(vec!["bridge".into()]));
    assert_eq!(of(|container| container.has_resolver = false), Why::NoResolver);
}

#[test]
fn an_address_that_two_have_is_nobodys() {
    let two = [
        container("a", Some("claude"), "10.88.0.2", Some("veth1")),
        container("b", Some("ci"), "10.88.0.2", Some("veth2")),
    ];
    let roster = roster(&two);
    assert_eq!(agents(&roster), []);
    assert_eq!(roster.strangers.len(), 2);
}

#[test]
fn an_address_changes_hands_when_another_container_or_another_agent_has_it() {
    let of = |id: &str, agent: &str| roster(&[container(id, Some(agent), "10.88.0.2", Some("veth1"))]);
    let (first, client) = (of("a", "claude"), Client::new("10.88.0.2".parse().unwrap()));
    assert_eq!(of("a", "claude").changed_hands(&first), []);
    assert_eq!(of("b", "claude").changed_hands(&first), [client], "the same agent, but another container");
    assert_eq!(of("a", "ci").changed_hands(&first), [client]);
    assert_eq!(Roster::default().changed_hands(&first), [client]);
    assert_eq!(first.changed_hands(&Roster::default()), [], "nothing was opened for it yet");
}

#[test]
fn what_two_rosters_share_is_what_has_not_changed_in_between() {
    let former = roster(&[
        container("a", Some("claude"), "10.88.0.2", Some("veth1")),
        container("b", Some("ci"), "10.88.0.3", Some("veth2")),
    ]);
    let present = roster(&[
        container("a", Some("claude"), "10.88.0.2", Some("veth1")),
        container("c", Some("ci"), "10.88.0.3", Some("veth3")),
    ]);
    let shared = former.meet(&present);
    assert_eq!(agents(&shared), [("a", "claude")]);
    assert!(shared.bindings.iter().all(|binding| binding.port.as_str() == "veth1"));
    assert_eq!(shared.bindings.len(), 2);
}
