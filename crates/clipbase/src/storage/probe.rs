//! What a credential may do in a bucket, found by doing it, and in which layout objects lie there.
//!
//! A probe stores a small object of its own kind, reads it, signs links to it, lists the bucket and removes
//! the object again. It touches nothing else; one that a crash leaves behind is found by the
//! reconciliation, which knows its name.
//!
//! ```
//! use clipbase::storage::{Bucket, MemoryStorage, Storage, probe};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> clipbase::Result<()> {
//! let storage = MemoryStorage::new();
//! storage.ensure_buckets().await?;
//! assert!(probe(&storage, Bucket::Sources).await.is_good());
//! # Ok(())
//! # }
//! ```

use serde::Serialize;

use super::{Bucket, LIST_LIMIT_MAX, RemoveOutcome, SignOptions, Storage, StorageKey, byte_stream};
use crate::error::{Cause, Code, Error, Result};

const CONTENT: &str = "clipbase tries what it may do here";

/// One thing that a credential must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProbeStep {
    /// Store an object.
    Write,
    /// Read it back, whole.
    Read,
    /// Sign a link to it.
    Sign,
    /// Sign a link that stores it.
    SignUpload,
    /// List what is in the bucket.
    List,
    /// Remove it, and see that it was this call that removed it.
    Delete,
}

impl ProbeStep {
    /// Every step, in the order in which they are tried.
    pub const ALL: [ProbeStep; 6] = [
        Self::Write,
        Self::Read,
        Self::Sign,
        Self::SignUpload,
        Self::List,
        Self::Delete,
    ];

    /// Returns the word for reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Sign => "sign",
            Self::SignUpload => "sign upload",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// What one bucket answered.
#[derive(Debug)]
pub struct ProbeReport {
    /// The bucket.
    pub bucket: Bucket,
    /// Each step with its outcome. After a refused write the others are not tried and not listed.
    pub steps: Vec<(ProbeStep, Result<()>)>,
}

impl ProbeReport {
    /// Tells whether everything that clipbase does was allowed.
    pub fn is_good(&self) -> bool {
        self.steps.len() == ProbeStep::ALL.len() && self.failure().is_none()
    }

    /// Returns the first step that failed, and why.
    pub fn failure(&self) -> Option<(ProbeStep, &Error)> {
        self.steps
            .iter()
            .find_map(|(step, outcome)| Some((*step, outcome.as_ref().err()?)))
    }
}

/// Tries everything that clipbase does in a bucket. The failures are in the report.
pub async fn probe(storage: &dyn Storage, bucket: Bucket) -> ProbeReport {
    let key = StorageKey::probe(bucket);
    let mut steps = Vec::with_capacity(ProbeStep::ALL.len());
    for step in ProbeStep::ALL {
        let outcome = take(storage, &key, step).await;
        let is_stored = step != ProbeStep::Write || outcome.is_ok();
        steps.push((step, outcome));
        if !is_stored {
            break;
        }
    }
    ProbeReport { bucket, steps }
}

async fn take(storage: &dyn Storage, key: &StorageKey, step: ProbeStep) -> Result<()> {
    match step {
        ProbeStep::Write => {
            let length = CONTENT.len() as u64;
            storage
                .upload_stream(byte_stream(CONTENT), length, key)
                .await
        }
        ProbeStep::Read => {
            if storage.read_small(key).await? == CONTENT {
                Ok(())
            } else {
                Err(altered())
            }
        }
        ProbeStep::Sign => storage.sign(key, &SignOptions::default()).await.map(drop),
        ProbeStep::SignUpload => storage.sign_upload(key).await.map(drop),
        ProbeStep::List => storage.list(key.bucket(), None, 1).await.map(drop),
        ProbeStep::Delete => {
            let removals = storage.remove(std::slice::from_ref(key)).await?;
            match removals.into_iter().next().map(|removal| removal.outcome) {
                Some(RemoveOutcome::Removed) => Ok(()),
                Some(RemoveOutcome::Failed(error)) => Err(error),
                // It was there a moment ago.
                Some(RemoveOutcome::Missing) | None => Err(Error::failed(
                    Code::StorageRemoveFailed,
                    "the storage did not remove the object, and did not say so",
                )),
            }
        }
    }
}

fn altered() -> Error {
    Error::caused(
        Code::StorageDownloadFailed,
        "the storage gave back other bytes than were stored",
        Cause::new("probe"),
    )
}

/// In which layout the objects of a bucket lie, by a look at its first page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayoutSample {
    /// Objects that were looked at.
    pub seen: usize,
    /// Objects at `{job}/…`: the key's first segment is the bucket alone.
    pub bucket: usize,
    /// Objects at `sources/{job}/…`: the whole key is the path.
    pub literal: usize,
}

/// Looks at the first objects of a bucket, at most [`LIST_LIMIT_MAX`].
///
/// # Errors
/// As [`Storage::list`].
pub async fn sample_layout(storage: &dyn Storage, bucket: Bucket) -> Result<LayoutSample> {
    let page = storage.list(bucket, None, LIST_LIMIT_MAX).await?;
    let mut sample = LayoutSample {
        seen: page.objects.len(),
        ..LayoutSample::default()
    };
    for object in page.objects {
        let is_job = |text: &str| {
            text.parse()
                .is_ok_and(|key: StorageKey| key.job().is_some())
        };
        if is_job(&object.path) {
            sample.literal += 1;
        } else if is_job(&format!("{}/{}", bucket.name(), object.path)) {
            sample.bucket += 1;
        }
    }
    Ok(sample)
}
