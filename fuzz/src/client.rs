//! Messages from clients: the first octet says how they come, the others are
//! the message.

use std::net::IpAddr;
use std::sync::Arc;

use cedarwall::core::config::{DenyAnswer, Transport};
use cedarwall::core::query::{Query, RecordKind};
use cedarwall::core::record::{Data, Record, Response, Verdict};
use cedarwall::core::screen::{Rules, Screened, screen};
use cedarwall::core::time::Ttl;
use hickory_proto::op::Message;

use super::resolver;

/// The address of every permitted name.
const OPEN: [&str; 2] = ["8.8.8.8", "2001:4860:4860::8888"];

const TXT: u16 = 16;

/// Whatever a client sends: it is answered as the header says, in the client's
/// own question and within its limit, or with silence; an answer is never
/// answered; and no address is told but those that are open.
pub fn examine(input: &[u8]) {
    let Some((&how, wire)) = input.split_first() else { return };
    let peer = if how & 1 == 0 { resolver::KNOWN } else { resolver::STRANGER };
    let transport = if how & 2 == 0 { Transport::Udp } else { Transport::Tcp };
    let deny = if how & 4 == 0 { DenyAnswer::Nxdomain } else { DenyAnswer::Refused };
    let ask = |wire: &[u8]| resolver::reply(peer, transport, deny, wire, Box::new(screened));

    let is_a_query = wire.len() >= 12 && wire[2] & 0x80 == 0;
    let Some(reply) = ask(wire) else {
        assert!(!is_a_query, "a query without an answer");
        return;
    };
    assert!(is_a_query, "an answer to what is no query");
    assert!(reply.len() >= 12 && reply[..2] == wire[..2], "another id");
    assert_eq!(reply[2] & 0xf9, wire[2] & 0x79 | 0x80, "QR, the opcode and RD");
    let limit = if transport == Transport::Tcp { 65_535 } else { 1232 };
    assert!(reply.len() <= limit, "{} octets", reply.len());
    assert_eq!(ask(&reply), None, "the answer is answered");

    let message = Message::from_vec(&reply).expect("an answer that can be read");
    assert!(message.queries.len() <= 1);
    if !message.queries.is_empty() {
        let end = wire.len().min(reply.len());
        let repeated = reply[12..end].iter().zip(&wire[12..end]).take_while(|(left, right)| left == right).count();
        assert!(repeated + 4 >= message.queries[0].name().len(), "another question");
    }
    let known = peer == resolver::KNOWN;
    let open = OPEN.map(|address| address.parse::<IpAddr>().expect("an address"));
    assert!(resolver::told(&message).iter().all(|address| known && open.contains(address)));
}

/// Names below example.com are permitted; they have addresses, and a text that
/// does not fit a datagram.
fn screened(query: &Query) -> Option<Arc<Screened>> {
    if !query.name.as_str().ends_with("example.com") {
        return None;
    }
    let data = match query.kind {
        RecordKind::A => Some(Data::Address(OPEN[0].parse().ok()?)),
        RecordKind::Aaaa => Some(Data::Address(OPEN[1].parse().ok()?)),
        kind if kind.number() == TXT => Some(Data::Opaque { kind, rdata: b"\x01x".repeat(700).into() }),
        _ => None,
    };
    let records = data.map(|data| Record { owner: query.name.clone(), ttl: Ttl::from_wire(300), data });
    let response = Response { verdict: Verdict::Exists, records: records.into_iter().collect(), negative_ttl: None };
    let rules = Rules { allow_ranges: Vec::new(), max_ttl: Ttl::from_wire(3600) };
    screen(&query.name, query.kind, &response, &rules).ok().map(Arc::new)
}
