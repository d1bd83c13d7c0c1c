//! Objects on their way to deletion.
//!
//! A drainer takes keys by pushing their next attempt into the future, so that no transaction stays open
//! while the storage works and several drainers share the work; what it confirms is gone leaves the table.
//! Keys are taken a bucket at a time, since one call of the storage removes objects of one bucket: so each
//! call is full, however many jobs the keys come from.

use tokio_postgres::types::Type;

use super::ownership::standing;
use super::pace::Pace;
use super::{Cleanup, check_batch};
use crate::db::Statement;
use crate::db::statement::always;
use crate::error::Result;
use crate::jobs::row::Reader;
use crate::storage::{RemoveOutcome, StorageKey};

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Drained {
    /// Objects that are gone.
    pub removed: u64,
    /// Objects that a live job owns; they stay, and their entries are dropped.
    pub kept: u64,
    /// Objects that may be written just now, by a live lease or through a link; looked at again later.
    pub put_off: u64,
    /// Objects that could not be removed; tried again after a pause that doubles up to an hour.
    pub failed: u64,
}

impl Drained {
    /// Returns how many keys were handled.
    pub const fn total(&self) -> u64 {
        self.removed + self.kept + self.put_off + self.failed
    }

    fn add(&mut self, other: Drained) {
        self.removed += other.removed;
        self.kept += other.kept;
        self.put_off += other.put_off;
        self.failed += other.failed;
    }
}

/// Whose keys are taken together, as the column `bucket` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    Sources,
    Results,
    /// Keys that nobody can read, written by hand.
    Other,
}

impl Shelf {
    pub(super) const ALL: [Shelf; 3] = [Self::Sources, Self::Results, Self::Other];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Results => "results",
            Self::Other => "other",
        }
    }
}

/// One bulk call and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    pub(super) drained: Drained,
    /// Whether the call failed as a whole: the next one would too.
    pub(super) is_outage: bool,
}

