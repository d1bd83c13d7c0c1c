//! The worker: claims jobs, runs them and finishes them, and never writes without its lease.
//!
//! A worker is one process-wide identity. Finished jobs are confirmed and new ones claimed in one statement. Its heart beats for all of its jobs in one statement, on a task
//! of its own, and stops the work whose lease is lost or whose cancel was asked for. Shutting down releases
//! what is unfinished, at no cost of an attempt.

mod execute;
mod fetch;
mod heart;
mod options;
mod presence;
mod scratch;
mod shift;
mod tally;
mod ticks;
mod word;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clipbase::leases::{ClaimOptions, Failure, REAP_MAX};
use clipbase::{Clipbase, Error, Job, JobId, JobStatus, Result, WorkerId};
use tokio_util::sync::CancellationToken;

use crate::clipper::Clipper;
use execute::Desk;
use heart::Heart;
use presence::Presence;
use scratch::Scratch;
use shift::Shift;

pub use execute::{JobStage, Observer, Outcome, Silent};
pub use options::{
    CLEANUP_INTERVAL, CONCURRENCY_MAX, PREFETCH_MAX, RECONCILE_INTERVAL, RUN_TIME_MAX,
    WorkerOptions,
};
pub use shift::FINISH_GATHER;
pub use tally::METRICS;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Jobs that are done.
    pub done: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs that went back into the queue.
    pub requeued: u64,
    /// Jobs whose lease was lost on the way.
    pub lost: u64,
}

impl Summary {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Requeued => self.requeued += 1,
            Outcome::Lost => self.lost += 1,
        }
    }
}

/// How [`Worker::run_job`] came to its end.
#[derive(Clone, Debug)]
pub enum Ran {
    /// The job is done or has failed for good.
    Ended(Box<Job>),
    /// This worker's attempt failed in a way that may pass: the job is queued again, or waits for its
    /// backoff.
    Requeued(Failure),
    /// A shutdown was asked for; the job is released.
    Stopped,
}

/// A worker process. Cheap to clone; all clones share one identity and one heart.
#[derive(Clone, Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: WorkerId,
    clipbase: Clipbase,
    clipper: Arc<dyn Clipper>,
    options: WorkerOptions,
    heart: Heart,
    scratch: Scratch,
    rotation: AtomicU32,
    /// Held for as long as the process lives: others on this machine see that it does.
    _presence: Option<Presence>,
}

impl Drop for Shared {
    /// Every lease has removed its own folder by now; an empty one is left, if any.
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(self.scratch.folder())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(kind = ?error.kind(), "the worker's scratch directory stays behind");
        }
    }
}

impl Worker {
    /// Makes a worker with a fresh identity and starts its heart. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// `INVALID_INPUT` for options out of bounds; `CONFIG_INVALID` when its folders cannot be made.
    pub fn start(
        clipbase: Clipbase,
        clipper: Arc<dyn Clipper>,
        options: WorkerOptions,
    ) -> Result<Self> {
        options.check()?;
        let id = WorkerId::new();
        let presence = options
            .presence_dir
            .as_deref()
            .map(|folder| Presence::announce(folder, id))
            .transpose()?;
        let heart = Heart::start(clipbase.clone(), &options);
        let scratch = Scratch::new(
            &options.scratch_dir.join(id.to_string()),
            options.scratch_bytes_max,
        );
        let rotation = AtomicU32::new(0);
        Ok(Self {
            shared: Arc::new(Shared {
                id,
                clipbase,
                clipper,
                options,
                heart,
                scratch,
                rotation,
                _presence: presence,
            }),
        })
    }

    /// Returns the worker's identity.
    pub fn id(&self) -> WorkerId {
        self.shared.id
    }

    /// Takes jobs back from workers of this machine that are dead, and from any whose leases have run out.
    /// Returns how many.
    ///
    /// # Errors
    /// The database's.
    pub async fn reap(&self) -> Result<usize> {
        let shared = &self.shared;
        let mut count = 0;
        if let Some(folder) = &shared.options.presence_dir {
            let dead = presence::dead_workers(folder)?;
            count += shared
                .clipbase
                .leases()
                .reap_workers(&dead.ids(), REAP_MAX)
                .await?
                .len();
            for id in dead.ids() {
                execute::remove_folder(&shared.options.scratch_dir.join(id.to_string())).await;
            }
            dead.forget();
        }
        count += shared.clipbase.leases().reap(REAP_MAX).await?.len();
        if count > 0 {
            tracing::info!(count, "took jobs back from lost workers");
        }
        Ok(count)
    }

