//! From where a workload in our own network namespace would connect.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

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
