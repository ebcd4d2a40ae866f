//! `resolv.conf` on both sides of the wall.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use super::Error;
use crate::core::config::nameservers;

/// Where the C library looks.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The host's own nameservers. The daemon runs on the host, so those on
/// loopback do as well.
pub(super) fn of_the_host() -> Result<Vec<SocketAddr>, Error> {
    let text = fs::read_to_string(RESOLV_CONF).map_err(Error::io(format!("cannot read {RESOLV_CONF}")))?;
    let servers = nameservers(&text);
    if servers.is_empty() {
        return Err(Error::NoUpstream);
    }
    Ok(servers)
}

/// What the command finds. No search list: a name the command did not write
/// would be asked, and denied, in its stead.
pub(super) fn our_resolv_conf(wall: Ipv4Addr) -> String {
    format!("nameserver {wall}\noptions timeout:5 attempts:2\n")
}
