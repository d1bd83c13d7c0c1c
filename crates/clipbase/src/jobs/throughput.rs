//! How many jobs ended in each of the last minutes.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::Type;

use super::Jobs;
use crate::db::Statement;
use crate::db::statement::maybe;
use crate::error::{Error, Result};
use crate::jobs::row::Reader;

/// The most minutes that one call looks back.
pub const THROUGHPUT_MINUTES_MAX: u32 = 60;

/// The jobs of one minute and outcome are counted up to here.
pub const MINUTE_COUNT_MAX: i64 = 10_000;

/// The jobs that ended in one minute and have not been retried since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Minute {
    /// When it began, by the database's clock.
    pub at: Timestamp,
    /// Jobs that became done, at most [`MINUTE_COUNT_MAX`].
    pub done: i64,
    /// Jobs that failed, at most [`MINUTE_COUNT_MAX`].
    pub failed: i64,
    /// Whether one of the counts stopped there.
    pub is_at_least: bool,
}

// An index scan for each minute and outcome, which ends at the bound: the cost does not grow with the table. The
// number of minutes is kept from the planner, which from PostgreSQL 18 on would plan each call anew for it.
pub(super) static THROUGHPUT: Statement = Statement {
    name: "jobs.throughput",
    sql: "-- jobs.throughput
SELECT minute.at,
       (SELECT count(*) FROM (SELECT FROM public.jobs AS job
                               WHERE job.status = 'done' AND job.finished_at >= minute.at
                                 AND job.finished_at < minute.at + interval '1 minute'
                               ORDER BY job.finished_at LIMIT (SELECT $2)) AS capped) AS done,
       (SELECT count(*) FROM (SELECT FROM public.jobs AS job
                               WHERE job.status = 'failed' AND job.finished_at >= minute.at
                                 AND job.finished_at < minute.at + interval '1 minute'
                               ORDER BY job.finished_at LIMIT (SELECT $2)) AS capped) AS failed
  FROM generate_series(date_trunc('minute', now()) - make_interval(mins => (SELECT $1) - 1),
                       date_trunc('minute', now()), interval '1 minute') AS minute (at)",
    params: &[Type::INT4, Type::INT8],
    columns: &[
        maybe("at", Type::TIMESTAMPTZ),
        maybe("done", Type::INT8),
        maybe("failed", Type::INT8),
    ],
};

impl Jobs<'_> {
    /// Counts the jobs that ended in each of the last `minutes`, oldest first; the last one is not over yet.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `minutes` is not 1 to [`THROUGHPUT_MINUTES_MAX`].
    pub async fn throughput(&self, minutes: u32) -> Result<Vec<Minute>> {
        if !(1..=THROUGHPUT_MINUTES_MAX).contains(&minutes) {
            return Err(Error::invalid("minutes", "must be 1 to 60"));
        }
        let minutes = i32::try_from(minutes).unwrap_or(i32::MAX);
        let rows = self
            .database()
            .rows(&THROUGHPUT, &[&minutes, &(MINUTE_COUNT_MAX + 1)])
            .await?;
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                let at = reader.take()?;
                let (done, failed): (i64, i64) = (reader.take()?, reader.take()?);
                Ok(Minute {
                    at,
                    done: done.min(MINUTE_COUNT_MAX),
                    failed: failed.min(MINUTE_COUNT_MAX),
                    is_at_least: done.max(failed) > MINUTE_COUNT_MAX,
                })
            })
            .collect()
    }
}
