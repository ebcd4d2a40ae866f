//! The name servers of a `resolv.conf`.

use std::net::{IpAddr, SocketAddr};

/// Those of this text (resolv.conf(5)), port 53. Scoped IPv6 addresses are left
/// out: a zone has no place in the configuration.
pub fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()?.parse::<IpAddr>().ok()
    };
    resolv_conf.lines().filter_map(server).map(|address| SocketAddr::new(address, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_the_manual_page_says() {
        let text = "# nameserver 192.0.2.1\n; comment\nsearch example.com\nnameserver 127.0.0.53\n  nameserver\t2001:db8::1 \nnameserver fe80::1%eth0\nnameservers 192.0.2.9\noptions edns0\n";
        assert_eq!(nameservers(text), ["127.0.0.53:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
    }
}
