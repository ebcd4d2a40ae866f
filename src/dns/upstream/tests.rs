use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name as WireName, RData, Record as WireRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;

use super::*;
use crate::core::config::Transport;
use crate::core::name::Name;
use crate::core::query::RecordKind;
use crate::core::screen::Negative;
use crate::core::time::Ttl;

/// What a fake server says to a query; several messages are sent in order.
type Script = fn(&Message, Transport) -> Vec<Vec<u8>>;

/// A server on loopback that follows a script.
struct FakeServer {
    upstream: Upstream,
    datagrams: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
}

impl FakeServer {
    async fn start(script: Script) -> Self {
        let (socket, listener) = one_port().await;
        let address = socket.local_addr().unwrap();
        let (datagrams, streams) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (datagrams_seen, streams_seen) = (Arc::clone(&datagrams), Arc::clone(&streams));
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                datagrams_seen.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                for reply in script(&query, Transport::Udp) {
                    socket.send_to(&reply, peer).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                streams_seen.fetch_add(1, Ordering::SeqCst);
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                for reply in script(&Message::from_vec(&query).unwrap(), Transport::Tcp) {
                    stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        });
        Self { upstream: Upstream { transport: Transport::Udp, address }, datagrams, streams }
    }

    fn asked(&self) -> (usize, usize) {
        (self.datagrams.load(Ordering::SeqCst), self.streams.load(Ordering::SeqCst))
    }
}

/// A port that is free for both transports.
async fn one_port() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
}

fn reply(query: &Message, rcode: ResponseCode, records: Vec<(WireName, RData)>) -> Vec<u8> {
    let mut message = query.clone().into_response();
    message.metadata.response_code = rcode;
    message.add_answers(records.into_iter().map(|(owner, data)| WireRecord::from_rdata(owner, 60, data)));
    message.to_vec().unwrap()
}

fn name_of(query: &Message) -> WireName {
    query.queries[0].name().clone()
}

fn address(octets: [u8; 4]) -> RData {
    RData::A(A(octets.into()))
}

fn well(query: &Message, _: Transport) -> Vec<Vec<u8>> {
    vec![reply(query, ResponseCode::NoError, vec![(name_of(query), address([1, 1, 1, 1]))])]
}

fn servfail(query: &Message, _: Transport) -> Vec<Vec<u8>> {
    vec![reply(query, ResponseCode::ServFail, Vec::new())]
}

fn silent(_: &Message, _: Transport) -> Vec<Vec<u8>> {
    Vec::new()
}

fn forwarder(servers: &[&FakeServer]) -> Forwarder {
    let servers: Vec<_> = servers.iter().map(|server| server.upstream).collect();
    let rules = Rules { allow_ranges: Vec::new(), max_ttl: Ttl::from_wire(3600) };
    Forwarder::to(&servers, rules, Duration::from_millis(1500), 100)
}

fn question(name: &str) -> Question {
    let name = Name::parse(name).unwrap();
    Question { name, kind: RecordKind::A, dnssec_ok: false, checking_disabled: false }
}

async fn resolve(forwarder: &Forwarder) -> Result<Vec<IpAddr>, Failure> {
    let resolved = forwarder.resolve(&question("www.example.org")).await?;
    Ok(resolved.screened.addresses.to_vec())
}

fn one() -> Result<Vec<IpAddr>, Failure> {
    Ok(vec!["1.1.1.1".parse().unwrap()])
}

#[tokio::test]
async fn an_answer_is_kept_and_not_asked_for_again() {
    let server = FakeServer::start(well).await;
    let forwarder = forwarder(&[&server]);
    for _ in 0..3 {
        assert_eq!(resolve(&forwarder).await, one());
    }
    assert_eq!(server.asked(), (1, 0));
}

