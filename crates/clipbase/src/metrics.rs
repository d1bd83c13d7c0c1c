//! What this process shows of queue, outbox and pool on its gauges.
//!
//! The counters and histograms stand where things happen; here is what has to be asked for. All names begin with
//! `clipbase_`; no label holds a key, a bucket or an id.

use crate::clipbase::Clipbase;
use crate::error::Result;

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
