//! [`Line`]: a connected socket on a random port, and the questions under way
//! over it. What is asked at about the same time is sent together, and one task
//! reads what comes back: each question by itself would wake, ask and read by
//! itself, and that takes longer than the rest.
//!
//! A forger has to guess the port, and for the one question whose name he
//! tells, its id and the case of its letters: for that it makes no difference
//! that others share the port.

use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use rustc_hash::FxHashMap;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;

use super::any_port_for;
use super::message::{Judged, Transaction};
use crate::core::decision::Failure;
use crate::dns::outbox::Outbox;

/// Questions that are sent without waiting for more.
const TOGETHER: usize = 16;
/// Messages read before others get a turn.
const AT_ONCE: usize = 64;
/// How long the true answer may take after one that has only the name's case
/// wrong. Longer, and the server is one that does not repeat the case.
const FORGERY_PATIENCE: Duration = Duration::from_millis(100);
/// Larger than the payload we announce; a longer answer is cut, and so
/// malformed.
const BUFFER: usize = 4096;

/// A way to one server. It is closed when it is dropped.
#[derive(Debug)]
pub(super) struct Line {
    desk: Arc<Desk>,
    reader: AbortHandle,
}

impl Line {
    /// Port 0 and connect: the kernel picks a random port, and passes on only
    /// what this server sends.
    ///
    /// # Errors
    /// When there is no way to the server, or the system has no room for one.
    pub(super) fn open(server: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(any_port_for(server))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let desk = Arc::new(Desk::at(UdpSocket::from_std(socket)?));
        let work = Arc::clone(&desk);
        let reader = tokio::spawn(async move { work.serve().await }).abort_handle();
        Ok(Self { desk, reader })
    }

    /// Asks once, and waits for as long as the caller does.
    pub(super) async fn exchange(&self, transaction: Transaction) -> Result<Judged, Failure> {
        let mut asked = self.desk.ask(transaction);
        match heard(&mut asked.answer).await? {
            Heard::Answer(judged) => Ok(judged),
            Heard::Misspelled(mut answer) => match timeout(FORGERY_PATIENCE, heard(&mut answer)).await {
                Ok(Ok(Heard::Answer(judged))) => Ok(judged),
                Ok(Err(failure)) => Err(failure),
                Ok(Ok(Heard::Misspelled(_))) | Err(_) => Ok(Judged::Misspelled),
            },
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What was heard in answer to a question.
#[derive(Debug)]
enum Heard {
    Answer(Judged),
    /// What has only the case of the name wrong; the answer may still come.
    Misspelled(Receiver),
}

type Sender = oneshot::Sender<Result<Heard, Failure>>;
type Receiver = oneshot::Receiver<Result<Heard, Failure>>;

async fn heard(answer: &mut Receiver) -> Result<Heard, Failure> {
    answer.await.unwrap_or(Err(Failure::UpstreamUnreachable))
}

/// A question under way, by who asked it. Whoever no longer waits is forgotten.
struct Asked<'a> {
    desk: &'a Desk,
    id: [u8; 2],
    answer: Receiver,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.answer.close();
        let mut questions = self.desk.questions();
        // By now the id may be another question's.
        if let Entry::Occupied(waiting) = questions.waiting.entry(self.id)
            && waiting.get().reply.is_closed()
        {
            waiting.remove();
        }
    }
}

/// Where the questions of a line are.
#[derive(Debug)]
struct Desk {
    socket: UdpSocket,
    questions: Mutex<Questions>,
    /// There is something to send.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Questions {
    unsent: Outbox,
    waiting: FxHashMap<[u8; 2], Waiting>,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Waiting {
    transaction: Transaction,
    reply: Sender,
    is_misspelled: bool,
}

impl Desk {
    fn at(socket: UdpSocket) -> Self {
        Self { socket, questions: Mutex::default(), asked: Notify::new() }
    }

    fn ask(&self, mut transaction: Transaction) -> Asked<'_> {
        let (reply, answer) = oneshot::channel();
        let mut questions = self.questions();
        while questions.waiting.contains_key(&transaction.id()) {
            transaction = transaction.of_id(rand::random());
        }
        let id = transaction.id();
        questions.unsent.put(transaction.wire().to_vec(), None);
        questions.waiting.insert(id, Waiting { transaction, reply, is_misspelled: false });
        let count = questions.unsent.len();
        drop(questions);
        if count >= TOGETHER {
            self.send();
        } else if count == 1 {
            self.asked.notify_one();
        }
        Asked { desk: self, id, answer }
    }

    /// Sends and reads, for ever.
    async fn serve(&self) {
        loop {
            tokio::select! {
                () = self.asked.notified() => {
                    // What others ask now goes along.
                    yield_now().await;
                    while !self.send() && self.socket.writable().await.is_ok() {}
                }
                ready = self.socket.ready(Interest::READABLE | Interest::ERROR) => {
                    let Ok(ready) = ready else { return };
                    // The one is taken back without the other.
                    self.read(if ready.is_readable() { Interest::READABLE } else { Interest::ERROR });
                }
            }
        }
    }

    /// Whether there was room for all of it.
    fn send(&self) -> bool {
        let mut unsent = std::mem::take(&mut self.questions().unsent);
        let mut lost = Vec::new();
        unsent.send(&self.socket, |query| lost.extend(query.first_chunk::<2>().copied()));
        let mut questions = self.questions();
        lost.iter().for_each(|id| questions.fail(*id));
        unsent.append(&mut questions.unsent);
        questions.unsent = unsent;
        let was_room = questions.unsent.is_empty();
        drop(questions);
        if !was_room {
            self.asked.notify_one();
        }
        was_room
    }

    fn read(&self, interest: Interest) {
        let mut buffer = [0; BUFFER];
        for _ in 0..AT_ONCE {
            let received = self
                .socket
                .try_io(interest, || Ok(recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?));
            match received {
                Ok(length) => self.questions().hear(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody listens there, or there is no way to it.
                Err(_) => self.questions().fail_all(),
            }
        }
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Questions {
    fn hear(&mut self, message: &[u8]) {
        let Some(id) = message.first_chunk::<2>() else { return };
        let Entry::Occupied(mut waiting) = self.waiting.entry(*id) else { return };
        match waiting.get().transaction.judge(message) {
            Judged::NotOurs => {}
            Judged::Misspelled => waiting.get_mut().doubt(),
            judged => waiting.remove().tell(Ok(Heard::Answer(judged))),
        }
    }

    fn fail(&mut self, id: [u8; 2]) {
        if let Some(waiting) = self.waiting.remove(&id) {
            waiting.tell(Err(Failure::UpstreamUnreachable));
        }
    }

    fn fail_all(&mut self) {
        self.waiting.drain().for_each(|(_, waiting)| waiting.tell(Err(Failure::UpstreamUnreachable)));
    }
}

impl Waiting {
    fn doubt(&mut self) {
        if std::mem::replace(&mut self.is_misspelled, true) {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let before = std::mem::replace(&mut self.reply, reply);
        let _ = before.send(Ok(Heard::Misspelled(answer)));
    }

    fn tell(self, heard: Result<Heard, Failure>) {
        // Whoever asked may have gone.
        let _ = self.reply.send(heard);
    }
}

#[cfg(test)]
mod tests;
