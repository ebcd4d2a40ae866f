//! G7: only records on the CNAME chain of the question asked count, and
//! addresses in special-purpose ranges are removed unless configuration
//! allows that range.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use support::client::{addresses, ask, verdict};
use support::lab::{Lab, UPSTREAM, WALL, in_lab};
use support::nft::{Element, elements};
use support::upstream::{Asked, Upstream, address, address_of, alias, answer, wire};
use support::wall::{Setup, Wall};

const POLICY: &str = r#"
@id("web")
permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };
@id("no-tracking")
forbid(principal, action == Action::"net.connect", resource in Domain::"tracking.example.net");
@id("no-mail")
forbid(principal, action == Action::"net.connect", resource in Domain::"mx.example.net")
    when { context.port == 25 };
"#;
const WEB: &str = "203.0.113.7";
const WEB6: &str = "2001:db8:2::7";
const FORGED: &str = "203.0.113.66";

/// One address, or several, of each block that the public DNS has no business
/// to name: IANA's special-purpose registries, and every way to write a
/// private IPv4 address into an IPv6 one.
const SPECIAL: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:127.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2001:db8:2:1::1",
    "2002:a9fe:a9fe::1",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn kind_of(address: &str) -> RecordType {
    if address.contains(':') { RecordType::AAAA } else { RecordType::A }
}

fn ordinary_of(kind: RecordType) -> &'static str {
    if kind == RecordType::AAAA { WEB6 } else { WEB }
}

fn first_label(asked: &Asked) -> &str {
    asked.name.split('.').next().unwrap()
}

/// Asks as the agent; no address comes that is not open.
fn asked_by_agent(lab: &Lab, name: &str, kind: RecordType) -> Message {
    let reply = lab.within("agent", || ask(WALL, name, kind)).unwrap();
    let open = open();
    for address in reply.all_sections().filter_map(|record| record.data.ip_addr()) {
        assert!(open.contains(&address), "{name}: {address} was released, and is not open");
    }
    reply
}

fn leases() -> Vec<Element> {
    ["lease4", "lease6", "lease4_all_ports", "lease6_all_ports", "lease4_port_range", "lease6_port_range"]
        .into_iter()
        .flat_map(elements)
        .collect()
}

/// Every address that any client may reach.
fn open() -> Vec<IpAddr> {
    leases().into_iter().map(|lease| lease.key[1].parse().unwrap()).collect()
}

/// The addresses of the table that the name `mixed-N` or `only-N` stands for.
fn special_for(asked: &Asked) -> (&str, Option<&'static str>) {
    let label = first_label(asked);
    let (what, index) = label.split_once('-').unwrap_or((label, ""));
    (what, index.parse::<usize>().ok().map(|index| SPECIAL[index]))
}

#[test]
fn an_address_of_a_special_purpose_range_is_never_told_and_never_opened() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| match special_for(asked) {
            ("mixed", Some(special)) => {
                wire(&answer(query, vec![address(query, 300, special), address(query, 300, ordinary_of(asked.kind))]))
            }
            ("only", Some(special)) => wire(&answer(query, vec![address(query, 300, special)])),
            _ => None,
        });
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        for (index, &special) in SPECIAL.iter().enumerate() {
            let kind = kind_of(special);
            let mixed = asked_by_agent(lab, &format!("mixed-{index}.example.com"), kind);
            assert_eq!(addresses(&mixed), [ordinary_of(kind)], "{special} among others");

            let only = asked_by_agent(lab, &format!("only-{index}.example.com"), kind);
            let (code, extended) = verdict(&only);
            // Another type of the name may have an address that is open.
            assert_eq!((code, addresses(&only).len()), (ResponseCode::NoError, 0), "{special} alone");
            let said = extended.unwrap();
            assert_eq!(said, (15, "every address of this name is in a closed range".into()), "{special}");

            let special: IpAddr = special.parse().unwrap();
            assert!(!open().contains(&special), "{special} is open");
        }
        let removed: Vec<_> = wall.events("query.answered", SPECIAL.len());
        assert_eq!(removed[7]["removed"], serde_json::json!(["169.254.169.254"]));
        assert!(removed.iter().all(|event| event["removed"].as_array().is_some_and(|removed| removed.len() == 1)));
        let open: Vec<_> = open();
        assert!(open.iter().all(|address| [WEB, WEB6].contains(&address.to_string().as_str())), "{open:?}");
        assert!(wall.process().is_running());
    });
}

