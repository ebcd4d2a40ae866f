//! With something permitted open: what else opens with it, before, beside and
//! after.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket as packet_socket};

use super::each;
use crate::aim::Aim;
use crate::attempt::{Attempt, Outcome, Try};
use crate::dns::{self, A, AAAA};
use crate::packet::{self, ACK, FIN, SYN, TCP, UDP};
use crate::send;

/// How long after a lease's end a wall may take to close it.
const SURELY_OVER: Duration = Duration::from_secs(8);

pub fn all(aim: &Aim) -> Vec<Attempt> {
    let mut all = Vec::new();
    if aim.permitted.is_some() && !aim.dns.is_empty() {
        all.extend(beside_a_lease());
    }
    for (index, &lease) in aim.leases_of_others.iter().enumerate() {
        all.push(Attempt::new(
            format!("lease-of-other-{index}"),
            format!("to {lease}, which another client has opened"),
            move |this| {
                let sent = send::datagram(lease, this.port, this.payload());
                send::connect(lease, this.port, this.payload())?;
                sent?;
                Ok("connected".into())
            },
        ));
    }
    for (index, &refused) in aim.refused.iter().enumerate() {
        let what = format!("resolve all that is scripted, then to {refused}, which only an answer to be refused opens");
        all.push(Attempt::new(format!("refused-answer-{index}"), what, move |this| {
            for name in ["alias", "beside", "many", "rebind"] {
                let _ = scripted(this, name, if refused.is_ipv4() { A } else { AAAA });
            }
            send::connect(refused, this.port, this.payload())?;
            Ok("connected".into())
        }));
    }
    if aim.scripted.is_some() && !aim.dns.is_empty() {
        all.extend(by_script());
    }
    all
}

/// The addresses of the name that is permitted.
fn opened(this: &Try<'_>) -> io::Result<Vec<SocketAddr>> {
    let (Some((name, port)), Some(&server)) = (&this.aim.permitted, this.aim.dns.first()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut found = Vec::new();
    for kind in [A, AAAA] {
        found.extend(dns::resolve(server, name, kind)?.into_iter().map(|address| SocketAddr::new(address, *port)));
    }
    if found.is_empty() { Err(io::Error::other("no address")) } else { Ok(found) }
}

fn scripted(this: &Try<'_>, label: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let (Some(domain), Some(&server)) = (&this.aim.scripted, this.aim.dns.first()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    dns::resolve(server, &format!("{label}.{domain}"), kind)
}

fn beside_a_lease() -> Vec<Attempt> {
    let from_raw =
        |to: IpAddr, number: u8, payload: &[u8]| send::raw(&packet::ip(send::source(to)?, to, number, payload));
    vec![
        Attempt::new("lease-other-port", "the permitted name's address on other ports, TCP", |this| {
            let places = opened(this)?.into_iter().flat_map(|open| [22, 80, 444, 8443].map(|port| (open.ip(), port)));
            send::connect_all(places.map(Into::into), this.port, this.payload())
        }),
        Attempt::new("lease-udp", "the permitted name's address and port over UDP", |this| {
            each(opened(this)?, |open| send::datagram(open, this.port, this.payload()))
        }),
        Attempt::new("lease-other-protocol", "the permitted address over ICMP, SCTP, GRE and others", move |this| {
            let numbers = [4, 41, 47, 50, 132, 136, 253];
            let places = opened(this)?.into_iter().flat_map(|open| numbers.map(|number| (open.ip(), number)));
            let outcome = each(places, |(to, number)| from_raw(to, number, &this.payload_of(64)));
            for open in opened(this)? {
                super::raw::echo(this, open.ip())?;
            }
            outcome
        })
        .root(),
        Attempt::new("lease-no-syn", "the permitted address and port, first segments that are no SYN", move |this| {
            let kinds = [ACK, FIN, 0, SYN | FIN, SYN | ACK, 0xff];
            let places = opened(this)?.into_iter().flat_map(|open| kinds.map(|flags| (open, flags)));
            each(places, |(open, flags)| {
                let to = open.ip();
                let segment = packet::tcp(send::source(to)?, to, (this.port, open.port()), flags, this.payload());
                from_raw(to, TCP, &segment)
            })
        })
        .root(),
        Attempt::new("lease-from-neighbour", "the permitted address and port, from a neighbour's address", |this| {
            each(opened(this)?, |open| {
                let to = open.ip();
                let from = beside(send::source(to)?);
                let segment = packet::tcp(from, to, (this.port, open.port()), SYN, this.payload());
                send::raw(&packet::ip(from, to, TCP, &segment))
            })
        })
        .root(),
        Attempt::new("lease-error-elsewhere", "an ICMP error about a permitted flow, sent to somebody else", |this| {
            let open = *opened(this)?.first().ok_or(io::ErrorKind::NotFound)?;
            let flow = send::connect(open, 0, b"")?;
            let (own, target) = (flow.local_addr()?, this.aim.target_like(open.ip()).ok_or(io::ErrorKind::NotFound)?);
            // What the server sent, as the error quotes it.
            let quoted = packet::tcp(open.ip(), own.ip(), (open.port(), own.port()), ACK, this.payload());
            let inner = packet::ip(open.ip(), own.ip(), TCP, &quoted);
            let kind = if target.is_ipv4() { (3, 1) } else { (1, 3) };
            let message = packet::icmp(own.ip(), target, kind, [0; 4], &inner);
            send::raw(&packet::ip(own.ip(), target, packet::icmp_of(target), &message))?;
            drop(flow);
            Ok("sent".into())
        })
        .root(),
    ]
}

fn beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d ^ 0x40].into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] ^= 0x40;
            octets.into()
        }
    }
}

