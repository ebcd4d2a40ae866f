//! What policies open without DNS.

use super::{NOW, policy};
use crate::core::decision::{Decision, Reason};
use crate::core::policy::Policy;
use crate::core::query::{Agent, Client, Port, Protocol};

fn opened(policy: &Policy, agent: &str, client: &str) -> Vec<String> {
    let statics = policy.statics(&Agent::parse(agent).unwrap(), Client::new(client.parse().unwrap()), NOW);
    let told = |grant: &crate::core::lease::StaticGrant| {
        format!("{}-{} {}/{}", grant.first, grant.last, grant.ports, grant.protocol)
    };
    statics.grants.iter().map(told).collect()
}

fn connect(resource: &str) -> String {
    format!("(principal == Agent::\"claude\", action == Action::\"net.connect\", resource == Resource::\"{resource}\")")
}

#[test]
fn a_named_address_opens_its_port_for_the_permitted_agent_and_family() {
    let policy = policy(&format!(
        "permit{} when {{ context.protocol == Protocol::\"tcp\" }};\npermit{} when {{ context.protocol == Protocol::\"udp\" }};",
        connect("10.20.0.0/16:5432"),
        connect("[2001:db8::1]:53"),
    ));
    assert_eq!(opened(&policy, "claude", "10.77.0.2"), ["10.20.0.0-10.20.255.255 5432/tcp"]);
    assert_eq!(opened(&policy, "claude", "fd77::2"), ["2001:db8::1-2001:db8::1 53/udp"]);
    assert_eq!(opened(&policy, "stranger", "10.77.0.2"), Vec::<String>::new());
}

#[test]
fn a_permit_of_every_resource_opens_no_address_that_it_does_not_name() {
    let everything = "permit(principal, action == Action::\"net.connect\", resource);";
    let policy = policy(&format!("{everything}\npermit{};", connect("192.0.2.7:5432")));
    assert_eq!(opened(&policy, "other", "10.77.0.2"), Vec::<String>::new());
    assert_eq!(opened(&policy, "claude", "10.77.0.2").len(), 2);
}

#[test]
fn a_forbidden_part_of_a_permitted_network_stays_closed() {
    let policy = policy(&format!(
        "permit{} when {{ context.protocol == Protocol::\"tcp\" }};\nforbid{};\nforbid{};",
        connect("10.20.0.0/16:5432"),
        connect("10.20.1.0/24:5432"),
        connect("10.20.2.0/24:22"),
    ));
    assert_eq!(
        opened(&policy, "claude", "10.77.0.2"),
        ["10.20.0.0-10.20.0.255 5432/tcp", "10.20.2.0-10.20.255.255 5432/tcp"]
    );
}

#[test]
fn a_network_is_judged_address_by_address() {
    let policy = policy(&format!(
        "permit{} unless {{ context has ip && (context.ip.isInRange(ip(\"10.20.3.0/24\")) || context.ip == context.client) }};",
        connect("10.20.0.0/16:5432"),
    ));
    let tcp: Vec<_> = opened(&policy, "claude", "10.20.9.9").into_iter().filter(|told| told.ends_with("tcp")).collect();
    assert_eq!(
        tcp,
        ["10.20.0.0-10.20.2.255 5432/tcp", "10.20.4.0-10.20.9.8 5432/tcp", "10.20.9.10-10.20.255.255 5432/tcp"]
    );
}

#[test]
fn what_looks_at_the_time_is_judged_again_within_a_minute() {
    let timed = policy(&format!("permit{} when {{ context.now > datetime(\"2020-01-01\") }};", connect("192.0.2.7:1")));
    let agent = Agent::parse("claude").unwrap();
    let statics = timed.statics(&agent, Client::new("10.77.0.2".parse().unwrap()), NOW);
    assert_eq!((statics.grants.len(), statics.valid_for.map(|time| time.as_secs())), (2, Some(60)));
    let always = policy(&format!("permit{};", connect("192.0.2.7:1")));
    assert_eq!(always.statics(&agent, Client::new("10.77.0.2".parse().unwrap()), NOW).valid_for, None);
}

#[test]
fn a_connection_to_an_address_is_decided_by_the_literals_that_cover_it() {
    let policy = policy(&format!(
        "@id(\"net\") permit{};\n@id(\"not\") forbid{};",
        connect("10.20.0.0/16:5432"),
        connect("10.20.0.9:5432")
    ));
    let decide = |address: &str, port| {
        let client = Client::new("10.77.0.2".parse().unwrap());
        let port = Port::new(port).unwrap();
        let agent = Agent::parse("claude").unwrap();
        match policy.decide_static(&agent, client, address.parse().unwrap(), Protocol::Tcp, port, NOW) {
            Decision::Permit(permit) => Ok(permit.policies[0].to_string()),
            Decision::Deny(denial) => Err((denial.reason, denial.policies.len())),
        }
    };
    assert_eq!(decide("10.20.0.8", 5432), Ok("net".to_owned()));
    assert_eq!(decide("10.20.0.9", 5432), Err((Reason::Forbidden, 1)));
    assert_eq!(decide("10.20.0.8", 5433), Err((Reason::NotPermitted, 0)));
    assert_eq!(decide("10.21.0.8", 5432), Err((Reason::NotPermitted, 0)));
}
