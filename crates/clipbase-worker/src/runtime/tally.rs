//! What a worker counts: the metrics of this crate, each named here and nowhere else.
//!
//! | metric | kind | what |
//! |---|---|---|
//! | `clipbase_worker_jobs_total{outcome}` | counter | jobs that left this process: `done`, `failed`, `requeued`, `lost` |
//! | `clipbase_worker_leases_lost_total` | counter | leases that turned out to be lost while the job ran |
//! | `clipbase_worker_claims_total` | counter | jobs claimed |
//! | `clipbase_worker_claim_seconds` | histogram | how long a claim or a turn took |
//! | `clipbase_worker_pickup_seconds` | histogram | from a job's creation to its first claim, by the database's clock |
//! | `clipbase_worker_jobs_held` | gauge | jobs claimed and not ended, those that wait included |
//! | `clipbase_worker_jobs_running` | gauge | jobs at work |

use std::time::Duration;

use clipbase::leases::Lease;

use super::Outcome;

/// Takes note of a claim that took so long.
pub(super) fn claimed(leases: &[Lease], took: Duration, ttl: Duration) {
    metrics::histogram!("clipbase_worker_claim_seconds").record(took.as_secs_f64());
    metrics::counter!("clipbase_worker_claims_total").increment(leases.len() as u64);
    for lease in leases.iter().filter(|lease| lease.work().attempt == 1) {
        let waited = lease.expires_at().duration_since(lease.work().created_at);
        let pickup = (waited.as_secs_f64() - ttl.as_secs_f64()).max(0.0);
        metrics::histogram!("clipbase_worker_pickup_seconds").record(pickup);
    }
}

/// Takes note of how a job left this worker.
pub(super) fn ended(outcome: Outcome) {
    metrics::counter!("clipbase_worker_jobs_total", "outcome" => outcome.as_str()).increment(1);
}

/// Takes note of a lease that another worker has, or nobody.
pub(super) fn lease_lost() {
    metrics::counter!("clipbase_worker_leases_lost_total").increment(1);
}

/// One more in a gauge for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(&'static str);

impl Counted {
    pub(super) fn held() -> Self {
        Self::new("clipbase_worker_jobs_held")
    }

    pub(super) fn running() -> Self {
        Self::new("clipbase_worker_jobs_running")
    }

    fn new(name: &'static str) -> Self {
        metrics::gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}
