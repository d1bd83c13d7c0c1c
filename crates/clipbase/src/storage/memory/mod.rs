//! Objects in memory, for tests: the same promises as the real backends, and faults on demand.
//!
//! Owns nothing outside itself. It is never a production backend: everything is lost with the value, and
//! objects are held whole.
//!
//! ```
//! use clipbase::storage::{MemoryStorage, Operation, Storage, StorageKey, byte_stream};
//! use clipbase::{Code, JobId, Result};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let storage = MemoryStorage::new();
//! storage.ensure_buckets().await?;
//! storage.fail_next(Operation::UploadStream, Code::StorageQuota);
//!
//! let key = StorageKey::result_srt(JobId::new(), 1);
//! let full = storage.upload_stream(byte_stream("1"), 1, &key).await.unwrap_err();
//! assert_eq!(full.code(), Code::StorageQuota);
//! storage.upload_stream(byte_stream("1"), 1, &key).await?;
//! assert_eq!(storage.calls(Operation::UploadStream), 2);
//! # Ok(())
//! # }
//! ```

mod script;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use jiff::Timestamp;
use uuid::Uuid;

use self::script::{Fault, Script};
use super::atomic::write_file;
use super::links::UPLOAD_LINK_TTL;
use super::objects::{check_key_count, check_limit, timestamp, wall_clock};
use super::{
    Bucket, BucketReport, ByteStream, ListCursor, ListPage, ListedObject, ObjectInfo, Operation,
    Removal, RemoveOutcome, SMALL_OBJECT_BYTES_MAX, SignOptions, SignedUrl, Storage, StorageKey,
    byte_stream,
};
use crate::error::{Cause, Code, Result};

/// Object storage in memory. Clones share their objects, faults and counts.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<Bucket, BTreeMap<String, Object>>,
    script: Script,
    is_listed_backwards: bool,
}

#[derive(Clone)]
struct Object {
    content: Bytes,
    updated_at: Timestamp,
}

impl MemoryStorage {
    /// An empty storage without buckets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next call of this operation fail before it does anything. Calls add up.
    pub fn fail_next(&self, operation: Operation, code: Code) {
        self.state().script.add(operation, Fault::Refused(code));
    }

    /// Makes the next call of this operation do its work and fail all the same, as when the answer is
    /// lost on the way. Calls add up.
    pub fn fail_next_answer(&self, operation: Operation, code: Code) {
        self.state().script.add(operation, Fault::AnswerLost(code));
    }

    /// Makes the next removal of this key, among others that succeed, answer `Failed`. Calls add up.
    pub fn fail_next_removal_of(&self, key: &StorageKey, code: Code) {
        self.state().script.add_removal(key, code);
    }

    /// Stores an object of any path, as another client of the same bucket might.
    ///
    /// # Errors
    /// `STORAGE_UNAVAILABLE` before the buckets are made.
    pub fn put_foreign(
        &self,
        bucket: Bucket,
        path: impl Into<String>,
        content: impl Into<Bytes>,
    ) -> Result<()> {
        let mut state = self.state();
        let objects = state.bucket(Operation::UploadStream, bucket)?;
        objects.insert(path.into(), Object::new(content.into()));
        Ok(())
    }

    /// Makes an object look as if it had been stored so long ago.
    ///
    /// # Errors
    /// `STORAGE_NOT_FOUND`; `STORAGE_UNAVAILABLE` before the buckets are made.
    pub fn set_age(&self, bucket: Bucket, path: &str, age: Duration) -> Result<()> {
        let mut state = self.state();
        let objects = state.bucket(Operation::Info, bucket)?;
        let object = objects
            .get_mut(path)
            .ok_or_else(|| Operation::Info.missing())?;
        let then = wall_clock().checked_sub(age);
        object.updated_at = then.map_or(Timestamp::MIN, timestamp);
        Ok(())
    }

    /// Makes listings fall within a page instead of rising, as a backend of another order would.
    pub fn list_backwards(&self) {
        self.state().is_listed_backwards = true;
    }

