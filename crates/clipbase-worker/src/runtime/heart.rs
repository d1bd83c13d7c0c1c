//! The heart: one statement for all jobs of the worker, on a task of its own, so that no work however busy
//! holds it up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use clipbase::leases::{BEATS_MAX, Beat, Lease, Verdict};
use clipbase::{Clipbase, JobId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::WorkerOptions;

/// Why a job is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Another worker holds the job.
    Lost,
    /// Somebody asked for its cancel.
    Canceled,
}

/// A job that the heart beats for. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Pulse {
    entry: Arc<Entry>,
    beating: Weak<Beating>,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    progress: AtomicU8,
    stop: CancellationToken,
    why: Mutex<Option<Stop>>,
}

/// The jobs that are beaten for.
type Beating = Mutex<HashMap<JobId, Arc<Entry>>>;

#[derive(Debug)]
pub(super) struct Heart {
    beating: Arc<Beating>,
    /// Asks for a beat out of turn.
    nudge: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Heart {
    pub(super) fn start(clipbase: Clipbase, options: &WorkerOptions) -> Self {
        let beating: Arc<Beating> = Arc::default();
        let nudge: Arc<Notify> = Arc::default();
        let rhythm = Rhythm {
            beating: beating.clone(),
            nudge: nudge.clone(),
            clipbase,
            ttl: options.lease_ttl,
            beat_every: options.heartbeat_interval,
            look_every: options.progress_interval.min(options.heartbeat_interval),
        };
        Self {
            beating,
            nudge,
            task: tokio::spawn(rhythm.go_on()),
        }
    }

    /// Beats at once, because a job may have been canceled.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Beats for a lease from now on.
    pub(super) fn attach(&self, lease: &Lease) -> Pulse {
        let entry = Arc::new(Entry {
            lease: lease.clone(),
            progress: AtomicU8::new(0),
            stop: CancellationToken::new(),
            why: Mutex::new(None),
        });
        lock(&self.beating).insert(lease.job_id(), entry.clone());
        Pulse {
            entry,
            beating: Arc::downgrade(&self.beating),
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pulse {
    /// Takes note of how far the job is; the next beat carries it.
    pub(super) fn progress(&self, percent: u8) {
        self.entry
            .progress
            .fetch_max(percent.min(100), Ordering::Relaxed);
    }

    /// Waits until the job is to be stopped, and says why.
    pub(super) async fn stopped(&self) -> Stop {
        self.entry.stop.cancelled().await;
        lock(&self.entry.why).unwrap_or(Stop::Lost)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let Some(beating) = self.beating.upgrade() else {
            return;
        };
        let mut beating = lock(&beating);
        let job = self.entry.lease.job_id();
        // A later lease of the same job may have taken the place.
        if beating
            .get(&job)
            .is_some_and(|entry| Arc::ptr_eq(entry, &self.entry))
        {
            beating.remove(&job);
        }
    }
}

struct Rhythm {
    beating: Arc<Beating>,
    nudge: Arc<Notify>,
    clipbase: Clipbase,
    ttl: Duration,
    beat_every: Duration,
    look_every: Duration,
}

impl Rhythm {
    async fn go_on(self) {
        let mut told: HashMap<JobId, u8> = HashMap::new();
        let mut last_beat = Instant::now();
        loop {
            let is_nudged = tokio::select! {
                () = tokio::time::sleep(self.look_every) => false,
                () = self.nudge.notified() => true,
            };
            let entries: Vec<Arc<Entry>> = lock(&self.beating).values().cloned().collect();
            let due = last_beat.elapsed() + self.look_every > self.beat_every;
            let moved = entries.iter().any(|entry| {
                let percent = entry.progress.load(Ordering::Relaxed);
                told.get(&entry.lease.job_id()).copied().unwrap_or(0) != percent
            });
            if entries.is_empty() || !(due || moved || is_nudged) {
                continue;
            }
            last_beat = Instant::now();
            told.clear();
            for batch in entries.chunks(BEATS_MAX) {
                self.beat(batch, &mut told).await;
            }
        }
    }

    async fn beat(&self, entries: &[Arc<Entry>], told: &mut HashMap<JobId, u8>) {
        let beats: Vec<Beat<'_>> = entries
            .iter()
            .map(|entry| Beat {
                lease: &entry.lease,
                progress: Some(entry.progress.load(Ordering::Relaxed)),
            })
            .collect();
        match self.clipbase.leases().heartbeat(&beats, self.ttl).await {
            Ok(verdicts) => {
                for ((entry, beat), verdict) in entries.iter().zip(&beats).zip(verdicts) {
                    told.insert(entry.lease.job_id(), beat.progress.unwrap_or(0));
                    match verdict {
                        Verdict::GoOn => {}
                        Verdict::CancelRequested => entry.end(Stop::Canceled),
                        Verdict::Lost => entry.end(Stop::Lost),
                    }
                }
            }
            // The lease may well still be ours: the work goes on, and the fence decides in the end.
            Err(error) => {
                let code = error.code().as_str();
                tracing::warn!(code, jobs = entries.len(), "a heartbeat failed: {error}");
            }
        }
    }
}

impl Entry {
    fn end(&self, why: Stop) {
        *lock(&self.why) = Some(why);
        self.stop.cancel();
    }
}

/// A poisoned lock guards nothing that a panic could have left half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
