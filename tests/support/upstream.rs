//! An upstream server that says whatever a test wants, and remembers what it
//! was asked.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lab::enter;

/// What came in: transport and question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether over TCP.
    pub over_tcp: bool,
    /// The name, lower case, without the final dot.
    pub name: String,
    /// The type.
    pub kind: RecordType,
}

/// A running fake server.
#[derive(Clone)]
pub struct Upstream {
    asked: Arc<Mutex<Vec<Asked>>>,
    probes: Arc<AtomicUsize>,
}

/// What to send back: octets, or nothing.
pub type Script = dyn Fn(&Asked, &Message) -> Option<Vec<u8>> + Send + Sync;

impl Upstream {
    /// Starts a server on the internet at `address`.
    pub fn start(address: &str, script: impl Fn(&Asked, &Message) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let upstream = Self { asked: Arc::default(), probes: Arc::default() };
        let script: Arc<Script> = Arc::new(script);
        let address: SocketAddr = address.parse().expect("an address");
        let (ready, bound) = std::sync::mpsc::channel();
        let (over_udp, ready_udp, script_udp) = (upstream.clone(), ready.clone(), Arc::clone(&script));
        thread::spawn(move || {
            enter("internet");
            let socket = UdpSocket::bind(address).expect("to bind");
            ready_udp.send(()).expect("a waiting test");
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = over_udp.hear(false, &buffer[..length], &*script_udp) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        let over_tcp = upstream.clone();
        thread::spawn(move || {
            enter("internet");
            let listener = TcpListener::bind(address).expect("to bind");
            ready.send(()).expect("a waiting test");
            for stream in listener.incoming().flatten() {
                let (upstream, script) = (over_tcp.clone(), Arc::clone(&script));
                thread::spawn(move || upstream.serve(stream, &*script));
            }
        });
        bound.recv().expect("the UDP server");
        bound.recv().expect("the TCP server");
        upstream
    }

    /// How often a daemon asked whether anybody is here. That is nobody's
    /// question, so it is answered at once and stands in no list.
    pub fn probes(&self) -> usize {
        self.probes.load(Ordering::SeqCst)
    }

    /// Everything it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic elsewhere").clone()
    }

    /// How often it was asked for `name`.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| asked.name == name).count()
    }

    fn serve(&self, mut stream: std::net::TcpStream, script: &Script) -> Option<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut wire = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut wire).ok()?;
            let answer = self.hear(true, &wire, script)?;
            stream.write_all(&u16::try_from(answer.len()).ok()?.to_be_bytes()).ok()?;
            stream.write_all(&answer).ok()?;
        }
    }

    fn hear(&self, over_tcp: bool, wire: &[u8], script: &Script) -> Option<Vec<u8>> {
        let message = Message::from_vec(wire).ok()?;
        let question = message.queries.first()?;
        let name = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let asked = Asked { over_tcp, name, kind: question.query_type() };
        if is_probe(&message) {
            self.probes.fetch_add(1, Ordering::SeqCst);
            return wire_of_nothing(&message);
        }
        self.asked.lock().expect("no panic elsewhere").push(asked.clone());
        script(&asked, &message)
    }
}

/// The daemon's own question for the name servers of the root.
fn is_probe(query: &Message) -> bool {
    query.queries.first().is_some_and(|question| question.name().is_root() && question.query_type() == RecordType::NS)
}

fn wire_of_nothing(query: &Message) -> Option<Vec<u8>> {
    wire(&answer(query, Vec::new()))
}

/// A server that answers each datagram with any number of them, and that can
/// end: then its port is closed.
pub struct Datagrams {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Datagrams {
    /// Starts a server on the internet at `address`.
    pub fn start(address: &str, script: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let ended = Arc::new(AtomicBool::new(false));
        let (ready, bound) = std::sync::mpsc::channel();
        let has_ended = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            enter("internet");
            let socket = UdpSocket::bind(address).expect("to bind");
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
            ready.send(()).expect("a waiting test");
            let mut buffer = [0; 4096];
            while !has_ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let query = Message::from_vec(&buffer[..length]).expect("a query");
                let answers = if is_probe(&query) { Vec::from_iter(wire_of_nothing(&query)) } else { script(&query) };
                for answer in answers {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        bound.recv().expect("the server");
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Datagrams {
    /// Comes back when the port is closed.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer to `query` with these records.
pub fn answer(query: &Message, records: Vec<Record>) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.iter().cloned());
    message.add_answers(records);
    message
}

/// An answer to `query` with nothing but this response code.
pub fn refusal(query: &Message, code: ResponseCode) -> Message {
    let mut message = answer(query, Vec::new());
    message.metadata.response_code = code;
    message
}

/// Its octets.
pub fn wire(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

/// An address record, spelled as the question spells the name.
pub fn address(query: &Message, ttl: u32, address: &str) -> Record {
    address_of(query.queries[0].name().clone(), ttl, address)
}

/// An address record of any name.
pub fn address_of(name: Name, ttl: u32, address: &str) -> Record {
    let data = match address.parse().expect("an address") {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name, ttl, data)
}

/// An alias.
pub fn alias(from: Name, ttl: u32, to: &str) -> Record {
    Record::from_rdata(from, ttl, RData::CNAME(CNAME(Name::from_ascii(to).expect("a name"))))
}

/// An upstream that gives `four` to A and `six` to AAAA questions.
pub fn plain(
    ttl: u32,
    four: &'static str,
    six: &'static str,
) -> impl Fn(&Asked, &Message) -> Option<Vec<u8>> + Send + Sync {
    move |asked, query| {
        let records = match asked.kind {
            RecordType::A => vec![address(query, ttl, four)],
            RecordType::AAAA => vec![address(query, ttl, six)],
            _ => Vec::new(),
        };
        wire(&answer(query, records))
    }
}
