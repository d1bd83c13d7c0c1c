//! Many jobs at once: chosen by what they have in common, then canceled or retried by their ids.
//!
//! Choosing and moving are two calls, so that a caller can look at the number first. The state machine guards each
//! job on its own: one that has moved on meanwhile is left as it is.

use jiff::Timestamp;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Jobs;
use super::row::Reader;
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::job::{Cursor, seconds};
use crate::metrics::{self, Reason};
use crate::status::JobStatus;

/// The most jobs that one call chooses or moves.
pub const BULK_MAX: u32 = 1_000;
/// The most jobs that one call looks at to choose some: a rare error code is not searched for through all of
/// history at once.
pub const SELECT_SCAN_MAX: u32 = 10_000;

/// What the jobs to be chosen have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFilter {
    /// Their state.
    pub status: JobStatus,
    /// Why they failed; any reason when `None`.
    pub error_code: Option<String>,
    /// Created before this time; any time when `None`.
    pub created_before: Option<Timestamp>,
}

impl JobFilter {
    fn check(&self) -> Result<()> {
        let fits = |code: &String| (1..=64).contains(&code.len()) && !code.contains('\0');
        if !self.error_code.as_ref().is_none_or(fits) {
            return Err(Error::invalid(
                "error_code",
                "must be 1 to 64 bytes without U+0000",
            ));
        }
        // No job is older; and a time before Christ is none that the server takes.
        if self
            .created_before
            .is_some_and(|time| time < Timestamp::UNIX_EPOCH)
        {
            return Err(Error::invalid("created_before", "must not lie before 1970"));
        }
        Ok(())
    }
}

/// Jobs that a filter fits, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The jobs.
    pub ids: Vec<JobId>,
    /// Where the next call goes on; `None` when all jobs were looked at. There may be a next call though this
    /// one chose none.
    pub next: Option<Cursor>,
}

/// What a cancel of many did. Jobs that had ended, or are gone, are in neither list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManyCanceled {
    /// They waited in the queue and are failed with `CANCELED`.
    pub ended: Vec<JobId>,
    /// A worker holds them; it is told at its next heartbeat.
    pub requested: Vec<JobId>,
}

pub(super) static SELECT: Statement = Statement {
    name: "jobs.select",
    sql: "-- jobs.select
WITH looked AS MATERIALIZED (
    SELECT job.id, job.created_at, job.error_code
      FROM public.jobs AS job
     WHERE job.status = $1::text::public.job_status
       AND (job.created_at, job.id) > (coalesce($2::timestamptz, '-infinity'), $3)
       AND job.created_at < coalesce($4::timestamptz, 'infinity')
     ORDER BY job.created_at, job.id
     LIMIT (SELECT $5)
),
numbered AS (
    SELECT looked.*, row_number() OVER () AS place FROM looked
)
SELECT id, created_at, place, ($6::text IS NULL OR error_code = $6) IS TRUE AS is_match
  FROM numbered
 WHERE ($6 IS NULL OR error_code = $6) OR place = $5
 LIMIT $7",
    params: &[
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
    ],
    columns: &[
        always("id", Type::UUID),
        always("created_at", Type::TIMESTAMPTZ),
        always("place", Type::INT8),
        always("is_match", Type::BOOL),
    ],
};

pub(super) static MOVE_MANY: Statement = Statement {
    name: "jobs.move_many",
    sql: concat!(
        "-- jobs.move_many
WITH input AS (
    SELECT id, (SELECT $2::text) AS ask, NULL::int4 AS lease, NULL::uuid AS worker, NULL::text AS code,
           NULL::text AS message, NULL::text AS video, NULL::text AS srt, NULL::text AS word, NULL::jsonb AS data
      FROM unnest((SELECT $1::uuid[])) AS wanted (id)
),",
        crate::transitions::move_ctes!(
            by: "'operator'", unfenced: "true", keep_done: "0", keep_failed: "$3::float8",
            keep_source: "$4::float8", backoff_base: "0", backoff_cap: "0"
        ),
        "
SELECT id, next FROM found WHERE next IS NOT NULL"
    ),
    params: &[Type::UUID_ARRAY, Type::TEXT, Type::FLOAT8, Type::FLOAT8],
    columns: &[maybe("id", Type::UUID), always("next", Type::TEXT)],
};

