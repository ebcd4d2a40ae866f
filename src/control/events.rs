//! The live events as the body of an answer: a line a chunk, until the reader
//! or the daemon goes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::watch;

use crate::journal::Stream;

/// Waits for the next line, and gives the sources of it back.
type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Source)>> + Send>>;

/// The body. Whoever does not read it holds nothing but its own connection.
pub(super) struct Events(Option<Next>);

struct Source {
    stream: Stream,
    stopping: watch::Receiver<bool>,
}

impl Events {
    /// What comes over `stream`, until `stopping` says so.
    pub(super) fn of(stream: Stream, stopping: watch::Receiver<bool>) -> Self {
        Self(Some(Box::pin(Source { stream, stopping }.next())))
    }
}

impl Source {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let line = tokio::select! {
            biased;
            line = self.stream.next() => line?,
            // Who could say stop and has gone has said it.
            _ = self.stopping.wait_for(|stop| *stop) => return None,
        };
        Some((line, self))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        let Some((line, source)) = ready!(next.as_mut().poll(context)) else {
            self.0 = None;
            return Poll::Ready(None);
        };
        self.0 = Some(Box::pin(source.next()));
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}
