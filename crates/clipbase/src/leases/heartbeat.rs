//! Staying alive: one statement for all jobs of a worker.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::claim::check_ttl;
use super::{Lease, Leases, check_batch};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::jobs::row::Reader;

/// The most leases that one call beats for.
pub const BEATS_MAX: usize = 1_000;

/// A sign of life for one job.
#[derive(Clone, Copy, Debug)]
pub struct Beat<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// How far the work is, 0 to 100; it never goes back. `None` leaves it.
    pub progress: Option<u8>,
}

/// What a worker is told about one of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The lease holds; go on.
    GoOn,
    /// Somebody asked for the job to be canceled: stop, and [`Leases::fail`] it.
    CancelRequested,
    /// The lease is lost: stop; nothing that you write will count.
    Lost,
}

// The commit is asynchronous, for this transaction only: a beat that a server's crash loses is beaten
// again. A claim is never asynchronous: one that is lost would hand out the same lease twice.
pub(super) static HEARTBEAT: Statement = Statement {
    name: "leases.heartbeat",
    sql: "-- leases.heartbeat
WITH fast AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
held AS MATERIALIZED (
    SELECT job.id, beat.lease, beat.worker, beat.progress
      FROM fast
     CROSS JOIN unnest((SELECT $1::uuid[]), (SELECT $2::int4[]), (SELECT $3::uuid[]), (SELECT $4::int4[]))
           AS beat (id, lease, worker, progress)
     CROSS JOIN LATERAL (
        SELECT jobs.id FROM public.jobs
         WHERE jobs.id = beat.id AND jobs.status = 'processing' AND jobs.lease = beat.lease
           AND jobs.worker_id = beat.worker
           FOR NO KEY UPDATE
      ) AS job
),
beaten AS (
    UPDATE public.jobs AS job
       SET lease_expires_at = now() + make_interval(secs => $5), last_heartbeat_at = now(),
           progress = greatest(job.progress, held.progress), updated_at = now()
      FROM held
     WHERE job.id = held.id AND job.id = ANY (ARRAY(SELECT id FROM held))
    RETURNING job.id, job.cancel_requested_at IS NOT NULL AS is_canceled
)
SELECT id, is_canceled FROM beaten",
    params: &[
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::FLOAT8,
    ],
    columns: &[always("id", Type::UUID), maybe("is_canceled", Type::BOOL)],
};

impl Leases<'_> {
    /// Prolongs leases and reports progress, for up to [`BEATS_MAX`] jobs in one statement. Answers for each
    /// beat, in the order given.
    ///
    /// # Errors
    /// `INVALID_INPUT` for too many, one job twice, or progress above 100.
    pub async fn heartbeat(&self, beats: &[Beat<'_>], ttl: Duration) -> Result<Vec<Verdict>> {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        check_ttl(ttl)?;
        check_batch(
            "beats",
            BEATS_MAX,
            beats.iter().map(|beat| beat.lease.job_id()),
        )?;
        if beats
            .iter()
            .any(|beat| beat.progress.is_some_and(|percent| percent > 100))
        {
            return Err(Error::invalid("progress", "must be 0 to 100"));
        }
        let mut sorted: Vec<&Beat<'_>> = beats.iter().collect();
        sorted.sort_unstable_by_key(|beat| beat.lease.job_id());
        let ids: Vec<Uuid> = sorted
            .iter()
            .map(|beat| beat.lease.job_id().as_uuid())
            .collect();
        let leases: Vec<i32> = sorted.iter().map(|beat| beat.lease.number()).collect();
        let workers: Vec<Uuid> = sorted
            .iter()
            .map(|beat| beat.lease.worker_id().as_uuid())
            .collect();
        let progress: Vec<Option<i32>> = sorted
            .iter()
            .map(|beat| beat.progress.map(i32::from))
            .collect();
        let rows = self
            .database()
            .rows(
                &HEARTBEAT,
                &[&ids, &leases, &workers, &progress, &ttl.as_secs_f64()],
            )
            .await?;
        let mut answers = HashMap::with_capacity(rows.len());
        for row in &rows {
            let mut reader = Reader::new(row);
            answers.insert(JobId::from_uuid(reader.take()?), reader.take::<bool>()?);
        }
        Ok(beats
            .iter()
            .map(|beat| match answers.get(&beat.lease.job_id()) {
                Some(false) => Verdict::GoOn,
                Some(true) => Verdict::CancelRequested,
                None => Verdict::Lost,
            })
            .collect())
    }
}
