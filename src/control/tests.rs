//! What the control interface promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::*;
use crate::journal::Journal;

#[derive(Default)]
struct ToyHouse {
    ready: AtomicBool,
    told_repeats: AtomicBool,
    kernel_is_gone: bool,
}

impl House for ToyHouse {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    fn tell_repeats(&self) {
        self.told_repeats.store(true, Ordering::SeqCst);
    }

    async fn status(&self) -> HouseStatus {
        HouseStatus { mode: "gateway".into(), leases: 3, ..HouseStatus::default() }
    }

    async fn leases(&self) -> Vec<LeaseRow> {
        vec![LeaseRow {
            client: "10.77.0.2".parse().unwrap(),
            agent: Some("claude".into()),
            address: "192.0.2.7".parse().unwrap(),
            protocol: Protocol::Tcp,
            ports: "443".into(),
            seconds_left: Some(30),
            names: vec!["api.example.com".into()],
        }]
    }

    async fn exposure(&self) -> Vec<ExposureRow> {
        let other = |name: &str, denied| ExposedName {
            name: name.into(),
            denied,
            reason: denied.then(|| "forbidden".into()),
            policies: Vec::new(),
            told_to_client: true,
            last: "2026-01-01T00:00:00Z".into(),
        };
        vec![ExposureRow {
            client: "10.77.0.2".parse().unwrap(),
            agent: Some("claude".into()),
            address: "192.0.2.7".parse().unwrap(),
            ports: vec!["443/tcp".into()],
            names: vec!["api.example.com".into()],
            others: vec![other("a.example.net", true), other("b.example.net", true), other("c.example.net", false)],
        }]
    }

    async fn traffic(&self) -> Vec<TrafficRow> {
        Vec::new()
    }

    async fn reload(&self) -> Result<ReloadReport, String> {
        Ok(ReloadReport { loaded: true, policies: 3, ..ReloadReport::default() })
    }

    async fn revoke(&self, request: RevokeRequest) -> Result<RevokeReport, String> {
        let names = request.name.into_iter().map(|name| name.to_string()).collect();
        Ok(RevokeReport { agent_is_known: true, names, closed_elements: 2, ..RevokeReport::default() })
    }

    async fn counters(&self) -> Result<Vec<KernelCounter>, String> {
        self.kernel().await.map(|counts| counts.counters)
    }

    async fn kernel(&self) -> Result<KernelCounts, String> {
        if self.kernel_is_gone {
            return Err("the table is gone".into());
        }
        let counters = vec![KernelCounter { name: "denied_syn".into(), packets: 7, bytes: 420 }];
        Ok(KernelCounts { counters, refused: Vec::new() })
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), Error>>,
}

fn start(path: &Path, house: Arc<ToyHouse>) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let socket = ControlSocket::bind(path).unwrap();
    let journal = Arc::new(Journal::open(None).unwrap());
    let server = tokio::spawn(socket.serve(house, journal, async move { drop(stopped.await) }));
    Running { stop, server }
}

async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(path: &Path, route: &'static str) -> Result<T, Error> {
    let path = path.to_owned();
    spawn_blocking(move || get(&path, route)).await.unwrap()
}