#[test]
fn what_is_next_to_a_special_purpose_range_is_ordinary() {
    in_lab(|lab| {
        const ORDINARY: &[&str] = &[
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.0.9",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00::1",
        ];
        Upstream::start(UPSTREAM, |asked, query| {
            let index: usize = first_label(asked).trim_start_matches("host").parse().ok()?;
            wire(&answer(query, vec![address(query, 300, ORDINARY[index])]))
        });
        let _wall = Wall::start(lab, &Setup { policy: POLICY, allow_ranges: &[], ..Setup::default() });
        for (index, &text) in ORDINARY.iter().enumerate() {
            let reply = asked_by_agent(lab, &format!("host{index}.example.com"), kind_of(text));
            let expected: IpAddr = text.parse().unwrap();
            assert_eq!(addresses(&reply), [expected.to_string()]);
        }
    });
}

#[test]
fn an_allowed_range_is_opened_and_no_more_than_it() {
    in_lab(|lab| {
        let cases: &[(&str, bool)] = &[
            ("10.20.0.9", true),
            ("10.20.255.255", true),
            ("10.21.0.9", false),
            ("10.19.255.255", false),
            ("169.254.169.254", false),
            ("203.0.113.7", false),
            ("fd00:20::9", true),
            ("fd00:21::9", false),
            ("64:ff9b::8.8.8.8", true),
            ("64:ff9b::10.20.0.9", true),
            ("64:ff9b::10.21.0.9", false),
            ("64:ff9b::169.254.169.254", false),
            ("::ffff:10.20.0.9", false),
            ("2002:a14:9::1", false),
        ];
        Upstream::start(UPSTREAM, |asked, query| {
            let index: usize = first_label(asked).trim_start_matches("host").parse().ok()?;
            wire(&answer(query, vec![address(query, 300, cases[index].0)]))
        });
        let allow_ranges = &["10.20.0.0/16", "fd00:20::/32", "64:ff9b::/96"];
        let _wall = Wall::start(lab, &Setup { policy: POLICY, allow_ranges, ..Setup::default() });
        for (index, &(text, allowed)) in cases.iter().enumerate() {
            let reply = asked_by_agent(lab, &format!("host{index}.example.com"), kind_of(text));
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(addresses(&reply) == [address.to_string()], allowed, "{text} in the answer");
            assert_eq!(open().contains(&address), allowed, "{text} in the kernel");
        }
    });
}

/// An answer that mixes the question's own chain with records beside it.
fn beside_the_chain(asked: &Asked, query: &Message) -> Vec<hickory_proto::rr::Record> {
    let start = || query.queries[0].name().clone();
    let edge = || name("edge.example.net.");
    let beside = || name("beside.example.com.");
    match first_label(asked) {
        // In the order in which nobody expects them.
        "shuffled" => vec![
            address_of(edge(), 300, WEB),
            address_of(beside(), 300, FORGED),
            alias(name("middle.example.net."), 300, "edge.example.net."),
            alias(beside(), 300, "edge.example.net."),
            alias(start(), 300, "middle.example.net."),
        ],
        // Addresses of the question itself and of a hop: an alias has none.
        "not-at-the-end" => vec![
            alias(start(), 300, "edge.example.net."),
            address_of(start(), 300, FORGED),
            address_of(edge(), 300, WEB),
        ],
        // The chain leads nowhere; the addresses are of somebody else.
        "broken-chain" => vec![alias(start(), 300, "edge.example.net."), address_of(beside(), 300, FORGED)],
        // The alias points at the question, not from it.
        "backwards" => vec![alias(beside(), 300, &start().to_ascii()), address_of(beside(), 300, FORGED)],
        "parent" => vec![address_of(name("example.com."), 300, FORGED)],
        "child" => vec![address_of(name("x.child.example.com."), 300, FORGED)],
        "forbidden-beside" => vec![
            address_of(start(), 300, WEB),
            alias(beside(), 300, "x.tracking.example.net."),
            address_of(name("x.tracking.example.net."), 300, FORGED),
        ],
        "tracked" => vec![
            alias(start(), 300, "edge.example.net."),
            alias(edge(), 300, "x.tracking.example.net."),
            alias(name("x.tracking.example.net."), 300, "end.example.net."),
            address_of(name("end.example.net."), 300, WEB),
        ],
        "mail" => vec![alias(start(), 300, "mx.example.net."), address_of(name("mx.example.net."), 300, WEB)],
        _ => Vec::new(),
    }
}

