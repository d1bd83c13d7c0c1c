//! Jobs: created, read, changed, moved and deleted here. What a worker does under a lease is in
//! [`crate::leases`].

mod bulk;
mod create;
mod idempotency;
mod read;
pub(crate) mod row;
mod stats;
mod throughput;
mod transition;
mod update;

pub use bulk::{BULK_MAX, JobFilter, ManyCanceled, SELECT_SCAN_MAX, Selection};
pub use create::CREATE_MANY_MAX;
pub use idempotency::{Created, IDEMPOTENCY_TTL, Idempotency};
pub use read::{LIST_MAX, Outcome, Page};
pub use stats::{COUNT_MAX, Stats, StatusStats};
pub use throughput::{MINUTE_COUNT_MAX, Minute, THROUGHPUT_MINUTES_MAX};
pub use transition::{Actor, Canceled, TransitionPatch};

use crate::clipbase::{Inner, Settings};
use crate::db::{Database, Statement};

pub(crate) static STATEMENTS: &[&Statement] = &[
    &create::CREATE,
    &create::CREATE_MANY,
    &read::GET,
    &read::OUTCOME,
    &read::LIST,
    &read::LIST_BY_STATUS,
    &bulk::SELECT,
    &bulk::MOVE_MANY,
    &update::UPDATE,
    &update::DELETE,
    &transition::TRANSITION,
    &stats::STATS,
    &throughput::THROUGHPUT,
    &idempotency::FIND,
    &idempotency::FORGET,
];

/// The repository of jobs. A cheap value: make one where you need it.
///
/// ```
/// # use clipbase::{Change, ClipRange, JobId, JobPatch, JobStatus, NewJob, Priority, Source};
/// # use clipbase::jobs::{Canceled, Idempotency};
/// # use clipbase::storage::StorageKey;
/// # clipbase_testkit::example(async |clipbase| {
/// // A source lies under its job's id, so the id comes first.
/// let id = JobId::new();
/// let source = Source::Upload(StorageKey::source(id, "mp4")?);
/// let new_job = NewJob::new(id, source, ClipRange::from_millis(5_000, 12_500)?);
///
/// // The same request again answers with the same job.
/// let request = Idempotency::new("tenant 7", "order 4711");
/// let job = clipbase.jobs().create_once(&new_job, &request).await?.into_job();
/// assert_eq!(clipbase.jobs().create_once(&new_job, &request).await?.into_job(), job);
///
/// let patch = JobPatch { priority: Some(Priority::High), ..JobPatch::default() };
/// clipbase.jobs().update(id, &patch).await?;
///
/// let page = clipbase.jobs().list_by_status(JobStatus::Queued, 20, None).await?;
/// assert_eq!(page.jobs[0].priority, Priority::High);
///
/// // Nobody has claimed it, so a cancel ends it at once; an operator may think again.
/// assert!(matches!(clipbase.jobs().cancel(id).await?, Canceled::Ended(_)));
/// assert_eq!(clipbase.jobs().retry(id).await?.status, JobStatus::Queued);
///
/// assert_eq!(clipbase.jobs().stats().await?.statuses[0].count, 1);
/// clipbase.jobs().delete(id).await?;
/// assert_eq!(clipbase.jobs().get(id).await?, None);
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    inner: &'a Inner,
}

impl<'a> Jobs<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    fn settings(self) -> &'a Settings {
        &self.inner.settings
    }
}
