//! Datagrams of the kernel's.

use cedarwall::nft::{conntrack, transaction};

/// Whatever comes: it is read to its end, and says no more than fits into it.
pub fn examine(datagram: &[u8]) {
    // The header of a message is 16 octets.
    let most = datagram.len() / 16 + 1;
    assert!(transaction::replies(datagram).len() <= most);
    let _ = transaction::generation_in(datagram);
    if let Ok(flows) = conntrack::flows_in(datagram) {
        assert!(flows.len() <= 2 * most);
    }
}
