//! How long an idle worker takes to begin a job: from the answer of `create` to the clipper's first moment, with
//! wake-ups and with polling alone, on a server of the tests' own.
//!
//! ```text
//! cargo run --release -p clipbase-worker --example pickup -- 200
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints, and fails where it stands"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clipbase::storage::{Storage as _, StorageKey, byte_stream};
use clipbase_testkit::{Bench, builders, run};
use clipbase_worker::clipper::{Clip, ClipError, ClipRequest, Clipper, CutMethod, Progress};
use clipbase_worker::{Worker, WorkerOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tells when a clip begins, and makes an empty one.
#[derive(Debug)]
struct Stopwatch(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Clipper for Stopwatch {
    async fn clip(&self, request: &ClipRequest, _: &dyn Progress) -> Result<Clip, ClipError> {
        self.0.send(Instant::now()).unwrap();
        let video = request.scratch.join("clip.mp4");
        std::fs::write(&video, "clip").unwrap();
        Ok(Clip {
            video,
            subtitles: None,
            duration_ms: 0,
            method: CutMethod::Copied,
        })
    }
}

#[tokio::main]
async fn main() {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    for listen in [true, false] {
        run(async |bench| measure(bench, listen, rounds).await).await;
    }
}

async fn measure(bench: &Bench, listen: bool, rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = WorkerOptions::new(folder.path());
    options.listen = listen;
    let (tell, mut told) = mpsc::unbounded_channel();
    let clipper = Arc::new(Stopwatch(tell));
    let worker = Worker::start(bench.clipbase.clone(), clipper, options).unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let task = tokio::spawn(async move { worker.run(&stop).await });
    // Long enough for the connections to be made, and for the pause to have grown in part.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut taken = Vec::new();
    for round in 0..rounds {
        let new = builders::new_job();
        let key = StorageKey::source(new.id, "mp4").unwrap();
        let source = byte_stream("video");
        bench.storage.upload_stream(source, 5, &key).await.unwrap();
        bench.clipbase.jobs().create(&new).await.unwrap();
        let created = Instant::now();
        taken.push(
            told.recv()
                .await
                .unwrap()
                .saturating_duration_since(created),
        );
        // Jobs come at all moments of the pause, and find the worker idle.
        tokio::time::sleep(Duration::from_millis(60 + u64::from(round * 37 % 200))).await;
    }
    shutdown.cancel();
    task.await.unwrap().unwrap();
    taken.sort_unstable();
    let at = |percent: usize| {
        taken
            .get((taken.len() - 1) * percent / 100)
            .unwrap()
            .as_secs_f64()
    };
    println!(
        "{}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms, of {rounds}",
        if listen { "wake-ups" } else { "polling " },
        at(50) * 1e3,
        at(99) * 1e3,
        at(100) * 1e3
    );
}
