//! How many jobs there are in each state, at a bounded cost.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::Type;

use super::Jobs;
use super::row::Reader;
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::Result;
use crate::status::JobStatus;

/// Up to here a state's jobs are counted exactly; beyond it the answer is "at least".
pub const COUNT_MAX: i64 = 10_000;

/// The jobs of one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusStats {
    /// The state.
    pub status: JobStatus,
    /// How many jobs, at most [`COUNT_MAX`].
    pub count: i64,
    /// Whether there are more than `count`.
    pub is_at_least: bool,
    /// When the oldest of them was created.
    pub oldest_created_at: Option<Timestamp>,
}

/// A picture of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// One entry a state, in the order of [`JobStatus::ALL`].
    pub statuses: Vec<StatusStats>,
    /// When this was true, by the database's clock.
    pub at: Timestamp,
}

// The counts read an index only, and stop after COUNT_MAX + 1 entries.
pub(super) static STATS: Statement = Statement {
    name: "jobs.stats",
    sql: "-- jobs.stats
SELECT state.name AS status,
       (SELECT count(*) FROM (SELECT FROM public.jobs AS job
                               WHERE job.status = state.name::public.job_status
                               -- In the index's order, so that no plan reads the table instead.
                               ORDER BY job.created_at, job.id
                               LIMIT (SELECT $2)) AS capped) AS count,
       (SELECT job.created_at FROM public.jobs AS job
         WHERE job.status = state.name::public.job_status
         ORDER BY job.created_at, job.id LIMIT 1) AS oldest_created_at,
       now() AS at
  FROM unnest((SELECT $1::text[])) AS state (name)",
    params: &[Type::TEXT_ARRAY, Type::INT8],
    columns: &[
        always("status", Type::TEXT),
        always("count", Type::INT8),
        maybe("oldest_created_at", Type::TIMESTAMPTZ),
        always("at", Type::TIMESTAMPTZ),
    ],
};

impl Jobs<'_> {
    /// Counts the jobs of each state: exactly up to [`COUNT_MAX`], then "at least". The cost does not grow
    /// with the table.
    ///
    /// # Errors
    /// The database's.
    pub async fn stats(&self) -> Result<Stats> {
        let names: Vec<&str> = JobStatus::ALL
            .iter()
            .map(|status| status.as_str())
            .collect();
        let rows = self
            .database()
            .rows(&STATS, &[&names, &(COUNT_MAX + 1)])
            .await?;
        let mut at = Timestamp::UNIX_EPOCH;
        let mut statuses = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut reader = Reader::new(row);
            let status = reader.parse()?;
            let count: i64 = reader.take()?;
            statuses.push(StatusStats {
                status,
                count: count.min(COUNT_MAX),
                is_at_least: count > COUNT_MAX,
                oldest_created_at: reader.time()?,
            });
            at = reader.take()?;
        }
        Ok(Stats { statuses, at })
    }
}
