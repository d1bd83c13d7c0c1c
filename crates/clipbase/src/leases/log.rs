//! Events that a worker writes about its own work.

use serde_json::Value;
use tokio_postgres::types::Type;

use super::{Lease, Leases};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::events::{EVENTS_PER_JOB_MAX, check_event_type};
use crate::job::check_event_data;
use crate::jobs::row::Reader;

pub(super) static LOG: Statement = Statement {
    name: "leases.log",
    sql: "-- leases.log
WITH found AS MATERIALIZED (
    SELECT id, event_seq, status = 'processing' AND lease = $2 AND worker_id = $3 AS is_held
      FROM public.jobs WHERE id = $1 FOR NO KEY UPDATE
),
numbered AS (
    UPDATE public.jobs AS job
       SET event_seq = job.event_seq + 1, updated_at = now()
      FROM found
     WHERE job.id = found.id AND found.is_held AND job.event_seq < $6
    RETURNING job.id, job.event_seq
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, event_seq, $4, coalesce($5, '{}'::jsonb) || '{\"by\": \"worker\"}'::jsonb FROM numbered
)
SELECT found.is_held, numbered.event_seq FROM found LEFT JOIN numbered ON true",
    params: &[Type::UUID, Type::INT4, Type::UUID, Type::TEXT, Type::JSONB, Type::INT4],
    columns: &[maybe("is_held", Type::BOOL), always("event_seq", Type::INT4)],
};

impl Leases<'_> {
    /// Writes an event under the lease and returns its number.
    ///
    /// # Errors
    /// `LEASE_LOST`; `NOT_FOUND`; `EVENT_LIMIT` when the job has as many events as callers may add;
    /// `INVALID_INPUT`.
    pub async fn log(&self, lease: &Lease, kind: &str, data: Option<&Value>) -> Result<i32> {
        check_event_type(kind)?;
        check_event_data(data)?;
        let rows = self
            .database()
            .rows_of(
                lease.job_id(),
                &LOG,
                &[
                    &lease.job_id().as_uuid(),
                    &lease.number(),
                    &lease.worker_id().as_uuid(),
                    &kind,
                    &data,
                    &EVENTS_PER_JOB_MAX,
                ],
            )
            .await?;
        let mut reader = Reader::new(rows.first().ok_or(Error::NotFound { what: "job" })?);
        if reader.take::<Option<bool>>()? != Some(true) {
            return Err(Error::LeaseLost);
        }
        reader.take::<Option<i32>>()?.ok_or(Error::EventLimit {
            limit: EVENTS_PER_JOB_MAX,
        })
    }
}
