//! Reading jobs: one by its id, many by their status.

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Jobs;
use super::row::{Reader, job_column_types, job_columns, read_job};
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::job::{Cursor, Job};
use crate::status::JobStatus;

/// The most jobs on one page.
pub const LIST_MAX: u32 = 1_000;

/// A job, and whether its results may still be handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The job.
    pub job: Job,
    /// Whether its time is up, by the database's clock: the next clean-up removes it.
    pub is_expired: bool,
}

/// A part of a list, and where the next part starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Pass this to read on; `None` at the end.
    pub next: Option<Cursor>,
}

pub(super) static GET: Statement = Statement {
    name: "jobs.get",
    sql: concat!(
        "-- jobs.get\nSELECT ",
        job_columns!(""),
        "\n  FROM public.jobs\n WHERE id = $1"
    ),
    params: &[Type::UUID],
    columns: job_column_types!(),
};

pub(super) static OUTCOME: Statement = Statement {
    name: "jobs.outcome",
    sql: concat!(
        "-- jobs.outcome\nSELECT coalesce(expires_at <= now(), false) AS is_expired, ",
        job_columns!(""),
        "\n  FROM public.jobs\n WHERE id = $1"
    ),
    params: &[Type::UUID],
    columns: job_column_types!(always("is_expired", Type::BOOL)),
};

pub(super) static LIST_BY_STATUS: Statement = Statement {
    name: "jobs.list_by_status",
    sql: concat!(
        "-- jobs.list_by_status\nSELECT ",
        job_columns!("job."),
        "
  FROM public.jobs AS job
 WHERE job.status = $1::text::public.job_status
   AND (job.created_at, job.id) < (coalesce($2::timestamptz, 'infinity'), $3)
 ORDER BY job.created_at DESC, job.id DESC
 LIMIT $4"
    ),
    params: &[Type::TEXT, Type::TIMESTAMPTZ, Type::UUID, Type::INT8],
    columns: job_column_types!(),
};

// A page of each state by its index, and the newest of them all: no index of its own, no scan.
pub(super) static LIST: Statement = Statement {
    name: "jobs.list",
    sql: concat!(
        "-- jobs.list\nSELECT ",
        job_columns!("job."),
        "
  FROM unnest((SELECT $1::text[])) AS state (name)
 CROSS JOIN LATERAL (
    SELECT listed.* FROM public.jobs AS listed
     WHERE listed.status = state.name::public.job_status
       AND (listed.created_at, listed.id) < (coalesce($2::timestamptz, 'infinity'), $3)
     ORDER BY listed.created_at DESC, listed.id DESC
     LIMIT (SELECT $4)) AS job
 ORDER BY job.created_at DESC, job.id DESC
 LIMIT (SELECT $4)"
    ),
    params: &[Type::TEXT_ARRAY, Type::TIMESTAMPTZ, Type::UUID, Type::INT8],
    columns: job_column_types!(),
};

impl Jobs<'_> {
    /// Returns the job, or `None`.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>> {
        let rows = self.database().rows_of(id, &GET, &[&id.as_uuid()]).await?;
        rows.first()
            .map(|row| read_job(Reader::new(row)))
            .transpose()
    }

    /// Returns the job and whether its time is up, or `None`.
    ///
    /// # Errors
    /// The database's.
    pub async fn outcome(&self, id: JobId) -> Result<Option<Outcome>> {
        let rows = self
            .database()
            .rows_of(id, &OUTCOME, &[&id.as_uuid()])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let mut reader = Reader::new(row);
        let is_expired = reader.take()?;
        let job = read_job(reader)?;
        Ok(Some(Outcome { job, is_expired }))
    }

    /// Lists jobs of one status, newest first, from `after` on. A page costs the same wherever it lies.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`LIST_MAX`].
    pub async fn list_by_status(
        &self,
        status: JobStatus,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page> {
        let (created_at, id, fetch) = place(limit, after)?;
        let rows = self
            .database()
            .rows(
                &LIST_BY_STATUS,
                &[&status.as_str(), &created_at, &id, &fetch],
            )
            .await?;
        read_page(&rows, limit)
    }

    /// Lists jobs of every status, newest first, from `after` on. A page costs the same wherever it lies.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`LIST_MAX`].
    pub async fn list(&self, limit: u32, after: Option<Cursor>) -> Result<Page> {
        let (created_at, id, fetch) = place(limit, after)?;
        let statuses = JobStatus::ALL.map(JobStatus::as_str);
        let rows = self
            .database()
            .rows(&LIST, &[&statuses.as_slice(), &created_at, &id, &fetch])
            .await?;
        read_page(&rows, limit)
    }
}

/// Where a page starts, and how many rows to read: one more than asked for tells whether there is a next page.
fn place(limit: u32, after: Option<Cursor>) -> Result<(Option<Timestamp>, Uuid, i64)> {
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(Error::invalid("limit", "must be 1 to 1000"));
    }
    let created_at = after.map(|cursor| cursor.created_at);
    let id = after.map_or(Uuid::max(), |cursor| cursor.id.as_uuid());
    Ok((created_at, id, i64::from(limit) + 1))
}

fn read_page(rows: &[Row], limit: u32) -> Result<Page> {
    let more = rows.len() > limit as usize;
    let jobs: Vec<Job> = rows
        .iter()
        .take(limit as usize)
        .map(|row| read_job(Reader::new(row)))
        .collect::<Result<_>>()?;
    let next = jobs.last().filter(|_| more).map(|job| Cursor {
        created_at: job.created_at,
        id: job.id,
    });
    Ok(Page { jobs, next })
}