#[test]
fn only_the_chain_of_the_question_counts() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| wire(&answer(query, beside_the_chain(asked, query))));
        let mut wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        for (label, expected, owners) in [
            ("shuffled", vec![WEB], vec!["shuffled.example.com.", "middle.example.net.", "edge.example.net."]),
            ("not-at-the-end", vec![WEB], vec!["not-at-the-end.example.com.", "edge.example.net."]),
            ("broken-chain", vec![], vec!["broken-chain.example.com."]),
            ("backwards", vec![], vec![]),
            ("parent", vec![], vec![]),
            ("child", vec![], vec![]),
            ("forbidden-beside", vec![WEB], vec!["forbidden-beside.example.com."]),
        ] {
            let reply = asked_by_agent(lab, &format!("{label}.example.com"), RecordType::A);
            assert_eq!(
                (verdict(&reply), addresses(&reply)),
                ((ResponseCode::NoError, None), owned(&expected)),
                "{label}"
            );
            let told: Vec<_> = reply.answers.iter().map(|record| record.name.to_ascii()).collect();
            assert_eq!(told, owners, "{label}");
            assert!(!open().contains(&FORGED.parse().unwrap()), "{label} opened what is not its own");
        }
        // The lease is the question's: that is the name an operator knows.
        let comments: Vec<_> = leases().into_iter().filter_map(|lease| lease.comment).collect();
        assert_eq!(comments, ["shuffled.example.com not-at-the-end.example.com forbidden-beside.example.com"]);
        assert!(wall.process().is_running());
    });
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_forbidden_alias_on_the_chain_denies_the_whole_name() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| wire(&answer(query, beside_the_chain(asked, query))));
        let wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        // The second time from the cache, and for every type that leads to
        // connections.
        for kind in [RecordType::A, RecordType::A, RecordType::AAAA, RecordType::HTTPS] {
            let reply = asked_by_agent(lab, "tracked.example.com", kind);
            let (code, extended) = verdict(&reply);
            assert_eq!((code, reply.answers.len()), (ResponseCode::NXDomain, 0), "{kind}");
            assert!(extended.is_some_and(|(code, text)| code == 15 && text.contains("no-tracking")), "{kind}");
        }
        assert_eq!(leases(), []);
        let denied = wall.events("query.denied", 4);
        assert!(denied.iter().all(|event| event["reason"] == "forbidden_alias"));
        assert_eq!(denied[0]["policies"], serde_json::json!(["no-tracking"]));
    });
}

#[test]
fn an_alias_forbidden_on_other_ports_alone_is_not_forbidden() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| wire(&answer(query, beside_the_chain(asked, query))));
        let _wall = Wall::start(lab, &Setup { policy: POLICY, ..Setup::default() });
        let reply = asked_by_agent(lab, "mail.example.com", RecordType::A);
        assert_eq!(addresses(&reply), [WEB]);
        let ports: Vec<_> = leases().into_iter().map(|lease| lease.key[3].clone()).collect();
        assert_eq!(ports, ["443"]);
    });
}
