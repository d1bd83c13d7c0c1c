//! Object storage: one trait, typed keys, and the backends behind it.
//!
//! This module owns every byte that is not a row: sources, clips and subtitles, in two private buckets.
//! It never decides who owns an object (rows do), never invents a key ([`StorageKey`] is the only way
//! to name an object to write), and no error, `Debug` text or log line of it shows a bucket's name, a
//! path or a link's token.
//!
//! ```
//! use clipbase::storage::{MemoryStorage, SignOptions, Storage, StorageKey, byte_stream};
//! use clipbase::{Code, JobId, Result};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let storage = MemoryStorage::new();
//! storage.ensure_buckets().await?;
//!
//! let key = StorageKey::result_srt(JobId::new(), 1);
//! let missing = storage.sign(&key, &SignOptions::default()).await.unwrap_err();
//! assert_eq!(missing.code(), Code::StorageNotFound);
//!
//! storage.upload_stream(byte_stream("1\n"), 2, &key).await?;
//! let link = storage.sign(&key, &SignOptions::default()).await?;
//! assert_eq!(format!("{link:?}"), "SignedUrl(…)");
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

mod atomic;
pub mod keys;
mod links;
mod local;
mod memory;
mod objects;
mod observed;
mod operation;
mod probe;
mod signing;
mod supabase;

pub use keys::{Bucket, SourceExtension, StorageKey};
pub use links::{
    DOWNLOAD_NAME_BYTES_MAX, DownloadName, LINK_TTL_DEFAULT, LINK_TTL_LIMIT, LINK_TTL_MAX,
    LINK_TTL_MIN, LinkTtl, SignOptions, SignedUrl, TtlBounds, UPLOAD_LINK_TTL,
};
pub use local::{INCOMING_STALE_AFTER, LIST_DEPTH_MAX, LocalObject, LocalStorage};
pub use memory::MemoryStorage;
pub use objects::{
    BucketDrift, BucketReport, ByteStream, LIST_LIMIT_MAX, ListCursor, ListPage, ListedObject,
    ObjectInfo, REMOVE_KEYS_MAX, Removal, RemoveOutcome, SIGN_KEYS_MAX, SMALL_OBJECT_BYTES_MAX,
    byte_stream,
};
pub use operation::Operation;
pub use probe::{LayoutSample, ProbeReport, ProbeStep, probe, sample_layout};
pub use signing::{
    DOWNLOAD_ROUTE, LINK_TOKEN_BYTES_MAX, LinkRefusal, LinkScope, LocalSigner, UPLOAD_ROUTE,
    VerifiedLink,
};
pub use supabase::{
    BucketPolicy, KeyHeaders, KeyLayout, MEDIA_TYPES_MAX, PAUSE_MAX, RetryPolicy, SupabaseConfig,
    SupabaseStorage, TIMEOUT_MAX, TRIES_MAX, TUS_THRESHOLD, TUS_THRESHOLD_MAX, Timeouts,
};

