//! Datagrams of the kernel's.

use cedarwall::nft::watch::notice;
use cedarwall::nft::{conntrack, counts, nflog, transaction};

/// Whatever comes: it is read to its end, and says no more than fits into it.
pub fn examine(datagram: &[u8]) {
    // The header of a message is 16 octets.
    let most = datagram.len() / 16 + 1;
    assert!(transaction::replies(datagram).len() <= most);
    let _ = transaction::generation_in(datagram);
    if let Ok(notices) = notice::decode(datagram, "cedarwall") {
        // The attribute of an element alone is 4 octets.
        assert!(notices.len() <= datagram.len() / 4);
    }
    if let Ok(packets) = nflog::decode(datagram) {
        assert!(packets.len() <= most);
        packets.iter().for_each(|packet| assert!(packet.flag_letters().len() <= 6));
    }
    if let Ok(counts) = counts::examine(datagram) {
        assert!(counts <= datagram.len() / 4);
    }
    if let Ok(flows) = conntrack::flows_in(datagram) {
        assert!(flows.len() <= 2 * most);
    }
}
