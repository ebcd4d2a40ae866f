//! Upstream servers that lie, and answers that make no sense: the client gets
//! what is true of them or SERVFAIL, and never an address that the kernel has
//! not opened for it (G1, G7, G11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

mod support;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use support::client::addresses;
use support::lab::{UPSTREAM, in_lab};
use support::nft::elements;
use support::released::{FORGED, NONE, asked_by_agent, expect, open_for};
use support::upstream::{Asked, Datagrams, Upstream, address, address_of, alias, answer, wire};
use support::wall::{Setup, Wall};

/// Everything below example.com, on one port: one lease for each address.
const POLICY: &str = r#"permit(principal, action == Action::"net.connect", resource in Domain::"example.com")
    when { context.port == 443 && context.protocol == Protocol::"tcp" };"#;
/// What a true answer says.
const TRUE: &str = "203.0.113.7";

fn impatient() -> Setup<'static> {
    Setup { policy: POLICY, dns: "upstream_timeout = \"700ms\"", ..Setup::default() }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn first_label(asked: &Asked) -> &str {
    asked.name.split('.').next().unwrap()
}

/// The true answer.
fn truth(query: &Message) -> Message {
    answer(query, vec![address(query, 300, TRUE)])
}

fn forged(query: &Message) -> Message {
    answer(query, vec![address(query, 300, FORGED)])
}

/// The same answer to the same question, spelled in lower case.
fn lower_case(query: &Message) -> Message {
    let mut query = query.clone();
    let lower = query.queries[0].name().to_lowercase();
    query.queries[0].set_name(lower);
    forged(&query)
}

/// `length` aliases in a row, with a forged or true address at the end.
fn chain(query: &Message, length: usize, end: &str) -> Message {
    let link = |index: usize| match index {
        0 => query.queries[0].name().clone(),
        _ => name(&format!("link{index}.example.net.")),
    };
    let mut records: Vec<_> = (0..length).map(|index| alias(link(index), 300, &link(index + 1).to_ascii())).collect();
    records.push(address_of(link(length), 300, end));
    answer(query, records)
}

/// Two names that are aliases of each other, with an address each.
fn circle(query: &Message) -> Message {
    let start = query.queries[0].name().clone();
    let other = name("circle.example.net.");
    let records = vec![
        alias(start.clone(), 300, "circle.example.net."),
        alias(other.clone(), 300, &start.to_ascii()),
        address_of(start, 300, FORGED),
        address_of(other, 300, FORGED),
    ];
    answer(query, records)
}

/// The octets of a forged answer, damaged.
fn damaged(query: &Message, damage: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut octets = wire(&forged(query))?;
    damage(&mut octets);
    Some(octets)
}

#[test]
fn an_answer_to_anything_but_our_question_is_not_believed() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| match first_label(asked) {
            "other-id" => damaged(query, |octets| octets[0] ^= 0x80),
            "other-name" => {
                let mut message = forged(query);
                message.queries[0].set_name(name("victim.example.com."));
                wire(&message)
            }
            "other-type" => {
                let mut message = forged(query);
                message.queries[0].set_query_type(RecordType::AAAA);
                wire(&message)
            }
            "other-class" => damaged(query, |octets| {
                let end_of_question = 12 + "other-class.example.com".len() + 2 + 4;
                octets[end_of_question - 1] = 3;
            }),
            "no-question" => {
                let mut message = forged(query);
                message.queries.clear();
                wire(&message)
            }
            "two-questions" => {
                let mut message = forged(query);
                message.queries.push(message.queries[0].clone());
                wire(&message)
            }
            "a-query" => damaged(query, |octets| octets[2] &= 0x7f),
            "an-update" => damaged(query, |octets| octets[2] |= 5 << 3),
            "cut-short" => damaged(query, |octets| octets.truncate(11)),
            "noise" => Some(vec![0xff; 600]),
            "nothing" => Some(Vec::new()),
            _ => wire(&truth(query)),
        });
        let mut wall = Wall::start(lab, &impatient());
        let silence = |name| (name, ResponseCode::ServFail, Some(22), NONE);
        let lies = [
            "other-id",
            "other-name",
            "other-type",
            "other-class",
            "no-question",
            "two-questions",
            "a-query",
            "an-update",
            "cut-short",
            "noise",
            "nothing",
        ]
        .map(|label| format!("{label}.example.com"));
        expect(lab, &mut wall, &lies.each_ref().map(|name| silence(name.as_str())));
        assert_eq!(elements("lease4"), []);
        expect(lab, &mut wall, &[("api.example.com", ResponseCode::NoError, None, &[TRUE])]);
    });
}

#[test]
fn an_answer_that_makes_no_sense_is_servfail_and_opens_nothing() {
    in_lab(|lab| {
        let end_of_question = |query: &Message| 12 + query.queries[0].name().to_ascii().len() + 1 + 4;
        Upstream::start(UPSTREAM, move |asked, query| match first_label(asked) {
            "self" => {
                let start = query.queries[0].name().clone();
                let records = vec![alias(start.clone(), 300, &start.to_ascii()), address_of(start, 300, FORGED)];
                wire(&answer(query, records))
            }
            "circle" => wire(&circle(query)),
            "long-chain" => wire(&chain(query, 13, FORGED)),
            "endless-chain" => wire(&chain(query, 200, FORGED)),
            "chain" => wire(&chain(query, 12, TRUE)),
            "more-promised" => damaged(query, |octets| octets[6..8].fill(0xff)),
            "cut-off" => damaged(query, |octets| octets.truncate(octets.len() - 2)),
            "noise" => damaged(query, |octets| octets[end_of_question(query)..].fill(0xe5)),
            "pointer-circle" => damaged(query, |octets| {
                let owner = end_of_question(query);
                octets[owner..owner + 2].copy_from_slice(&[0xc0, u8::try_from(owner).unwrap()]);
            }),
            "missing-and-there" => {
                let mut message = forged(query);
                message.metadata.response_code = ResponseCode::NXDomain;
                wire(&message)
            }
            "error-and-there" => {
                let mut message = forged(query);
                message.metadata.response_code = ResponseCode::ServFail;
                wire(&message)
            }
            _ => wire(&truth(query)),
        });
        let mut wall = Wall::start(lab, &impatient());
        let nonsense = [
            "self",
            "circle",
            "long-chain",
            "endless-chain",
            "more-promised",
            "cut-off",
            "noise",
            "pointer-circle",
            "missing-and-there",
            "error-and-there",
        ]
        .map(|label| format!("{label}.example.com"));
        expect(lab, &mut wall, &nonsense.each_ref().map(|name| (name.as_str(), ResponseCode::ServFail, Some(0), NONE)));
        assert_eq!(elements("lease4"), []);
        expect(lab, &mut wall, &[("chain.example.com", ResponseCode::NoError, None, &[TRUE])]);
    });
}

