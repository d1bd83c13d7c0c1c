//! The load: callers with a kept connection each, one request under way at a time, and a clock beside it.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One measurement.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) elapsed: Duration,
    /// Of each request, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Of the server's process; `None` where it cannot be read.
    pub(crate) cpu: Option<Duration>,
}

/// Callers that are connected.
pub(crate) struct Load(Vec<Caller>);

struct Caller {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Load {
    pub(crate) async fn connect(address: SocketAddr, callers: u32) -> Self {
        let mut all = Vec::new();
        for _ in 0..callers {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            all.push(Caller {
                stream,
                answer: Vec::with_capacity(64 * 1024),
            });
        }
        Self(all)
    }

    /// Sends these requests, each once, by whoever is free.
    pub(crate) async fn send(
        &mut self,
        requests: &Arc<Vec<Vec<u8>>>,
        which: Range<usize>,
    ) -> Sample {
        let next = Arc::new(AtomicUsize::new(which.start));
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for mut caller in self.0.drain(..) {
            let (requests, next, end) = (Arc::clone(requests), Arc::clone(&next), which.end);
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= end {
                        return (caller, latencies);
                    }
                    let sent = Instant::now();
                    caller.call(&requests[at]).await;
                    latencies.push(sent.elapsed());
                }
            });
        }
        let mut latencies = Vec::new();
        for (caller, own) in tasks.join_all().await {
            self.0.push(caller);
            latencies.extend(own);
        }
        let elapsed = started.elapsed();
        assert_eq!(
            latencies.len(),
            which.len(),
            "every request is answered once"
        );
        latencies.sort_unstable();
        Sample {
            elapsed,
            latencies,
            cpu: None,
        }
    }
}

impl Caller {
    /// Sends a request and reads its answer to the end.
    async fn call(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        self.answer.clear();
        let (head, length) = loop {
            self.read().await;
            let found = self.answer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = found {
                break (end + 4, content_length(&self.answer[..end]));
            }
        };
        while self.answer.len() < head + length {
            self.read().await;
        }
        let is_good = self.answer.starts_with(b"HTTP/1.1 2") && self.answer.len() == head + length;
        assert!(
            is_good,
            "not an answer to count: {}",
            String::from_utf8_lossy(&self.answer)
        );
    }

    async fn read(&mut self) {
        let read = self.stream.read_buf(&mut self.answer).await.unwrap();
        assert!(read > 0, "the server closed a connection");
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value.unwrap().trim().parse().unwrap()
}