    /// Works until `shutdown` is canceled; then waits for running jobs as long as the options allow, and
    /// releases the rest.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH` and other errors that trying again cannot mend. A database that is away for a
    /// while is waited for.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<Summary> {
        Shift::new(self, shutdown, Arc::new(Silent))
            .work(false)
            .await
    }

    /// Works until nothing is queued and nothing is being processed, or `shutdown` is canceled. Jobs of
    /// lost workers are waited for until their leases end.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub async fn run_until_idle(
        &self,
        shutdown: &CancellationToken,
        observer: Arc<dyn Observer>,
    ) -> Result<Summary> {
        Shift::new(self, shutdown, observer).work(true).await
    }

    /// Runs one job: here, or by watching another worker do it. Returns after an attempt of its own that
    /// failed and may be repeated, so that the caller decides whether to wait; call it again to go on.
    ///
    /// # Errors
    /// `NOT_FOUND` when the job is deleted meanwhile; otherwise the database's.
    pub async fn run_job(
        &self,
        id: JobId,
        observer: &dyn Observer,
        shutdown: &CancellationToken,
    ) -> Result<Ran> {
        let options = &self.shared.options;
        let mut next_reap = tokio::time::Instant::now();
        while !shutdown.is_cancelled() {
            let job = self.shared.clipbase.jobs().get(id).await?;
            let job = job.ok_or(Error::NotFound { what: "job" })?;
            match job.status {
                JobStatus::Done | JobStatus::Failed => return Ok(Ran::Ended(Box::new(job))),
                JobStatus::Queued => {
                    let ttl = options.lease_ttl;
                    let leases = self.shared.clipbase.leases();
                    if let Some(lease) = leases.claim_job(self.shared.id, id, ttl).await? {
                        let desk = Desk {
                            observer,
                            stop: shutdown,
                            slots: None,
                            reports: None,
                        };
                        let ended = self.execute(lease, desk).await;
                        match (ended.outcome, ended.failure) {
                            (Outcome::Requeued, Some(failure)) => {
                                return Ok(Ran::Requeued(failure));
                            }
                            _ => continue,
                        }
                    }
                    observer.stage(id, JobStage::Waiting, 0);
                }
                JobStatus::Processing => {
                    observer.stage(
                        id,
                        JobStage::Elsewhere,
                        u8::try_from(job.progress).unwrap_or(0),
                    );
                    if tokio::time::Instant::now() >= next_reap {
                        self.reap().await?;
                        next_reap = tokio::time::Instant::now() + Duration::from_secs(2);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(options.poll_min) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(Ran::Stopped)
    }

    fn claim_options(&self, limit: usize) -> ClaimOptions {
        let shared = &self.shared;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut claim = ClaimOptions::new(shared.id, limit);
        claim.shards.clone_from(&shared.options.shards);
        claim.lease_ttl = shared.options.lease_ttl;
        claim.rotation = shared.rotation.fetch_add(1, Ordering::Relaxed);
        claim
    }

    async fn is_idle(&self) -> Result<bool> {
        // A queued job whose source is not named yet is nobody's work.
        if !self.shared.clipbase.inspect().queues().await?.is_empty() {
            return Ok(false);
        }
        let stats = self.shared.clipbase.jobs().stats().await?;
        Ok(stats
            .statuses
            .iter()
            .all(|state| state.status != JobStatus::Processing || state.count == 0))
    }

    /// Lets errors pass that time may mend, with a word in the log: a worker outlives its database's
    /// restarts.
    fn tolerate<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code().is_retryable() => {
                let code = error.code().as_str();
                tracing::warn!(worker = %self.shared.id, code, "{error}; trying again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Half to one and a half times as long, so that processes do not act in step.
pub fn jittered(pause: Duration) -> Duration {
    let random = WorkerId::new().as_uuid().as_fields().0;
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}
