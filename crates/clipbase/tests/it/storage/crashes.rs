//! What a crash or a failure leaves in the local directory, and that it does no harm.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use clipbase::storage::{
    Bucket, INCOMING_STALE_AFTER, RemoveOutcome, Storage, StorageKey, byte_stream,
};
use clipbase::{Code, JobId};
use futures_util::{FutureExt, StreamExt, future, stream};
use tokio::sync::oneshot;

use super::{Directory, names, open, store, video};

#[tokio::test]
async fn what_a_crashed_upload_left_is_cleared_away_a_day_later() {
    let directory = Directory::new().await;
    let incoming = directory.path(".incoming");
    let margin = Duration::from_secs(3_600);
    for (name, age) in [
        ("old.part", INCOMING_STALE_AFTER + margin),
        ("young.part", INCOMING_STALE_AFTER.saturating_sub(margin)),
        ("new.part", Duration::ZERO),
    ] {
        let file = File::create(incoming.join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    directory.storage.ensure_buckets().await.unwrap();
    assert_eq!(names(&incoming), ["new.part", "young.part"]);
}

#[tokio::test]
async fn a_half_written_file_is_no_object() {
    let directory = Directory::new().await;
    fs::write(directory.path(".incoming/.half.part"), "half").unwrap();
    for bucket in Bucket::ALL {
        let page = directory.storage.list(bucket, None, 10).await.unwrap();
        assert!(page.objects.is_empty());
    }
}

/// A crash between making the folders and the rename, or between removing a file and its folders.
#[tokio::test]
async fn empty_folders_are_no_object_and_are_taken_up_again() {
    let directory = Directory::new().await;
    let job = JobId::new();
    let key = StorageKey::result_video(job, 2);
    let folder = directory.path(&format!("results/{job}/2"));
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(directory.storage.info(&key).await.unwrap(), None);
    let page = directory.storage.list(Bucket::Results, None, 1).await;
    assert!(page.unwrap().objects.is_empty());
    directory.store(&key, "x").await;
    assert_eq!(directory.content(&key).await, b"x");

    fs::remove_file(directory.file(&key)).unwrap();
    let removals = directory.storage.remove(&[key]).await.unwrap();
    assert!(matches!(removals[0].outcome, RemoveOutcome::Missing));
    assert!(names(&directory.path("results")).is_empty());
}

#[tokio::test]
async fn a_failed_upload_leaves_neither_file_nor_folder() {
    let directory = Directory::new().await;
    let (key, storage) = (video(), &directory.storage);
    for (content, length) in [("short", 9), ("long", 1)] {
        let outcome = storage.upload_stream(byte_stream(content), length, &key);
        assert!(outcome.await.is_err());
    }
    assert!(
        storage
            .upload(&directory.path("absent"), &key)
            .await
            .is_err()
    );
    assert!(storage.copy(&key, &video()).await.is_err());
    assert!(names(&directory.path("results")).is_empty());
    assert!(names(&directory.path(".incoming")).is_empty());
}

#[tokio::test]
async fn a_dropped_upload_leaves_neither_file_nor_folder() {
    let directory = Directory::new().await;
    let key = video();
    let (half_way, reached) = oneshot::channel();
    let stalls = stream::once(async move {
        half_way.send(()).unwrap();
        future::pending().await
    });
    let content = byte_stream("half").chain(stalls).boxed();
    let upload = directory.storage.upload_stream(content, 8, &key);
    let future::Either::Left((_, upload)) = future::select(reached.boxed(), upload).await else {
        unreachable!("the stream never ends")
    };
    assert_eq!(names(&directory.path(".incoming")).len(), 1);
    drop(upload);
    assert!(names(&directory.path(".incoming")).is_empty());
    assert!(names(&directory.path("results")).is_empty());
}

#[tokio::test]
async fn an_upload_whose_file_was_cleared_away_fails() {
    let directory = Directory::new().await;
    let key = video();
    let incoming = directory.path(".incoming");
    let clears = stream::once(async move {
        for name in names(&incoming) {
            fs::remove_file(incoming.join(name)).unwrap();
        }
        Ok("half".into())
    });
    let content = byte_stream("half").chain(clears).boxed();
    let outcome = directory.storage.upload_stream(content, 8, &key).await;
    assert_eq!(outcome.unwrap_err().code(), Code::StorageUploadFailed);
    assert_eq!(directory.storage.info(&key).await.unwrap(), None);
}

#[tokio::test]
async fn an_object_that_cannot_be_put_in_place_leaves_no_file_behind() {
    let directory = Directory::new().await;
    let key = video();
    // A folder of the object's own name cannot be renamed over.
    fs::create_dir_all(directory.file(&key).join("occupied")).unwrap();
    let refused = store(&directory.storage, &key, "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUploadFailed);
    assert!(names(&directory.path(".incoming")).is_empty());
    let removals = directory.storage.remove(&[key]).await.unwrap();
    assert!(
        matches!(&removals[0].outcome, RemoveOutcome::Failed(e) if e.code() == Code::StorageRemoveFailed)
    );
}

#[tokio::test]
async fn objects_outlive_the_process_that_stored_them() {
    let directory = Directory::new().await;
    let key = video();
    directory.store(&key, "kept").await;
    let again = open(directory.root.path()).await;
    again.ensure_buckets().await.unwrap();
    assert_eq!(again.read_small(&key).await.unwrap(), "kept");
}
