//! Object storage: the contract on each backend, and what is particular to the local directory.

use std::fs;
use std::path::{Path, PathBuf};

use clipbase::storage::{
    Bucket, LocalSigner, LocalStorage, MemoryStorage, SignOptions, Storage, StorageKey, byte_stream,
};
use clipbase::{Code, JobId, Result};
use clipbase_testkit::fake_supabase::FakeSupabase;
use clipbase_testkit::storage_contract::Subject;
use tempfile::TempDir;

mod crashes;
mod links;
mod local;
mod probe;
mod supabase;

mod local_contract {
    clipbase_testkit::storage_contract!(super::local_subject);
}

mod memory_contract {
    clipbase_testkit::storage_contract!(super::memory_subject);
}

async fn local_subject() -> Subject {
    let Directory { root, storage } = Directory::new().await;
    Subject::new(storage, root).await
}

async fn memory_subject() -> Subject {
    Subject::new(MemoryStorage::new(), ()).await
}

/// A local storage with its buckets, in a directory that goes away with it.
struct Directory {
    root: TempDir,
    storage: LocalStorage,
}

impl Directory {
    async fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("canary-root-")
            .tempdir()
            .unwrap();
        let storage = open(root.path()).await;
        storage.ensure_buckets().await.unwrap();
        Self { root, storage }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    /// Returns where a key's file lies.
    fn file(&self, key: &StorageKey) -> PathBuf {
        self.path(&key.to_string())
    }

    async fn store(&self, key: &StorageKey, content: &'static str) {
        store(&self.storage, key, content).await.unwrap();
    }

    async fn content(&self, key: &StorageKey) -> Vec<u8> {
        self.storage.read_small(key).await.unwrap().to_vec()
    }
}

async fn open(root: &Path) -> LocalStorage {
    let signer = LocalSigner::open(root, "http://127.0.0.1:8080/")
        .await
        .unwrap();
    LocalStorage::open(root, signer).await.unwrap()
}

async fn store(storage: &dyn Storage, key: &StorageKey, content: &'static str) -> Result<()> {
    storage
        .upload_stream(byte_stream(content), content.len() as u64, key)
        .await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn video() -> StorageKey {
    StorageKey::result_video(JobId::new(), 1)
}

/// Runs every operation and returns what each failed with; `None` where it succeeded.
async fn all_errors(storage: &dyn Storage, key: &StorageKey) -> Vec<Option<clipbase::Error>> {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "x").unwrap();
    let other = StorageKey::source(JobId::new(), "mp4").unwrap();
    vec![
        storage.upload(&file, key).await.err(),
        store(storage, key, "x").await.err(),
        storage.download(key, &file).await.err(),
        storage.read_small(key).await.err(),
        storage.sign(key, &SignOptions::default()).await.err(),
        storage
            .sign_many(std::slice::from_ref(key), &SignOptions::default())
            .await
            .err(),
        storage.sign_upload(key).await.err(),
        storage.info(key).await.err(),
        storage.list(key.bucket(), None, 10).await.err(),
        storage.copy(key, &other).await.err(),
        storage.copy(&other, key).await.err(),
        storage.remove(std::slice::from_ref(key)).await.err(),
    ]
}

#[tokio::test]
async fn without_buckets_nothing_looks_gone() {
    let root = tempfile::tempdir().unwrap();
    let local = open(root.path()).await;
    let server = FakeSupabase::start().await;
    let remote = supabase::storage(&server);
    for storage in [&local as &dyn Storage, &MemoryStorage::new(), &remote] {
        for error in all_errors(storage, &video()).await {
            let error = error.expect("no operation works without buckets");
            assert_eq!(error.code(), Code::StorageUnavailable, "{error:?}");
        }
    }
    assert!(!root.path().join(Bucket::Results.name()).exists());
}

#[tokio::test]
async fn a_volume_that_goes_away_is_told_as_unavailable() {
    let directory = Directory::new().await;
    let key = video();
    directory.store(&key, "x").await;
    let bucket = directory.path(Bucket::Results.name());
    fs::rename(&bucket, directory.path("elsewhere")).unwrap();
    let removed = directory.storage.remove(std::slice::from_ref(&key)).await;
    assert_eq!(removed.unwrap_err().code(), Code::StorageUnavailable);
    assert!(store(&directory.storage, &key, "y").await.is_err());
    fs::rename(directory.path("elsewhere"), &bucket).unwrap();
    assert_eq!(directory.content(&key).await, b"x");
}