#[test]
fn records_nobody_asked_for_are_neither_told_nor_opened() {
    in_lab(|lab| {
        Upstream::start(UPSTREAM, |asked, query| {
            let mut message = match first_label(asked) {
                "guest" => truth(query),
                "metadata" => answer(query, vec![address(query, 300, "169.254.169.254"), address(query, 300, TRUE)]),
                "only-metadata" => answer(query, vec![address(query, 300, "169.254.169.254")]),
                "six-for-four" => answer(query, vec![address(query, 300, "2001:db8:2::66")]),
                "short-address" => {
                    let mut message = truth(query);
                    let rdata = hickory_proto::rr::rdata::NULL::with(vec![203, 0, 113]);
                    message.answers[0].data = hickory_proto::rr::RData::Unknown { code: RecordType::A, rdata };
                    message
                }
                _ => answer(query, Vec::new()),
            };
            if first_label(asked) == "victim" {
                return wire(&message);
            }
            let stranger = || address_of(name("victim.example.com."), 300, FORGED);
            message.answers.insert(0, stranger());
            message.answers.push(alias(name("victim.example.com."), 300, &asked.name));
            message.authorities.push(stranger());
            message.additionals.push(address(query, 300, FORGED));
            wire(&message)
        });
        let mut wall = Wall::start(lab, &impatient());
        let cases: &[(_, _, _, &[&str])] = &[
            ("guest.example.com", ResponseCode::NoError, None, &[TRUE]),
            ("metadata.example.com", ResponseCode::NoError, None, &[TRUE]),
            ("only-metadata.example.com", ResponseCode::NoError, Some(15), NONE),
            ("six-for-four.example.com", ResponseCode::NoError, None, NONE),
            ("short-address.example.com", ResponseCode::NoError, None, NONE),
            ("nothing.example.com", ResponseCode::NoError, None, NONE),
        ];
        expect(lab, &mut wall, cases);
        assert_eq!(elements("lease4").len(), 1);
        assert_eq!(elements("lease6"), []);
        assert_eq!(wall.events("query.answered", 2)[1]["removed"], serde_json::json!(["169.254.169.254"]));
        // What came along uninvited is not kept for when it is asked for, either.
        expect(lab, &mut wall, &[("victim.example.com", ResponseCode::NoError, None, NONE)]);
    });
}

#[test]
fn what_does_not_fit_or_may_be_forged_is_asked_again_over_tcp() {
    in_lab(|lab| {
        let upstream = Upstream::start(UPSTREAM, |asked, query| match (first_label(asked), asked.over_tcp) {
            ("truncated" | "always-truncated", false) | ("always-truncated", true) => {
                let mut message = forged(query);
                message.metadata.truncation = true;
                wire(&message)
            }
            ("truncated", true) => {
                let many = (1..=40).map(|host| address(query, 300, &format!("203.0.113.{host}")));
                wire(&answer(query, many.collect()))
            }
            ("lower-case", false) => wire(&lower_case(query)),
            ("hung-up", true) => None,
            ("hung-up", false) => {
                let mut message = forged(query);
                message.metadata.truncation = true;
                wire(&message)
            }
            _ => wire(&truth(query)),
        });
        let mut wall = Wall::start(lab, &impatient());
        expect(
            lab,
            &mut wall,
            &[
                ("lower-case.example.com", ResponseCode::NoError, None, &[TRUE]),
                ("always-truncated.example.com", ResponseCode::ServFail, Some(0), NONE),
                ("hung-up.example.com", ResponseCode::ServFail, Some(23), NONE),
            ],
        );
        let (reply, _) = asked_by_agent(lab, &mut wall, "truncated.example.com");
        assert_eq!(addresses(&reply).len(), 32, "as many as one answer may open");
        assert_eq!(open_for("truncated.example.com").len(), 32);
        assert!(upstream.asked().iter().any(|asked| asked.over_tcp && asked.name == "truncated.example.com"));
    });
}

#[test]
fn the_true_answer_is_found_in_a_flood_of_forgeries() {
    in_lab(|lab| {
        let _flood = Datagrams::start(UPSTREAM, |query| {
            let forgeries = (1..=200).map(|bits| {
                let mut message = forged(query);
                message.metadata.id ^= bits;
                message
            });
            let all = forgeries.chain([lower_case(query), truth(query), forged(query)]);
            all.filter_map(|message| wire(&message)).collect()
        });
        let mut wall = Wall::start(lab, &impatient());
        for index in 0..5 {
            let name = format!("host{index}.example.com");
            expect(lab, &mut wall, &[(&name, ResponseCode::NoError, None, &[TRUE])]);
        }
    });
}
