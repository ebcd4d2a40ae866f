//! The asking side, for the operator's commands.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::time::timeout;

use super::Error;

/// How long the daemon may take: a dump of a large set takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the daemon on `socket` for `route` and reads its JSON. Blocks; not to
/// be called inside a runtime.
///
/// # Errors
/// When no daemon answers, the user may not ask, or the answer makes no
/// sense.
pub fn get<T: DeserializeOwned>(socket: &Path, route: &str) -> Result<T, Error> {
    read(socket, &fetch(socket, &Method::GET, route, Bytes::new())?)
}

/// The same for a route that does something.
///
/// # Errors
/// As [`get`].
pub fn post<T: DeserializeOwned>(socket: &Path, route: &str) -> Result<T, Error> {
    read(socket, &fetch(socket, &Method::POST, route, Bytes::new())?)
}

/// The same with something to say, as JSON.
///
/// # Errors
/// As [`get`].
pub fn post_with<T: DeserializeOwned>(socket: &Path, route: &str, body: &impl Serialize) -> Result<T, Error> {
    let unsaid = |error: serde_json::Error| Error::Conversation { path: socket.to_owned(), reason: error.to_string() };
    let body = serde_json::to_vec(body).map_err(unsaid)?;
    read(socket, &fetch(socket, &Method::POST, route, body.into())?)
}

/// Whether a daemon on `socket` says that it runs, which it does once its wall
/// stands and questions are answered. Blocks; not to be called inside a
/// runtime.
pub fn is_alive(socket: &Path) -> bool {
    fetch(socket, &Method::GET, "/healthz", Bytes::new()).is_ok()
}

/// Whether it says that, besides, an upstream server has answered or is known
/// not to. Blocks; not to be called inside a runtime.
pub fn is_ready(socket: &Path) -> bool {
    fetch(socket, &Method::GET, "/readyz", Bytes::new()).is_ok()
}

fn read<T: DeserializeOwned>(socket: &Path, body: &[u8]) -> Result<T, Error> {
    let broken = |error| format!("it answers something else: {error}");
    serde_json::from_slice(body).map_err(|error| Error::Conversation { path: socket.to_owned(), reason: broken(error) })
}

fn fetch(socket: &Path, method: &Method, route: &str, body: Bytes) -> Result<Bytes, Error> {
    let broken = |reason: String| Error::Conversation { path: socket.to_owned(), reason };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| broken(error.to_string()))?;
    runtime.block_on(async {
        let stream = UnixStream::connect(socket).await.map_err(|error| refused(socket, &error))?;
        let answer = timeout(PATIENCE, ask(stream, method, route, body)).await;
        answer.map_err(|_| broken(format!("no answer within {}s", PATIENCE.as_secs())))?.map_err(broken)
    })
}

async fn ask(stream: UnixStream, method: &Method, route: &str, body: Bytes) -> Result<Bytes, String> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(in_words)?;
    let request = Request::builder().method(method).uri(route).header(HOST, "cedarwall");
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body)).map_err(in_words)?;
    let answered = async {
        let response = requests.send_request(request).await.map_err(in_words)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(in_words)?.to_bytes();
        let said = || String::from_utf8_lossy(&body).trim().to_owned();
        if status.is_success() { Ok(body) } else { Err(format!("it answers {status} to {route}: {}", said())) }
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        body = &mut answered => body,
        // The connection may end before its last body is read.
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(in_words(error)),
        },
    }
}

pub(super) fn refused(socket: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning(socket.to_owned()),
        io::ErrorKind::PermissionDenied => Error::NotAllowed(socket.to_owned()),
        _ => Error::Conversation { path: socket.to_owned(), reason: error.to_string() },
    }
}

pub(super) fn in_words(error: impl std::error::Error) -> String {
    error.to_string()
}
