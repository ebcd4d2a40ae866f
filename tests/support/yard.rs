//! A yard: containers on one bridge behind the wall, in a [`Lab`], and a
//! stand-in for the engine that tells of them. What it tells has the shape of
//! Docker's own answers (API 1.41); `tests/engine.rs` has the real one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, oneshot};

use super::lab::Lab;
use super::run;
use super::wall::{Setup, configuration};

/// Where the wall answers the yard's containers.
pub const YARD_WALL: &str = "10.88.0.1:53";

/// The bridge and its engine.
pub struct Yard {
    /// What its addresses begin with.
    network: [&'static str; 2],
    folder: PathBuf,
    book: Arc<Book>,
    engine: Option<Engine>,
}

/// What the engine would answer.
struct Book {
    containers: Mutex<BTreeMap<String, Value>>,
    events: broadcast::Sender<String>,
}

struct Engine {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Yard {
    /// A bridge with nobody on it, and an engine that answers.
    pub fn build(lab: &Lab) -> Self {
        let script = "
            set -e
            ip link add agents type bridge
            ip addr add 10.88.0.1/24 dev agents; ip addr add fd88::1/64 dev agents nodad
            ip link set agents up
        ";
        run("sh", &["-c", script]);
        Self::around(lab, ["10.88.0.", "fd88::"])
    }

    /// An engine for namespaces that are on the bridge `agents` already, with
    /// addresses that begin so.
    pub fn around(lab: &Lab, network: [&'static str; 2]) -> Self {
        let book = Arc::new(Book { containers: Mutex::default(), events: broadcast::channel(1024).0 });
        let mut yard = Self { network, folder: lab.path(""), book, engine: None };
        yard.start_engine();
        yard
    }

    /// A configuration of a wall around it.
    pub fn configuration(&self, lab: &Lab, setup: &Setup<'_>, more: &str) -> String {
        let [v4, v6] = self.network;
        let listen = format!("\"{v4}1:53\", \"[{v6}1]:53\"");
        let text = configuration(lab, setup)
            .replace("\"10.77.0.1:53\", \"[fd77::1]:53\", \"10.77.1.1:53\"", &listen)
            .replace("\"veth-agent\", \"veth-other\"", "\"agents\"");
        let clients = text.find("[[client]]").expect("clients");
        let names = text.find("[names]").expect("names");
        let docker = format!("[docker]\nenabled = true\nsocket = {:?}\n{more}\n", self.socket());
        format!("{}{docker}{}", &text[..clients], &text[names..])
    }

    /// Starts the engine.
    pub fn start_engine(&mut self) {
        let (book, socket) = (Arc::clone(&self.book), self.socket());
        let _ = std::fs::remove_file(&socket);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = UnixListener::bind(&socket).expect("a socket");
                ready.send(()).expect("the test waits");
                let service = Router::new().fallback(answer).with_state(book);
                tokio::select! {
                    served = async { axum::serve(listener, service).await } => served.expect("to serve"),
                    _ = stopped => {}
                }
            });
            // Connections end with the runtime.
        });
        is_ready.recv().expect("an engine that listens");
        self.engine = Some(Engine { stop: Some(stop), thread: Some(thread) });
    }

    /// Ends it, as `kill -9` does; its containers go on.
    pub fn kill_engine(&mut self) {
        self.engine = None;
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts a container with an address that ends in `host`, and tells of it.
    pub fn start(&self, id: &str, label: Option<&str>, host: u8) {
        self.plug_in(id, host);
        self.tell_of(id, label, host);
    }

    /// The container's namespace and its link, of which the engine says nothing.
    pub fn plug_in(&self, id: &str, host: u8) {
        let script = format!(
            "
            set -e
            ip netns add {id}
            ip netns exec {id} sh -c 'for knob in all default; do echo 0 > /proc/sys/net/ipv6/conf/$knob/accept_dad; done'
            ip -n {id} link set lo up
            ip link add veth-{id} type veth peer name eth0 netns {id}
            ip -n {id} link set eth0 address {mac}
            ip link set veth-{id} master agents up
            ip -n {id} addr add 10.88.0.{host}/24 dev eth0
            ip -n {id} addr add fd88::{host}/64 dev eth0 nodad
            ip -n {id} link set eth0 up
            ip -n {id} route add default via 10.88.0.1
            ip -n {id} -6 route add default via fd88::1
            ",
            mac = hardware(host)
        );
        run("sh", &["-c", &script]);
    }

    /// Has the engine tell of a container.
    pub fn tell_of(&self, id: &str, label: Option<&str>, host: u8) {
        self.tell_with(id, &label.map_or_else(|| json!({}), |label| json!({ "cedarwall.agent": label })), host);
    }

    /// The same of one with any labels.
    pub fn tell_with(&self, id: &str, labels: &Value, host: u8) {
        let [v4, v6] = self.network;
        let told = json!({
            "Id": id,
            "Name": format!("/name-{id}"),
            "State": { "Running": true, "Pid": 0 },
            "Config": { "Labels": labels },
            "HostConfig": { "Dns": [format!("{v4}1")] },
            "NetworkSettings": {
                "SandboxKey": format!("/run/netns/{id}"),
                "Networks": { "agents": {
                    "NetworkID": "n1",
                    "IPAddress": format!("{v4}{host}"),
                    "GlobalIPv6Address": format!("{v6}{host}"),
                    "MacAddress": hardware(host),
                } },
            },
        });
        self.book.containers.lock().unwrap().insert(id.to_owned(), told);
        self.say(id, "start");
    }

    /// Ends a container: its namespace goes first, then the engine tells of it.
    pub fn stop(&self, id: &str) {
        run("ip", &["netns", "del", id]);
        self.book.containers.lock().unwrap().remove(id);
        self.say(id, "die");
    }

    fn say(&self, id: &str, action: &str) {
        let event = json!({ "Type": "container", "Action": action, "Actor": { "ID": id, "Attributes": {} } });
        // Nobody may listen.
        let _ = self.book.events.send(format!("{event}\n"));
    }

    fn socket(&self) -> PathBuf {
        Path::new(&self.folder).join("docker.sock")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The hardware address that Docker makes of an address.
pub fn hardware(host: u8) -> String {
    format!("02:42:0a:58:00:{host:02x}")
}

async fn answer(State(book): State<Arc<Book>>, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches("/v1.41");
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => json_of(&json!({ "ApiVersion": "1.41", "Version": "20.10.24" })),
        ["containers", "json"] => {
            let ids: Vec<_> = book.containers.lock().unwrap().keys().map(|id| json!({ "Id": id })).collect();
            json_of(&Value::Array(ids))
        }
        ["containers", id, "json"] => match book.containers.lock().unwrap().get(*id) {
            Some(told) => json_of(told),
            None => (StatusCode::NOT_FOUND, r#"{"message":"No such container"}"#).into_response(),
        },
        ["networks", "n1"] => json_of(&json!({
            "Id": "n1",
            "Name": "agents",
            "Driver": "bridge",
            "Options": { "com.docker.network.bridge.name": "agents" },
        })),
        ["events"] => {
            let listening = book.events.subscribe();
            let lines = futures_util::stream::unfold(listening, |mut listening| async {
                let line = listening.recv().await.ok()?;
                Some((Ok::<_, std::io::Error>(line), listening))
            });
            Body::from_stream(lines).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn json_of(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}
