//! The buckets compared with the rows, both ways.
//!
//! Two walks in the order of the keys, side by side: the objects of a bucket by page, and the objects that the
//! rows name by page of jobs. Nothing is kept but the page at hand, so a million objects take no more memory than
//! a thousand. What the walk finds is only a suspicion: the database itself decides what is unowned, in the
//! statement that puts it into the outbox, and decides again when the object is taken from there; what seems to be
//! missing is looked up in the storage and then in its row once more.

mod cursor;
mod pages;
mod report;
mod rows;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use jiff::Timestamp;
use uuid::Uuid;

use cursor::Place;
pub use cursor::ReconcileCursor;
pub(crate) use pages::{MARKERS, OBJECTS_PAGE, OBJECTS_TABLE};
use report::name;
pub use report::{
    BucketTally, GRACE, GRACE_MIN, MissingObject, REPORTED_MAX, ReconcileOptions, ReconcileReport,
    ReconcileSource,
};
use rows::Verdict;
pub(crate) use rows::{JUDGE, NAMED, STILL_NAMED};

use super::Cleanup;
use crate::error::{Code, Error, Result};
use crate::ids::JobId;
use crate::storage::{Bucket, ListedObject, SIGN_KEYS_MAX, SignOptions, StorageKey};

/// A reconciliation at work.
struct Walk<'a> {
    cleanup: Cleanup<'a>,
    options: &'a ReconcileOptions,
    /// By the database's clock.
    started_at: Timestamp,
    cursor: ReconcileCursor,
    /// The path read last: the next one must be greater.
    last_path: Option<String>,
    /// Objects of ours that were listed, of jobs whose rows are not compared yet: those of a page.
    seen: BTreeSet<String>,
    report: ReconcileReport,
}

impl Cleanup<'_> {
    /// Compares the buckets with the rows: finds objects that nobody owns (uploads without a job, results of
    /// workers that died or were superseded, probes of a crash), puts them into the outbox where
    /// `options.delete` says so, and reports what rows name and does not exist. Only objects older than the
    /// grace are touched, and only keys of a shape that clipbase writes.
    ///
    /// `progress` hears of each page, and stops the walk by breaking: the report's `next` then tells where to go
    /// on. Safe to kill, and to run in several places at once.
    ///
    /// # Errors
    /// `INSTALLATION_MISMATCH`; `INVALID_INPUT` for the options; `STORAGE_DOWNLOAD_FAILED` when the buckets cannot
    /// be listed, or not in order.
    pub async fn reconcile(
        &self,
        options: &ReconcileOptions,
        from: Option<&ReconcileCursor>,
        mut progress: impl FnMut(&ReconcileReport) -> ControlFlow<()>,
    ) -> Result<ReconcileReport> {
        options.check()?;
        self.inner.check_installation().await?;
        let wanted = from.map_or(options.source, |cursor| cursor.source);
        let source = self.pick_source(wanted).await?;
        let mut walk = Walk {
            cleanup: *self,
            options,
            started_at: self.clock().await?,
            cursor: from
                .cloned()
                .unwrap_or_else(|| ReconcileCursor::start(Bucket::Sources, source)),
            last_path: None,
            seen: BTreeSet::new(),
            report: ReconcileReport {
                source,
                ..ReconcileReport::default()
            },
        };
        while walk.step().await? {
            if progress(&walk.report).is_break() {
                break;
            }
        }
        Ok(walk.report)
    }
}

