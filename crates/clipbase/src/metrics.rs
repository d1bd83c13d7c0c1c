//! What this library measures: the table of its metrics, the gauges that have to be asked for, and the counters of
//! jobs that moved.
//!
//! The other counters and histograms stand where things happen. All names begin with `clipbase_`; a label has few
//! values, and never a key, a bucket or an id. What a process counts is what the database answered to it: a call
//! whose answer was lost, and a change that somebody else makes, are not in it.

use jiff::Timestamp;
use std::time::Duration;

use crate::clipbase::Clipbase;
use crate::error::Result;
use crate::leases::{Finished, Lease};
use crate::status::JobStatus;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, from 0 at the process's start.
    Counter,
    /// A number as it is now.
    Gauge,
    /// How often values fell into which range, with their sum.
    Histogram,
}

impl Kind {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric is called and means. Its unit is the end of its name: `_seconds`, or a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in a sentence without a full stop.
    pub help: &'static str,
}

impl Metric {
    /// A number that only grows.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Counter,
            labels,
            help,
        }
    }

    /// A number as it is now.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Gauge,
            labels,
            help,
        }
    }

    /// How often values fell into which range.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Histogram,
            labels,
            help,
        }
    }
}

/// Every metric of this library.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "clipbase_job_transitions_total",
        &["from", "to", "reason"],
        "jobs that this process moved along an edge of the state machine",
    ),
    Metric::counter(
        "clipbase_job_cancels_requested_total",
        &[],
        "cancels asked of jobs that a worker holds; the job ends at its next heartbeat",
    ),
    Metric::counter("clipbase_jobs_created_total", &[], "jobs created"),
    Metric::counter(
        "clipbase_jobs_deleted_total",
        &[],
        "jobs deleted on request; those past their time are clipbase_cleanup_jobs_total",
    ),
    Metric::histogram(
        "clipbase_job_wait_seconds",
        &[],
        "how long a claimed job had been due, by the database's clock",
    ),
    Metric::gauge(
        "clipbase_jobs",
        &["status"],
        "jobs in the database, counted up to 10000",
    ),
    Metric::gauge(
        "clipbase_oldest_job_age_seconds",
        &["status"],
        "time since the oldest job of the status was created; 0 without one",
    ),
    Metric::counter(
        "clipbase_db_calls_total",
        &["statement", "code"],
        "statements run, by their error's code or OK",
    ),
    Metric::histogram(
        "clipbase_db_call_seconds",
        &["statement"],
        "how long a statement took, with its wait for a connection",
    ),
    Metric::gauge(
        "clipbase_pool_connections",
        &[],
        "open connections of the pool",
    ),
    Metric::gauge(
        "clipbase_pool_waiting",
        &[],
        "calls that wait for a connection",
    ),
    Metric::counter(
        "clipbase_storage_calls_total",
        &["operation", "outcome"],
        "calls of the storage, by their error's code or OK",
    ),
    Metric::histogram(
        "clipbase_storage_call_seconds",
        &["operation"],
        "how long a call of the storage took, with its repeats",
    ),
    Metric::counter(
        "clipbase_storage_retries_total",
        &["operation"],
        "calls of the storage that were tried again",
    ),
    Metric::counter(
        "clipbase_cleanup_jobs_total",
        &[],
        "jobs deleted because their time was up",
    ),
    Metric::counter(
        "clipbase_cleanup_sources_total",
        &[],
        "sources given up while their jobs stay",
    ),
    Metric::counter(
        "clipbase_cleanup_objects_removed_total",
        &[],
        "objects of the outbox that are gone",
    ),
    Metric::counter(
        "clipbase_cleanup_objects_kept_total",
        &[],
        "objects of the outbox that a job turned out to own",
    ),
    Metric::counter(
        "clipbase_cleanup_objects_failed_total",
        &[],
        "removals that failed and are tried again",
    ),
    Metric::counter(
        "clipbase_cleanup_unowned_total",
        &[],
        "objects that nobody owns, found by comparing the buckets with the rows",
    ),
    Metric::gauge(
        "clipbase_cleanup_backlog_objects",
        &[],
        "objects due for removal, counted up to 10000 a bucket",
    ),
    Metric::gauge(
        "clipbase_cleanup_backlog_age_seconds",
        &[],
        "for how long the oldest of them has been due",
    ),
    Metric::counter(
        "clipbase_api_key_requests_total",
        &["code"],
        "API keys that were checked, by their refusal's code or OK",
    ),
];

