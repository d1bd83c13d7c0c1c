//! What goes into the storage and what it tells about it: streams, descriptions, pages, outcomes.
//!
//! Plain values without behaviour of their own; the bounds that all backends share are checked here, so
//! that no backend can forget one. Nothing here names a bucket in its `Debug` text.
//!
//! ```
//! use clipbase::storage::{LIST_LIMIT_MAX, REMOVE_KEYS_MAX};
//! assert_eq!((LIST_LIMIT_MAX, REMOVE_KEYS_MAX), (1_000, 1_000));
//! ```

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use serde::Serialize;

use super::keys::{Bucket, StorageKey};
use crate::error::{Error, Result};

/// The most objects a page may hold: Supabase's own bound.
pub const LIST_LIMIT_MAX: usize = 1_000;

/// The most keys that one call removes: Supabase's own bound.
pub const REMOVE_KEYS_MAX: usize = 1_000;

/// The most links that one call signs: Supabase's own bound.
pub const SIGN_KEYS_MAX: usize = 1_000;

/// The largest object that [`Storage::read_small`](super::Storage::read_small) takes into memory.
pub const SMALL_OBJECT_BYTES_MAX: u64 = 1024 * 1024;

/// The content of an object on its way in, piece by piece.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// A stream of bytes that are in memory already.
pub fn byte_stream(content: impl Into<Bytes>) -> ByteStream {
    let content = content.into();
    stream::once(async move { Ok(content) }).boxed()
}

/// What the storage knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub content_type: Cow<'static, str>,
    /// When its content was stored last.
    pub updated_at: Timestamp,
}

/// An object as a listing shows it. It need not be one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The path inside its bucket, as it stands there.
    pub path: String,
    /// The key, where the path has a shape that clipbase writes; `None` for a foreign one.
    pub key: Option<StorageKey>,
    /// Its size in bytes.
    pub size: u64,
    /// When its content was stored last.
    pub updated_at: Timestamp,
}

impl ListedObject {
    /// Describes an object that lies at its key's own path, or at a foreign one.
    pub fn new(bucket: Bucket, path: String, size: u64, updated_at: Timestamp) -> Self {
        let key = format!("{}/{path}", bucket.name()).parse().ok();
        Self {
            path,
            key,
            size,
            updated_at,
        }
    }
}

/// What became of one bucket when the buckets were ensured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketReport {
    /// The bucket.
    pub bucket: Bucket,
    /// Whether it was missing and has been made.
    pub is_new: bool,
    /// Where a bucket that was there differs from what is configured. It is left as it is.
    pub drift: Vec<BucketDrift>,
}

/// How a bucket differs from what is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BucketDrift {
    /// It is public: anyone may read what lies in it.
    Public,
    /// Its size limit is another one.
    SizeLimit,
    /// It takes other media types.
    MimeTypes,
}

impl BucketDrift {
    /// Returns what is wrong, as a sentence's end: "the bucket …".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "is public: anyone may read it",
            Self::SizeLimit => "has another size limit than configured",
            Self::MimeTypes => "takes other media types than configured",
        }
    }
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// The objects, in the byte order of their paths.
    pub objects: Vec<ListedObject>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<ListCursor>,
}

/// Where a listing goes on. Its text belongs to the backend that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct ListCursor(String);

impl ListCursor {
    /// Wraps a backend's own position, or one that was kept from an earlier page.
    pub fn new(position: impl Into<String>) -> Self {
        Self(position.into())
    }

    /// Returns the position, to keep it or to give it to the backend.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ListCursor {
    /// Shows nothing: a server's cursor may hold a bucket's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListCursor(…)")
    }
}

/// What became of one key in a bulk removal.
#[derive(Debug)]
pub struct Removal {
    /// The key, as given.
    pub key: StorageKey,
    /// What became of it.
    pub outcome: RemoveOutcome,
}

/// Whether an object is gone.
#[derive(Debug)]
pub enum RemoveOutcome {
    /// It was there and is gone.
    Removed,
    /// It was not there.
    Missing,
    /// It may still be there.
    Failed(Error),
}

impl RemoveOutcome {
    /// Tells whether the object is gone, by this call or before it.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Removed | Self::Missing)
    }
}

/// Refuses a page size out of bounds.
pub(crate) fn check_limit(limit: usize) -> Result<()> {
    if (1..=LIST_LIMIT_MAX).contains(&limit) {
        Ok(())
    } else {
        Err(Error::invalid("limit", "must be 1 to 1000"))
    }
}

/// Refuses more keys than one call may take.
pub(crate) fn check_key_count(keys: &[StorageKey]) -> Result<()> {
    // One bound for removals and links.
    const { assert!(REMOVE_KEYS_MAX == SIGN_KEYS_MAX) };
    if keys.len() <= REMOVE_KEYS_MAX {
        Ok(())
    } else {
        Err(Error::invalid(
            "keys",
            "must be at most 1000; take more in several calls",
        ))
    }
}

/// The clock of this machine, read here and nowhere else in the storage: a link to a local file and the
/// age of a left-over file have no database to ask for the time.
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// A file's time as a timestamp; a time that none can hold becomes the nearest one.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let nearest = if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::try_from(time).unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;

    #[test]
    fn a_listed_object_is_ours_only_in_a_shape_that_we_write() {
        let key = |bucket, path: &str| {
            ListedObject::new(bucket, path.to_owned(), 0, Timestamp::UNIX_EPOCH).key
        };
        let job = JobId::new();
        let ours = format!("{job}/clip.mp4");
        assert_eq!(
            key(Bucket::Results, &ours),
            Some(StorageKey::result_video(job, 1))
        );
        assert_eq!(key(Bucket::Sources, &ours), None);
        assert_eq!(key(Bucket::Results, "notes.txt"), None);
    }

    #[test]
    fn bounds_name_the_argument() {
        for limit in [0, LIST_LIMIT_MAX + 1] {
            assert!(
                check_limit(limit)
                    .unwrap_err()
                    .to_string()
                    .starts_with("limit:")
            );
        }
        let keys = vec![StorageKey::result_srt(JobId::new(), 1); REMOVE_KEYS_MAX + 1];
        assert!(
            check_key_count(&keys)
                .unwrap_err()
                .to_string()
                .starts_with("keys:")
        );
        assert!(check_key_count(&keys[1..]).is_ok());
    }
}