impl Walk<'_> {
    /// Reads a page of objects, or of rows where the objects are ahead; tells whether there is more to do.
    async fn step(&mut self) -> Result<bool> {
        let to = match self.cursor.place {
            // An id of all ones is no UUID that anybody makes.
            Place::End => Uuid::max(),
            Place::Start => Uuid::nil(),
            Place::After(_) => self.first_open_job(),
        };
        if self.cursor.from < to {
            self.compare_rows(to).await?;
        } else if self.cursor.place == Place::End {
            match self.cursor.bucket {
                Bucket::Sources => {
                    self.cursor = ReconcileCursor::start(Bucket::Results, self.cursor.source);
                    self.last_path = None;
                    self.seen.clear();
                }
                Bucket::Results => {
                    self.report.next = None;
                    return Ok(false);
                }
            }
        } else {
            self.read_objects().await?;
        }
        self.report.next = Some(self.cursor.clone());
        Ok(true)
    }

    /// The job whose objects may go on with the next page. All before it were listed whole, since the paths rise
    /// and begin with the job.
    fn first_open_job(&self) -> Uuid {
        let last = self.last_path.as_deref().unwrap_or_default();
        let folder = last.split('/').next().unwrap_or_default();
        match folder.parse::<JobId>() {
            Ok(job) if job.to_string() == folder => job.as_uuid(),
            // A foreign path: what was listed before it is known whole up to the last job seen.
            _ => self
                .seen
                .last()
                .and_then(|key| key.parse::<StorageKey>().ok())
                .and_then(|key| key.job())
                .map_or(self.cursor.from, |job| job.as_uuid()),
        }
    }

    async fn read_objects(&mut self) -> Result<()> {
        let (objects, place) = self.next_page().await?;
        self.check_order(&objects)?;
        let bucket = self.cursor.bucket;
        let tally = self.report.tally(bucket);
        let mut ours: Vec<(&ListedObject, &StorageKey)> = Vec::with_capacity(objects.len());
        let mut foreign = Vec::new();
        for object in &objects {
            tally.objects += 1;
            tally.bytes += object.size;
            match &object.key {
                Some(StorageKey::InstallationMarker(_)) => tally.owned += 1,
                Some(key) => ours.push((object, key)),
                None => {
                    tally.foreign += 1;
                    foreign.push(object);
                }
            }
        }
        for object in foreign {
            name(&mut self.report.foreign_objects, || {
                format!("{}/{}", bucket.name(), object.path)
            });
        }
        let verdicts = self.cleanup.judge(&ours, self.options).await?;
        let sizes: std::collections::HashMap<String, u64> = ours
            .iter()
            .map(|(object, key)| (key.to_string(), object.size))
            .collect();
        for (key, verdict) in verdicts {
            let size = sizes.get(&key).copied().unwrap_or(0);
            self.count(&key, size, verdict);
            self.seen.insert(key);
        }
        if let Some(last) = objects.into_iter().next_back() {
            self.last_path = Some(last.path);
        }
        self.cursor.place = place;
        Ok(())
    }

    /// The walk side by side rests on it.
    fn check_order(&self, objects: &[ListedObject]) -> Result<()> {
        let mut last = self.last_path.as_deref();
        for object in objects {
            if last.is_some_and(|last| last.as_bytes() >= object.path.as_bytes()) {
                return Err(Error::failed(
                    Code::StorageDownloadFailed,
                    "the storage does not list its objects in the byte order of their paths, so nothing can be \
                     compared with it; nothing of this page was touched",
                ));
            }
            last = Some(&object.path);
        }
        Ok(())
    }

    fn count(&mut self, key: &str, size: u64, verdict: Verdict) {
        let tally = self.report.tally(self.cursor.bucket);
        match verdict {
            Verdict::Owned => tally.owned += 1,
            Verdict::Pending => tally.pending += 1,
            Verdict::Young => tally.young += 1,
            Verdict::Unowned { is_enqueued } => {
                tally.unowned += 1;
                tally.unowned_bytes += size;
                tally.enqueued += u64::from(is_enqueued);
                metrics::counter!("clipbase_cleanup_unowned_total").increment(1);
                name(&mut self.report.unowned_objects, || key.to_owned());
            }
        }
    }

    /// Compares a page of rows of jobs before `to` with the objects that were listed.
    async fn compare_rows(&mut self, to: Uuid) -> Result<()> {
        let bucket = self.cursor.bucket;
        let named = self.cleanup.named(bucket, self.cursor.from, to).await?;
        self.cursor.from = named.next.unwrap_or(to);
        let unseen: Vec<(JobId, String)> = named
            .objects
            .into_iter()
            .filter(|(_, key)| !self.seen.contains(key))
            .collect();
        for batch in unseen.chunks(SIGN_KEYS_MAX) {
            self.look_up(batch).await?;
        }
        let from = self.cursor.from;
        self.seen.retain(|key| {
            let key: Option<StorageKey> = key.parse().ok();
            key.and_then(|key| key.job())
                .is_some_and(|job| job.as_uuid() >= from)
        });
        Ok(())
    }

    /// Reports those that the storage does not have and whose rows still say that it should.
    async fn look_up(&mut self, batch: &[(JobId, String)]) -> Result<()> {
        let keys: Vec<StorageKey> = batch
            .iter()
            .map(|(_, key)| key.parse())
            .collect::<Result<_>>()?;
        let storage = &self.cleanup.inner.storage;
        let links = storage.sign_many(&keys, &SignOptions::default()).await?;
        let mut gone = Vec::new();
        for (object, link) in batch.iter().zip(links) {
            match link {
                Ok(_) => {}
                Err(error) if error.code() == Code::StorageNotFound => gone.push(object.clone()),
                Err(_) => self.report.tally(self.cursor.bucket).unknown += 1,
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let missing = self
            .cleanup
            .still_named(gone, self.options, self.started_at)
            .await?;
        self.report.tally(self.cursor.bucket).missing += missing.len() as u64;
        for (job, object_key) in missing {
            name(&mut self.report.missing_objects, || MissingObject {
                job,
                object_key,
            });
        }
        Ok(())
    }
}