impl Jobs<'_> {
    /// Chooses up to `limit` jobs that the filter fits, oldest first, after a cursor. Looks at no more than
    /// [`SELECT_SCAN_MAX`] jobs.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`BULK_MAX`].
    pub async fn select(
        &self,
        filter: &JobFilter,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Selection> {
        if !(1..=BULK_MAX).contains(&limit) {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        filter.check()?;
        let created_at: Option<Timestamp> = after.map(|cursor| cursor.created_at);
        let id = after.map_or(Uuid::nil(), |cursor| cursor.id.as_uuid());
        let scan = i64::from(SELECT_SCAN_MAX);
        let rows = self
            .database()
            .rows(
                &SELECT,
                &[
                    &filter.status.as_str(),
                    &created_at,
                    &id,
                    &filter.created_before,
                    &scan,
                    &filter.error_code,
                    &i64::from(limit),
                ],
            )
            .await?;
        let is_full = rows.len() >= limit as usize;
        let mut ids = Vec::with_capacity(rows.len());
        let mut next = None;
        for row in &rows {
            let mut reader = Reader::new(row);
            let id = JobId::from_uuid(reader.take()?);
            let created_at = reader.take()?;
            let is_last = reader.take::<i64>()? == scan;
            if reader.take()? {
                ids.push(id);
            }
            next = (is_full || is_last).then_some(Cursor { created_at, id });
        }
        Ok(Selection { ids, next })
    }

    /// Cancels up to [`BULK_MAX`] jobs, each as [`Jobs::cancel`] does.
    ///
    /// # Errors
    /// `INVALID_INPUT` for more ids, or for one that stands twice.
    pub async fn cancel_many(&self, ids: &[JobId]) -> Result<ManyCanceled> {
        let mut canceled = ManyCanceled::default();
        for (id, status) in self.move_many(ids, "cancel").await? {
            match status {
                JobStatus::Failed => canceled.ended.push(id),
                _ => canceled.requested.push(id),
            }
        }
        let (from, to) = (JobStatus::Queued, JobStatus::Failed);
        metrics::moved(from, to, Reason::Cancel, canceled.ended.len());
        metrics::cancels_requested(canceled.requested.len());
        Ok(canceled)
    }

    /// Gives up to [`BULK_MAX`] failed jobs a fresh start, each as [`Jobs::retry`] does, and returns those that
    /// were failed.
    ///
    /// # Errors
    /// `INVALID_INPUT` for more ids, or for one that stands twice.
    pub async fn retry_many(&self, ids: &[JobId]) -> Result<Vec<JobId>> {
        let moved = self.move_many(ids, "reopen").await?;
        let (from, to) = (JobStatus::Failed, JobStatus::Queued);
        metrics::moved(from, to, Reason::Retry, moved.len());
        Ok(moved.into_iter().map(|(id, _)| id).collect())
    }

    async fn move_many(&self, ids: &[JobId], verb: &str) -> Result<Vec<(JobId, JobStatus)>> {
        // In the order in which every batch locks its rows.
        let mut sorted: Vec<Uuid> = ids.iter().map(JobId::as_uuid).collect();
        sorted.sort_unstable();
        if sorted.len() > BULK_MAX as usize {
            return Err(Error::invalid("ids", "must be at most 1000 a call"));
        }
        if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::invalid("ids", "must not name a job twice"));
        }
        if sorted.is_empty() {
            return Ok(Vec::new());
        }
        let retention = self.settings().retention;
        let (keep_failed, keep_source) = (seconds(retention.failed), seconds(retention.sources));
        let rows = self
            .database()
            .rows(&MOVE_MANY, &[&sorted, &verb, &keep_failed, &keep_source])
            .await?;
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                Ok((JobId::from_uuid(reader.take()?), reader.parse()?))
            })
            .collect()
    }
}
