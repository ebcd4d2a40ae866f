//! Messages from upstream servers: the first octet says what was asked, ten
//! are the header without its id, the others come after the question.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use cedarwall::core::config::{DenyAnswer, Transport};
use cedarwall::core::name::Name;
use cedarwall::core::query::RecordKind;
use cedarwall::core::ranges;
use cedarwall::core::record::{Data, Record};
use cedarwall::core::screen::{Rules, Screened, screen};
use cedarwall::core::time::Ttl;
use cedarwall::dns::read_answer;
use cedarwall::gate::Question;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;

use super::resolver;

/// What is asked: types with addresses, with hints, with names, with neither.
const KINDS: [u16; 16] = [1, 28, 65, 64, 5, 15, 33, 6, 2, 12, 16, 35, 46, 47, 39, 257];
const NAME: &str = "a.example.com";
const QUESTION: &[u8] = b"\x01a\x07example\x03com\0";

/// Whatever a server says: what is told of it to a client has only addresses
/// that were screened, no hints, and no records but the question's and its
/// aliases'; and told once more, it says the same.
pub fn examine(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else { return };
    let Some((header, records)) = rest.split_at_checked(10) else { return };
    let kind = RecordKind::from_number(KINDS[usize::from(how & 0x0f)]);
    let name = Name::parse(NAME).expect("a name");
    let question = Question { name: name.clone(), kind, dnssec_ok: how & 0x10 != 0, checking_disabled: false };
    let asked = [QUESTION, &kind.number().to_be_bytes(), &[0, 1]].concat();
    let message = [&[0x12, 0x34], header, &asked, records].concat();

    let Some(response) = read_answer(&question, &message) else { return };
    let Ok(screened) = screen(&name, kind, &response, &rules()) else { return };
    let open: BTreeSet<_> = screened.addresses.iter().copied().collect();
    assert!(open.iter().all(|&address| is_global(address)), "{open:?}");
    assert!(open.len() <= 32 && screened.chain.len() <= 12);
    assert!(screened.records.iter().all(|record| record.owner == name || screened.chain.contains(&record.owner)));
    let screened = Arc::new(screened);

    let transport = if how & 0x20 == 0 { Transport::Tcp } else { Transport::Udp };
    let query = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], asked.as_slice()].concat();
    let given = Arc::clone(&screened);
    let screener = Box::new(move |_: &_| Some(Arc::clone(&given)));
    let reply = resolver::reply(resolver::KNOWN, transport, DenyAnswer::Nxdomain, &query, screener);
    let reply = reply.expect("an answer");
    let message = Message::from_vec(&reply);
    if let Ok(message) = &message {
        assert!(resolver::told(message).is_subset(&open), "an address that is not open");
        for record in message.all_sections() {
            let (RData::HTTPS(hickory_proto::rr::rdata::HTTPS(svcb)) | RData::SVCB(svcb)) = &record.data else {
                continue;
            };
            assert!(svcb.svc_params.iter().all(|(key, _)| ![4, 6].contains(&u16::from(*key))), "hints");
        }
        if message.metadata.truncation || message.metadata.response_code == ResponseCode::ServFail {
            return;
        }
    }
    let again = read_answer(&question, &reply).expect("an answer like any server's");
    let again = screen(&name, kind, &again, &rules()).expect("what was screened passes again");
    assert_eq!(without_ttl(&again), without_ttl(&screened));
    assert_eq!(again.negative.is_some(), screened.negative.is_some() || screened.records.is_empty());
}

fn rules() -> Rules {
    Rules { allow_ranges: Vec::new(), max_ttl: Ttl::from_wire(3600) }
}

/// What each record says, apart from how long.
fn without_ttl(screened: &Screened) -> Vec<(String, Data)> {
    let says = |record: &Record| (record.owner.to_string(), record.data.clone());
    screened.records.iter().map(says).collect()
}

fn is_global(address: IpAddr) -> bool {
    ranges::special(address).is_none()
        && match address {
            IpAddr::V4(address) => !address.is_private() && !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => address.to_ipv4_mapped().is_none() && !address.is_loopback(),
        }
}
