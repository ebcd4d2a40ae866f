use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::core::cap::Cap;
use crate::core::config::Transport;
use crate::core::process::Ends;
use crate::core::query::Client;
use crate::dns::{Admission, Glance};

const SOON: Duration = Duration::from_secs(5);

/// Echoes; holds back what begins with `h`, is silent on `s`.
#[derive(Default)]
struct Echo {
    asked: AtomicUsize,
    reached: std::sync::Mutex<Vec<Cap>>,
}

impl Answer for Echo {
    async fn answer(&self, _: Ends, wire: &[u8]) -> Option<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match wire.first() {
            Some(b'h') => sleep(Duration::from_millis(300)).await,
            Some(b's') => return None,
            _ => {}
        }
        Some(wire.to_vec())
    }

    fn glance(&self, _: SocketAddr) -> Glance {
        Glance::blind()
    }

    fn admit(&self, _: SocketAddr, _: Transport, _: &[u8], _: &mut Glance) -> Admission {
        Admission::Serve
    }

    fn reached(&self, cap: Cap, _: SocketAddr) {
        self.reached.lock().unwrap().push(cap);
    }

    fn round(&self) {}

    fn counted_as(&self, peer: SocketAddr) -> Client {
        Client::new(peer.ip())
    }
}

struct Running {
    address: SocketAddr,
    echo: Arc<Echo>,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

fn run(address: &str, limits: Limits) -> Running {
    // The port that UDP was given may be taken for TCP: then another one.
    let bind = || Listeners::bind(&[address.parse().unwrap()], limits);
    let listeners = (0..16).find_map(|_| bind().ok()).unwrap();
    let address = listeners.addresses()[0];
    let (stop, stopping) = watch::channel(false);
    let echo = Arc::new(Echo::default());
    let served = tokio::spawn(listeners.serve(Arc::clone(&echo), stopping));
    Running { address, echo, stop, served }
}

fn limits() -> Limits {
    Limits { datagrams: 64, connections: 8, idle: SOON }
}

async fn send(stream: &mut TcpStream, message: &[u8]) {
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    stream.write_all(&framed).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    timeout(SOON, async {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        Ok(message)
    })
    .await?
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(timeout(SOON, stream.read_u8()).await, Ok(Err(_)))
}

#[tokio::test]
async fn datagrams_are_answered_on_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let running = run(address, limits());
        let socket = UdpSocket::bind((running.address.ip(), 0)).await.unwrap();
        for message in [b"silent".as_slice(), b"held", b"plain"] {
            socket.send_to(message, running.address).await.unwrap();
        }
        let mut buffer = [0; 64];
        for expected in [b"plain".as_slice(), b"held"] {
            let (length, peer) = timeout(SOON, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
            assert_eq!((&buffer[..length], peer), (expected, running.address));
        }
    }
}

#[tokio::test]
async fn a_held_answer_does_not_hold_the_others_of_its_connection() {
    let running = run("127.0.0.1:0", limits());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for message in [b"held".as_slice(), b"one", b"two"] {
        send(&mut stream, message).await;
    }
    let mut first = [receive(&mut stream).await.unwrap(), receive(&mut stream).await.unwrap()];
    first.sort();
    assert_eq!(first, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(receive(&mut stream).await.unwrap(), b"held");
}

#[tokio::test]
async fn a_message_may_arrive_octet_by_octet() {
    let running = run("127.0.0.1:0", limits());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for octet in b"\0\x03one\0\x03two" {
        stream.write_all(&[*octet]).await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    let mut both = [receive(&mut stream).await.unwrap(), receive(&mut stream).await.unwrap()];
    both.sort();
    assert_eq!(both, [b"one".to_vec(), b"two".to_vec()]);
}

#[tokio::test]
async fn more_queries_than_the_pipeline_holds_are_all_answered() {
    let running = run("127.0.0.1:0", limits());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..200 {
        send(&mut stream, b"held").await;
    }
    for _ in 0..200 {
        assert_eq!(receive(&mut stream).await.unwrap(), b"held");
    }
}

#[tokio::test]
async fn a_client_beyond_its_share_of_connections_is_hung_up_on() {
    let running = run("127.0.0.1:0", limits());
    let mut first = TcpStream::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    for stream in [&mut first, &mut second] {
        send(stream, b"one").await;
        assert_eq!(receive(stream).await.unwrap(), b"one");
    }
    let mut third = TcpStream::connect(running.address).await.unwrap();
    assert!(is_closed(&mut third).await, "a quarter of eight is two");

    drop(first);
    for _ in 0..50 {
        let mut again = TcpStream::connect(running.address).await.unwrap();
        send(&mut again, b"one").await;
        if receive(&mut again).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the share was never given back");
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_while_an_answer_is_owed() {
    let running = run("127.0.0.1:0", Limits { idle: Duration::from_millis(50), ..limits() });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    send(&mut stream, b"held").await;
    sleep(Duration::from_millis(120)).await;
    send(&mut stream, b"one").await;
    assert_eq!(receive(&mut stream).await.unwrap(), b"one", "not idle: an answer was owed");
    assert_eq!(receive(&mut stream).await.unwrap(), b"held");
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn stopping_lets_the_queries_in_flight_finish() {
    let running = run("127.0.0.1:0", limits());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    send(&mut stream, b"held").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"held", running.address).await.unwrap();
    while running.echo.asked.load(Ordering::SeqCst) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    running.stop.send(true).unwrap();
    assert_eq!(receive(&mut stream).await.unwrap(), b"held");
    let mut buffer = [0; 64];
    assert_eq!(timeout(SOON, socket.recv(&mut buffer)).await.unwrap().unwrap(), 4);
    timeout(SOON, running.served).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named_with_advice() {
    let running = run("127.0.0.1:0", limits());
    let error = Listeners::bind(&[running.address], limits()).unwrap_err().to_string();
    assert!(error.contains(&running.address.to_string()) && error.contains("ss -lunp"), "{error}");
    let elsewhere = "192.0.2.1:53".parse().unwrap();
    let error = Listeners::bind(&[elsewhere], limits()).unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:53") && error.contains("ip address"), "{error}");
}

#[tokio::test]
async fn datagrams_and_connections_beyond_their_caps_are_told() {
    let running = run("127.0.0.1:0", Limits { datagrams: 2, connections: 4, ..limits() });
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..5 {
        socket.send_to(b"held", running.address).await.unwrap();
    }
    let reached = || running.echo.reached.lock().unwrap().clone();
    while reached().len() < 3 {
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(reached(), [Cap::Datagrams; 3]);
    let _held = TcpStream::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert!(is_closed(&mut second).await);
    assert_eq!(reached()[3..], [Cap::ConnectionsPerClient]);
}
