//! Who waits to be traced. Clients take turns, so that one that is denied a
//! thousand times a second does not keep another's first denial waiting.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::process::{Ends, Traced, Untraced};

/// Questions that wait at once.
const MOST: usize = 1024;
/// Of one client.
const MOST_OF_ONE: usize = 256;

/// Who sent this?
pub(super) struct Question {
    pub(super) ends: Ends,
    /// When the answer is of no use any more.
    pub(super) deadline: Instant,
    /// Those who want to know.
    pub(super) replies: Vec<Box<dyn FnOnce(Traced) + Send>>,
}

impl Question {
    /// Tells everybody who wanted to know.
    pub(super) fn reply(self, traced: &Traced) {
        for reply in self.replies {
            reply(traced.clone());
        }
    }
}

/// What there is to do.
pub(super) enum Next {
    /// Answer this.
    Question(Question),
    /// Nothing, for as long as one wanted to wait.
    Nothing,
    /// Nobody will ask again.
    Closed,
}

/// The questions that wait.
#[derive(Default)]
pub(super) struct Turns {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    of_client: BTreeMap<IpAddr, VecDeque<Question>>,
    turns: VecDeque<IpAddr>,
    count: usize,
    is_closed: bool,
}

impl Turns {
    /// Puts a question; where there is no room, it is answered at once.
    pub(super) fn put(&self, question: Question) {
        let refused = self.waiting().put(question);
        match refused {
            None => self.bell.notify_one(),
            Some((question, why)) => question.reply(&Traced::Missing(why)),
        }
    }

    /// The next one, if there is one within `patience`; without, at any time.
    pub(super) fn next(&self, patience: Option<Duration>) -> Next {
        let waiting = self.waiting();
        let is_idle = |waiting: &mut Waiting| waiting.count == 0 && !waiting.is_closed;
        let mut waiting = match patience {
            Some(patience) => {
                let woken = self.bell.wait_timeout_while(waiting, patience, is_idle);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.bell.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner),
        };
        match waiting.take() {
            Some(question) => Next::Question(question),
            None if waiting.is_closed => Next::Closed,
            None => Next::Nothing,
        }
    }

    /// Nobody asks, or answers, any more.
    pub(super) fn close(&self) {
        let left = {
            let mut waiting = self.waiting();
            waiting.is_closed = true;
            std::iter::from_fn(|| waiting.take()).collect::<Vec<_>>()
        };
        self.bell.notify_all();
        for question in left {
            question.reply(&Traced::Missing(Untraced::TooSlow));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panics holds it between two whole steps.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn put(&mut self, question: Question) -> Option<(Question, Untraced)> {
        if self.is_closed {
            return Some((question, Untraced::NotAllowed));
        }
        let client = question.ends.client.ip();
        let of_client = self.of_client.entry(client).or_default();
        if self.count >= MOST || of_client.len() >= MOST_OF_ONE {
            return Some((question, Untraced::TooSlow));
        }
        if of_client.is_empty() {
            self.turns.push_back(client);
        }
        of_client.push_back(question);
        self.count += 1;
        None
    }

    /// The next one, and with it all that wait between the same ends: one look
    /// answers them.
    fn take(&mut self) -> Option<Question> {
        let client = self.turns.pop_front()?;
        let of_client = self.of_client.get_mut(&client)?;
        let before = of_client.len();
        let mut question = of_client.pop_front()?;
        let (same, others): (VecDeque<_>, _) = of_client.drain(..).partition(|other| other.ends == question.ends);
        for other in same {
            question.deadline = question.deadline.max(other.deadline);
            question.replies.extend(other.replies);
        }
        *of_client = others;
        self.count = self.count.saturating_sub(before - of_client.len());
        if of_client.is_empty() {
            self.of_client.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        Some(question)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::core::query::Protocol;

    fn question(client: &str, sender: &Sender<Traced>) -> Question {
        let client: SocketAddr = client.parse().unwrap();
        let ends = Ends::new(Protocol::Udp, client, "10.77.0.1:53".parse().unwrap());
        let sender = sender.clone();
        let reply: Box<dyn FnOnce(Traced) + Send> = Box::new(move |traced| drop(sender.send(traced)));
        Question { ends, deadline: Instant::now(), replies: vec![reply] }
    }

    fn next(turns: &Turns) -> Option<u16> {
        match turns.next(Some(Duration::ZERO)) {
            Next::Question(question) => Some(question.ends.client.port()),
            Next::Nothing | Next::Closed => None,
        }
    }

    #[test]
    fn all_that_wait_over_one_socket_are_answered_by_one_look() {
        let (turns, (sender, replies)) = (Turns::default(), channel());
        for port in [1, 2, 1, 1] {
            turns.put(question(&format!("10.77.0.2:{port}"), &sender));
        }
        let Next::Question(first) = turns.next(Some(Duration::ZERO)) else { panic!("nobody waits") };
        assert_eq!((first.ends.client.port(), first.replies.len()), (1, 3));
        first.reply(&Traced::Missing(Untraced::Gone));
        assert_eq!(replies.try_iter().collect::<Vec<_>>(), vec![Traced::Missing(Untraced::Gone); 3]);
        assert_eq!([next(&turns), next(&turns)], [Some(2), None]);
    }

    #[test]
    fn clients_take_turns_and_none_fills_the_queue_for_the_others() {
        let (turns, (sender, replies)) = (Turns::default(), channel());
        for port in 1..=1000 {
            turns.put(question(&format!("10.77.0.2:{port}"), &sender));
        }
        turns.put(question("10.77.1.2:7777", &sender));
        assert_eq!(replies.try_iter().count(), 1000 - MOST_OF_ONE);
        assert_eq!([next(&turns), next(&turns), next(&turns)], [Some(1), Some(7777), Some(2)]);

        turns.close();
        assert_eq!(replies.try_iter().count(), MOST_OF_ONE - 2);
        assert_eq!(next(&turns), None);
        turns.put(question("10.77.1.2:7777", &sender));
        assert_eq!(replies.try_recv(), Ok(Traced::Missing(Untraced::NotAllowed)));
    }
}
