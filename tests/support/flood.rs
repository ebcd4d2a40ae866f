//! Who asks without end: datagrams at a steady rate, and questions as fast as
//! answers come.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use super::lab::enter;

/// Datagrams handed to the kernel at once.
const BATCH: usize = 100;

/// A load that goes on until it is ended.
pub struct Load {
    ended: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    begun: Instant,
    thread: JoinHandle<()>,
}

impl Load {
    /// Runs `work` in a namespace until it is ended. It is told whether it is,
    /// and where to count what it has done.
    pub fn start(namespace: &'static str, work: impl FnOnce(&AtomicBool, &AtomicU64) + Send + 'static) -> Self {
        let (ended, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (has_ended, count) = (Arc::clone(&ended), Arc::clone(&done));
        let thread = thread::spawn(move || {
            enter(namespace);
            work(&has_ended, &count);
        });
        Self { ended, done, begun: Instant::now(), thread }
    }

    /// Ends it; returns how often a second it has done its work.
    pub fn end(self) -> f64 {
        self.ended.store(true, Ordering::Relaxed);
        let took = self.begun.elapsed();
        let done = self.done.load(Ordering::Relaxed);
        self.thread.join().expect("no panic");
        f64::from(u32::try_from(done).expect("a sensible number")) / took.as_secs_f64()
    }
}

/// Sends the datagrams `wires` in turn to `server`, `rate` of them a second.
pub fn datagrams(namespace: &'static str, server: &str, wires: Vec<Vec<u8>>, rate: u32) -> Load {
    let server: SocketAddr = server.parse().expect("an address");
    Load::start(namespace, move |ended, count| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect(server).expect("a route");
        let slices: Vec<[IoSlice<'_>; 1]> = wires.iter().cycle().take(BATCH).map(|wire| [IoSlice::new(wire)]).collect();
        let to: Vec<Option<SockaddrIn>> = vec![None; BATCH];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let begun = Instant::now();
        let mut sent = 0u32;
        while !ended.load(Ordering::Relaxed) {
            let due = begun + Duration::from_secs(1) * sent / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // What the link has no room for was sent all the same.
            let result = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty());
            let done = result.map_or(0, Iterator::count);
            sent += u32::try_from(done).expect("few");
            count.fetch_add(u64::try_from(done).expect("few"), Ordering::Relaxed);
        }
    })
}

/// Asks `server` one question after the other, with `at_once` of them under
/// way; counts the answers. An answer that does not come within a second is
/// given up.
pub fn questions(
    namespace: &'static str,
    server: &str,
    at_once: usize,
    wire: impl Fn(u64) -> Vec<u8> + Send + 'static,
) -> Load {
    let server: SocketAddr = server.parse().expect("an address");
    Load::start(namespace, move |ended, count| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect(server).expect("a route");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let mut buffer = [0; 4096];
        let mut next = 0;
        let mut ask = |socket: &UdpSocket| {
            let _ = socket.send(&wire(next));
            next += 1;
        };
        (0..at_once).for_each(|_| ask(&socket));
        while !ended.load(Ordering::Relaxed) {
            match socket.recv(&mut buffer) {
                Ok(_) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    ask(&socket);
                }
                Err(_) => (0..at_once).for_each(|_| ask(&socket)),
            }
        }
    })
}

/// An upstream server that is in nobody's way: it answers any question with
/// one address, 100.70 and the two octets that `pick` makes of the first label,
/// and builds no message.
pub fn upstream(address: &str, ttl: u8, pick: impl Fn(&[u8]) -> [u8; 2] + Send + 'static) -> Load {
    let address: SocketAddr = address.parse().expect("an address");
    let (ready, bound) = std::sync::mpsc::channel();
    let load = Load::start("internet", move |ended, count| {
        let socket = UdpSocket::bind(address).expect("to bind");
        // A full buffer would look like a slow wall: what is lost is asked again later.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20)).expect("room");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        ready.send(()).expect("a waiting test");
        let mut buffer = [0; 4096];
        while !ended.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let _ = socket.send_to(&reply(&buffer[..length], ttl, &pick), from);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    bound.recv().expect("the server");
    load
}

/// The question as it came, and one address record.
fn reply(query: &[u8], ttl: u8, pick: impl Fn(&[u8]) -> [u8; 2]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let label = query[13..][..usize::from(query[12])].to_ascii_lowercase();
    let mut wire = query[..end + 5].to_vec();
    wire[2] |= 0x80;
    wire[3] = 0x80;
    wire[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    wire.extend([0xc0, 12, 0, 1, 0, 1]);
    wire.extend(u32::from(ttl).to_be_bytes());
    wire.extend([0, 4, 100, 70]);
    wire.extend(pick(&label));
    wire
}
