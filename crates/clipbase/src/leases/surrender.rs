//! Giving jobs up: failed, handed back, or taken from a worker that is gone.

use std::time::Duration;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Failure, Lease, Leases};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::job::seconds;
use crate::jobs::row::Reader;
use crate::metrics::{self, Reason};
use crate::status::JobStatus;
use crate::transitions::move_ctes;

/// The most leases that one call reaps.
pub const REAP_MAX: u32 = 1_000;

/// Where a job went that its worker gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surrendered {
    /// Back into the queue.
    Queued,
    /// To its end: the failure was fatal, no attempt is left, or a cancel was asked for.
    Failed,
}

impl Surrendered {
    const fn status(self) -> JobStatus {
        match self {
            Self::Queued => JobStatus::Queued,
            Self::Failed => JobStatus::Failed,
        }
    }
}

/// A job that was taken back from a lost worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The job.
    pub job: JobId,
    /// Where it went.
    pub to: Surrendered,
}

pub(super) static SURRENDER: Statement = Statement {
    name: "leases.surrender",
    sql: concat!(
        "-- leases.surrender
WITH input AS (
    SELECT $1::uuid AS id, $2::text AS ask, $3::int4 AS lease, $4::uuid AS worker, $5::text AS code,
           $6::text AS message, NULL::text AS video, NULL::text AS srt, NULL::text AS word, NULL::jsonb AS data
),",
        move_ctes!(
            by: "'worker'", unfenced: "false", keep_done: "0", keep_failed: "$7::float8",
            keep_source: "$10::float8", backoff_base: "$8::float8", backoff_cap: "$9::float8"
        ),
        "
SELECT next, canceled FROM found"
    ),
    params: &[
        Type::UUID,
        Type::TEXT,
        Type::INT4,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::FLOAT8,
        Type::FLOAT8,
        Type::FLOAT8,
        Type::FLOAT8,
    ],
    columns: &[maybe("next", Type::TEXT), always("canceled", Type::BOOL)],
};

// A worker that knows only the seed's last_heartbeat_at beats with that: the fresher of the two counts.
// Whoever finished in the meantime holds the row's lock or has changed its status: both are skipped here.
pub(super) static REAP: Statement = Statement {
    name: "leases.reap",
    sql: concat!(
        "-- leases.reap
WITH lost AS MATERIALIZED (
    SELECT job.id
      FROM public.jobs AS job
     WHERE job.status = 'processing'
       AND CASE WHEN $1::uuid[] IS NULL
                THEN greatest(job.lease_expires_at, job.last_heartbeat_at + make_interval(secs => $2)) < now()
                ELSE job.worker_id = ANY ($1::uuid[]) END
     -- The index's order keeps the plan on the rows at work, where a limit alone scans the table.
     ORDER BY job.created_at, job.id
     LIMIT (SELECT $3)
       FOR NO KEY UPDATE SKIP LOCKED
),
input AS (
    SELECT id, 'reap' AS ask, NULL::int4 AS lease, NULL::uuid AS worker, NULL::text AS code,
           NULL::text AS message, NULL::text AS video, NULL::text AS srt, NULL::text AS word,
           NULL::jsonb AS data
      FROM lost
),",
        move_ctes!(
            by: "'reaper'", unfenced: "true", keep_done: "0", keep_failed: "$4::float8",
            keep_source: "$7::float8", backoff_base: "$5::float8", backoff_cap: "$6::float8"
        ),
        "
SELECT id, next, canceled FROM found WHERE next IS NOT NULL"
    ),
    params: &[
        Type::UUID_ARRAY,
        Type::FLOAT8,
        Type::INT8,
        Type::FLOAT8,
        Type::FLOAT8,
        Type::FLOAT8,
        Type::FLOAT8,
    ],
    columns: &[
        always("id", Type::UUID),
        maybe("next", Type::TEXT),
        always("canceled", Type::BOOL),
    ],
};

