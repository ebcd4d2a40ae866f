//! What the agent is told, held against what the kernel has opened.

use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::client::{addresses, ask, verdict};
use super::lab::{Lab, WALL};
use super::nft::elements;
use super::wall::Wall;

/// Where an answer that must not be believed points to.
pub const FORGED: &str = "203.0.113.66";
/// No addresses.
pub const NONE: &[&str] = &[];

/// Asks as the agent. Whatever comes: the daemon lives, and the answer holds
/// no address, in any section, that the kernel has not opened.
pub fn asked_by_agent(lab: &Lab, wall: &mut Wall, name: &str) -> (Message, Duration) {
    let (reply, took) = lab.within("agent", || {
        let start = Instant::now();
        let reply = ask(WALL, name, RecordType::A).unwrap_or_else(|| panic!("silence about {name}"));
        (reply, start.elapsed())
    });
    let open: Vec<_> = elements("lease4").into_iter().chain(elements("lease6")).map(|lease| lease.key).collect();
    for address in reply.all_sections().filter_map(|record| record.data.ip_addr()) {
        let is_open = open.iter().any(|key| key[0] == "10.77.0.2" && key[1] == address.to_string());
        assert!(is_open, "{name}: {address} was released, and is not open");
    }
    assert!(wall.process().is_running(), "{name} ended the daemon");
    (reply, took)
}

/// What the agent is told: response code, extended error, addresses.
pub type Told = (ResponseCode, Option<u16>, Vec<String>);

pub fn told(lab: &Lab, wall: &mut Wall, name: &str) -> Told {
    let (reply, _) = asked_by_agent(lab, wall, name);
    let (code, extended) = verdict(&reply);
    (code, extended.map(|(code, _)| code), addresses(&reply))
}

/// What is open under `name`.
pub fn open_for(name: &str) -> Vec<String> {
    let is_of = |comment: Option<String>| comment.is_some_and(|names| names.split(' ').any(|word| word == name));
    elements("lease4")
        .into_iter()
        .filter(|lease| is_of(lease.comment.clone()))
        .map(|lease| lease.key[1].clone())
        .collect()
}

/// For each name: what the agent is told, and that nothing else is open.
pub fn expect(lab: &Lab, wall: &mut Wall, cases: &[(&str, ResponseCode, Option<u16>, &[&str])]) {
    for &(name, code, extended, addresses) in cases {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(told(lab, wall, name), (code, extended, addresses.clone()), "{name}");
        assert_eq!(open_for(name), addresses, "what is open for {name}");
    }
    assert!(elements("lease4").iter().all(|lease| lease.key[1] != FORGED), "a forged address is open");
}
