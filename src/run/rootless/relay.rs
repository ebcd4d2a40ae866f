//! The wall's way to its upstream servers: ports on the loopback of its
//! network namespace, each of which leads to one server by sockets of the host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::SigSet;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::run::Error;

/// How long a question waits for its answer; the daemon gives up earlier.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a connection lives, whatever it does.
const CONNECTION: Duration = Duration::from_secs(120);

/// Questions and connections under way at once; an ordinary user has a
/// thousand descriptors. One too many is lost, and the daemon asks again.
const AT_ONCE: usize = 400;

/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Bound ports that nobody serves yet.
#[derive(Debug)]
pub(super) struct Relay {
    posts: Vec<Post>,
}

/// The ports for one server.
#[derive(Debug)]
struct Post {
    server: SocketAddr,
    address: SocketAddr,
    datagrams: std::net::UdpSocket,
    connections: std::net::TcpListener,
}

impl Relay {
    /// Binds a pair of ports for each server, in the network namespace of the
    /// calling thread.
    pub(super) fn bind(servers: &[SocketAddr]) -> Result<Self, Error> {
        let bind = |(server, address): (&SocketAddr, SocketAddr)| -> io::Result<Post> {
            let datagrams = std::net::UdpSocket::bind(address)?;
            let connections = std::net::TcpListener::bind(address)?;
            datagrams.set_nonblocking(true)?;
            connections.set_nonblocking(true)?;
            Ok(Post { server: *server, address, datagrams, connections })
        };
        // 127.0.0.1:53, 127.0.0.2:53 and so on.
        let addresses = (1..).map(|number: u32| {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 0).to_bits().saturating_add(number));
            SocketAddr::new(address.into(), 53)
        });
        let posts = servers.iter().zip(addresses).map(bind).collect::<io::Result<_>>();
        Ok(Self { posts: posts.map_err(Error::io("cannot listen for the wall's own questions"))? })
    }

    /// Where the servers are to be asked, in their order.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.posts.iter().map(|post| post.address).collect()
    }

    /// Serves, on a thread in the network namespace of the calling thread, as
    /// long as this process lives.
    pub(super) fn start(self) -> Result<(), Error> {
        let failed = || Error::io("cannot relay the wall's own questions");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let serve = move || {
            // Signals are for the main thread.
            let _ = SigSet::all().thread_block();
            runtime.block_on(self.serve())
        };
        thread::Builder::new().name("relay".to_owned()).spawn(serve).map(drop).map_err(failed())
    }

    async fn serve(self) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        for post in self.posts {
            let datagrams = Arc::new(UdpSocket::from_std(post.datagrams)?);
            tokio::spawn(pass_datagrams(datagrams, post.server, Arc::clone(&room)));
            let connections = TcpListener::from_std(post.connections)?;
            tokio::spawn(pass_connections(connections, post.server, Arc::clone(&room)));
        }
        std::future::pending().await
    }
}

async fn pass_datagrams(socket: Arc<UdpSocket>, server: SocketAddr, room: Arc<Semaphore>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((length, asker)) = socket.recv_from(&mut buffer).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        tokio::spawn(ask(Arc::clone(&socket), asker, server, question, permit));
    }
}

/// Asks from a port of its own, as the daemon would, until an answer has the
/// question's number. Whether that is one is for the daemon to judge.
async fn ask(
    socket: Arc<UdpSocket>,
    asker: SocketAddr,
    server: SocketAddr,
    question: Vec<u8>,
    _permit: OwnedSemaphorePermit,
) {
    let exchange = async {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let way = UdpSocket::bind((any, 0)).await?;
        way.connect(server).await?;
        way.send(&question).await?;
        let mut answer = vec![0; DATAGRAM];
        loop {
            let length = way.recv(&mut answer).await?;
            let answer = answer.get(..length).unwrap_or_default();
            socket.send_to(answer, asker).await?;
            if answer.get(..2) == question.get(..2) {
                return io::Result::Ok(());
            }
        }
    };
    // Silence is what the daemon hears of a server that fails.
    let _ = timeout(ANSWER, exchange).await;
}

async fn pass_connections(listener: TcpListener, server: SocketAddr, room: Arc<Semaphore>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        tokio::spawn(async move {
            let _permit = permit;
            let exchange = async {
                let mut far = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            };
            let _ = timeout(CONNECTION, exchange).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// A server that answers each question with a forgery, and then with the
    /// question itself.
    fn server() -> SocketAddr {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(b"forged", from).unwrap();
                socket.send_to(&buffer[..length], from).unwrap();
            }
        });
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut text = [0; 8];
                stream.read_exact(&mut text).unwrap();
                stream.write_all(&text).unwrap();
            }
        });
        address
    }

    fn relay(server: SocketAddr) -> SocketAddr {
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = datagrams.local_addr().unwrap();
        let connections = std::net::TcpListener::bind(address).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        connections.set_nonblocking(true).unwrap();
        Relay { posts: vec![Post { server, address, datagrams, connections }] }.start().unwrap();
        address
    }

    #[test]
    fn a_question_is_answered_over_either_transport_and_a_forgery_does_not_take_the_answers_place() {
        let relay = relay(server());
        let asker = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        asker.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        asker.send_to(b"question", relay).unwrap();
        let mut buffer = [0; 512];
        let mut hear = || {
            let (length, from) = asker.recv_from(&mut buffer).unwrap();
            assert_eq!(from, relay);
            buffer[..length].to_vec()
        };
        assert_eq!((hear(), hear()), (b"forged".to_vec(), b"question".to_vec()));

        let mut stream = std::net::TcpStream::connect(relay).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"question").unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"question");
    }
}
