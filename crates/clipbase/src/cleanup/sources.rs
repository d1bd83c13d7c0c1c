//! Sources past their time, of jobs that stay.
//!
//! A source goes alone where [`crate::Retention::sources`] says so: the edge into done or failed sets when, and
//! here the row says that it is gone, the log says so too, and the key goes into the outbox, in one statement.

use tokio_postgres::types::Type;

use super::{Cleanup, check_batch};
use crate::db::Statement;
use crate::db::statement::always;
use crate::error::Result;
use crate::ids::JobId;
use crate::jobs::row::Reader;

/// Which sources go by a moment: of ended jobs, in the job's own folder.
macro_rules! source_due {
    ($now:literal) => {
        concat!(
            "job.source_expires_at <= ",
            $now,
            "
       -- Not = 'done' or 'failed': that would open the index of states to this plan, and with it the whole table.
       AND job.status NOT IN ('queued', 'processing') AND job.source_deleted_at IS NULL
       -- Coalesced: of a bare match, the planner expects so few rows that it would sort them.
       AND coalesce(job.source_key ~ ('^sources/' || job.id || '/source\\.[A-Za-z0-9]{1,16}$'), false)"
        )
    };
}
pub(super) use source_due;

pub(super) static EXPIRE_SOURCES: Statement = Statement {
    name: "cleanup.expire_sources",
    sql: concat!(
        "-- cleanup.expire_sources
WITH due AS MATERIALIZED (
    SELECT job.id FROM public.jobs AS job
     WHERE ",
        source_due!("now()"),
        "
     ORDER BY job.source_expires_at
     LIMIT (SELECT $1)
       FOR NO KEY UPDATE SKIP LOCKED
),
removed AS (
    UPDATE public.jobs
       SET source_deleted_at = now(), source_expires_at = NULL, event_seq = event_seq + 1, updated_at = now()
     WHERE id = ANY (ARRAY(SELECT id FROM due))
    RETURNING id, event_seq, source_key
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, event_seq, 'source_removed', '{\"by\": \"cleanup\", \"set\": {\"source_deleted\": true}}'
      FROM removed
),
handed_over AS (
    INSERT INTO public.storage_deletions (object_key, job_id, reason)
    SELECT source_key, id, 'source_expired' FROM removed
    ON CONFLICT (object_key) DO UPDATE
       SET reason = 'source_expired',
           -- A link that still stores it has to end first.
           next_attempt_at = greatest(EXCLUDED.next_attempt_at, storage_deletions.writable_until)
)
SELECT id FROM removed"
    ),
    params: &[Type::INT8],
    columns: &[always("id", Type::UUID)],
};

impl Cleanup<'_> {
    /// Gives the sources of up to `limit` ended jobs to the outbox, as [`crate::Retention::sources`] says. The
    /// jobs stay, with `source_deleted_at` set and an event `source_removed`, and cannot be retried.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`; `INVALID_INPUT` when `limit` is not 1 to [`super::BATCH_MAX`].
    pub async fn expire_sources(&self, limit: u32) -> Result<Vec<JobId>> {
        check_batch(limit)?;
        self.inner.check_installation().await?;
        self.give_up_sources(limit).await
    }

    /// As [`Cleanup::expire_sources`], of a caller that has looked whose database it is.
    pub(super) async fn give_up_sources(&self, limit: u32) -> Result<Vec<JobId>> {
        let rows = self
            .database()
            .rows(&EXPIRE_SOURCES, &[&i64::from(limit)])
            .await?;
        metrics::counter!("clipbase_cleanup_sources_total").increment(rows.len() as u64);
        rows.iter()
            .map(|row| Ok(JobId::from_uuid(Reader::new(row).take()?)))
            .collect()
    }
}
