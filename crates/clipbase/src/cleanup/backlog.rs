//! What waits in the outbox, for people and for gauges.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::Type;

use super::{Cleanup, check_batch};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::jobs::row::Reader;

/// An object whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DueDeletion {
    /// The object, bucket first.
    pub object_key: String,
    /// `job_deleted`, `upload_unused`, `source_expired` or `unowned`.
    pub reason: String,
    /// How often its removal was tried.
    pub attempts: i32,
    /// Why the last try failed.
    pub last_error_code: Option<String>,
}

/// How much waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Objects that are due, counted up to 10,000.
    pub due: i64,
    /// When the longest waiting of them was due.
    pub oldest_due_at: Option<Timestamp>,
    /// For how many seconds, by the database's clock.
    pub oldest_age_secs: Option<i64>,
    /// Those of the counted ones that were tried before.
    pub failed: i64,
    /// Why the last tries of those failed: the most frequent code.
    pub error_code: Option<String>,
}

// Bucket by bucket, as the index has them.
pub(super) static DUE: Statement = Statement {
    name: "cleanup.due_deletions",
    sql: "-- cleanup.due_deletions
SELECT entry.object_key, entry.reason, entry.attempts, entry.last_error_code
  FROM unnest(ARRAY['sources', 'results', 'other']) AS shelf (name)
 CROSS JOIN LATERAL (
    SELECT deletion.object_key, deletion.reason, deletion.attempts, deletion.last_error_code
      FROM public.storage_deletions AS deletion
     WHERE deletion.bucket = shelf.name AND deletion.next_attempt_at <= now()
     ORDER BY deletion.next_attempt_at
     LIMIT (SELECT $1)
  ) AS entry
 LIMIT (SELECT $1)",
    params: &[Type::INT8],
    columns: &[
        always("object_key", Type::VARCHAR),
        always("reason", Type::VARCHAR),
        always("attempts", Type::INT4),
        maybe("last_error_code", Type::VARCHAR),
    ],
};

pub(super) static BACKLOG: Statement = Statement {
    name: "cleanup.backlog",
    sql: "-- cleanup.backlog
SELECT least(count(*), 10000) AS due, min(entry.next_attempt_at) AS oldest_due_at,
       extract(epoch FROM now() - min(entry.next_attempt_at))::int8 AS oldest_age_secs,
       least(count(*) FILTER (WHERE entry.attempts > 0), 10000) AS failed,
       mode() WITHIN GROUP (ORDER BY entry.last_error_code::text) AS error_code
  FROM unnest(ARRAY['sources', 'results', 'other']) AS shelf (name)
 CROSS JOIN LATERAL (
    SELECT deletion.next_attempt_at, deletion.attempts, deletion.last_error_code
      FROM public.storage_deletions AS deletion
     WHERE deletion.bucket = shelf.name AND deletion.next_attempt_at <= now()
     ORDER BY deletion.next_attempt_at
     LIMIT (SELECT 10000)
  ) AS entry",
    params: &[],
    columns: &[
        maybe("due", Type::INT8),
        maybe("oldest_due_at", Type::TIMESTAMPTZ),
        maybe("oldest_age_secs", Type::INT8),
        maybe("failed", Type::INT8),
        maybe("error_code", Type::TEXT),
    ],
};

impl Cleanup<'_> {
    /// Lists what [`Cleanup::drain`] would take, and removes nothing.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`super::BATCH_MAX`].
    pub async fn due_deletions(&self, limit: u32) -> Result<Vec<DueDeletion>> {
        check_batch(limit)?;
        let rows = self.database().rows(&DUE, &[&i64::from(limit)]).await?;
        rows.iter()
            .map(|row| read_due(&mut Reader::new(row)))
            .collect()
    }

    /// Returns how much is due in the outbox, since when, and what of it has failed before.
    ///
    /// # Errors
    /// The database's.
    pub async fn backlog(&self) -> Result<Backlog> {
        let rows = self.database().rows(&BACKLOG, &[]).await?;
        let row = rows.first().ok_or(Error::NotFound { what: "backlog" })?;
        let mut reader = Reader::new(row);
        Ok(Backlog {
            due: reader.take()?,
            oldest_due_at: reader.time()?,
            oldest_age_secs: reader.take()?,
            failed: reader.take()?,
            error_code: reader.take()?,
        })
    }

    /// Shows the backlog on the gauges.
    pub(crate) async fn gauge_backlog(&self) -> Result<()> {
        let backlog = self.backlog().await?;
        set_gauges(backlog.due, backlog.oldest_age_secs.unwrap_or(0));
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn set_gauges(due: i64, oldest_age_secs: i64) {
    metrics::gauge!("clipbase_cleanup_backlog_objects").set(due as f64);
    metrics::gauge!("clipbase_cleanup_backlog_age_seconds").set(oldest_age_secs as f64);
}

pub(super) fn read_due(reader: &mut Reader<'_>) -> Result<DueDeletion> {
    Ok(DueDeletion {
        object_key: reader.take()?,
        reason: reader.take()?,
        attempts: reader.take()?,
        last_error_code: reader.take()?,
    })
}
