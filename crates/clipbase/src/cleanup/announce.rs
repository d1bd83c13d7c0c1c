//! Objects that may arrive before their job exists, or after it is gone.
//!
//! An upload is announced before its job exists: if the job never comes, the object goes. A link with which
//! anybody may store the object is announced with its lifetime: until it has ended, the key stays in the outbox
//! and the object stays in the storage, whatever becomes of the job.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::Cleanup;
use crate::db::Statement;
use crate::db::statement::always;
use crate::error::{Code, Error, Result};
use crate::storage::StorageKey;

/// How long an announced upload waits for its job, unless set.
pub const UPLOAD_TTL: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) static ANNOUNCE: Statement = Statement {
    name: "cleanup.announce_upload",
    sql: "-- cleanup.announce_upload
INSERT INTO public.storage_deletions (object_key, job_id, reason, next_attempt_at, writable_until)
VALUES ($1, $2, 'upload_unused', now() + make_interval(secs => $3), now() + make_interval(secs => $4))
ON CONFLICT (object_key) DO UPDATE
   SET next_attempt_at = greatest(EXCLUDED.next_attempt_at, storage_deletions.writable_until),
       writable_until = greatest(EXCLUDED.writable_until, storage_deletions.writable_until)
 WHERE storage_deletions.reason = 'upload_unused'
   -- Else it has lapsed, and its object may be on its way out.
   AND storage_deletions.attempts = 0 AND storage_deletions.next_attempt_at > now()
RETURNING object_key",
    params: &[Type::TEXT, Type::UUID, Type::FLOAT8, Type::FLOAT8],
    columns: &[always("object_key", Type::VARCHAR)],
};

/// The longest that an announcement waits, and a link lives.
pub const ANNOUNCED_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Cleanup<'_> {
    /// Announces an upload before its job exists. Creating the job adopts the object; if that does not
    /// happen within `ttl`, the object is removed. So a crash between the two leaks nothing.
    ///
    /// # Errors
    /// `INVALID_INPUT` when the key is no source's, or the time longer than [`ANNOUNCED_MAX`]; `DB_CONFLICT` when it was announced before and has lapsed,
    /// or its job was deleted: the object is being removed.
    pub async fn announce_upload(&self, key: &StorageKey, ttl: Duration) -> Result<()> {
        self.announce(key, ttl, None).await
    }

    /// Announces a link with which anybody who has it may store the object for so long: call it before the
    /// link is given away. As [`Cleanup::announce_upload`] with [`UPLOAD_TTL`], and the object is not removed
    /// before the link has ended, also when its job is made and deleted meanwhile, so that what arrives late
    /// is removed too.
    ///
    /// # Errors
    /// As [`Cleanup::announce_upload`].
    pub async fn announce_upload_link(&self, key: &StorageKey, lifetime: Duration) -> Result<()> {
        self.announce(key, UPLOAD_TTL.max(lifetime), Some(lifetime))
            .await
    }

    async fn announce(
        &self,
        key: &StorageKey,
        ttl: Duration,
        lifetime: Option<Duration>,
    ) -> Result<()> {
        let (StorageKey::Source { .. }, Some(job)) = (key, key.job()) else {
            return Err(Error::invalid("key", "must be the key of a source"));
        };
        if ttl > ANNOUNCED_MAX {
            return Err(Error::invalid("ttl", "must be at most 366 days"));
        }
        let rows = self
            .database()
            .rows(
                &ANNOUNCE,
                &[
                    &key.to_string(),
                    &job.as_uuid(),
                    &ttl.as_secs_f64(),
                    &crate::job::seconds(lifetime),
                ],
            )
            .await?;
        rows.first().map(|_| ()).ok_or_else(|| {
            Error::failed(
                Code::DbConflict,
                "the object under this key is being removed; use a new job id",
            )
        })
    }
}
