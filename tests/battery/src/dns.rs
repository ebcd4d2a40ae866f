//! Messages of the DNS, right ones and wrong ones, octet by octet (RFC 1035).

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::send;

pub const A: u16 = 1;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
const OPT: u16 = 41;
pub const INTERNET: u16 = 1;
pub const CHAOS: u16 = 3;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a message may have besides one question.
#[derive(Clone)]
pub struct Message {
    /// QR, opcode and the rest of the first two octets after the id.
    pub flags: u16,
    /// Questions: a name on the wire, type and class.
    pub questions: Vec<(Vec<u8>, u16, u16)>,
    /// Records of the answer, authority and additional sections.
    pub records: [Vec<Vec<u8>>; 3],
}

impl Message {
    /// A question as everybody asks it.
    pub fn question(name: &str, kind: u16) -> Self {
        Self::of_wire(name_on_wire(name), kind)
    }

    /// The same with a name that no text stands for.
    pub fn of_wire(name: Vec<u8>, kind: u16) -> Self {
        Self { flags: 0x0100, questions: vec![(name, kind, INTERNET)], records: Default::default() }
    }

    /// With a record in the additional section.
    pub fn with_additional(mut self, record: Vec<u8>) -> Self {
        self.records[2].push(record);
        self
    }

    /// Its octets.
    pub fn octets(&self, id: u16) -> Vec<u8> {
        let mut octets = Vec::new();
        let counts = [self.questions.len(), self.records[0].len(), self.records[1].len(), self.records[2].len()];
        octets.extend_from_slice(&id.to_be_bytes());
        octets.extend_from_slice(&self.flags.to_be_bytes());
        for count in counts {
            octets.extend_from_slice(&u16::try_from(count).unwrap_or(0).to_be_bytes());
        }
        for (name, kind, class) in &self.questions {
            octets.extend_from_slice(name);
            octets.extend_from_slice(&kind.to_be_bytes());
            octets.extend_from_slice(&class.to_be_bytes());
        }
        for record in self.records.iter().flatten() {
            octets.extend_from_slice(record);
        }
        octets
    }
}

/// A name, its labels separated by dots.
pub fn name_on_wire(name: &str) -> Vec<u8> {
    wire_of(name.split('.').map(str::as_bytes))
}

/// A name of labels that may hold anything.
pub fn wire_of<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in labels.into_iter().filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap_or(63));
        wire.extend_from_slice(label);
    }
    wire.push(0);
    wire
}

/// A record.
pub fn record(name: &[u8], kind: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = name.to_vec();
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&class.to_be_bytes());
    record.extend_from_slice(&ttl.to_be_bytes());
    record.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    record.extend_from_slice(data);
    record
}

/// A text record.
pub fn text(name: &[u8], text: &str) -> Vec<u8> {
    let data = [&[u8::try_from(text.len()).unwrap_or(0)][..], text.as_bytes()].concat();
    record(name, TXT, INTERNET, 60, &data)
}

/// EDNS with one option (RFC 6891).
pub fn edns(option: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(0);
    let options = [&option.to_be_bytes()[..], &length.to_be_bytes(), data].concat();
    record(&[0], OPT, 1232, 0, &options)
}

/// Sends octets to a server over UDP, from `port`, and returns what comes back.
pub fn over_udp(server: IpAddr, port: u16, octets: &[u8]) -> io::Result<Vec<u8>> {
    let socket = send::socket(server, socket2::Type::DGRAM, libc::IPPROTO_UDP, port)?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(octets, SocketAddr::new(server, 53))?;
    let mut reply = vec![0; 65_535];
    let (length, _) = socket.recv_from(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

/// Sends octets over TCP, with no regard to what they are, and returns all
/// that comes back within a while.
pub fn stream(server: SocketAddr, port: u16, octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = send::connect(server, port, octets)?;
    stream.set_read_timeout(Some(Duration::from_millis(700)))?;
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        reply.extend_from_slice(&buffer[..length]);
    }
    Ok(reply)
}

/// A message with its length before it, as TCP has it.
pub fn framed(octets: &[u8]) -> Vec<u8> {
    [&u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes()[..], octets].concat()
}

/// Sends messages one octet at a time.
pub fn slowly(server: SocketAddr, port: u16, octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = send::connect(server, port, b"")?;
    stream.set_nodelay(true)?;
    for octet in octets {
        stream.write_all(&[*octet])?;
    }
    let mut reply = vec![0; 4096];
    let length = stream.read(&mut reply).unwrap_or(0);
    reply.truncate(length);
    Ok(reply)
}

/// Asks for a name and returns the addresses of the answer.
pub fn resolve(server: IpAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let reply = over_udp(server, 0, &Message::question(name, kind).octets(0x4242))?;
    // Truncated: the rest is to be had over TCP.
    if reply.get(2).is_some_and(|octet| octet & 2 != 0) {
        let octets = framed(&Message::question(name, kind).octets(0x4242));
        let reply = stream(SocketAddr::new(server, 53), 0, &octets)?;
        return Ok(addresses(reply.get(2..).unwrap_or_default()));
    }
    Ok(addresses(&reply))
}

/// The addresses of a reply's answer section.
pub fn addresses(reply: &[u8]) -> Vec<IpAddr> {
    read_addresses(reply).unwrap_or_default()
}

fn read_addresses(reply: &[u8]) -> Option<Vec<IpAddr>> {
    let number = |at: usize| Some(u16::from_be_bytes([*reply.get(at)?, *reply.get(at + 1)?]));
    let mut at = 12;
    for _ in 0..number(4)? {
        at = after_name(reply, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(reply, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = reply.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        match kind {
            A => found.push(<[u8; 4]>::try_from(data).ok()?.into()),
            AAAA => found.push(<[u8; 16]>::try_from(data).ok()?.into()),
            _ => {}
        }
    }
    Some(found)
}

fn after_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}