impl Leases<'_> {
    /// Ends a job for good: the failure is in its input, and another attempt would meet it again.
    ///
    /// # Errors
    /// `LEASE_LOST`; `NOT_FOUND`.
    pub async fn fail(&self, lease: &Lease, failure: &Failure) -> Result<()> {
        self.surrender(lease, "fail", Some(failure))
            .await
            .map(|_| ())
    }

    /// Gives a job up after a failure that may pass: back into the queue after a backoff, or failed when
    /// no attempt is left or a cancel was asked for.
    ///
    /// # Errors
    /// `LEASE_LOST`; `NOT_FOUND`.
    pub async fn fail_retryable(&self, lease: &Lease, failure: &Failure) -> Result<Surrendered> {
        self.surrender(lease, "retry", Some(failure)).await
    }

    /// Hands a job back unharmed, as a worker does that shuts down: queued at once, and the attempt does
    /// not count. After [`crate::transitions::RELEASES_MAX`] releases it does.
    ///
    /// # Errors
    /// `LEASE_LOST`; `NOT_FOUND`.
    pub async fn release(&self, lease: &Lease) -> Result<Surrendered> {
        self.surrender(lease, "release", None).await
    }

    async fn surrender(
        &self,
        lease: &Lease,
        ask: &'static str,
        failure: Option<&Failure>,
    ) -> Result<Surrendered> {
        let settings = self.settings();
        let rows = self
            .database()
            .rows_of(
                lease.job_id(),
                &SURRENDER,
                &[
                    &lease.job_id().as_uuid(),
                    &ask,
                    &lease.number(),
                    &lease.worker_id().as_uuid(),
                    &failure.map(Failure::code),
                    &failure.map(Failure::message),
                    &seconds(settings.retention.failed),
                    &settings.backoff.base.as_secs_f64(),
                    &settings.backoff.cap.as_secs_f64(),
                    &seconds(settings.retention.sources),
                ],
            )
            .await?;
        let mut reader = Reader::new(rows.first().ok_or(Error::NotFound { what: "job" })?);
        let next = reader
            .take::<Option<&str>>()?
            .map_or(Err(Error::LeaseLost), read_next)?;
        let is_canceled = reader.take::<bool>()?;
        let reason = match ask {
            // A failure with a word of its own is one, though a cancel had been asked for.
            "fail" => Reason::Fail,
            _ if is_canceled => Reason::Cancel,
            "release" => Reason::Release,
            _ => Reason::Fail,
        };
        metrics::moved(JobStatus::Processing, next.status(), reason, 1);
        // After a failure it waits for its backoff first.
        if next == Surrendered::Queued && failure.is_none() {
            self.inner.wake_workers();
        }
        Ok(next)
    }

    /// Takes back jobs whose leases have run out. Needs no leader: any worker may call it, at any time.
    /// A job with attempts left goes back into the queue after a backoff; the others fail with
    /// `WORKER_LOST`.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`REAP_MAX`].
    pub async fn reap(&self, limit: u32) -> Result<Vec<Reaped>> {
        self.take_back(None, limit).await
    }

    /// Takes back the jobs of workers that the caller *knows* to be dead, without waiting for their leases
    /// to run out.
    ///
    /// # Errors
    /// As [`Leases::reap`].
    pub async fn reap_workers(&self, dead: &[WorkerId], limit: u32) -> Result<Vec<Reaped>> {
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        self.take_back(Some(dead.iter().map(WorkerId::as_uuid).collect()), limit)
            .await
    }

    async fn take_back(&self, dead: Option<Vec<Uuid>>, limit: u32) -> Result<Vec<Reaped>> {
        if !(1..=REAP_MAX).contains(&limit) {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        let settings = self.settings();
        // A lease that ran out may mean that something is overloaded; a worker known dead means nothing.
        let base = if dead.is_some() {
            Duration::ZERO
        } else {
            settings.backoff.base
        };
        let rows = self
            .database()
            .rows(
                &REAP,
                &[
                    &dead,
                    &settings.lease_ttl.as_secs_f64(),
                    &i64::from(limit),
                    &seconds(settings.retention.failed),
                    &base.as_secs_f64(),
                    &settings.backoff.cap.as_secs_f64(),
                    &seconds(settings.retention.sources),
                ],
            )
            .await?;
        if !rows.is_empty() && base.is_zero() {
            self.inner.wake_workers();
        }
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                let job = JobId::from_uuid(reader.take()?);
                let to = read_next(reader.take()?)?;
                let reason = if reader.take()? {
                    Reason::Cancel
                } else {
                    Reason::Reap
                };
                metrics::moved(JobStatus::Processing, to.status(), reason, 1);
                Ok(Reaped { job, to })
            })
            .collect()
    }
}

fn read_next(word: &str) -> Result<Surrendered> {
    match word.parse()? {
        JobStatus::Queued => Ok(Surrendered::Queued),
        _ => Ok(Surrendered::Failed),
    }
}
