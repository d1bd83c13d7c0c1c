//! Objects on their way to deletion.
//!
//! A drainer takes keys by pushing their next attempt into the future, so that no transaction stays open
//! while the storage works and several drainers share the work; what it confirms is gone leaves the table.
//! An upload is announced here before its job exists: if the job never comes, the object goes.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::Type;

use super::{Cleanup, check_batch};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::jobs::row::Reader;
use crate::storage::{RemoveOutcome, StorageKey};

/// How long an announced upload waits for its job, unless set.
pub const UPLOAD_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// Objects that are gone.
    pub removed: u64,
    /// Objects that a live job owns; they stay, and their entries are dropped.
    pub kept: u64,
    /// Objects that could not be removed; tried again after a pause that doubles up to an hour.
    pub failed: u64,
}

impl Drained {
    /// Returns how many keys were handled.
    pub const fn total(&self) -> u64 {
        self.removed + self.kept + self.failed
    }
}

/// An object whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DueDeletion {
    /// The object, bucket first.
    pub object_key: String,
    /// `job_deleted` or `upload_unused`.
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
}

pub(super) static ANNOUNCE: Statement = Statement {
    name: "cleanup.announce_upload",
    sql: "-- cleanup.announce_upload
INSERT INTO public.storage_deletions (object_key, job_id, reason, next_attempt_at)
VALUES ($1, $2, 'upload_unused', now() + make_interval(secs => $3))
ON CONFLICT (object_key) DO UPDATE SET next_attempt_at = EXCLUDED.next_attempt_at
 WHERE storage_deletions.reason = 'upload_unused'
   -- Else it has lapsed, and its object may be on its way out.
   AND storage_deletions.attempts = 0 AND storage_deletions.next_attempt_at > now()
RETURNING object_key",
    params: &[Type::TEXT, Type::UUID, Type::FLOAT8],
    columns: &[always("object_key", Type::VARCHAR)],
};

// An object that a job names is that job's: its entry came from an upload whose job was made without us.
pub(super) static TAKE: Statement = Statement {
    name: "cleanup.take_deletions",
    sql: "-- cleanup.take_deletions
WITH due AS MATERIALIZED (
    SELECT deletion.object_key,
           EXISTS (SELECT FROM public.jobs AS job
                    WHERE job.id = deletion.job_id
                      AND deletion.object_key IN (job.source_key, job.result_video_key, job.result_srt_key))
               AS is_owned
      FROM public.storage_deletions AS deletion
     WHERE deletion.next_attempt_at <= now()
     ORDER BY deletion.next_attempt_at
     LIMIT (SELECT $1)
       FOR UPDATE OF deletion SKIP LOCKED
),
kept AS (
    DELETE FROM public.storage_deletions
     WHERE object_key = ANY (ARRAY(SELECT object_key FROM due WHERE is_owned))
    RETURNING object_key
),
taken AS (
    UPDATE public.storage_deletions
       SET attempts = attempts + 1,
           next_attempt_at = now() + least(interval '1 hour', interval '1 minute' * 2 ^ least(attempts, 10))
     WHERE object_key = ANY (ARRAY(SELECT object_key FROM due WHERE NOT is_owned))
    RETURNING object_key
)
SELECT object_key, false AS is_owned FROM taken
UNION ALL
SELECT object_key, true FROM kept",
    params: &[Type::INT8],
    columns: &[always("object_key", Type::VARCHAR), always("is_owned", Type::BOOL)],
};

// ARRAY(SELECT …): however many keys, the plan stays on the primary key.
pub(super) static CONFIRM: Statement = Statement {
    name: "cleanup.confirm_deletions",
    sql: "-- cleanup.confirm_deletions
DELETE FROM public.storage_deletions
 -- An entry that nobody has tried is a new one, for an object that this removal did not mean.
 WHERE object_key = ANY (ARRAY(SELECT unnest($1::text[]))) AND attempts > 0",
    params: &[Type::TEXT_ARRAY],
    columns: &[],
};

pub(super) static FAIL: Statement = Statement {
    name: "cleanup.fail_deletions",
    sql: "-- cleanup.fail_deletions
UPDATE public.storage_deletions SET last_error_code = $2
 WHERE object_key = ANY (ARRAY(SELECT unnest($1::text[])))",
    params: &[Type::TEXT_ARRAY, Type::TEXT],
    columns: &[],
};

pub(super) static DUE: Statement = Statement {
    name: "cleanup.due_deletions",
    sql: "-- cleanup.due_deletions
SELECT object_key, reason, attempts, last_error_code
  FROM public.storage_deletions
 WHERE next_attempt_at <= now()
 ORDER BY next_attempt_at
 LIMIT $1",
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
SELECT (SELECT count(*) FROM (SELECT FROM public.storage_deletions
                               WHERE next_attempt_at <= now() LIMIT 10000) AS due) AS due,
       (SELECT next_attempt_at FROM public.storage_deletions
         WHERE next_attempt_at <= now() ORDER BY next_attempt_at LIMIT 1) AS oldest_due_at",
    params: &[],
    columns: &[
        maybe("due", Type::INT8),
        maybe("oldest_due_at", Type::TIMESTAMPTZ),
    ],
};

