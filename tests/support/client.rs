//! A stub resolver that believes nothing: it asks once and shows what came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// A question with EDNS and a fixed id.
pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).expect("a name"), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message
}

/// Asks over UDP; `None` when no answer comes.
pub fn ask(server: &str, name: &str, kind: RecordType) -> Option<Message> {
    let reply = exchange(server, &question(name, kind).to_vec().expect("octets"), PATIENCE)?;
    Some(Message::from_vec(&reply).expect("a DNS message"))
}

/// Asks over TCP.
pub fn ask_tcp(server: &str, name: &str, kind: RecordType) -> Option<Message> {
    ask_over(&mut TcpStream::connect(server).ok()?, name, kind)
}

/// Asks over a TCP connection that goes on.
pub fn ask_over(stream: &mut TcpStream, name: &str, kind: RecordType) -> Option<Message> {
    let wire = question(name, kind).to_vec().expect("octets");
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(&u16::try_from(wire.len()).expect("short").to_be_bytes()).ok()?;
    stream.write_all(&wire).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).ok()?;
    Some(Message::from_vec(&reply).expect("a DNS message"))
}

/// Sends octets over UDP and returns the octets that come back, if any do.
pub fn exchange(server: &str, wire: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let server: SocketAddr = server.parse().expect("an address");
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    socket.connect(server).expect("a route");
    socket.send(wire).ok()?;
    let mut buffer = [0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

/// The addresses in the answer section.
pub fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).map(|address| address.to_string()).collect()
}

/// The response code, and the extended error with its text (RFC 8914).
pub fn verdict(message: &Message) -> (ResponseCode, Option<(u16, String)>) {
    let option = message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Unknown(15)));
    let extended = option.and_then(|option| match option {
        EdnsOption::Unknown(15, octets) => {
            let (code, text) = octets.split_at(2);
            Some((u16::from_be_bytes([code[0], code[1]]), String::from_utf8_lossy(text).into_owned()))
        }
        _ => None,
    });
    (message.metadata.response_code, extended)
}

/// The SOA of the authority section is there.
pub fn has_soa(message: &Message) -> bool {
    message.authorities.iter().any(|record| matches!(record.data, RData::SOA(_)))
}
