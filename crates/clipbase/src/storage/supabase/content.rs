//! Content on its way out: exactly as long as declared, in constant memory, and watched while it moves.
//!
//! [`Exact`] hands out the last piece only when the stream has ended at the declared length, so a server never
//! holds a complete object that was cut or grew. [`SizedBody`] is such a stream as a request's body with a
//! `Content-Length`: without one, the server would not apply its size limit.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::{Body, Frame, SizeHint};

use super::failure::Failure;
use crate::error::Cause;
use crate::storage::ByteStream;

/// What is wrong with the caller's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("stream shorter than declared")]
    Short,
    #[error("stream longer than declared")]
    Long,
    #[error("stream failed")]
    Broken(io::ErrorKind),
    #[error("bytes that the server lost cannot be sent again")]
    Gone,
}

impl Fault {
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Broken(kind) => Cause::io(&kind.into()),
            Self::Short => Cause::new("stream shorter than declared"),
            Self::Long => Cause::new("stream longer than declared"),
            Self::Gone => Cause::new("bytes that the server lost cannot be sent again"),
        }
    }
}

/// A stream of exactly the declared length.
pub(super) struct Exact {
    content: ByteStream,
    missing: u64,
    held: Option<Bytes>,
    ended: bool,
}

impl Exact {
    pub(super) fn new(content: ByteStream, length: u64) -> Self {
        Self {
            content,
            missing: length,
            held: None,
            ended: false,
        }
    }

    fn end(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, Fault>>> {
        self.ended = true;
        self.held = None;
        Poll::Ready(Some(Err(fault)))
    }
}

impl Stream for Exact {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(self.held.take().map(Ok));
            }
            match ready!(self.content.poll_next_unpin(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    let Some(missing) = self.missing.checked_sub(length) else {
                        return self.end(Fault::Long);
                    };
                    self.missing = missing;
                    if let Some(earlier) = self.held.replace(piece) {
                        return Poll::Ready(Some(Ok(earlier)));
                    }
                }
                Some(Err(error)) => return self.end(Fault::Broken(error.kind())),
                None if self.missing > 0 => return self.end(Fault::Short),
                None => self.ended = true,
            }
        }
    }
}

/// What is known of a transfer while the HTTP library runs it.
#[derive(Default)]
pub(super) struct Flow {
    touched: AtomicBool,
    moved: AtomicBool,
    waiting: AtomicBool,
    fault: OnceLock<Fault>,
}

impl Flow {
    /// Tells whether a byte may have been taken out of the content.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::SeqCst)
    }

    /// Returns what was wrong with the content, if that ended the transfer.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// Runs a transfer as long as it moves, or waits for the caller's content, which may take its time. Gives
    /// it up when the server has taken nothing for one to two times the patience.
    pub(super) async fn watch<T>(
        &self,
        patience: Duration,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut request = pin!(request);
        loop {
            if let Ok(outcome) = tokio::time::timeout(patience, &mut request).await {
                return outcome;
            }
            let moved = self.moved.swap(false, Ordering::SeqCst);
            if !moved && !self.waiting.load(Ordering::SeqCst) {
                return Err(Failure::timed_out());
            }
        }
    }
}

/// Content that outlives a request which never touched it.
pub(super) type SharedContent = Arc<Mutex<Exact>>;

/// Content as the body of a request.
pub(super) struct SizedBody {
    content: SharedContent,
    left: u64,
    flow: Arc<Flow>,
}

impl SizedBody {
    pub(super) fn new(content: SharedContent, length: u64, flow: Arc<Flow>) -> Self {
        Self {
            content,
            left: length,
            flow,
        }
    }
}

impl Body for SizedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.flow.touched.store(true, Ordering::SeqCst);
        self.flow.moved.store(true, Ordering::SeqCst);
        let next = {
            let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            content.poll_next_unpin(cx)
        };
        self.flow.waiting.store(next.is_pending(), Ordering::SeqCst);
        match ready!(next) {
            Some(Ok(piece)) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.left = self.left.saturating_sub(length);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(Err(fault)) => {
                // The first fault stands; there is never a second one.
                self.flow.fault.get_or_init(|| fault);
                Poll::Ready(Some(Err(fault)))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future, stream};

    use super::*;
    use crate::storage::byte_stream;

    fn pieces(texts: &'static [&'static str]) -> ByteStream {
        stream::iter(
            texts
                .iter()
                .map(|text| Ok(Bytes::from_static(text.as_bytes()))),
        )
        .boxed()
    }

    async fn collected(exact: Exact) -> (Vec<Bytes>, Option<Fault>) {
        let mut got = Vec::new();
        let mut exact = pin!(exact);
        while let Some(piece) = exact.next().await {
            match piece {
                Ok(piece) => got.push(piece),
                Err(fault) => return (got, Some(fault)),
            }
        }
        (got, None)
    }

    #[tokio::test]
    async fn the_last_piece_comes_only_after_the_end() {
        let (got, fault) = collected(Exact::new(pieces(&["ab", "", "cd"]), 4)).await;
        assert_eq!((got.concat(), fault), (b"abcd".to_vec(), None));
        for (texts, length, expected) in [
            (&["ab", "cd"][..], 5, Fault::Short),
            (&["ab", "cd"], 3, Fault::Long),
            (&["ab", "cd", "e"], 4, Fault::Long),
            (&[], 1, Fault::Short),
            (&["a"], 0, Fault::Long),
        ] {
            let (got, fault) = collected(Exact::new(pieces(texts), length)).await;
            assert_eq!(fault, Some(expected));
            assert!((got.concat().len() as u64) < length.max(1), "{texts:?}");
        }
        let broken = byte_stream("ab").chain(stream::iter([Err(io::ErrorKind::Other.into())]));
        let (got, fault) = collected(Exact::new(broken.boxed(), 2)).await;
        assert_eq!(
            (got.len(), fault),
            (0, Some(Fault::Broken(io::ErrorKind::Other)))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_nothing_is_given_up_and_a_slow_caller_is_not() {
        let patience = Duration::from_secs(60);
        let flow = Arc::new(Flow::default());
        let stuck = flow.watch(patience, future::pending::<Result<(), Failure>>());
        assert!(stuck.await.unwrap_err().is_passing());

        let slow = stream::once(async {
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            Ok(Bytes::from_static(b"x"))
        });
        let content = Arc::new(Mutex::new(Exact::new(slow.boxed(), 1)));
        let mut body = SizedBody::new(content, 1, Arc::clone(&flow));
        let request = future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).map(|_| Ok(()));
        assert!(flow.watch(patience, request).await.is_ok());
    }
}
