//! Following the daemon's live events, for `cedarwall log --follow`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use super::Error;
use super::client::{in_words, refused};

/// How long the daemon may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// A line that is longer is none of ours.
const LONGEST: usize = 1 << 20;

/// A stream of events that has begun: none that happens from now on is missed,
/// or a line says so.
pub struct Follow {
    runtime: Runtime,
    body: Incoming,
    socket: PathBuf,
    /// What came after the last line end.
    rest: Vec<u8>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// Whole lines, each with its end.
    Lines(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The user has had enough (SIGINT).
    Interrupt,
    /// The end: the daemon has stopped.
    End,
}

impl Follow {
    /// Begins to follow the daemon on `socket`. Blocks; not to be called inside
    /// a runtime.
    ///
    /// # Errors
    /// When no daemon answers, or the user may not ask.
    pub fn begin(socket: &Path) -> Result<Self, Error> {
        let broken = |reason: String| Error::Conversation { path: socket.to_owned(), reason };
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken(error.to_string()))?;
        let response = runtime.block_on(async {
            let stream = UnixStream::connect(socket).await.map_err(|error| refused(socket, &error))?;
            let answer = timeout(PATIENCE, ask(stream)).await;
            answer.map_err(|_| broken(format!("no answer within {}s", PATIENCE.as_secs())))?.map_err(broken)
        })?;
        if !response.status().is_success() {
            return Err(broken(format!("it answers {} to /events", response.status())));
        }
        Ok(Self { runtime, body: response.into_body(), socket: socket.to_owned(), rest: Vec::new() })
    }

    /// Waits so long for more.
    ///
    /// # Errors
    /// When the conversation breaks off.
    pub fn next(&mut self, patience: Duration) -> Result<Came, Error> {
        let body = &mut self.body;
        let came = self.runtime.block_on(async {
            tokio::select! {
                frame = timeout(patience, body.frame()) => Ok(frame),
                interrupt = tokio::signal::ctrl_c() => Err(interrupt),
            }
        });
        let frame = match came {
            Ok(Err(_)) => return Ok(Came::Nothing),
            Ok(Ok(None)) => return Ok(Came::End),
            Ok(Ok(Some(frame))) => frame,
            Err(Ok(())) => return Ok(Came::Interrupt),
            Err(Err(error)) => return Err(self.broken(&error)),
        };
        let data = frame.map_err(|error| self.broken(&error))?.into_data().unwrap_or_default();
        self.rest.extend_from_slice(&data);
        match self.rest.iter().rposition(|octet| *octet == b'\n') {
            Some(end) => Ok(Came::Lines(self.rest.drain(..=end).collect())),
            None if self.rest.len() > LONGEST => Err(self.broken(&"a line without an end")),
            None => Ok(Came::Nothing),
        }
    }

    fn broken(&self, reason: &dyn ToString) -> Error {
        Error::Conversation { path: self.socket.clone(), reason: reason.to_string() }
    }
}

async fn ask(stream: UnixStream) -> Result<Response<Incoming>, String> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(in_words)?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let request = Request::builder().uri("/events").header(HOST, "cedarwall");
    let request = request.body(Empty::<Bytes>::new()).map_err(in_words)?;
    requests.send_request(request).await.map_err(in_words)
}
