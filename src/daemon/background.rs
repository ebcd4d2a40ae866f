//! Work that must not take the processor from those who answer.

use std::thread::Builder;

use tokio::sync::oneshot;

/// The lowest priority there is (setpriority(2)).
const LOWEST: i32 = 19;

/// Does `work` on a thread of its own, at the lowest priority.
///
/// # Errors
/// Says why it was not done: there was no thread to be had, or it panicked.
pub(super) async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, result) = oneshot::channel();
    let thread = Builder::new().name("background".to_owned()).spawn(move || {
        // In Linux a priority is the thread's own. Without it the work is done
        // all the same.
        if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
            tracing::debug!("the priority of a background thread stays as it is: {error}");
        }
        // Whoever waited may have gone.
        let _ = sender.send(work());
    });
    thread.map_err(|error| format!("no thread to be had: {error}"))?;
    result.await.map_err(|_| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_work_yields_to_everything_else_and_a_panic_is_an_error() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(in_background(nice).await, Ok(LOWEST));
        assert_eq!(nice(), before);
        assert_eq!(in_background(|| panic!("on purpose")).await, Err::<(), _>("it panicked".to_owned()));
    }
}
