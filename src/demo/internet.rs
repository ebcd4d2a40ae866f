//! The demo's internet: servers that answer whoever reaches them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::Error;
use super::stage::{API, Host, OPEN_DNS, REGISTRY, TELEMETRY, UPSTREAM, path, write};

/// The records' TTL, seconds.
const TTL: u32 = 60;

/// Serves until killed. `package` is what the registry gives out; the file
/// `internet.ready` appears when all listens.
///
/// # Errors
/// When an address cannot be listened on.
pub fn internet(package: &Path) -> Result<(), Error> {
    let failed = || Error::io("cannot start the internet");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
    runtime.block_on(serve(package)).map_err(failed())
}

async fn serve(package: &Path) -> std::io::Result<()> {
    let package = tokio::task::spawn_blocking({
        let package = package.to_owned();
        move || std::fs::read(package)
    })
    .await??;

    let mut dns = Server::new(catalog().map_err(std::io::Error::other)?);
    for address in UPSTREAM.addresses().into_iter().chain(OPEN_DNS.addresses()) {
        dns.register_socket(UdpSocket::bind((address, 53)).await?);
        dns.register_listener(TcpListener::bind((address, 53)).await?, Duration::from_secs(5), 4096);
    }
    for address in OPEN_DNS.addresses() {
        // DNS over TLS: that the connection is made is all that is asked.
        let listener = TcpListener::bind((address, 853)).await?;
        tokio::spawn(echo_tcp(listener));
    }

    let api = Router::new().route("/", get(|| async { "pong\n" }));
    let registry = Router::new().route("/left-pad-1.0.0.tgz", get(move || async move { package }));
    let collected = Router::new().fallback(|| async { "thank you\n" });
    for (host, router) in [(API, api), (REGISTRY, registry), (TELEMETRY, collected)] {
        for address in host.addresses() {
            let listener = TcpListener::bind((address, 443)).await?;
            tokio::spawn(axum::serve(listener, router.clone()).into_future());
        }
    }
    for address in TELEMETRY.addresses() {
        tokio::spawn(echo_udp(UdpSocket::bind((address, 443)).await?));
    }

    write(&path("internet.ready"), "").map_err(std::io::Error::other)?;
    dns.block_until_done().await.map_err(std::io::Error::other)
}

/// `example.com` with its three hosts.
fn catalog() -> Result<Catalog, String> {
    let parse = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
    let origin = parse("example.com.")?;
    let soa = SOA::new(parse("ns.example.com.")?, parse("hostmaster.example.com.")?, 1, 3600, 600, 86400, 60);
    let mut zone: InMemoryZoneHandler = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    zone.upsert_mut(Record::from_rdata(origin.clone(), TTL, RData::SOA(soa)), 1);
    let hosts: [(&str, Host); 3] =
        [("api.example.com.", API), ("registry.example.com.", REGISTRY), ("telemetry.example.com.", TELEMETRY)];
    for (name, host) in hosts {
        for address in host.addresses() {
            let data = match address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            };
            zone.upsert_mut(Record::from_rdata(parse(name)?, TTL, data), 1);
        }
    }
    let mut catalog = Catalog::new();
    let handlers: Vec<Arc<dyn ZoneHandler>> = vec![Arc::new(zone)];
    catalog.upsert(LowerName::new(&origin), handlers);
    Ok(catalog)
}

async fn echo_udp(socket: UdpSocket) {
    let mut buffer = [0; 2048];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let peer: SocketAddr = peer;
        // A reply that is lost is as if it had not been sent.
        let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), peer).await;
    }
}

async fn echo_tcp(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            if let Ok(length) = stream.read(&mut buffer).await {
                let _ = stream.write_all(buffer.get(..length).unwrap_or_default()).await;
            }
        });
    }
}