// The pause's jitter is one for the whole batch, so that the batch stays one. An object that a job names is that
// job's: its entry came from an upload whose job was made without us, or whose link has just ended.
pub(super) static TAKE: Statement = Statement {
    name: "cleanup.take_deletions",
    sql: concat!(
        "-- cleanup.take_deletions
WITH due AS MATERIALIZED (
    SELECT deletion.object_key,
           CASE WHEN deletion.writable_until > now() THEN 'writable'
                ELSE (SELECT ",
        standing!("deletion.object_key"),
        "
                        FROM public.jobs AS job WHERE job.id = deletion.job_id) END AS standing
      FROM public.storage_deletions AS deletion
     WHERE deletion.bucket = $1 AND deletion.next_attempt_at <= now()
     ORDER BY deletion.next_attempt_at
     LIMIT (SELECT $2)
       FOR UPDATE OF deletion SKIP LOCKED
),
kept AS (
    DELETE FROM public.storage_deletions
     WHERE object_key = ANY (ARRAY(SELECT object_key FROM due WHERE standing = 'named'))
    RETURNING object_key
),
put_off AS (
    UPDATE public.storage_deletions
       SET next_attempt_at = greatest(writable_until, now() + interval '5 minutes')
     WHERE object_key = ANY (ARRAY(SELECT object_key FROM due WHERE standing IN ('writable', 'live', 'awaited')))
    RETURNING object_key
),
taken AS (
    UPDATE public.storage_deletions
       SET attempts = attempts + 1,
           next_attempt_at = now() + least(interval '1 hour', interval '1 minute' * 2 ^ least(attempts, 10)
                                                              * (SELECT 1 + random() / 4))
     WHERE object_key = ANY (ARRAY(SELECT object_key FROM due WHERE standing IS NULL))
    RETURNING object_key
)
SELECT object_key, 'taken' AS fate FROM taken
UNION ALL
SELECT object_key, 'kept' FROM kept
UNION ALL
SELECT object_key, 'put off' FROM put_off"
    ),
    params: &[Type::TEXT, Type::INT8],
    columns: &[
        always("object_key", Type::VARCHAR),
        always("fate", Type::TEXT),
    ],
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

/// What is due and was tried, by what became of it.
#[derive(Default)]
struct Taken {
    keys: Vec<StorageKey>,
    /// Keys that are no object's of ours: they stay, and say why.
    foreign: Vec<String>,
    kept: u64,
    put_off: u64,
}

impl Cleanup<'_> {
    /// Removes up to `limit` objects of the outbox from the storage, in one bulk call a bucket.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`; `INVALID_INPUT` when `limit` is not 1 to [`super::BATCH_MAX`]. An object that
    /// cannot be removed is no error: it is counted, and tried again later.
    pub async fn drain(&self, limit: u32) -> Result<Drained> {
        check_batch(limit)?;
        self.inner.check_installation().await?;
        let mut drained = Drained::default();
        for shelf in Shelf::ALL {
            let handled = u32::try_from(drained.total()).unwrap_or(limit);
            if handled < limit {
                drained.add(self.drain_shelf(shelf, limit - handled).await?.drained);
            }
        }
        Ok(drained)
    }

    /// Drains shelf by shelf until nothing is due, `limit` objects were handled, or `calls` bulk calls made.
    pub(super) async fn drain_all(
        &self,
        limit: u64,
        mut calls: u64,
        pace: &mut Pace,
        mut progress: impl FnMut(Drained),
    ) -> Result<()> {
        let mut handled = 0;
        for shelf in Shelf::ALL {
            while handled < limit && calls > 0 {
                pace.wait().await;
                let batch = self.drain_shelf(shelf, pace.batch(limit - handled)).await?;
                let drained = batch.drained;
                pace.spent(drained.removed + drained.failed);
                progress(drained);
                if drained.total() == 0 || batch.is_outage {
                    break;
                }
                handled += drained.total();
                calls -= 1;
            }
        }
        Ok(())
    }

    async fn drain_shelf(&self, which: Shelf, limit: u32) -> Result<Batch> {
        let taken = self.take(which, limit).await?;
        let mut batch = Batch::default();
        batch.drained.kept = taken.kept;
        batch.drained.put_off = taken.put_off;
        if !taken.foreign.is_empty() {
            batch.drained.failed += taken.foreign.len() as u64;
            self.database()
                .rows(&FAIL, &[&taken.foreign, &"INVALID_INPUT"])
                .await?;
        }
        if !taken.keys.is_empty() {
            self.remove(&taken.keys, &mut batch).await?;
        }
        let Drained {
            removed,
            kept,
            failed,
            ..
        } = batch.drained;
        metrics::counter!("clipbase_cleanup_objects_removed_total").increment(removed);
        metrics::counter!("clipbase_cleanup_objects_kept_total").increment(kept);
        metrics::counter!("clipbase_cleanup_objects_failed_total").increment(failed);
        Ok(batch)
    }

    async fn take(&self, which: Shelf, limit: u32) -> Result<Taken> {
        let rows = self
            .database()
            .rows(&TAKE, &[&which.as_str(), &i64::from(limit)])
            .await?;
        let mut taken = Taken::default();
        for row in &rows {
            let mut reader = Reader::new(row);
            let text: &str = reader.take()?;
            match reader.take::<&str>()? {
                "kept" => taken.kept += 1,
                "put off" => taken.put_off += 1,
                _ => match text.parse() {
                    // The marker tells whose the bucket is: nothing but a hand can have put it here.
                    Ok(StorageKey::InstallationMarker(_)) | Err(_) => {
                        taken.foreign.push(text.to_owned());
                    }
                    Ok(key) => taken.keys.push(key),
                },
            }
        }
        Ok(taken)
    }

    async fn remove(&self, keys: &[StorageKey], batch: &mut Batch) -> Result<()> {
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
                batch.is_outage = true;
                failed.extend(
                    keys.iter()
                        .map(|key| (key.to_string(), error.code().as_str())),
                );
            }
        }
        if !gone.is_empty() {
            self.database().rows(&CONFIRM, &[&gone]).await?;
        }
        batch.drained.removed += gone.len() as u64;
        batch.drained.failed += failed.len() as u64;
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
}
