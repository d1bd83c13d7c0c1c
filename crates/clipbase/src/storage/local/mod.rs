//! Objects in a local directory: `{root}/{bucket}/{path}`. What clipbase runs on without Supabase.
//!
//! Owns everything below its root: the bucket folders, `.incoming` with what is being written, and
//! `signing.key`. It never writes to an object's own file (it renames a finished one over it), never
//! follows a symbolic link below the root, and never shows a path in an error.
//!
//! Folders are `0700` and files `0600`. Whoever may write below the root by other means is trusted: the
//! checks keep a stray link from leading out, not an attacker with the same user id from racing them.
//!
//! ```
//! use clipbase::storage::{LocalSigner, LocalStorage, Storage, StorageKey, byte_stream};
//! use clipbase::{JobId, Result};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let root = folder.path();
//! let signer = LocalSigner::open(root, "http://127.0.0.1:8080").await?;
//! let storage = LocalStorage::open(root, signer).await?;
//! storage.ensure_buckets().await?;
//! let key = StorageKey::source(JobId::new(), "mp4")?;
//! storage.upload_stream(byte_stream("…"), 3, &key).await?;
//! assert_eq!(storage.info(&key).await?.map(|info| info.size), Some(3));
//! # Ok(())
//! # }
//! ```

mod files;
mod list;
mod remove;
mod tree;

use std::fmt;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use self::remove::remove;
use self::tree::Tree;
use super::atomic::{Fresh, blocking};
use super::links::UPLOAD_LINK_TTL;
use super::objects::{check_key_count, check_limit, timestamp, wall_clock};
use super::observed::observed;
use super::{
    Bucket, BucketReport, ByteStream, LinkScope, ListCursor, ListPage, LocalSigner, ObjectInfo,
    Operation, Removal, SMALL_OBJECT_BYTES_MAX, SignOptions, SignedUrl, Storage, StorageKey,
};
use crate::error::{Cause, Result};

pub use self::files::INCOMING_STALE_AFTER;
pub use self::list::LIST_DEPTH_MAX;
pub(super) use self::tree::{FOLDER_MODE, INCOMING_FOLDER};

/// The backend's name in spans.
const BACKEND: &str = "local";

/// A directory that serves as object storage.
#[derive(Clone)]
pub struct LocalStorage {
    tree: Arc<Tree>,
    signer: LocalSigner,
}

/// An object opened for reading: it stays readable, as it was, when it is replaced or removed.
pub struct LocalObject {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Its content; seek in it to serve a range.
    pub file: tokio::fs::File,
}

impl fmt::Debug for LocalObject {
    /// Leaves out the file, whose own text shows its path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalObject")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl LocalStorage {
    /// Opens a directory, which the signer has made where it was missing. Call
    /// [`Storage::ensure_buckets`] before the first upload.
    ///
    /// # Errors
    /// `STORAGE_UNAVAILABLE` when there is no such directory.
    pub async fn open(root: &Path, signer: LocalSigner) -> Result<Self> {
        let root = root.to_owned();
        let tree = blocking(Operation::EnsureBuckets, move || Tree::open(&root)).await?;
        Ok(Self {
            tree: Arc::new(tree),
            signer,
        })
    }

    /// Returns what verifies this storage's links.
    pub const fn signer(&self) -> &LocalSigner {
        &self.signer
    }

    /// Opens an object, to serve it whole or in part.
    ///
    /// # Errors
    /// `STORAGE_NOT_FOUND`; `STORAGE_DOWNLOAD_FAILED` when it cannot be read.
    pub async fn open_object(&self, key: &StorageKey) -> Result<LocalObject> {
        let operation = Operation::Download;
        let wanted = key.clone();
        let (file, found) = self
            .on_tree(operation, move |tree| open(tree, operation, &wanted))
            .await?;
        Ok(LocalObject {
            info: describe(key, &found),
            file: tokio::fs::File::from_std(file),
        })
    }

