//! What arrives: every packet is looked through for tokens, and for the source
//! ports that tell attempts apart where a packet has no payload.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::thread;

use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket as packet_socket, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::attempt;
use crate::json::Line;
use crate::packet::{TCP, UDP};
use crate::send;

/// How many attempts a run has at most.
const ATTEMPTS: u16 = 1000;
/// Octets of packets that may wait.
const BUFFER: usize = 64 << 20;
/// A frame that this machine itself sent (packet(7)).
const OUTGOING: u8 = 4;
/// Descriptions of packets of nobody's that are told.
const OTHERS_TOLD: usize = 2000;
/// The protocols of packets that are told to raw sockets.
const PROTOCOLS: [i32; 17] = [1, 2, 4, 6, 17, 33, 41, 47, 50, 51, 58, 97, 115, 132, 136, 253, 254];

/// Where and for what to listen.
#[derive(Default)]
pub struct Place {
    interfaces: Vec<String>,
    raw: bool,
    runs: Vec<(String, u16)>,
    not_from: Vec<IpAddr>,
    dns_ports: Vec<u16>,
}

/// The words, for `--help`.
pub const WORDS: &str = "\
  --interface NAME      each frame that comes in here, before any rule
  --raw                 each packet that this host accepts for itself, after its rules
  --run DIGITS:PORT     the run to listen for, and the first of its source ports
  --not-from ADDRESS    whose source ports say nothing: the wall's own
  --dns-port PORT       where the wall answers DNS besides port 53: what it has captured
All of them may stand several times.";

impl Place {
    /// Reads the words of a command line.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut place = Self::default();
        while let Some(word) = words.next() {
            if word == "--raw" {
                place.raw = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--interface" => place.interfaces.push(value),
                "--run" => {
                    let run = value.split_once(':').and_then(|(run, port)| Some((run.into(), port.parse().ok()?)));
                    place.runs.push(run.ok_or_else(|| format!("{word} is DIGITS:PORT"))?);
                }
                "--not-from" => place.not_from.push(value.parse().map_err(|_| format!("{word}: no address"))?),
                "--dns-port" => place.dns_ports.push(value.parse().map_err(|_| format!("{word}: no port"))?),
                _ => return Err(format!("{word} is unknown")),
            }
        }
        if place.interfaces.is_empty() && !place.raw {
            return Err("--interface or --raw says where to listen".into());
        }
        Ok(place)
    }
}

/// Tells what arrives, until it is ended.
pub fn listen(place: &Place) -> io::Result<()> {
    let told = Mutex::new(HashSet::new());
    let on_links = place.interfaces.iter().map(|name| link_socket(name)).collect::<io::Result<Vec<_>>>()?;
    let on_host = if place.raw { raw_sockets() } else { Vec::new() };
    println!("{{\"how\":\"ready\"}}");
    io::stdout().flush()?;
    thread::scope(|scope| {
        let told = &told;
        for socket in &on_links {
            scope.spawn(move || hear_frames(place, socket, told));
        }
        for (socket, protocol, is_ipv4) in &on_host {
            scope.spawn(move || hear_packets(place, socket, *protocol, *is_ipv4, told));
        }
    });
    Ok(())
}

/// A socket that hears every interface, and the number of the one meant.
fn link_socket(name: &str) -> io::Result<(OwnedFd, usize)> {
    let index = send::link(name)?.ifindex();
    let socket = packet_socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    // Without NET_ADMIN the kernel's own limit has to do.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
    Ok((socket, index))
}

fn raw_sockets() -> Vec<(Socket, u8, bool)> {
    let families = [(Domain::IPV4, true), (Domain::IPV6, false)];
    let all = families.into_iter().flat_map(|family| PROTOCOLS.map(|protocol| (family, protocol)));
    // A host need not know every protocol.
    all.filter_map(|((domain, is_ipv4), protocol)| {
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).ok()?;
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(BUFFER / 16));
        Some((socket, u8::try_from(protocol).ok()?, is_ipv4))
    })
    .collect()
}

fn hear_frames(place: &Place, (socket, index): &(OwnedFd, usize), told: &Mutex<HashSet<String>>) {
    let mut buffer = vec![0; 1 << 17];
    while let Ok((length, from)) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
        if from.is_some_and(|from| from.pkttype() == OUTGOING || from.ifindex() != *index) {
            continue;
        }
        let frame = &buffer[..length];
        tell(place, frame, &seen(frame), true, told);
    }
}

