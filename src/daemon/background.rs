//! Work that must not take the processor from those who answer.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::Builder;

use tokio::sync::oneshot;

/// The lowest priority there is (setpriority(2)).
const LOWEST: i32 = 19;

/// A thread for heavy work, one piece after the other. It is always the same
/// one, because the allocator keeps memory for each thread: what a large policy
/// leaves behind there is what the next one is made of.
#[derive(Clone)]
pub(super) struct Background(mpsc::Sender<Job>);

struct Job {
    yields: bool,
    work: Box<dyn FnOnce() + Send>,
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        Builder::new().name("background".to_owned()).spawn(move || {
            for Job { yields, work } in jobs {
                // In Linux a priority is the thread's own. Without it the work
                // is done all the same.
                if yields && let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
                    tracing::debug!("the priority of the background thread stays as it is: {error}");
                }
                // Whoever waits finds the result missing.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        })?;
        Ok(Self(sender))
    }

    /// Does `work` while nobody is answering yet, and waits for it.
    ///
    /// # Errors
    /// When it panicked.
    pub(super) fn first<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        self.send(false, work).blocking_recv().map_err(|_| Panicked)
    }

    /// Does `work` at the lowest priority.
    ///
    /// # Errors
    /// When it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        self.send(true, work).await.map_err(|_| Panicked)
    }

    fn send<T: Send + 'static>(&self, yields: bool, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, result) = oneshot::channel();
        // Whoever waited may have gone; so may the thread, and then the result
        // is missing.
        let work = Box::new(move || drop(sender.send(work())));
        let _ = self.0.send(Job { yields, work });
        result
    }
}

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_work_yields_to_everything_else_and_outlives_a_panic() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let background = Background::start().unwrap();
        assert_eq!(background.run(|| panic!("on purpose")).await, Err::<(), _>(Panicked));
        assert_eq!(background.run(nice).await, Ok(LOWEST));
        assert_eq!(nice(), before);
    }

    #[test]
    fn the_first_work_is_done_at_the_usual_priority() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        assert_eq!(Background::start().unwrap().first(nice), Ok(nice()));
    }
}
