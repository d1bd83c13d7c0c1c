//! Jobs past their time.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::Type;

use super::{Cleanup, check_batch};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::Result;
use crate::ids::JobId;
use crate::jobs::row::Reader;
use crate::status::JobStatus;

/// A job that a clean-up would delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// The job.
    pub id: JobId,
    /// Its state.
    pub status: JobStatus,
    /// When its time was up.
    pub expires_at: Option<Timestamp>,
}

/// Which rows go by a moment: past their time and not under a live lease, where the seed's heartbeat counts too.
macro_rules! expired {
    ($now:literal, $ttl:literal) => {
        concat!(
            "job.expires_at <= ",
            $now,
            "
       AND (job.status <> 'processing'
            OR greatest(job.lease_expires_at, job.last_heartbeat_at + make_interval(secs => ",
            $ttl,
            ")) < ",
            $now,
            ")"
        )
    };
}
pub(super) use expired;

pub(super) static EXPIRE: Statement = Statement {
    name: "cleanup.expire",
    sql: concat!(
        "-- cleanup.expire
DELETE FROM public.jobs
 WHERE id = ANY (ARRAY(
    SELECT job.id FROM public.jobs AS job
     WHERE ",
        expired!("now()", "$1"),
        "
     ORDER BY job.expires_at
     LIMIT (SELECT $2)
       FOR UPDATE SKIP LOCKED))
RETURNING id"
    ),
    params: &[Type::FLOAT8, Type::INT8],
    columns: &[always("id", Type::UUID)],
};

pub(super) static EXPIRED: Statement = Statement {
    name: "cleanup.expired",
    sql: concat!(
        "-- cleanup.expired
SELECT job.id, job.status::text AS status, job.expires_at
  FROM public.jobs AS job
 WHERE ",
        expired!("now()", "$1"),
        "
 ORDER BY job.expires_at
 LIMIT $2"
    ),
    params: &[Type::FLOAT8, Type::INT8],
    columns: &[
        always("id", Type::UUID),
        always("status", Type::TEXT),
        maybe("expires_at", Type::TIMESTAMPTZ),
    ],
};

// By the rows' places, which the lock holds still; a join on the key scans the whole table.
pub(super) static FORGET_REQUESTS: Statement = Statement {
    name: "cleanup.forget_requests",
    sql: "-- cleanup.forget_requests
DELETE FROM public.job_idempotency
 WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM public.job_idempotency
     WHERE expires_at <= now()
     ORDER BY expires_at
     LIMIT (SELECT $1)
       FOR UPDATE SKIP LOCKED))
RETURNING scope",
    params: &[Type::INT8],
    columns: &[always("scope", Type::VARCHAR)],
};

impl Cleanup<'_> {
    /// Deletes up to `limit` jobs whose time is up and that no live lease holds. Their events go with them,
    /// their objects into the outbox.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`; `INVALID_INPUT` when `limit` is not 1 to [`super::BATCH_MAX`].
    pub async fn expire(&self, limit: u32) -> Result<Vec<JobId>> {
        check_batch(limit)?;
        self.inner.check_installation().await?;
        self.expire_rows(limit).await
    }

    /// As [`Cleanup::expire`], of a caller that has looked whose database it is.
    pub(super) async fn expire_rows(&self, limit: u32) -> Result<Vec<JobId>> {
        let rows = self
            .database()
            .rows(
                &EXPIRE,
                &[&self.lease_ttl().as_secs_f64(), &i64::from(limit)],
            )
            .await?;
        metrics::counter!("clipbase_cleanup_jobs_total").increment(rows.len() as u64);
        rows.iter()
            .map(|row| Ok(JobId::from_uuid(Reader::new(row).take()?)))
            .collect()
    }

    /// Lists the first of what [`Cleanup::expire`] would delete, and deletes nothing. [`Cleanup::plan`] lists all.
    ///
    /// # Errors
    /// As [`Cleanup::expire`].
    pub async fn expired(&self, limit: u32) -> Result<Vec<Expired>> {
        check_batch(limit)?;
        let rows = self
            .database()
            .rows(
                &EXPIRED,
                &[&self.lease_ttl().as_secs_f64(), &i64::from(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                Ok(Expired {
                    id: JobId::from_uuid(reader.take()?),
                    status: reader.parse()?,
                    expires_at: reader.time()?,
                })
            })
            .collect()
    }

    /// Forgets idempotency keys that have run out, a batch of them.
    pub(super) async fn forget_requests(&self) -> Result<u64> {
        let rows = self
            .database()
            .rows(&FORGET_REQUESTS, &[&i64::from(super::BATCH_MAX)])
            .await?;
        Ok(rows.len() as u64)
    }
}
