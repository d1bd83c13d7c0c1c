//! Storage that fails in every way, in memory and in a directory.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clipbase::storage::{
    Bucket, LinkScope, ListCursor, LocalSigner, LocalStorage, MemoryStorage, Operation,
    RemoveOutcome, SignOptions, Storage, StorageKey, byte_stream,
};
use clipbase::{Code, Error, JobId, Result};
use clipbase_testkit::builders::claimed;
use clipbase_testkit::run;

use super::capture::{Capture, assert_clean, assert_discreet};

const OPERATIONS: [Operation; 12] = [
    Operation::EnsureBuckets,
    Operation::Upload,
    Operation::UploadStream,
    Operation::Download,
    Operation::ReadSmall,
    Operation::Sign,
    Operation::SignMany,
    Operation::SignUpload,
    Operation::Info,
    Operation::List,
    Operation::Copy,
    Operation::Remove,
];

/// Calls one operation with planted paths, and returns its error if there is one.
async fn call(storage: &dyn Storage, operation: Operation, folder: &Path) -> Option<Error> {
    fn unit<T>(outcome: Result<T>) -> Result<()> {
        outcome.map(|_| ())
    }
    let key = StorageKey::result_video(JobId::new(), 2);
    let file = folder.join("planted.mp4");
    std::fs::write(&file, "planted").unwrap();
    let options = SignOptions::default();
    let outcome = match operation {
        Operation::EnsureBuckets => unit(storage.ensure_buckets().await),
        Operation::Upload => storage.upload(&file, &key).await,
        Operation::UploadStream => storage.upload_stream(byte_stream("planted"), 3, &key).await,
        Operation::Download => storage.download(&key, &file).await,
        Operation::ReadSmall => unit(storage.read_small(&key).await),
        Operation::Sign => unit(storage.sign(&key, &options).await),
        Operation::SignMany => signed(storage, &key).await,
        Operation::SignUpload => unit(storage.sign_upload(&key).await),
        Operation::Info => unit(storage.info(&key).await),
        Operation::List => unit(
            storage
                .list(Bucket::Results, Some(&ListCursor::new("planted")), 5)
                .await,
        ),
        Operation::Copy => {
            storage
                .copy(&key, &StorageKey::result_srt(JobId::new(), 1))
                .await
        }
        _ => removed(storage, &key).await,
    };
    outcome.err()
}

async fn signed(storage: &dyn Storage, key: &StorageKey) -> Result<()> {
    let keys = std::slice::from_ref(key);
    for link in storage.sign_many(keys, &SignOptions::default()).await? {
        link?;
    }
    Ok(())
}

async fn removed(storage: &dyn Storage, key: &StorageKey) -> Result<()> {
    for removal in storage.remove(std::slice::from_ref(key)).await? {
        if let RemoveOutcome::Failed(error) = removal.outcome {
            return Err(error);
        }
    }
    Ok(())
}

fn planted_folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("planted")
        .tempdir()
        .unwrap()
}

#[tokio::test]
async fn memory_faults_of_every_kind_name_no_object() {
    let folder = planted_folder();
    let storage = MemoryStorage::new();
    for operation in OPERATIONS {
        if let Some(error) = call(&storage, operation, folder.path()).await {
            assert_discreet(&error);
        }
    }
    storage.ensure_buckets().await.unwrap();
    for operation in OPERATIONS {
        for code in Code::ALL {
            storage.fail_next(operation, *code);
            assert_discreet(&call(&storage, operation, folder.path()).await.unwrap());
            storage.fail_next_answer(operation, *code);
            assert_discreet(&call(&storage, operation, folder.path()).await.unwrap());
        }
    }
    assert_clean(&format!("{storage:?}"));
}