    /// Returns every object of both buckets, bucket first, in order.
    pub fn object_keys(&self) -> Vec<String> {
        let state = self.state();
        let buckets = state.buckets.iter();
        buckets
            .flat_map(|(bucket, objects)| {
                let name = bucket.name();
                objects.keys().map(move |path| format!("{name}/{path}"))
            })
            .collect()
    }

    /// Returns how often an operation was called, failures included.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().script.calls(operation)
    }

    /// Returns how many objects there are in both buckets.
    pub fn object_count(&self) -> usize {
        self.state().buckets.values().map(BTreeMap::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, applies its fault, and runs it in one step that nobody sees half of.
    fn run<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state();
        let fault = state.script.called(operation);
        let refusal = |code| operation.failed_as(code, Cause::new("scripted"));
        match fault {
            None => work(&mut state),
            Some(Fault::Refused(code)) => Err(refusal(code)),
            Some(Fault::AnswerLost(code)) => work(&mut state).and_then(|_| Err(refusal(code))),
        }
    }

    fn put(&self, operation: Operation, key: &StorageKey, content: Result<Bytes>) -> Result<()> {
        self.run(operation, |state| {
            let objects = state.bucket(operation, key.bucket())?;
            objects.insert(key.path(), Object::new(content?));
            Ok(())
        })
    }

    fn get(&self, operation: Operation, key: &StorageKey) -> Result<Bytes> {
        self.run(operation, |state| {
            let object = state.object(operation, key)?;
            Ok(object.content)
        })
    }
}

impl State {
    fn bucket(
        &mut self,
        operation: Operation,
        bucket: Bucket,
    ) -> Result<&mut BTreeMap<String, Object>> {
        self.buckets.get_mut(&bucket).ok_or_else(|| {
            operation.failed_as(Code::StorageUnavailable, Cause::new("no such bucket"))
        })
    }

    fn object(&mut self, operation: Operation, key: &StorageKey) -> Result<Object> {
        self.bucket(operation, key.bucket())?
            .get(&key.path())
            .cloned()
            .ok_or_else(|| operation.missing())
    }
}