#[tokio::test]
async fn a_server_that_fails_is_passed_over_at_once_and_then_asked_last() {
    let (bad, good) = (FakeServer::start(servfail).await, FakeServer::start(well).await);
    let forwarder = forwarder(&[&bad, &good]);
    let begun = Instant::now();
    assert_eq!(resolve(&forwarder).await, one());
    assert!(begun.elapsed() < Duration::from_millis(290), "{:?}", begun.elapsed());
    forwarder.resolve(&question("other.example.org")).await.unwrap();
    assert_eq!((bad.asked(), good.asked()), ((1, 0), (2, 0)));
}

#[tokio::test]
async fn with_the_first_server_silent_the_second_answers_within_a_second() {
    let (bad, good) = (FakeServer::start(silent).await, FakeServer::start(well).await);
    let forwarder = forwarder(&[&bad, &good]);
    let begun = Instant::now();
    assert_eq!(resolve(&forwarder).await, one());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let begun = Instant::now();
    forwarder.resolve(&question("other.example.org")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(290), "silence is remembered: {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_unreachable_server_is_passed_over_at_once() {
    let good = FakeServer::start(well).await;
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut gone = FakeServer::start(well).await;
    gone.upstream.address = closed;
    let begun = Instant::now();
    assert_eq!(resolve(&forwarder(&[&gone, &good])).await, one());
    assert!(begun.elapsed() < Duration::from_millis(290), "{:?}", begun.elapsed());
    assert_eq!(resolve(&forwarder(&[&gone])).await, Err(Failure::UpstreamUnreachable));
}

#[tokio::test]
async fn when_every_server_fails_the_failure_says_how() {
    let server = FakeServer::start(silent).await;
    assert_eq!(resolve(&forwarder(&[&server])).await, Err(Failure::UpstreamSilent));
    assert!(server.asked().0 >= 2, "a lost packet costs one more");
    let server = FakeServer::start(servfail).await;
    let forwarder = forwarder(&[&server]);
    assert_eq!(resolve(&forwarder).await, Err(Failure::UpstreamRefused));
    assert_eq!(resolve(&forwarder).await, Err(Failure::UpstreamRefused));
    assert_eq!(server.asked(), (2, 0), "a failure is not kept");
}

#[tokio::test]
async fn a_lying_server_is_not_believed() {
    let other_id: Script = |query, transport| {
        let mut forged = reply(query, ResponseCode::NoError, vec![(name_of(query), address([6, 6, 6, 6]))]);
        forged[0] ^= 0xff;
        [vec![forged], well(query, transport)].concat()
    };
    let other_question: Script = |query, transport| {
        let mut lie = query.clone();
        lie.queries[0].set_name(WireName::from_ascii("evil.example.org.").unwrap());
        [
            vec![reply(&lie, ResponseCode::NoError, vec![(name_of(query), address([6, 6, 6, 6]))])],
            well(query, transport),
        ]
        .concat()
    };
    let other_case: Script = |query, transport| {
        let mut forged = reply(query, ResponseCode::NoError, vec![(name_of(query), address([6, 6, 6, 6]))]);
        forged[13] ^= 0x20;
        [vec![forged], well(query, transport)].concat()
    };
    let unrelated: Script = |query, _| {
        let evil = WireName::from_ascii("evil.example.net.").unwrap();
        let records = vec![(evil, address([6, 6, 6, 6])), (name_of(query), address([1, 1, 1, 1]))];
        vec![reply(query, ResponseCode::NoError, records)]
    };
    let metadata: Script = |query, _| {
        let records = vec![(name_of(query), address([169, 254, 169, 254])), (name_of(query), address([1, 1, 1, 1]))];
        vec![reply(query, ResponseCode::NoError, records)]
    };
    for script in [other_id, other_question, other_case, unrelated, metadata] {
        let server = FakeServer::start(script).await;
        assert_eq!(resolve(&forwarder(&[&server])).await, one());
    }
    let cname_loop: Script = |query, _| {
        let other = WireName::from_ascii("a.example.org.").unwrap();
        let records = vec![
            (name_of(query), RData::CNAME(CNAME(other.clone()))),
            (other, RData::CNAME(CNAME(name_of(query)))),
            (name_of(query), address([6, 6, 6, 6])),
        ];
        vec![reply(query, ResponseCode::NoError, records)]
    };
    let server = FakeServer::start(cname_loop).await;
    assert_eq!(resolve(&forwarder(&[&server])).await, Err(Failure::UpstreamUnusable));
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let script: Script = |query, transport| {
        if transport == Transport::Tcp {
            return well(query, transport);
        }
        let mut cut = query.clone();
        cut.metadata.truncation = true;
        vec![reply(&cut, ResponseCode::NoError, Vec::new())]
    };
    let server = FakeServer::start(script).await;
    assert_eq!(resolve(&forwarder(&[&server])).await, one());
    assert_eq!(server.asked(), (1, 1));

    let mut only_tcp = FakeServer::start(well).await;
    only_tcp.upstream.transport = Transport::Tcp;
    assert_eq!(resolve(&forwarder(&[&only_tcp])).await, one());
    assert_eq!(only_tcp.asked(), (0, 1));
}

#[tokio::test]
async fn a_server_that_does_not_repeat_the_case_is_asked_over_tcp() {
    let lowering: Script = |query, transport| {
        let mut lowered = query.clone();
        let name = name_of(query).to_lowercase();
        lowered.queries[0].set_name(name);
        well(&lowered, transport)
    };
    let server = FakeServer::start(lowering).await;
    let forwarder = forwarder(&[&server]);
    for index in 0..4 {
        let question = question(&format!("longer-than-chance-would-spell-{index}.example.org"));
        assert_eq!(forwarder.resolve(&question).await.unwrap().screened.addresses.len(), 1);
    }
    assert_eq!(server.asked(), (4, 4));
}

#[tokio::test]
async fn a_hundred_askers_of_one_question_cost_one_packet() {
    let slow: Script = |query, transport| {
        std::thread::sleep(Duration::from_millis(50));
        well(query, transport)
    };
    let server = FakeServer::start(slow).await;
    let forwarder = forwarder(&[&server]);
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let forwarder = forwarder.clone();
        askers.spawn(async move { resolve(&forwarder).await });
    }
    while let Some(answer) = askers.join_next().await {
        assert_eq!(answer.unwrap(), one());
    }
    assert_eq!(server.asked(), (1, 0));
    assert!(forwarder.0.load().in_flight.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_lookup_survives_the_first_asker() {
    let server = FakeServer::start(well).await;
    let forwarder = forwarder(&[&server]);
    let second = resolve(&forwarder);
    tokio::pin!(second);
    {
        let first = resolve(&forwarder);
        tokio::pin!(first);
        for mut asker in [first.as_mut() as Pin<&mut dyn Future<Output = _>>, second.as_mut()] {
            assert!(std::future::poll_fn(|context| Poll::Ready(asker.as_mut().poll(context).is_pending())).await);
        }
    }
    assert_eq!(second.await, one());
    assert_eq!(server.asked(), (1, 0));
}

#[tokio::test]
async fn a_missing_name_is_an_answer_and_no_failure() {
    let missing: Script = |query, _| vec![reply(query, ResponseCode::NXDomain, Vec::new())];
    let (server, second) = (FakeServer::start(missing).await, FakeServer::start(well).await);
    let forwarder = forwarder(&[&server, &second]);
    for _ in 0..2 {
        let resolved = forwarder.resolve(&question("www.example.org")).await.unwrap();
        assert_eq!(resolved.screened.negative, Some(Negative::NoSuchName));
    }
    assert_eq!((server.asked(), second.asked()), ((1, 0), (0, 0)));
}

#[tokio::test]
async fn a_kept_answer_gives_the_ttl_that_is_left_and_then_expires() {
    let server = FakeServer::start(well).await;
    let forwarder = forwarder(&[&server]);
    let ttl = async || forwarder.resolve(&question("www.example.org")).await.unwrap().ttl.as_secs();
    assert_eq!(ttl().await, 60);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    assert!((39..=40).contains(&ttl().await));
    tokio::time::advance(Duration::from_secs(40)).await;
    tokio::time::resume();
    assert_eq!(ttl().await, 60);
    assert_eq!(server.asked(), (2, 0));
}
