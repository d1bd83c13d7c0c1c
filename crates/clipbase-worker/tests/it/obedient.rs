//! A clipper that does what the test orders, when it orders it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use clipbase_worker::clipper::{
    Clip, ClipError, ClipErrorCode, ClipRequest, Clipper, CutMethod, Progress, Stage,
};
use tokio::sync::{Mutex, Semaphore, mpsc};

/// What the clipper shall do next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Report overall progress of so many percent, and wait for the next order.
    Report(u8),
    /// Make a clip.
    Clip,
    /// Give up.
    Fail(ClipErrorCode),
}

#[derive(Clone, Debug)]
pub(crate) struct Obedient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    orders: mpsc::UnboundedSender<Order>,
    /// Clips that run at a time share the orders: whoever is first takes the next.
    todo: Mutex<mpsc::UnboundedReceiver<Order>>,
    begun: Semaphore,
    stopped: Semaphore,
    running: AtomicUsize,
    most: AtomicUsize,
}

/// Sees a clip that is dropped before its end.
struct Watch<'a> {
    inner: &'a Inner,
    ended: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.inner.running.fetch_sub(1, Ordering::SeqCst);
        if !self.ended {
            self.inner.stopped.add_permits(1);
        }
    }
}

impl Obedient {
    pub(crate) fn new() -> Self {
        let (orders, todo) = mpsc::unbounded_channel();
        Self(Arc::new(Inner {
            orders,
            todo: Mutex::new(todo),
            begun: Semaphore::new(0),
            stopped: Semaphore::new(0),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn order(&self, order: Order) {
        self.0.orders.send(order).unwrap();
    }

    /// Waits until one more clip has begun.
    pub(crate) async fn begun(&self) {
        self.0.begun.acquire().await.unwrap().forget();
    }

    /// Waits until one more clip was dropped before its end.
    pub(crate) async fn stopped(&self) {
        self.0.stopped.acquire().await.unwrap().forget();
    }

    pub(crate) fn most_at_a_time(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Clipper for Obedient {
    async fn clip(
        &self,
        request: &ClipRequest,
        progress: &dyn Progress,
    ) -> Result<Clip, ClipError> {
        let inner = &*self.0;
        let running = inner.running.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(running, Ordering::SeqCst);
        let mut watch = Watch {
            inner,
            ended: false,
        };
        inner.begun.add_permits(1);
        loop {
            match inner.todo.lock().await.recv().await.unwrap() {
                // The clipper's percent are the job's from 5 to 95.
                Order::Report(percent) => progress.report(Stage::Encoding, percent),
                Order::Fail(code) => {
                    watch.ended = true;
                    return Err(ClipError::new(code, "as ordered"));
                }
                Order::Clip => {
                    watch.ended = true;
                    let video = request.scratch.join("clip.mp4");
                    std::fs::write(&video, "clip").unwrap();
                    return Ok(Clip {
                        video,
                        subtitles: None,
                        duration_ms: request.end_ms - request.start_ms,
                        method: CutMethod::Copied,
                    });
                }
            }
        }
    }
}