    /// Runs file work where it may block.
    async fn on_tree<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Tree) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let tree = Arc::clone(&self.tree);
        blocking(operation, move || work(&tree)).await
    }

    async fn put(&self, operation: Operation, fresh: Fresh, key: &StorageKey) -> Result<()> {
        let key = key.clone();
        self.on_tree(operation, move |tree| {
            let place = tree.place(operation, &key)?;
            files::put(fresh, &place).map_err(|e| operation.io(&e))
        })
        .await
    }
}

impl fmt::Debug for LocalStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStorage").finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for LocalStorage {
    async fn ensure_buckets(&self) -> Result<Vec<BucketReport>> {
        observed(BACKEND, Operation::EnsureBuckets, async move {
            let now = wall_clock();
            self.on_tree(Operation::EnsureBuckets, move |tree| tree.ensure(now))
                .await
        })
        .await
    }

    async fn upload(&self, from: &Path, key: &StorageKey) -> Result<()> {
        let operation = Operation::Upload;
        observed(BACKEND, operation, async move {
            let (from, wanted) = (from.to_owned(), key.clone());
            // Two steps: a caller that goes away after the first one drops the finished file unseen.
            let fresh = self
                .on_tree(operation, move |tree| {
                    tree.place(operation, &wanted)?;
                    tree.receive_file(&from).map_err(|e| operation.io(&e))
                })
                .await?;
            self.put(operation, fresh, key).await
        })
        .await
    }

    async fn upload_stream(
        &self,
        content: ByteStream,
        length: u64,
        key: &StorageKey,
    ) -> Result<()> {
        let operation = Operation::UploadStream;
        observed(BACKEND, operation, async move {
            let wanted = key.clone();
            let fresh = self
                .on_tree(operation, move |tree| {
                    tree.place(operation, &wanted)?;
                    tree.receive().map_err(|e| operation.io(&e))
                })
                .await?
                .write_exactly(operation, content, length)
                .await?;
            self.put(operation, fresh, key).await
        })
        .await
    }

    async fn download(&self, key: &StorageKey, to: &Path) -> Result<()> {
        let operation = Operation::Download;
        observed(BACKEND, operation, async move {
            let (key, to) = (key.clone(), to.to_owned());
            let target = to.clone();
            // Two steps, as in an upload: a caller that goes away leaves no file that it did not wait for.
            let fresh = self
                .on_tree(operation, move |tree| {
                    let (mut source, _) = open(tree, operation, &key)?;
                    Fresh::beside(&to)
                        .and_then(|fresh| fresh.copy_whole(&mut source))
                        .map_err(|e| operation.io(&e))
                })
                .await?;
            blocking(operation, move || {
                fresh.replace(&target).map_err(|e| operation.io(&e))
            })
            .await
        })
        .await
    }

    fn local_file(&self, key: &StorageKey) -> Option<PathBuf> {
        let place = self.tree.place(Operation::Download, key).ok()?;
        files::find(&place).ok().flatten().map(|_| place.file)
    }

    async fn read_small(&self, key: &StorageKey) -> Result<Bytes> {
        let operation = Operation::ReadSmall;
        observed(BACKEND, operation, async move {
            let key = key.clone();
            self.on_tree(operation, move |tree| {
                let (file, found) = open(tree, operation, &key)?;
                if found.len() > SMALL_OBJECT_BYTES_MAX {
                    return Err(operation.failed(Cause::new("larger than a small object")));
                }
                files::read_all(file, found.len()).map_err(|e| operation.io(&e))
            })
            .await
        })
        .await
    }

    async fn sign(&self, key: &StorageKey, options: &SignOptions) -> Result<SignedUrl> {
        observed(BACKEND, Operation::Sign, async move {
            let wanted = key.clone();
            self.on_tree(Operation::Sign, move |tree| {
                open(tree, Operation::Sign, &wanted).map(|_| ())
            })
            .await?;
            self.signer.sign(
                key,
                LinkScope::Download,
                options.ttl.as_duration(),
                options.download_name.as_ref(),
                wall_clock(),
            )
        })
        .await
    }

    async fn sign_many(
        &self,
        keys: &[StorageKey],
        options: &SignOptions,
    ) -> Result<Vec<Result<SignedUrl>>> {
        observed(BACKEND, Operation::SignMany, async move {
            check_key_count(keys)?;
            let operation = Operation::SignMany;
            let wanted = keys.to_vec();
            let found = self
                .on_tree(operation, move |tree| {
                    // A bucket that is not there is no answer about its objects.
                    for bucket in Bucket::ALL {
                        tree.bucket(operation, bucket)?;
                    }
                    let look = |key: &StorageKey| open(tree, operation, key).map(|_| ());
                    Ok(wanted.iter().map(look).collect::<Vec<_>>())
                })
                .await?;
            let (now, name) = (wall_clock(), options.download_name.as_ref());
            let links = found.into_iter().zip(keys).map(|(found, key)| {
                found?;
                let ttl = options.ttl.as_duration();
                self.signer.sign(key, LinkScope::Download, ttl, name, now)
            });
            Ok(links.collect())
        })
        .await
    }

    async fn sign_upload(&self, key: &StorageKey) -> Result<SignedUrl> {
        observed(BACKEND, Operation::SignUpload, async move {
            let wanted = key.clone();
            self.on_tree(Operation::SignUpload, move |tree| {
                tree.place(Operation::SignUpload, &wanted).map(|_| ())
            })
            .await?;
            self.signer
                .sign(key, LinkScope::Upload, UPLOAD_LINK_TTL, None, wall_clock())
        })
        .await
    }

    async fn info(&self, key: &StorageKey) -> Result<Option<ObjectInfo>> {
        let operation = Operation::Info;
        observed(BACKEND, operation, async move {
            let wanted = key.clone();
            let found = self
                .on_tree(operation, move |tree| {
                    let place = tree.place(operation, &wanted)?;
                    files::find(&place).map_err(|e| operation.io(&e))
                })
                .await?;
            Ok(found.map(|found| describe(key, &found)))
        })
        .await
    }

    async fn list(
        &self,
        bucket: Bucket,
        after: Option<&ListCursor>,
        limit: usize,
    ) -> Result<ListPage> {
        observed(BACKEND, Operation::List, async move {
            check_limit(limit)?;
            let operation = Operation::List;
            let after = after.map(|cursor| cursor.as_str().to_owned());
            self.on_tree(operation, move |tree| {
                let folder = tree.bucket(operation, bucket)?;
                list::page(bucket, &folder, after.as_deref(), limit).map_err(|e| operation.io(&e))
            })
            .await
        })
        .await
    }

    async fn copy(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        let operation = Operation::Copy;
        observed(BACKEND, operation, async move {
            let (source, target) = (from.clone(), to.clone());
            let fresh = self
                .on_tree(operation, move |tree| {
                    let (mut file, _) = open(tree, operation, &source)?;
                    tree.place(operation, &target)?;
                    tree.receive()
                        .and_then(|fresh| fresh.copy_whole(&mut file))
                        .map_err(|e| operation.io(&e))
                })
                .await?;
            self.put(operation, fresh, to).await
        })
        .await
    }

    async fn remove(&self, keys: &[StorageKey]) -> Result<Vec<Removal>> {
        observed(BACKEND, Operation::Remove, async move {
            check_key_count(keys)?;
            let keys = keys.to_vec();
            self.on_tree(Operation::Remove, move |tree| remove(tree, keys))
                .await
        })
        .await
    }
}

fn open(tree: &Tree, operation: Operation, key: &StorageKey) -> Result<(File, Metadata)> {
    let place = tree.place(operation, key)?;
    files::open(&place)
        .map_err(|e| operation.io(&e))?
        .ok_or_else(|| operation.missing())
}

fn describe(key: &StorageKey, found: &Metadata) -> ObjectInfo {
    ObjectInfo {
        size: found.len(),
        content_type: key.content_type().into(),
        updated_at: timestamp(found.modified().unwrap_or(SystemTime::UNIX_EPOCH)),
    }
}