impl Cleanup<'_> {
    /// Announces an upload before its job exists. Creating the job adopts the object; if that does not
    /// happen within `ttl`, the object is removed. So a crash between the two leaks nothing.
    ///
    /// # Errors
    /// `INVALID_INPUT` when the key is no source's; `DB_CONFLICT` when it was announced before and has lapsed,
    /// or its job was deleted: the object is being removed.
    pub async fn announce_upload(&self, key: &StorageKey, ttl: Duration) -> Result<()> {
        let (StorageKey::Source { .. }, Some(job)) = (key, key.job()) else {
            return Err(Error::invalid("key", "must be the key of a source"));
        };
        let rows = self
            .database()
            .rows(
                &ANNOUNCE,
                &[&key.to_string(), &job.as_uuid(), &ttl.as_secs_f64()],
            )
            .await?;
        rows.first().map(|_| ()).ok_or_else(|| {
            Error::failed(
                crate::error::Code::DbConflict,
                "the object under this key is being removed; use a new job id",
            )
        })
    }

    /// Removes up to `limit` objects of the outbox from the storage, in one bulk call.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`; `INVALID_INPUT` when `limit` is not 1 to [`super::BATCH_MAX`]. An object that
    /// cannot be removed is no error: it is counted, and tried again later.
    pub async fn drain(&self, limit: u32) -> Result<Drained> {
        check_batch(limit)?;
        self.inner.check_installation().await?;
        let rows = self.database().rows(&TAKE, &[&i64::from(limit)]).await?;
        let mut drained = Drained::default();
        let mut keys: Vec<StorageKey> = Vec::with_capacity(rows.len());
        let mut foreign: Vec<String> = Vec::new();
        for row in &rows {
            let mut reader = Reader::new(row);
            let text: &str = reader.take()?;
            if reader.take::<bool>()? {
                drained.kept += 1;
            } else if let Ok(key) = text.parse() {
                keys.push(key);
            } else {
                foreign.push(text.to_owned());
            }
        }
        if !foreign.is_empty() {
            drained.failed += foreign.len() as u64;
            self.database()
                .rows(&FAIL, &[&foreign, &"INVALID_INPUT"])
                .await?;
        }
        if !keys.is_empty() {
            self.remove(&keys, &mut drained).await?;
        }
        metrics::counter!("clipbase_objects_removed_total").increment(drained.removed);
        metrics::counter!("clipbase_objects_failed_total").increment(drained.failed);
        Ok(drained)
    }

    async fn remove(&self, keys: &[StorageKey], drained: &mut Drained) -> Result<()> {
        let mut gone: Vec<String> = Vec::with_capacity(keys.len());
        let mut failed: Vec<(String, &'static str)> = Vec::new();
        match self.inner.storage.remove(keys).await {
            Ok(removals) => {
                for removal in removals {
                    let key = removal.key.to_string();
                    match removal.outcome {
                        RemoveOutcome::Removed | RemoveOutcome::Missing => gone.push(key),
                        RemoveOutcome::Failed(error) => failed.push((key, error.code().as_str())),
                    }
                }
            }
            Err(error) => {
                tracing::warn!(code = error.code().as_str(), "objects could not be removed");
                failed.extend(
                    keys.iter()
                        .map(|key| (key.to_string(), error.code().as_str())),
                );
            }
        }
        if !gone.is_empty() {
            self.database().rows(&CONFIRM, &[&gone]).await?;
        }
        drained.removed += gone.len() as u64;
        drained.failed += failed.len() as u64;
        let mut codes: Vec<&'static str> = failed.iter().map(|(_, code)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        for code in codes {
            let keys: Vec<&str> = failed
                .iter()
                .filter(|(_, c)| *c == code)
                .map(|(key, _)| key.as_str())
                .collect();
            self.database().rows(&FAIL, &[&keys, &code]).await?;
        }
        Ok(())
    }

    /// Lists what [`Cleanup::drain`] would remove, and removes nothing.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`super::BATCH_MAX`].
    pub async fn due_deletions(&self, limit: u32) -> Result<Vec<DueDeletion>> {
        check_batch(limit)?;
        let rows = self.database().rows(&DUE, &[&i64::from(limit)]).await?;
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                Ok(DueDeletion {
                    object_key: reader.take()?,
                    reason: reader.take()?,
                    attempts: reader.take()?,
                    last_error_code: reader.take()?,
                })
            })
            .collect()
    }

    /// Returns how much is due in the outbox, and since when.
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
        })
    }
}