/// The whole answer, as text.
async fn raw(path: &Path, route: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let request = format!("GET {route} HTTP/1.1\r\nHost: cedarwall\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn every_route_answers_and_the_socket_goes_with_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/control.sock");
    let house = Arc::new(ToyHouse::default());
    let running = start(&path, Arc::clone(&house));

    assert!(raw(&path, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(raw(&path, "/readyz").await.starts_with("HTTP/1.1 503"), "not before the wall stands");
    house.ready.store(true, Ordering::SeqCst);
    assert!(raw(&path, "/readyz").await.starts_with("HTTP/1.1 200"));

    let status: Status = ask(&path, "/status").await.unwrap();
    assert_eq!((status.ready, status.house.leases, status.house.mode.as_str()), (true, 3, "gateway"));
    let leases: Vec<LeaseRow> = ask(&path, "/leases").await.unwrap();
    assert_eq!(leases, house.leases().await);
    let denials: DenialReport = ask(&path, "/denials").await.unwrap();
    assert_eq!((denials.kernel[0].packets, denials.kernel_error), (7, None));

    assert!(raw(&path, "/reload").await.starts_with("HTTP/1.1 405"), "asking must not do anything");
    let socket = path.clone();
    let report: ReloadReport = spawn_blocking(move || post(&socket, "/reload")).await.unwrap().unwrap();
    assert_eq!((report.loaded, report.policies), (true, 3));

    let metrics = raw(&path, "/metrics").await;
    assert!(metrics.contains("content-type: application/openmetrics-text"), "{metrics}");
    for line in ["cedarwall_leases 3\n", "cedarwall_ready 1\n", "_packets_total{counter=\"denied_syn\"} 7\n", "# EOF\n"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    running.stop.send(()).unwrap();
    running.server.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_dashboard_shows_metrics_that_there_are_and_each_has_a_help_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let _running = start(&path, Arc::new(ToyHouse::default()));
    let metrics = raw(&path, "/metrics").await;
    // Of a counter the series end in `_total`, of a histogram in `_bucket`.
    let described: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    let typed = metrics.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(described.len(), typed, "{metrics}");
    assert!(described.iter().all(|(_, help)| help.len() > 10), "{described:?}");
    let is_there = |series: &str| {
        let name = ["_total", "_bucket"].iter().find_map(|suffix| series.strip_suffix(suffix)).unwrap_or(series);
        described.iter().any(|(described, _)| *described == name)
    };

    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../packaging/grafana.json")).unwrap();
    let mut shown = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let words = target["expr"]
                .as_str()
                .unwrap()
                .split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            shown.extend(words.filter(|word| word.starts_with("cedarwall_")));
        }
    }
    assert!(shown.len() >= 13, "{shown:?}");
    let missing: Vec<_> = shown.iter().filter(|series| !is_there(series)).collect();
    assert!(missing.is_empty(), "{missing:?} are no metrics of ours: {described:?}");
    assert!(metrics.contains("cedarwall_exposed_names{verdict=\"denied\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn a_kernel_that_cannot_be_read_is_not_shown_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let _running = start(&path, Arc::new(ToyHouse { kernel_is_gone: true, ..ToyHouse::default() }));
    let denials: DenialReport = ask(&path, "/denials").await.unwrap();
    assert_eq!(denials.kernel_error.as_deref(), Some("the table is gone"));
    assert!(!raw(&path, "/metrics").await.contains("cedarwall_kernel"));
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let running = start(&path, Arc::default());
    let silent = UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut &silent, b"GET /sta").unwrap();
    raw(&path, "/healthz").await;

    let start = Instant::now();
    running.stop.send(()).unwrap();
    running.server.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(!path.exists());
}

#[tokio::test]
async fn only_owner_and_group_may_connect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let _running = start(&path, Arc::default());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a killed daemon leaves its socket");
    let _running = start(&path, Arc::default());
    assert!(matches!(ControlSocket::bind(&path), Err(Error::InUse(_))));
    assert!(raw(&path, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_file_in_the_way_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    fs::write(&path, "mine").unwrap();
    assert!(matches!(ControlSocket::bind(&path), Err(Error::InTheWay(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_missing_daemon_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let told = get::<Status>(&path, "/status").unwrap_err().to_string();
    assert!(told.contains("is `cedarwall serve` running?") && told.contains("--socket"), "{told}");
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(get::<Status>(&path, "/status"), Err(Error::NotRunning(_))));
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_daemon() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let running = start(&path, Arc::default());
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: cedarwall\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK", "before any event has come");
    running.stop.send(()).unwrap();
    running.server.await.unwrap().unwrap();
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
    ended.expect("it goes on without a daemon").unwrap();
}
