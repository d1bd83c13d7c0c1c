//! Removing what has had its time, without ever leaking an object.
//!
//! A job that is deleted, by whom ever, puts its objects' keys into the outbox in the same transaction (a
//! trigger does it). From there [`Cleanup::drain`] removes them from the storage. Both halves work in
//! bounded batches, need no leader, and may be killed at any point and run again. [`Cleanup::reconcile`]
//! compares the buckets with the rows, for what no transaction can catch.

mod announce;
mod backlog;
mod expire;
mod outbox;
mod ownership;
mod pace;
mod plan;
mod reconcile;
mod sources;
mod tick;
mod turn;

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;

pub use announce::{ANNOUNCED_MAX, UPLOAD_TTL};
pub use backlog::{Backlog, DueDeletion};
pub use expire::Expired;
pub use outbox::Drained;
pub use plan::{PLAN_PAGE, PlanCursor, PlanPage, PlannedJob, PlannedSource};
pub use reconcile::{
    BucketTally, GRACE, GRACE_MIN, MissingObject, REPORTED_MAX, ReconcileCursor, ReconcileOptions,
    ReconcileReport, ReconcileSource,
};
pub use tick::TickOptions;

use crate::clipbase::Inner;
use crate::db::{Database, Statement};
use crate::error::{Error, Result};
use pace::Pace;

/// The most rows or keys that one batch handles: as many keys as one call of the storage removes.
pub const BATCH_MAX: u32 = 1_000;

pub(crate) static STATEMENTS: &[&Statement] = &[
    &announce::ANNOUNCE,
    &backlog::BACKLOG,
    &backlog::DUE,
    &expire::EXPIRE,
    &expire::EXPIRED,
    &expire::FORGET_REQUESTS,
    &outbox::CONFIRM,
    &outbox::FAIL,
    &outbox::TAKE,
    &plan::CLOCK,
    &plan::PLAN_JOBS,
    &plan::PLAN_OBJECTS,
    &plan::PLAN_SOURCES,
    &reconcile::JUDGE,
    &reconcile::NAMED,
    &reconcile::OBJECTS_TABLE,
    &reconcile::STILL_NAMED,
    &sources::EXPIRE_SOURCES,
    &tick::DUE_WORK,
    &turn::CONFIRM_TURN,
    &turn::TAKE_TURN,
];

/// Statements on Supabase's own tables, which not every database has.
pub(crate) static OPTIONAL_STATEMENTS: &[&Statement] =
    &[&reconcile::OBJECTS_PAGE, &reconcile::MARKERS];

/// Expiry and the outbox. A cheap value: make one where you need it.
///
/// ```
/// # use clipbase::{ClipRange, JobId, NewJob, Source};
/// # use clipbase::cleanup::{CleanupOptions, UPLOAD_TTL};
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
/// let report = clipbase.cleanup().run(&CleanupOptions::default(), |_| ()).await?;
/// assert_eq!(report.objects_removed, 1);
/// assert!(clipbase.storage().info(&key).await?.is_none());
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cleanup<'a> {
    inner: &'a Inner,
}

/// What a clean-up shall do.
#[derive(Clone, Debug)]
pub struct CleanupOptions {
    /// Stop after so many jobs, so many sources and so many objects. Default: no bound.
    pub limit: u64,
    /// Remove at most so many objects a second, in this process. Default: no bound.
    pub max_deletes_per_second: Option<NonZeroU32>,
    /// Compare the buckets with the rows first, so that what is found goes in the same run. Default: not.
    pub reconcile: Option<ReconcileOptions>,
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self {
            limit: u64::MAX,
            max_deletes_per_second: None,
            reconcile: None,
        }
    }
}

impl CleanupOptions {
    /// A clean-up that stops after so many jobs, so many sources and so many objects.
    pub fn limited(limit: u64) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }
}

/// What a clean-up did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Expired jobs that were deleted.
    pub jobs_deleted: u64,
    /// Sources that were given up while their jobs stay.
    pub sources_removed: u64,
    /// Idempotency keys that had run out.
    pub requests_forgotten: u64,
    /// Objects that are gone, by this run or before it.
    pub objects_removed: u64,
    /// Objects that a live job turned out to own; they stay.
    pub objects_kept: u64,
    /// Objects that may be written just now; they are looked at again later.
    pub objects_put_off: u64,
    /// Objects that could not be removed; they are tried again later.
    pub objects_failed: u64,
    /// What the reconciliation found, where one was asked for.
    pub reconciled: Option<ReconcileReport>,
}

impl Report {
    fn add(&mut self, drained: Drained) {
        self.objects_removed += drained.removed;
        self.objects_kept += drained.kept;
        self.objects_put_off += drained.put_off;
        self.objects_failed += drained.failed;
    }
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

    /// Expires jobs and sources and drains the outbox until nothing is due, or the limit is met. Where the
    /// storage is away, rows expire all the same, and their objects wait in the outbox. `progress` hears of
    /// each batch.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`, before anything is deleted; `STORAGE_UNAVAILABLE`, after the rows have expired;
    /// the database's, and the storage's listing's.
    pub async fn run(
        &self,
        options: &CleanupOptions,
        mut progress: impl FnMut(&Report),
    ) -> Result<Report> {
        let away = self.inner.check_for_rows().await?;
        let limit = options.limit;
        let mut report = Report::default();
        if let (Some(reconcile), None) = (&options.reconcile, &away) {
            let found = self
                .reconcile(reconcile, None, |found| {
                    report.reconciled = Some(found.clone());
                    progress(&report);
                    ControlFlow::Continue(())
                })
                .await?;
            report.reconciled = Some(found);
        }
        while report.jobs_deleted < limit {
            let left = batch(limit - report.jobs_deleted);
            let batch = self.expire_rows(left).await?.len() as u64;
            report.jobs_deleted += batch;
            progress(&report);
            if batch == 0 {
                break;
            }
        }
        while report.sources_removed < limit {
            let left = batch(limit - report.sources_removed);
            let batch = self.give_up_sources(left).await?.len() as u64;
            report.sources_removed += batch;
            if batch == 0 {
                break;
            }
            progress(&report);
        }
        while report.requests_forgotten < limit {
            let batch = self.forget_requests().await?;
            report.requests_forgotten += batch;
            if batch < u64::from(BATCH_MAX) {
                break;
            }
        }
        if let Some(error) = away {
            return Err(error);
        }
        let mut pace = Pace::new(options.max_deletes_per_second);
        self.drain_all(limit, u64::MAX, &mut pace, |drained| {
            report.add(drained);
            progress(&report);
        })
        .await?;
        self.gauge_backlog().await?;
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
