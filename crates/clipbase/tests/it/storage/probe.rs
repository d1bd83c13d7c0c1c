//! What a probe tells of a credential that may not do everything, and of where objects lie.

use clipbase::Code;
use clipbase::storage::{
    Bucket, MemoryStorage, Operation, ProbeStep, Storage, probe, sample_layout,
};

use super::video;

async fn storage() -> MemoryStorage {
    let storage = MemoryStorage::new();
    storage.ensure_buckets().await.unwrap();
    storage
}

#[tokio::test]
async fn each_refusal_is_told_by_its_step() {
    for (operation, step) in [
        (Operation::UploadStream, ProbeStep::Write),
        (Operation::ReadSmall, ProbeStep::Read),
        (Operation::Sign, ProbeStep::Sign),
        (Operation::SignUpload, ProbeStep::SignUpload),
        (Operation::List, ProbeStep::List),
        (Operation::Remove, ProbeStep::Delete),
    ] {
        let storage = storage().await;
        storage.fail_next(operation, Code::Forbidden);
        let report = probe(&storage, Bucket::Results).await;
        let (failed, error) = report.failure().unwrap();
        assert_eq!((failed, error.code()), (step, Code::Forbidden));
        assert!(!report.is_good());
        // Whatever else was refused, the object goes if it may.
        let left = usize::from(step == ProbeStep::Delete);
        assert_eq!(storage.object_count(), left, "{step:?}");
    }
}

#[tokio::test]
async fn after_a_refused_write_nothing_else_is_tried() {
    let storage = storage().await;
    storage.fail_next(Operation::UploadStream, Code::StorageQuota);
    let report = probe(&storage, Bucket::Sources).await;
    assert_eq!(report.steps.len(), 1);
    assert_eq!(storage.calls(Operation::ReadSmall), 0);
}

#[tokio::test]
async fn a_sample_tells_the_layouts_apart() {
    let storage = storage().await;
    let bucket = Bucket::Results;
    assert_eq!(sample_layout(&storage, bucket).await.unwrap().seen, 0);
    for path in [video().path(), video().to_string(), video().to_string()] {
        storage.put_foreign(bucket, path, "x").unwrap();
    }
    storage.put_foreign(bucket, "notes.txt", "x").unwrap();
    let sample = sample_layout(&storage, bucket).await.unwrap();
    assert_eq!((sample.seen, sample.bucket, sample.literal), (4, 1, 2));
}
