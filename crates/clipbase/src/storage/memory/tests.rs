//! Faults on demand.

use super::*;
use crate::ids::JobId;

async fn storage() -> (MemoryStorage, StorageKey) {
    let storage = MemoryStorage::new();
    storage.ensure_buckets().await.unwrap();
    (storage, StorageKey::result_video(JobId::new(), 1))
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let (storage, key) = storage().await;
    storage.fail_next_answer(Operation::UploadStream, Code::StorageUnavailable);
    let lost = storage.upload_stream(byte_stream("x"), 1, &key).await;
    assert_eq!(lost.unwrap_err().code(), Code::StorageUnavailable);
    assert_eq!(storage.object_count(), 1);
}

#[tokio::test]
async fn one_key_of_a_bulk_removal_can_fail() {
    let (storage, key) = storage().await;
    let other = StorageKey::result_srt(JobId::new(), 1);
    storage
        .upload_stream(byte_stream("x"), 1, &key)
        .await
        .unwrap();
    storage.fail_next_removal_of(&key, Code::StorageRemoveFailed);
    let outcomes = storage.remove(&[key.clone(), other]).await.unwrap();
    assert!(matches!(outcomes[0].outcome, RemoveOutcome::Failed(_)));
    assert!(matches!(outcomes[1].outcome, RemoveOutcome::Missing));
    let again = storage.remove(&[key]).await.unwrap();
    assert!(matches!(again[0].outcome, RemoveOutcome::Removed));
}

#[tokio::test]
async fn faults_come_in_order_and_only_to_their_operation() {
    let (storage, key) = storage().await;
    storage.fail_next(Operation::Info, Code::StorageUnavailable);
    storage.fail_next(Operation::Info, Code::StorageDownloadFailed);
    storage.sign_upload(&key).await.unwrap();
    for code in [Code::StorageUnavailable, Code::StorageDownloadFailed] {
        assert_eq!(storage.info(&key).await.unwrap_err().code(), code);
    }
    assert_eq!(storage.info(&key).await.unwrap(), None);
    assert_eq!(storage.calls(Operation::Info), 3);
}
