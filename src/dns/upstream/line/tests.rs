use std::collections::BTreeSet;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use tokio::time::Instant;

use super::super::message::Spelling;
use super::super::udp::Lines;
use super::*;
use crate::core::name::Name;
use crate::core::query::RecordKind;
use crate::core::record::Data;
use crate::gate::Question;

fn transaction(number: u16) -> Transaction {
    let name = Name::parse(&format!("h{number}.example.org")).unwrap();
    let question = Question { name, kind: RecordKind::A, dnssec_ok: false, checking_disabled: false };
    Transaction::new(&question, Spelling::Random)
}

/// The address that says the number in the name.
fn answer(query: &[u8]) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    let name = query.queries[0].name().clone();
    let label = String::from_utf8(name.iter().next().unwrap().to_ascii_lowercase()).unwrap();
    let [high, low] = label[1..].parse::<u16>().unwrap().to_be_bytes();
    let mut message = query.into_response();
    message.metadata.response_code = ResponseCode::NoError;
    message.add_answer(Record::from_rdata(name, 60, RData::A(A([198, 51, high, low].into()))));
    message.to_vec().unwrap()
}

fn number_in(judged: Judged) -> u16 {
    let Judged::Response(response) = judged else { panic!("{judged:?}") };
    let Data::Address(std::net::IpAddr::V4(address)) = response.records[0].data else { panic!("no address") };
    let [_, _, high, low] = address.octets();
    u16::from_be_bytes([high, low])
}

async fn server() -> (UdpSocket, SocketAddr) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

async fn heard_by(server: &UdpSocket, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut heard = Vec::new();
    for _ in 0..count {
        let mut octets = [0; 512];
        let (length, peer) = timeout(Duration::from_secs(10), server.recv_from(&mut octets)).await.unwrap().unwrap();
        heard.push((octets[..length].to_vec(), peer));
    }
    heard
}

#[tokio::test]
async fn each_question_of_a_line_gets_its_own_answer() {
    let (server, address) = server().await;
    let line = Line::open(address).unwrap();
    let asked = futures_util::future::join_all((0..200).map(|number| {
        let line = &line;
        async move { (number, number_in(line.exchange(transaction(number)).await.unwrap())) }
    }));
    let answered = async {
        let heard = heard_by(&server, 200).await;
        assert_eq!(heard.iter().map(|(_, peer)| peer).collect::<BTreeSet<_>>().len(), 1, "over one port");
        assert_eq!(heard.iter().map(|(query, _)| &query[..2]).collect::<BTreeSet<_>>().len(), 200, "no id twice");
        for (query, peer) in heard.iter().rev() {
            server.send_to(&answer(query), peer).await.unwrap();
        }
    };
    let (asked, ()) = tokio::join!(asked, answered);
    assert!(asked.iter().all(|(number, answer)| number == answer), "{asked:?}");
    assert!(line.desk.questions().waiting.is_empty());
}

#[tokio::test]
async fn whoever_leaves_is_forgotten_and_holds_up_nobody() {
    let (server, address) = server().await;
    let line = Line::open(address).unwrap();
    let gone = timeout(Duration::from_millis(20), line.exchange(transaction(1))).await;
    assert!(gone.is_err() && line.desk.questions().waiting.is_empty());
    let answered = async {
        for (query, peer) in heard_by(&server, 2).await {
            server.send_to(&answer(&query), peer).await.unwrap();
        }
    };
    let (judged, ()) = tokio::join!(line.exchange(transaction(2)), answered);
    assert_eq!(number_in(judged.unwrap()), 2);
}

#[tokio::test]
async fn a_line_gives_way_to_another_with_another_port() {
    let (server, address) = server().await;
    let lines = Lines::new(address);
    let mut ports = BTreeSet::new();
    for number in 0..600 {
        let answered = async {
            for (query, peer) in heard_by(&server, 1).await {
                ports.insert(peer.port());
                server.send_to(&answer(&query), peer).await.unwrap();
            }
        };
        let (judged, ()) = tokio::join!(lines.exchange(transaction(number)), answered);
        assert_eq!(number_in(judged.unwrap()), number);
    }
    assert_eq!(ports.len(), 3, "256 questions each, and the rest");
}

#[tokio::test]
async fn where_nobody_listens_all_who_wait_are_told_at_once() {
    let (server, address) = server().await;
    drop(server);
    let line = Line::open(address).unwrap();
    let begun = Instant::now();
    let asked = futures_util::future::join_all((0..50).map(|number| line.exchange(transaction(number)))).await;
    assert!(asked.iter().all(|answer| *answer == Err(Failure::UpstreamUnreachable)), "{asked:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