impl Object {
    fn new(content: Bytes) -> Self {
        Self {
            content,
            updated_at: timestamp(wall_clock()),
        }
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn ensure_buckets(&self) -> Result<Vec<BucketReport>> {
        self.run(Operation::EnsureBuckets, |state| {
            let make = |bucket| {
                let is_new = !state.buckets.contains_key(&bucket);
                state.buckets.entry(bucket).or_default();
                BucketReport {
                    bucket,
                    is_new,
                    drift: Vec::new(),
                }
            };
            Ok(Bucket::ALL.map(make).into())
        })
    }

    async fn upload(&self, from: &Path, key: &StorageKey) -> Result<()> {
        let operation = Operation::Upload;
        let content = tokio::fs::read(from)
            .await
            .map(Bytes::from)
            .map_err(|e| operation.io(&e));
        self.put(operation, key, content)
    }

    async fn upload_stream(
        &self,
        content: ByteStream,
        length: u64,
        key: &StorageKey,
    ) -> Result<()> {
        let content = collect_exactly(content, length).await;
        self.put(Operation::UploadStream, key, content)
    }

    async fn download(&self, key: &StorageKey, to: &Path) -> Result<()> {
        let operation = Operation::Download;
        let content = self.get(operation, key)?;
        let length = content.len() as u64;
        write_file(operation, byte_stream(content), length, to).await
    }

    async fn read_small(&self, key: &StorageKey) -> Result<Bytes> {
        let operation = Operation::ReadSmall;
        let content = self.get(operation, key)?;
        if content.len() as u64 > SMALL_OBJECT_BYTES_MAX {
            return Err(operation.failed(Cause::new("larger than a small object")));
        }
        Ok(content)
    }

    async fn sign(&self, key: &StorageKey, options: &SignOptions) -> Result<SignedUrl> {
        self.run(Operation::Sign, |state| {
            state.object(Operation::Sign, key)?;
            Ok(link(key, options.ttl.as_duration()))
        })
    }

    async fn sign_many(
        &self,
        keys: &[StorageKey],
        options: &SignOptions,
    ) -> Result<Vec<Result<SignedUrl>>> {
        check_key_count(keys)?;
        self.run(Operation::SignMany, |state| {
            let sign = |key: &StorageKey| {
                state.bucket(Operation::SignMany, key.bucket())?;
                let found = state.object(Operation::SignMany, key);
                Ok(found.map(|_| link(key, options.ttl.as_duration())))
            };
            keys.iter().map(sign).collect()
        })
    }

    async fn sign_upload(&self, key: &StorageKey) -> Result<SignedUrl> {
        self.run(Operation::SignUpload, |state| {
            state.bucket(Operation::SignUpload, key.bucket())?;
            Ok(link(key, UPLOAD_LINK_TTL))
        })
    }

    async fn info(&self, key: &StorageKey) -> Result<Option<ObjectInfo>> {
        self.run(Operation::Info, |state| {
            let objects = state.bucket(Operation::Info, key.bucket())?;
            Ok(objects.get(&key.path()).map(|object| ObjectInfo {
                size: object.content.len() as u64,
                content_type: key.content_type().into(),
                updated_at: object.updated_at,
            }))
        })
    }

    async fn list(
        &self,
        bucket: Bucket,
        after: Option<&ListCursor>,
        limit: usize,
    ) -> Result<ListPage> {
        check_limit(limit)?;
        self.run(Operation::List, |state| {
            let is_backwards = state.is_listed_backwards;
            let objects = state.bucket(Operation::List, bucket)?;
            let start = after.map_or(Bound::Unbounded, |cursor| Bound::Excluded(cursor.as_str()));
            let mut rest = objects.range::<str, _>((start, Bound::Unbounded));
            let mut page: Vec<_> = rest
                .by_ref()
                .take(limit)
                .map(|(path, object)| {
                    let size = object.content.len() as u64;
                    ListedObject::new(bucket, path.clone(), size, object.updated_at)
                })
                .collect();
            let next = match page.last() {
                Some(last) if rest.next().is_some() => Some(ListCursor::new(last.path.clone())),
                _ => None,
            };
            if is_backwards {
                page.reverse();
            }
            Ok(ListPage {
                objects: page,
                next,
            })
        })
    }

    async fn copy(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        self.run(Operation::Copy, |state| {
            let object = state.object(Operation::Copy, from)?;
            let target = state.bucket(Operation::Copy, to.bucket())?;
            target.insert(to.path(), Object::new(object.content));
            Ok(())
        })
    }

    async fn remove(&self, keys: &[StorageKey]) -> Result<Vec<Removal>> {
        check_key_count(keys)?;
        self.run(Operation::Remove, |state| {
            let mut removals = Vec::with_capacity(keys.len());
            for key in keys {
                let fault = state.script.removed(key);
                let objects = state.bucket(Operation::Remove, key.bucket())?;
                let outcome = match fault {
                    Some(code) => RemoveOutcome::Failed(
                        Operation::Remove.failed_as(code, Cause::new("scripted")),
                    ),
                    None if objects.remove(&key.path()).is_some() => RemoveOutcome::Removed,
                    None => RemoveOutcome::Missing,
                };
                removals.push(Removal {
                    key: key.clone(),
                    outcome,
                });
            }
            Ok(removals)
        })
    }
}

fn link(key: &StorageKey, lifetime: Duration) -> SignedUrl {
    let token = Uuid::new_v4().simple();
    SignedUrl::new(format!("memory:///{key}?token={token}"), lifetime)
}

async fn collect_exactly(mut content: ByteStream, length: u64) -> Result<Bytes> {
    let operation = Operation::UploadStream;
    let mut collected = BytesMut::new();
    while let Some(piece) = content.next().await {
        let piece = piece.map_err(|e| operation.failed(Cause::io(&e)))?;
        collected.extend_from_slice(&piece);
        if collected.len() as u64 > length {
            return Err(operation.failed(Cause::new("stream longer than declared")));
        }
    }
    if collected.len() as u64 == length {
        Ok(collected.freeze())
    } else {
        Err(operation.failed(Cause::new("stream shorter than declared")))
    }
}

#[cfg(test)]
mod tests;
