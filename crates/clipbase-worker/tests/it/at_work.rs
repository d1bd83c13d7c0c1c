//! A worker at work for a test, hasty in everything, and short words about its jobs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clipbase::storage::{Storage as _, StorageKey, byte_stream};
use clipbase::{Backoff, Clipbase, Job, JobId, Settings};
use clipbase_testkit::{Bench, builders, wait_until};
use clipbase_worker::clipper::Clipper;
use clipbase_worker::runtime::Summary;
use clipbase_worker::{Worker, WorkerOptions};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A worker at work, with folders of its own.
pub(crate) struct AtWork {
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<clipbase::Result<Summary>>,
}

impl AtWork {
    /// Stops it, and returns what it did.
    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap()
    }
}

pub(crate) fn at_work(
    clipbase: &Clipbase,
    clipper: &(impl Clipper + Clone + 'static),
    options: WorkerOptions,
) -> AtWork {
    let worker = Worker::start(clipbase.clone(), Arc::new(clipper.clone()), options).unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let task = tokio::spawn(async move { worker.run(&stop).await });
    AtWork { shutdown, task }
}

/// Everything happens soon, so that tests need not wait.
pub(crate) fn hasty(folder: &TempDir) -> WorkerOptions {
    let mut options = WorkerOptions::new(folder.path().join("scratch"));
    options.presence_dir = Some(folder.path().join("workers"));
    options.lease_ttl = Duration::from_secs(1);
    options.heartbeat_interval = Duration::from_millis(100);
    options.progress_interval = Duration::from_millis(20);
    options.poll_min = Duration::from_millis(5);
    options.poll_max = Duration::from_millis(20);
    options.reap_interval = Duration::from_millis(50);
    options
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A job whose source is in the storage.
pub(crate) async fn job(bench: &Bench) -> JobId {
    let new = builders::new_job();
    let key = StorageKey::source(new.id, "mp4").unwrap();
    let stored = bench.storage.upload_stream(byte_stream("video"), 5, &key);
    stored.await.unwrap();
    bench.clipbase.jobs().create(&new).await.unwrap().id
}

pub(crate) async fn get(bench: &Bench, id: JobId) -> Job {
    bench.clipbase.jobs().get(id).await.unwrap().unwrap()
}

pub(crate) async fn ends(bench: &Bench, id: JobId) -> Job {
    wait_until("the job has ended", async || {
        get(bench, id).await.status.is_terminal()
    })
    .await;
    get(bench, id).await
}

pub(crate) async fn kinds(bench: &Bench, id: JobId) -> Vec<String> {
    let events = bench.clipbase.events().list(id, 0, 100).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

/// Retries come at once.
pub(crate) fn impatient() -> Settings {
    Settings {
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(1),
        },
        ..Settings::default()
    }
}

pub(crate) fn is_empty(folder: PathBuf) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}
