//! Objects in Supabase Storage, by its REST and TUS endpoints.
//!
//! Owns what is peculiar to that server: errors that hide in the body, streams without connection reuse,
//! uploads in resumable pieces, removals that are proved, links that only the server can sign. It never
//! decides what is stored or who owns it, and shows no address, key, path or token in errors, logs, metrics
//! or `Debug` text.
//!
//! ```text
//! credential, settings, config → http (two clients) → failure → retry
//! address            buckets · objects · links · remove · upload · tus · download
//! ```

mod address;
mod buckets;
mod config;
mod content;
mod credential;
mod download;
mod failure;
mod file;
mod http;
mod links;
mod objects;
mod remove;
mod retry;
mod settings;
mod tus;
mod upload;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use self::http::Http;
use self::remove::Proofs;
use super::observed::observed;
use super::{
    Bucket, BucketReport, ByteStream, ListCursor, ListPage, ObjectInfo, Operation, Removal,
    SignOptions, SignedUrl, Storage, StorageKey,
};
use crate::error::Result;

pub use self::config::{SupabaseConfig, TUS_THRESHOLD, TUS_THRESHOLD_MAX};
pub use self::credential::KeyHeaders;
pub use self::settings::{
    BucketPolicy, KeyLayout, MEDIA_TYPES_MAX, PAUSE_MAX, RetryPolicy, TIMEOUT_MAX, TRIES_MAX,
    Timeouts,
};

/// Object storage on Supabase. Clones share their connections.
///
/// ```
/// use clipbase::storage::{SupabaseConfig, SupabaseStorage};
///
/// let config = SupabaseConfig::from_storage_url("http://127.0.0.1:5000", "eyJ.of.service")?;
/// let storage = SupabaseStorage::new(config)?;
/// assert_eq!(format!("{storage:?}"), "SupabaseStorage { .. }");
/// # Ok::<(), clipbase::Error>(())
/// ```
#[derive(Clone)]
pub struct SupabaseStorage {
    inner: Arc<Inner>,
}

struct Inner {
    config: SupabaseConfig,
    http: Http,
    proofs: Mutex<Proofs>,
}

impl SupabaseStorage {
    /// A storage as configured. Connects to nothing yet; call [`Storage::ensure_buckets`] before the first
    /// upload.
    ///
    /// # Errors
    /// `CONFIG_INVALID` when the root certificate cannot be read.
    pub fn new(config: SupabaseConfig) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                http: Http::new(&config)?,
                config,
                proofs: Mutex::default(),
            }),
        })
    }
}

impl fmt::Debug for SupabaseStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupabaseStorage").finish_non_exhaustive()
    }
}

/// The backend's name in spans.
const BACKEND: &str = "supabase";

#[async_trait]
impl Storage for SupabaseStorage {
    async fn ensure_buckets(&self) -> Result<Vec<BucketReport>> {
        observed(BACKEND, Operation::EnsureBuckets, self.inner.ensure_all()).await
    }

    async fn mend_buckets(&self) -> Result<()> {
        observed(BACKEND, Operation::EnsureBuckets, self.inner.mend_all()).await
    }

    async fn upload(&self, from: &Path, key: &StorageKey) -> Result<()> {
        observed(
            BACKEND,
            Operation::Upload,
            self.inner.upload_file(from, key),
        )
        .await
    }

    async fn upload_stream(
        &self,
        content: ByteStream,
        length: u64,
        key: &StorageKey,
    ) -> Result<()> {
        let upload = self.inner.upload_content(content, length, key);
        observed(BACKEND, Operation::UploadStream, upload).await
    }

    async fn download(&self, key: &StorageKey, to: &Path) -> Result<()> {
        let download = Arc::clone(&self.inner).download_file(key, to);
        observed(BACKEND, Operation::Download, download).await
    }

    async fn read_small(&self, key: &StorageKey) -> Result<Bytes> {
        let read = Arc::clone(&self.inner).read_whole(key);
        observed(BACKEND, Operation::ReadSmall, read).await
    }

    async fn sign(&self, key: &StorageKey, options: &SignOptions) -> Result<SignedUrl> {
        observed(BACKEND, Operation::Sign, self.inner.sign_one(key, options)).await
    }

    async fn sign_many(
        &self,
        keys: &[StorageKey],
        options: &SignOptions,
    ) -> Result<Vec<Result<SignedUrl>>> {
        observed(
            BACKEND,
            Operation::SignMany,
            self.inner.sign_all(keys, options),
        )
        .await
    }

    async fn sign_upload(&self, key: &StorageKey) -> Result<SignedUrl> {
        observed(BACKEND, Operation::SignUpload, self.inner.sign_put(key)).await
    }

    async fn info(&self, key: &StorageKey) -> Result<Option<ObjectInfo>> {
        observed(BACKEND, Operation::Info, self.inner.describe(key)).await
    }

    async fn list(
        &self,
        bucket: Bucket,
        after: Option<&ListCursor>,
        limit: usize,
    ) -> Result<ListPage> {
        observed(
            BACKEND,
            Operation::List,
            self.inner.page(bucket, after, limit),
        )
        .await
    }

    async fn copy(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        observed(BACKEND, Operation::Copy, self.inner.copy_object(from, to)).await
    }

    async fn remove(&self, keys: &[StorageKey]) -> Result<Vec<Removal>> {
        observed(BACKEND, Operation::Remove, self.inner.remove_all(keys)).await
    }
}
