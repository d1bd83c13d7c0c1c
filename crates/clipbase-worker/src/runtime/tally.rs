//! What a worker counts: the metrics of this crate, each written here and nowhere else.

use std::time::Duration;

use clipbase::metrics::Metric;
use metrics::Gauge;

use super::Outcome;

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "clipbase_worker_jobs_total",
        &["outcome"],
        "jobs that left this process: done, failed, requeued or lost",
    ),
    Metric::histogram(
        "clipbase_worker_job_seconds",
        &["outcome"],
        "how long a job was at work here, from its slot to its last word",
    ),
    Metric::counter(
        "clipbase_worker_leases_lost_total",
        &[],
        "leases that turned out to be lost while the job ran",
    ),
    Metric::counter("clipbase_worker_claims_total", &[], "jobs claimed"),
    Metric::histogram(
        "clipbase_worker_claim_seconds",
        &[],
        "how long a claim or a turn took, those that found nothing included",
    ),
    Metric::gauge(
        "clipbase_worker_jobs_held",
        &[],
        "jobs claimed and not ended, those that wait for a slot included",
    ),
    Metric::gauge("clipbase_worker_jobs_running", &[], "jobs at work"),
];

/// Takes note of a claim that took so long.
pub(super) fn claimed(count: usize, took: Duration) {
    metrics::histogram!("clipbase_worker_claim_seconds").record(took.as_secs_f64());
    metrics::counter!("clipbase_worker_claims_total").increment(count as u64);
}

/// Takes note of how a job left this worker, and of how long it was at work, if it was.
pub(super) fn ended(outcome: Outcome, took: Option<Duration>) {
    let outcome = outcome.as_str();
    metrics::counter!("clipbase_worker_jobs_total", "outcome" => outcome).increment(1);
    if let Some(took) = took {
        metrics::histogram!("clipbase_worker_job_seconds", "outcome" => outcome)
            .record(took.as_secs_f64());
    }
}

/// Takes note of a lease that another worker has, or nobody.
pub(super) fn lease_lost() {
    metrics::counter!("clipbase_worker_leases_lost_total").increment(1);
}

/// One more in a gauge for as long as it lives.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn held() -> Self {
        Self::new(metrics::gauge!("clipbase_worker_jobs_held"))
    }

    pub(super) fn running() -> Self {
        Self::new(metrics::gauge!("clipbase_worker_jobs_running"))
    }

    fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
