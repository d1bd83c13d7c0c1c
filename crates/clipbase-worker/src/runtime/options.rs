//! How a worker works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clipbase::leases::{HEARTBEAT_INTERVAL, LEASE_TTL};
use clipbase::{Error, Result};

use crate::youtube::Fetcher;

/// The most jobs that one worker runs at a time.
pub const CONCURRENCY_MAX: usize = 256;
/// The most jobs that one worker claims ahead.
pub const PREFETCH_MAX: usize = 256;
/// How often expired jobs and objects are removed, unless set.
pub const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);
/// How often the buckets are compared with the rows, unless set.
pub const RECONCILE_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How long a job may be at work, unless set.
pub const RUN_TIME_MAX: Duration = Duration::from_secs(12 * 3600);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Jobs at a time, 1 to [`CONCURRENCY_MAX`].
    pub concurrency: usize,
    /// Jobs claimed ahead of those at work, at most [`PREFETCH_MAX`]: they start without a round trip, and
    /// wait here while another worker might have run them. Their leases are kept alive, and given back at a
    /// shutdown.
    pub prefetch: usize,
    /// The shards to serve; all of them when empty.
    pub shards: Vec<i32>,
    /// Where jobs have their scratch directories: as large as the largest source and clip.
    pub scratch_dir: PathBuf,
    /// How much of the scratch directory all running jobs may take together, in bytes; `None` sets no limit.
    /// A source that is fetched counts whole, and a clip with 5 MB a second, at most its source. A job that
    /// does not fit now waits; one that never will fails with `SCRATCH_TOO_SMALL`.
    pub scratch_bytes_max: Option<u64>,
    /// The largest source that is taken, in bytes; others fail with `SOURCE_TOO_LARGE` before they are
    /// fetched.
    pub source_bytes_max: Option<u64>,
    /// The longest clip that is cut; others fail with `CLIP_TOO_LONG` before anything is fetched.
    pub clip_length_max: Option<Duration>,
    /// How long a job may be at work, from fetching its source to storing its clip; longer ones fail with
    /// `TIME_LIMIT`.
    pub run_time_max: Option<Duration>,
    /// What fetches videos from YouTube; without it such jobs fail with `YOUTUBE_DISABLED`.
    pub youtube: Option<Arc<dyn Fetcher>>,
    /// Where the workers of this machine show that they are alive, so that a dead one's jobs are taken back
    /// at once. `None` waits for the leases to run out.
    pub presence_dir: Option<PathBuf>,
    /// How long a lease lives without a heartbeat.
    pub lease_ttl: Duration,
    /// How often the heart beats at least; at most a third of the lease's life.
    pub heartbeat_interval: Duration,
    /// How often it beats while progress is made, so that watchers see it move.
    pub progress_interval: Duration,
    /// The pause between two claims after the first came back empty.
    pub poll_min: Duration,
    /// The pause it grows to while nothing comes.
    pub poll_max: Duration,
    /// How often lost leases are looked for, give or take a half.
    pub reap_interval: Duration,
    /// How often expired jobs and their objects are removed, give or take a half; `None` leaves that to
    /// others. Any number of workers may do it.
    pub cleanup_interval: Option<Duration>,
    /// How often the buckets are compared with the rows, by whichever worker's turn it is; `None` leaves that
    /// to `clipbase cleanup --reconcile`.
    pub reconcile_interval: Option<Duration>,
    /// Whether to listen for wake-ups ([`clipbase::wakeups`]), on one more connection. It shortens the pause
    /// between two looks; behind a transaction pooler it does nothing.
    pub listen: bool,
    /// How long running jobs may go on after a shutdown was asked for, before they are released.
    pub shutdown_grace: Duration,
}

impl WorkerOptions {
    /// One job at a time, of any shard, with this scratch directory.
    pub fn new(scratch_dir: impl Into<PathBuf>) -> Self {
        Self {
            concurrency: 1,
            prefetch: 0,
            shards: Vec::new(),
            scratch_dir: scratch_dir.into(),
            scratch_bytes_max: None,
            source_bytes_max: None,
            clip_length_max: None,
            run_time_max: Some(RUN_TIME_MAX),
            youtube: None,
            presence_dir: None,
            lease_ttl: LEASE_TTL,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            progress_interval: Duration::from_secs(1),
            poll_min: Duration::from_millis(100),
            poll_max: Duration::from_secs(5),
            reap_interval: HEARTBEAT_INTERVAL,
            cleanup_interval: Some(CLEANUP_INTERVAL),
            reconcile_interval: Some(RECONCILE_INTERVAL),
            listen: true,
            shutdown_grace: Duration::ZERO,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(Error::invalid("concurrency", "must be 1 to 256"));
        }
        if self.prefetch > PREFETCH_MAX {
            return Err(Error::invalid("prefetch", "must be 0 to 256"));
        }
        // Less than three beats to a life, and one late beat would cost a lease.
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval * 3 > self.lease_ttl {
            return Err(Error::invalid(
                "heartbeat_interval",
                "must be above zero and at most a third of the lease's life",
            ));
        }
        if self.progress_interval.is_zero()
            || self.poll_min.is_zero()
            || self.reap_interval.is_zero()
            || self
                .cleanup_interval
                .is_some_and(|interval| interval.is_zero())
        {
            return Err(Error::invalid("interval", "must be above zero"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_that_beats_too_seldom_is_refused() {
        let mut options = WorkerOptions::new("/tmp");
        options.check().unwrap();
        options.heartbeat_interval = options.lease_ttl / 2;
        assert!(options.check().is_err());
        options.heartbeat_interval = Duration::ZERO;
        assert!(options.check().is_err());
        let idle = WorkerOptions {
            concurrency: 0,
            ..WorkerOptions::new("/tmp")
        };
        assert!(idle.check().is_err());
        let greedy = WorkerOptions {
            prefetch: PREFETCH_MAX + 1,
            ..WorkerOptions::new("/tmp")
        };
        assert!(greedy.check().is_err());
    }
}