fn hear_packets(place: &Place, socket: &Socket, protocol: u8, is_ipv4: bool, told: &Mutex<HashSet<String>>) {
    let mut buffer = vec![0; 1 << 17];
    while let Ok((length, from)) =
        nix::sys::socket::recvfrom::<nix::sys::socket::SockaddrStorage>(socket.as_raw_fd(), &mut buffer)
    {
        let octets = &buffer[..length];
        // IPv4 comes with its header, IPv6 without.
        let payload = if is_ipv4 {
            octets.get(usize::from(octets.first().copied().unwrap_or(0) & 15) * 4..)
        } else {
            Some(octets)
        };
        let mut seen = Seen { protocol, ..Seen::default() };
        seen.read_ports(payload.unwrap_or_default());
        let from = from.map(|from| from.to_string()).unwrap_or_default();
        seen.from = from.rsplit_once(':').map_or(from.as_str(), |(host, _)| host).trim_matches(['[', ']']).parse().ok();
        // The wall's DNS is for everybody.
        let is_dns = |(_, port)| port == 53 || place.dns_ports.contains(&port);
        if (protocol == TCP || protocol == UDP) && seen.ports.is_some_and(is_dns) {
            continue;
        }
        tell(place, octets, &seen, false, told);
    }
}

/// What a packet's headers say.
#[derive(Default)]
struct Seen {
    kind: u16,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    protocol: u8,
    detail: u8,
    ports: Option<(u16, u16)>,
}

impl Seen {
    fn read_ports(&mut self, payload: &[u8]) {
        self.detail = payload.first().copied().unwrap_or(0);
        if let (TCP | UDP | 132 | 136, &[a, b, c, d, ..]) = (self.protocol, payload) {
            self.ports = Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
        }
    }

    fn described(&self) -> String {
        let mut text = String::new();
        let _ = match (self.from, self.to) {
            (Some(from), Some(to)) => write!(text, "{from} > {to} protocol {}", self.protocol),
            (Some(from), None) => write!(text, "{from} protocol {}", self.protocol),
            _ => write!(text, "frame type {:#06x}", self.kind),
        };
        match self.ports {
            Some((from, to)) => {
                let _ = write!(text, " port {from} > {to}");
            }
            None if matches!(self.protocol, 1 | 58) => {
                let _ = write!(text, " type {}", self.detail);
            }
            None => {}
        }
        text
    }
}

fn seen(frame: &[u8]) -> Seen {
    let mut seen = Seen::default();
    if let Some(&[high, low]) = frame.get(12..14) {
        seen.kind = u16::from_be_bytes([high, low]);
    }
    let packet = frame.get(14..).unwrap_or_default();
    let four = |at: usize| Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?)));
    let six = |at: usize| Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
    match seen.kind {
        0x0800 if packet.len() >= 20 => {
            (seen.from, seen.to, seen.protocol) = (four(12), four(16), packet[9]);
            let is_first = packet[6] & 0x1f == 0 && packet[7] == 0;
            if is_first {
                seen.read_ports(packet.get(usize::from(packet[0] & 15) * 4..).unwrap_or_default());
            }
        }
        0x86dd if packet.len() >= 40 => {
            (seen.from, seen.to, seen.protocol) = (six(8), six(24), packet[6]);
            seen.read_ports(&packet[40..]);
        }
        _ => {}
    }
    seen
}

/// Tells of each attempt once for each way in which it was recognised.
fn tell(place: &Place, octets: &[u8], seen: &Seen, also_others: bool, told: &Mutex<HashSet<String>>) {
    let mut lines = Vec::new();
    for (run, ports_from) in &place.runs {
        for number in attempt::tokens_in(run, octets) {
            lines.push((Some((run, number)), "token"));
        }
        let is_the_walls = seen.from.is_some_and(|from| place.not_from.contains(&from));
        if let (true, Some((port, _)), false) = (lines.is_empty(), seen.ports, is_the_walls)
            && (*ports_from..ports_from.saturating_add(ATTEMPTS)).contains(&port)
        {
            lines.push((Some((run, usize::from(port - ports_from))), "port"));
        }
    }
    if lines.is_empty() && also_others {
        lines.push((None, "nobody"));
    }
    for (whose, how) in lines {
        let what = seen.described();
        let key = whose.map_or_else(|| what.clone(), |(run, number)| format!("{how} {run} {number}"));
        let Ok(mut told) = told.lock() else { return };
        if told.len() > OTHERS_TOLD && whose.is_none() || !told.insert(key) {
            continue;
        }
        let mut line = Line::new();
        line.text("how", how);
        if let Some((run, number)) = whose {
            line.text("run", run);
            line.number("number", number);
        }
        line.text("packet", &what);
        // A sink that nobody reads any more has nothing left to do.
        let mut out = io::stdout().lock();
        if writeln!(out, "{}", line.end()).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }
}