fn by_script() -> Vec<Attempt> {
    let over = |label: &'static str, what: &str| {
        Attempt::new(format!("lease-{label}-over"), what, move |this| {
            let addresses = scripted(this, label, A)?;
            thread::sleep(SURELY_OVER);
            send::connect_all(addresses.into_iter().map(|address| (address, 443).into()), this.port, this.payload())
        })
    };
    vec![
        over("short", "a new connection after a lease of one second has run out"),
        over("zero", "a new connection long after an answer with TTL 0"),
        Attempt::new("lease-rebind", "a permitted name that points at the host, at others and at loopback", |this| {
            let mut told = scripted(this, "rebind", A)?;
            told.extend(scripted(this, "rebind", AAAA)?);
            let places = told.iter().flat_map(|&address| [443, 8080].map(|port| SocketAddr::new(address, port)));
            send::connect_all(places, this.port, this.payload())
        }),
        Attempt::new("lease-many", "an answer with 200 addresses: each of them on another port", |this| {
            let told = scripted(this, "many", A)?;
            each(told, |address| send::datagram((address, 8080).into(), this.port, this.payload()))
        }),
        Attempt::new("lease-forged-answer", "answers the wall's own question in its server's name", forge).root(),
    ]
}

/// Asks for a permitted name whose server is slow, looks for the wall's
/// question on the wire, and answers it first: with the target's address.
fn forge(this: &Try<'_>) -> Outcome {
    let target = this.aim.targets.iter().copied().find(IpAddr::is_ipv4).ok_or(io::ErrorKind::NotFound)?;
    let listener = packet_socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
    let mut forged = 0;
    let answer = thread::scope(|scope| {
        let asking = scope.spawn(|| scripted(this, "forge", A));
        let start = Instant::now();
        let mut buffer = [0; 2048];
        while start.elapsed() < Duration::from_secs(2) && !asking.is_finished() {
            let Ok((length, _)) = recvfrom::<LinkAddr>(fd, &mut buffer) else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            if let Some(packet) = forged_reply(&buffer[..length], target)
                && send::raw(&packet).is_ok()
            {
                forged += 1;
                let frame = packet::ethernet([0; 6], [0; 6], packet::ether_type(&packet), &packet);
                let _ = send::frame("lo", &frame, false);
            }
        }
        asking.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    });
    let told = format!("forged {forged}, told {:?}", answer.unwrap_or_default());
    match send::connect((target, 443).into(), this.port, this.payload()) {
        Ok(_) => Ok(format!("{told}, connected")),
        Err(error) => Err(io::Error::new(error.kind(), format!("{told}: {error}"))),
    }
}

/// The answer to a question for `forge` that goes to port 53 in this frame.
fn forged_reply(frame: &[u8], address: IpAddr) -> Option<Vec<u8>> {
    let IpAddr::V4(address) = address else { return None };
    let packet = frame.get(14..)?;
    if packet.first()? >> 4 != 4 || *packet.get(9)? != UDP || packet.get(22..24)? != [0, 53] {
        return None;
    }
    let end = |at: usize| -> Option<IpAddr> { Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into()) };
    let (client, server) = (end(12)?, end(16)?);
    let port = u16::from_be_bytes([*packet.get(20)?, *packet.get(21)?]);
    let question = packet.get(28..)?;
    // The wall's own, not the one that we have just asked of it.
    if client.is_loopback() || !question.windows(6).any(|window| window.eq_ignore_ascii_case(b"\x05forge")) {
        return None;
    }
    let end_of_name = question.iter().skip(12).position(|&octet| octet == 0)? + 13;
    let mut reply = question.get(..2)?.to_vec();
    reply.extend_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(question.get(12..end_of_name + 4)?);
    reply.extend_from_slice(&dns::record(&[0xc0, 12], A, dns::INTERNET, 300, &address.octets()));
    Some(packet::ip(server, client, UDP, &packet::udp(server, client, (53, port), &reply)))
}