/// Tells the process's recorder what metrics mean. Call it once, after the recorder is installed.
pub fn describe(table: &[Metric]) {
    for metric in table {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// Why a job moved: the verb that moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A worker took it.
    Claim,
    /// Its worker finished it.
    Finish,
    /// An attempt failed.
    Fail,
    /// Its worker handed it back.
    Release,
    /// Its worker was lost.
    Reap,
    /// Somebody asked for its cancel.
    Cancel,
    /// An operator gave it a fresh start.
    Retry,
    /// A caller that thinks in states moved it.
    Transition,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Finish => "finish",
            Self::Fail => "fail",
            Self::Release => "release",
            Self::Reap => "reap",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Transition => "transition",
        }
    }
}

/// Counts jobs that the database said were moved.
pub(crate) fn moved(from: JobStatus, to: JobStatus, reason: Reason, count: usize) {
    if count > 0 {
        metrics::counter!(
            "clipbase_job_transitions_total",
            "from" => from.as_str(),
            "to" => to.as_str(),
            "reason" => reason.as_str()
        )
        .increment(count as u64);
    }
}

/// Counts what came of finishes.
pub(crate) fn finished(outcomes: &[Finished]) {
    let done = outcomes.iter().filter(|it| **it == Finished::Done).count();
    moved(JobStatus::Processing, JobStatus::Done, Reason::Finish, done);
}

/// Counts jobs that were claimed, and for how long each had been due: a lease's end, less its life, is the time of
/// the claim.
pub(crate) fn claimed(claimed: &[(Option<Timestamp>, Lease)], ttl: Duration) {
    moved(
        JobStatus::Queued,
        JobStatus::Processing,
        Reason::Claim,
        claimed.len(),
    );
    for (due_at, lease) in claimed {
        if let Some(due_at) = due_at {
            let due = lease.expires_at().duration_since(*due_at).as_secs_f64();
            metrics::histogram!("clipbase_job_wait_seconds")
                .record((due - ttl.as_secs_f64()).max(0.0));
        }
    }
}

/// Counts cancels that a worker is still to be told.
pub(crate) fn cancels_requested(count: usize) {
    if count > 0 {
        metrics::counter!("clipbase_job_cancels_requested_total").increment(count as u64);
    }
}

/// Counts new jobs.
pub(crate) fn created(count: usize) {
    metrics::counter!("clipbase_jobs_created_total").increment(count as u64);
}

/// Counts a job that was deleted on request.
pub(crate) fn deleted() {
    metrics::counter!("clipbase_jobs_deleted_total").increment(1);
}

impl Clipbase {
    /// Reads the queue, the outbox and the pool, and sets their gauges: `clipbase_jobs` and
    /// `clipbase_oldest_job_age_seconds` by status (counted up to 10,000), `clipbase_cleanup_backlog_objects` and
    /// `…_age_seconds`, `clipbase_pool_connections` and `clipbase_pool_waiting`. Two bounded statements: call it
    /// every few seconds, in one process or in all.
    ///
    /// # Errors
    /// The database's; the gauges keep what they showed.
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub async fn sample_gauges(&self) -> Result<()> {
        let pool = self.database().pool_status();
        metrics::gauge!("clipbase_pool_connections").set(pool.connections as f64);
        metrics::gauge!("clipbase_pool_waiting").set(pool.waiting as f64);
        let picture = self.jobs().stats().await?;
        for state in picture.statuses {
            let status = state.status.as_str();
            let age = state.oldest_created_at.map_or(0.0, |oldest| {
                picture.at.duration_since(oldest).as_secs_f64()
            });
            metrics::gauge!("clipbase_jobs", "status" => status).set(state.count as f64);
            metrics::gauge!("clipbase_oldest_job_age_seconds", "status" => status).set(age);
        }
        self.cleanup().gauge_backlog().await
    }
}
