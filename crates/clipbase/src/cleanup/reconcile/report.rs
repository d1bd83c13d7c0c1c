//! What a reconciliation shall do, and what it found.

use std::time::Duration;

use serde::Serialize;

use super::ReconcileCursor;
use crate::error::{Error, Result};
use crate::storage::Bucket;

/// The shortest grace: as long as an announced upload may wait for its job.
pub const GRACE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The grace, unless set: the shortest, and an hour for an upload that began just before.
pub const GRACE: Duration = Duration::from_secs(25 * 60 * 60);

/// How many objects of each kind a report names; the others are counted.
pub const REPORTED_MAX: usize = 100;

/// Where the objects are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileSource {
    /// From the database's `storage.objects` where that shows this installation's markers, else by listing.
    #[default]
    Auto,
    /// By listing the buckets.
    List,
    /// From the database's `storage.objects`: Supabase's own table, in the same project.
    Sql,
}

/// What a reconciliation shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileOptions {
    /// Younger objects are left alone, by the database's clock: at least [`GRACE_MIN`], default [`GRACE`].
    pub grace: Duration,
    /// Put unowned objects into the outbox; else they are only reported. Default: report.
    pub delete: bool,
    /// Where the objects are read.
    pub source: ReconcileSource,
}

impl Default for ReconcileOptions {
    fn default() -> Self {
        Self {
            grace: GRACE,
            delete: false,
            source: ReconcileSource::Auto,
        }
    }
}

impl ReconcileOptions {
    pub(super) fn check(&self) -> Result<()> {
        if self.grace < GRACE_MIN {
            return Err(Error::invalid("grace", "must be at least 24 hours"));
        }
        // As far as PostgreSQL's clock goes back with room to spare.
        if self.grace > Duration::from_secs(100 * 365 * 24 * 60 * 60) {
            return Err(Error::invalid("grace", "must be at most 100 years"));
        }
        Ok(())
    }
}

/// What was found in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BucketTally {
    /// Objects seen.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that a row names or may come to name, and the installation's marker.
    pub owned: u64,
    /// Objects on their way already: announced, or in the outbox.
    pub pending: u64,
    /// Objects that nobody owns, younger than the grace.
    pub young: u64,
    /// Objects that nobody owns, older than the grace.
    pub unowned: u64,
    /// Their bytes.
    pub unowned_bytes: u64,
    /// Those of them that were put into the outbox.
    pub enqueued: u64,
    /// Objects of a shape that clipbase does not write. Never touched.
    pub foreign: u64,
    /// Objects that a row names and that do not exist.
    pub missing: u64,
    /// Objects that seemed to be missing, and of which the storage could not tell.
    pub unknown: u64,
}

/// An object that a row names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingObject {
    /// The job.
    pub job: crate::ids::JobId,
    /// The object, bucket first.
    pub object_key: String,
}

/// What a reconciliation has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReconcileReport {
    /// Where the objects were read: never `auto`, once it has begun.
    pub source: ReconcileSource,
    /// The bucket of sources.
    pub sources: BucketTally,
    /// The bucket of results.
    pub results: BucketTally,
    /// The first unowned objects, bucket first.
    pub unowned_objects: Vec<String>,
    /// The first foreign objects, bucket first.
    pub foreign_objects: Vec<String>,
    /// The first missing objects.
    pub missing_objects: Vec<MissingObject>,
    /// Where to go on; `None` when all was read. Its text can be kept.
    pub next: Option<ReconcileCursor>,
}

impl ReconcileReport {
    /// Returns how many objects nobody owns.
    pub const fn unowned(&self) -> u64 {
        self.sources.unowned + self.results.unowned
    }

    /// Returns how many objects rows name that do not exist.
    pub const fn missing(&self) -> u64 {
        self.sources.missing + self.results.missing
    }

    pub(super) fn tally(&mut self, bucket: Bucket) -> &mut BucketTally {
        match bucket {
            Bucket::Sources => &mut self.sources,
            Bucket::Results => &mut self.results,
        }
    }
}

/// Adds to a list that has room.
pub(super) fn name<T>(list: &mut Vec<T>, object: impl FnOnce() -> T) {
    if list.len() < REPORTED_MAX {
        list.push(object());
    }
}