/// A place for objects. `Arc<dyn Storage>` is how it is held.
///
/// What every backend promises, and `clipbase_testkit::storage_contract` checks:
///
/// * A reader sees an object whole: as it was before an upload or as it is after, never in between.
/// * An upload that fails, or is dropped before it ends, leaves what was there before.
/// * The last finished upload of a key wins. Create-only uploads do not exist here, because Supabase
///   Storage cannot make them atomic: ownership comes from the database.
/// * A call on a bucket that does not exist fails with `STORAGE_UNAVAILABLE` where the backend can
///   tell, so that a volume that is not mounted never looks like objects that are gone.
///
/// Besides its own codes, every method may fail with `STORAGE_UNAVAILABLE`.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// Creates the buckets that are missing, as private ones, and leaves the others alone: where they differ
    /// from what is configured, the report says so.
    async fn ensure_buckets(&self) -> Result<Vec<BucketReport>>;

    /// Gives buckets that differ from what is configured the configured settings. Their objects stay.
    async fn mend_buckets(&self) -> Result<()> {
        Ok(())
    }

    /// Stores a local file, replacing what the key held.
    ///
    /// # Errors
    /// `STORAGE_UPLOAD_FAILED` when the file cannot be read, changes meanwhile, or cannot be stored;
    /// `STORAGE_QUOTA` when no room is left or the object is too large.
    async fn upload(&self, from: &Path, key: &StorageKey) -> Result<()>;

    /// Stores a stream of exactly `length` bytes, replacing what the key held.
    ///
    /// # Errors
    /// `STORAGE_UPLOAD_FAILED` when the stream fails, is shorter or longer than declared, or cannot be
    /// stored; `STORAGE_QUOTA` when no room is left or the object is too large.
    async fn upload_stream(&self, content: ByteStream, length: u64, key: &StorageKey)
    -> Result<()>;

    /// Writes an object to a local file, whole or not at all, replacing the file.
    ///
    /// # Errors
    /// `STORAGE_NOT_FOUND`; `STORAGE_DOWNLOAD_FAILED` when it cannot be read or written.
    async fn download(&self, key: &StorageKey, to: &Path) -> Result<()>;

    /// Returns where the object lies as a file of this machine, for a reader that would rather not copy it;
    /// `None` where it does not. The file is read-only to the caller, and may be gone.
    fn local_file(&self, _key: &StorageKey) -> Option<PathBuf> {
        None
    }

    /// Reads an object of at most [`SMALL_OBJECT_BYTES_MAX`] into memory: subtitles, a marker.
    ///
    /// # Errors
    /// `STORAGE_NOT_FOUND`; `STORAGE_DOWNLOAD_FAILED` when it is larger or cannot be read.
    async fn read_small(&self, key: &StorageKey) -> Result<Bytes>;

    /// Signs a link to an object that exists. A link cannot be revoked; it ends with its time or with
    /// the object.
    ///
    /// # Errors
    /// `STORAGE_NOT_FOUND`; `STORAGE_SIGN_FAILED`.
    async fn sign(&self, key: &StorageKey, options: &SignOptions) -> Result<SignedUrl>;

    /// Signs links to up to [`SIGN_KEYS_MAX`] objects, in the order of the keys. An object that does not exist
    /// is `STORAGE_NOT_FOUND` in its place, and no failure of the call.
    ///
    /// # Errors
    /// `INVALID_INPUT` when there are more keys; `STORAGE_SIGN_FAILED`.
    async fn sign_many(
        &self,
        keys: &[StorageKey],
        options: &SignOptions,
    ) -> Result<Vec<Result<SignedUrl>>>;

    /// Signs a link that stores one object by `PUT`, whether or not it exists. How long such a link
    /// lasts is the backend's to say: see [`SignedUrl::lifetime`].
    ///
    /// # Errors
    /// `STORAGE_SIGN_FAILED`.
    async fn sign_upload(&self, key: &StorageKey) -> Result<SignedUrl>;

    /// Describes an object; `None` when it does not exist.
    ///
    /// # Errors
    /// `STORAGE_DOWNLOAD_FAILED`.
    async fn info(&self, key: &StorageKey) -> Result<Option<ObjectInfo>>;

    /// Lists everything in a bucket, foreign objects too, in the byte order of the paths.
    ///
    /// An object that exists from the first page to the last is listed exactly once; one that comes or
    /// goes meanwhile may be missed or seen. The cursor comes from the page before.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`LIST_LIMIT_MAX`]; `STORAGE_DOWNLOAD_FAILED`.
    async fn list(
        &self,
        bucket: Bucket,
        after: Option<&ListCursor>,
        limit: usize,
    ) -> Result<ListPage>;

    /// Copies an object inside the storage, replacing what `to` held.
    ///
    /// # Errors
    /// `STORAGE_NOT_FOUND` when `from` does not exist; otherwise as [`Storage::upload`].
    async fn copy(&self, from: &StorageKey, to: &StorageKey) -> Result<()>;

    /// Removes up to [`REMOVE_KEYS_MAX`] objects and tells of each what became of it, in the order of
    /// the keys. Removing what is not there is no failure. A key that is given twice may be `Removed`
    /// once or twice.
    ///
    /// # Errors
    /// `INVALID_INPUT` when there are more keys. `STORAGE_REMOVE_FAILED` stands in the outcomes.
    async fn remove(&self, keys: &[StorageKey]) -> Result<Vec<Removal>>;
}
