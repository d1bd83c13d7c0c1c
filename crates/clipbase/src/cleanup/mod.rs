//! Removing what has had its time, without ever leaking an object.
//!
//! A job that is deleted, by whom ever, puts its objects' keys into the outbox in the same transaction (a
//! trigger does it). From there [`Cleanup::drain`] removes them from the storage. Both halves work in
//! bounded batches, need no leader, and may be killed at any point and run again.

mod expire;
mod outbox;

use std::time::Duration;

use serde::Serialize;

pub use expire::Expired;
pub use outbox::{Backlog, Drained, DueDeletion, UPLOAD_TTL};

use crate::clipbase::Inner;
use crate::db::{Database, Statement};
use crate::error::{Error, Result};

/// The most rows or keys that one batch handles: as many keys as one call of the storage removes.
pub const BATCH_MAX: u32 = 1_000;

pub(crate) static STATEMENTS: &[&Statement] = &[
    &expire::EXPIRE,
    &expire::EXPIRED,
    &expire::FORGET_REQUESTS,
    &outbox::ANNOUNCE,
    &outbox::TAKE,
    &outbox::CONFIRM,
    &outbox::FAIL,
    &outbox::DUE,
    &outbox::BACKLOG,
];

/// Expiry and the outbox. A cheap value: make one where you need it.
///
/// ```
/// # use clipbase::{ClipRange, JobId, NewJob, Source};
/// # use clipbase::cleanup::UPLOAD_TTL;
/// # use clipbase::storage::{StorageKey, byte_stream};
/// # clipbase_testkit::example(async |clipbase| {
/// // Announced, uploaded, adopted: a crash at any point leaks nothing.
/// let id = JobId::new();
/// let key = StorageKey::source(id, "mp4")?;
/// clipbase.cleanup().announce_upload(&key, UPLOAD_TTL).await?;
/// clipbase.storage().upload_stream(byte_stream("a video"), 7, &key).await?;
/// let range = ClipRange::from_millis(0, 1_000)?;
/// clipbase.jobs().create(&NewJob::new(id, Source::Upload(key.clone()), range)).await?;
///
/// // A deleted job's objects go with the next clean-up.
/// clipbase.jobs().delete(id).await?;
/// let report = clipbase.cleanup().run(1_000, |_| ()).await?;
/// assert_eq!(report.objects_removed, 1);
/// assert!(clipbase.storage().info(&key).await?.is_none());
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cleanup<'a> {
    inner: &'a Inner,
}

/// What a clean-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Expired jobs that were deleted.
    pub jobs_deleted: u64,
    /// Idempotency keys that had run out.
    pub requests_forgotten: u64,
    /// Objects that are gone, by this run or before it.
    pub objects_removed: u64,
    /// Objects that a live job turned out to own; they stay.
    pub objects_kept: u64,
    /// Objects that could not be removed; they are tried again later.
    pub objects_failed: u64,
}

impl<'a> Cleanup<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    fn lease_ttl(self) -> Duration {
        self.inner.settings.lease_ttl
    }

    /// Expires jobs and drains the outbox until nothing is due, or `limit` jobs were deleted and as many
    /// objects handled. `progress` hears of each batch.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`, before anything is deleted; the database's and the storage's.
    pub async fn run(&self, limit: u64, mut progress: impl FnMut(&Report)) -> Result<Report> {
        self.inner.check_installation().await?;
        let mut report = Report::default();
        while report.jobs_deleted < limit {
            let deleted = self.expire(batch(limit - report.jobs_deleted)).await?.len() as u64;
            report.jobs_deleted += deleted;
            progress(&report);
            if deleted == 0 {
                break;
            }
        }
        report.requests_forgotten = self.forget_requests().await?;
        let mut handled = 0;
        while handled < limit {
            let drained = self.drain(batch(limit - handled)).await?;
            report.objects_removed += drained.removed;
            report.objects_kept += drained.kept;
            report.objects_failed += drained.failed;
            progress(&report);
            if drained.total() == 0 {
                break;
            }
            handled += drained.total();
        }
        Ok(report)
    }
}

fn batch(left: u64) -> u32 {
    u32::try_from(left).unwrap_or(BATCH_MAX).min(BATCH_MAX)
}

fn check_batch(limit: u32) -> Result<()> {
    if (1..=BATCH_MAX).contains(&limit) {
        Ok(())
    } else {
        Err(Error::invalid("limit", "must be 1 to 1000"))
    }
}