#[tokio::test]
async fn a_directory_that_fails_names_no_path() {
    let folder = planted_folder();
    let root = folder.path().join("planted-root");
    let signer = LocalSigner::open(&root, "http://planted.example")
        .await
        .unwrap();
    let storage = LocalStorage::open(&root, signer).await.unwrap();
    assert_clean(&format!("{storage:?} {:?}", storage.signer()));
    let mut seen = 0;
    // Before the buckets are made, while they are there, as files instead of folders, and after they went.
    for state in ["none", "made", "files", "gone"] {
        match state {
            "made" => drop(storage.ensure_buckets().await.unwrap()),
            "files" => {
                for bucket in ["sources", "results"] {
                    std::fs::remove_dir_all(root.join(bucket)).unwrap();
                    std::fs::write(root.join(bucket), "planted").unwrap();
                }
            }
            "gone" => std::fs::remove_dir_all(&root).unwrap(),
            _ => {}
        }
        for operation in OPERATIONS.into_iter().skip(1) {
            if let Some(error) = call(&storage, operation, folder.path()).await {
                assert_discreet(&error);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
    let key = StorageKey::result_video(JobId::new(), 1);
    let missing = folder.path().join("planted/planted.mp4");
    assert_discreet(&storage.upload(&missing, &key).await.unwrap_err());
    let signer = LocalSigner::open(&folder.path().join("planted.mp4/x"), "").await;
    assert_discreet(&signer.unwrap_err());
    assert_discreet(&LocalSigner::open(&root, "planted base?").await.unwrap_err());
}

#[tokio::test]
async fn a_link_that_does_not_hold_is_not_repeated() {
    let folder = planted_folder();
    let signer = LocalSigner::open(folder.path(), "http://planted.example")
        .await
        .unwrap();
    let key = StorageKey::result_video(JobId::new(), 1);
    let now = SystemTime::now();
    let ttl = Duration::from_secs(600);
    let link = signer
        .sign(&key, LinkScope::Download, ttl, None, now)
        .unwrap();
    assert_clean(&format!("{link:?}"));
    let (_, token) = link.expose().split_once("?token=").unwrap();
    let path = key.to_string();
    let other = StorageKey::result_video(JobId::new(), 1).to_string();
    for (path, token, scope, at) in [
        (path.as_str(), token, LinkScope::Download, now + ttl * 2),
        (path.as_str(), token, LinkScope::Upload, now),
        (other.as_str(), token, LinkScope::Download, now),
        (path.as_str(), "planted.planted", LinkScope::Download, now),
        ("planted", "", LinkScope::Download, now),
    ] {
        let refusal = signer.verify(path, token, scope, at).unwrap_err();
        assert_clean(&format!("{refusal} {refusal:?}"));
        let error = Error::from(refusal);
        assert_discreet(&error);
        assert!(!format!("{error:?}").contains(token) || token.is_empty());
    }
}

#[tokio::test]
async fn a_clean_up_that_fails_names_no_object() {
    let capture = Capture::start();
    run(async |bench| {
        let lease = claimed(&bench.clipbase).await;
        bench.clipbase.jobs().delete(lease.job_id()).await.unwrap();
        let client = bench.database.raw().await;
        let due = "UPDATE public.storage_deletions SET next_attempt_at = now();
                   INSERT INTO public.storage_deletions (object_key, job_id, reason)
                   VALUES ('planted', gen_random_uuid(), 'job_deleted')";
        client.batch_execute(due).await.unwrap();
        // Once for each bucket.
        for _ in 0..2 {
            bench
                .storage
                .fail_next(Operation::Remove, Code::StorageUnavailable);
        }
        let drained = bench.clipbase.cleanup().drain(100).await.unwrap();
        assert_eq!(drained.removed, 0);
        assert!(drained.failed > 1);
        let key = StorageKey::result_video(JobId::new(), 1);
        let announced = bench
            .clipbase
            .cleanup()
            .announce_upload(&key, Duration::from_secs(60))
            .await;
        assert_discreet(&announced.unwrap_err());
        assert_discreet(&bench.clipbase.cleanup().drain(0).await.unwrap_err());
        bench
            .storage
            .fail_next(Operation::ReadSmall, Code::StorageUnavailable);
        let fresh = bench.another(*bench.clipbase.settings());
        assert_discreet(&fresh.check_installation().await.unwrap_err());
    })
    .await;
    capture.assert_clean();
}
