//! From where a workload in our own network namespace would connect.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;

/// The source address the kernel would choose towards `destination`: a UDP
/// socket is connected, which sends nothing.
///
/// # Errors
/// When there is no route.
pub fn towards(destination: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Any port serves: only the route is asked for.
    socket.connect(SocketAddr::new(destination, 443))?;
    Ok(socket.local_addr()?.ip())
}

/// Every address of ours but loopback's.
///
/// # Errors
/// When the kernel does not say.
pub fn own() -> io::Result<BTreeSet<IpAddr>> {
    let addresses = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::from(six.ip())))
    });
    Ok(addresses.filter(|address| !address.is_loopback()).collect())
}
