//! The edge to the processes of this host: who sent what a client sent.
//!
//! The socket is looked up in the client's network namespace by its exact port
//! and addresses, and the process by the socket's inode. Whatever cannot be
//! known for sure is not said.

mod description;
mod handle;
mod namespaces;
mod privileges;
mod processes;
mod recollection;
mod sockets;
mod status;
mod turns;
mod users;
mod witness;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use self::turns::{Question, Turns};
use self::witness::Witness;
use crate::core::event::Flow;
use crate::core::process::{Ends, Traced, Untraced};

/// The priority of the thread that looks, where it may be chosen
/// (setpriority(2)).
const URGENT: i32 = -15;

/// Finds out who it was. Clones share one thread, which ends with the last of
/// them.
#[derive(Clone)]
pub struct Tracer {
    state: State,
    /// How long an answer may take.
    patience: Duration,
}

#[derive(Clone)]
enum State {
    On(Arc<Door>),
    Off(Traced, Arc<str>),
}

/// Closes the queue with the last tracer.
struct Door(Arc<Turns>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Tracer {
    /// Nobody is traced.
    pub fn off() -> Self {
        Self { state: State::Off(Traced::Unasked, "off".into()), patience: Duration::ZERO }
    }

    /// Starts the thread that looks; where `is_sidecar`, in its own namespace
    /// alone. What that takes is that thread's alone from now on: the calling
    /// one, and those it starts, have given it up. An answer that takes longer
    /// than `patience` is none.
    ///
    /// Where it cannot be done, the tracer says so each time, and
    /// [`standing`](Self::standing) says why.
    ///
    /// # Errors
    /// When the capabilities cannot be given up, or there is no thread.
    pub fn start(is_sidecar: bool, patience: Duration) -> io::Result<Self> {
        let lacking = privileges::lacking(is_sidecar);
        let state = if lacking.is_empty() {
            begin(is_sidecar)?
        } else {
            forbidden(&format!("{} missing", lacking.join(" and ")))
        };
        give_up()?;
        Ok(Self { state, patience })
    }

    /// What an operator is told: `on`, `off`, or why it cannot be done.
    pub fn standing(&self) -> &str {
        match &self.state {
            State::On(_) => "on",
            State::Off(_, why) => why,
        }
    }

    /// Who holds the client's end. Within a tokio runtime.
    pub fn trace(&self, ends: Ends) -> impl Future<Output = Traced> + Send + 'static {
        let (sender, answer) = oneshot::channel();
        self.ask(ends, move |traced| drop(sender.send(traced)));
        let patience = self.patience;
        async move {
            match timeout(patience, answer).await {
                Ok(Ok(traced)) => traced,
                Ok(Err(_)) | Err(_) => Traced::Missing(Untraced::TooSlow),
            }
        }
    }

    /// Who sent a packet that went no further: blocks until that is
    /// known, or for as long as it may take.
    pub fn trace_connect(&self, flow: &Flow) -> Traced {
        let Some(ends) = Ends::of(flow) else { return Traced::Unasked };
        let (sender, answer) = mpsc::sync_channel(1);
        self.ask(ends, move |traced| drop(sender.send(traced)));
        answer.recv_timeout(self.patience).unwrap_or(Traced::Missing(Untraced::TooSlow))
    }

    fn ask(&self, ends: Ends, reply: impl FnOnce(Traced) + Send + 'static) {
        match &self.state {
            State::On(door) => {
                let deadline = Instant::now() + self.patience;
                door.0.put(Question { ends, deadline, replies: vec![Box::new(reply)] });
            }
            State::Off(traced, _) => reply(traced.clone()),
        }
    }
}

fn forbidden(why: &str) -> State {
    State::Off(Traced::Missing(Untraced::NotAllowed), why.into())
}

fn begin(is_sidecar: bool) -> io::Result<State> {
    let turns = Arc::new(Turns::default());
    let (ready, started) = mpsc::channel();
    let served = Arc::clone(&turns);
    Builder::new().name("witness".to_owned()).spawn(move || {
        // A denial waits for this thread, and it for the processor.
        if let Err(error) = rustix::process::setpriority_process(None, URGENT) {
            tracing::debug!("the priority of the witness thread stays as it is: {error}");
        }
        let made = privileges::keep(is_sidecar).map_err(io::Error::other).and_then(|()| Witness::new(is_sidecar));
        match made {
            Ok(mut witness) => {
                let _ = ready.send(Ok(()));
                let _closed = Door(Arc::clone(&served));
                if let Err(error) = witness.serve(&served) {
                    tracing::error!("denials name their process no more: {error}");
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    Ok(match started.recv() {
        Ok(Ok(())) => State::On(Arc::new(Door(turns))),
        Ok(Err(error)) => forbidden(&error.to_string()),
        Err(_) => forbidden("its thread ended"),
    })
}

/// Gives up, for the calling thread and those it starts from now on, what
/// looking at the processes of others takes.
///
/// # Errors
/// When the kernel refuses.
pub fn give_up() -> io::Result<()> {
    privileges::give_up().map_err(io::Error::other)
}
